"""One connection an address, however many ask at once."""

from __future__ import annotations

import asyncio

import pytest
from core_helpers import Calculator, Run, poll

from distributed.core import ConnectionPool
from distributed.exceptions import CommClosedError, ConnectError, RPCClosed
from distributed.security import Security


def test_concurrent_calls_share_one_connection(run: Run, security: Security) -> None:
    async def main() -> None:
        async with Calculator(security=security) as server:
            pool = ConnectionPool(security=security)
            results = await asyncio.gather(*(pool(server.address).add(a=i, b=1) for i in range(50)))
            assert results == list(range(1, 51))
            assert pool.open == 1
            assert await pool.connect(server.address) is await pool.connect(server.address)
            await pool.close()
            assert pool.open == 0
            with pytest.raises(RPCClosed, match="pool is closed"):
                await pool(server.address).ping()

    run(main())


def test_a_lost_connection_is_forgotten_and_made_anew(run: Run, security: Security) -> None:
    async def main() -> None:
        async with Calculator(security=security) as server:
            pool = ConnectionPool(security=security)
            first = await pool.connect(server.address)
            for connection in list(server.connections):
                connection.abort()
            await poll(lambda: first.closed)
            assert await pool(server.address).ping() == "pong"
            assert pool.open == 1
            await pool.close()

    run(main())


def test_remove_ends_pending_calls(run: Run, security: Security) -> None:
    async def main() -> None:
        async with Calculator(security=security) as server:
            pool = ConnectionPool(security=security)
            pending = asyncio.create_task(pool(server.address).slow())
            await poll(lambda: server.slow_started)
            pool.remove(server.address, reason="worker left")
            pool.remove("tcp://127.0.0.1:1")
            with pytest.raises(CommClosedError, match="worker left"):
                await pending
            await pool.close()

    run(main())


def test_a_failed_connect_fails_all_who_wait_and_is_tried_again(run: Run, security: Security) -> None:
    async def main() -> None:
        server = await Calculator(security=security)
        address = server.address
        await server.close()
        pool = ConnectionPool(security=security, timeout=5)
        results = await asyncio.gather(*(pool(address).ping() for _ in range(5)), return_exceptions=True)
        assert [type(result) for result in results] == [ConnectError] * 5
        assert address in str(results[0])
        with pytest.raises(ConnectError):
            await pool(address).ping()
        await pool.close()

    run(main())


def test_one_waiter_giving_up_does_not_disturb_the_others(run: Run, security: Security) -> None:
    async def main() -> None:
        async with Calculator(security=security) as server:
            pool = ConnectionPool(security=security)
            one = asyncio.create_task(pool(server.address).ping())
            two = asyncio.create_task(pool(server.address).ping())
            await asyncio.sleep(0)
            one.cancel()
            assert await two == "pong"
            await pool.close()

    run(main())


def test_over_the_limit_the_longest_unused_is_closed(run: Run, security: Security) -> None:
    async def main() -> None:
        servers = [await Calculator(security=security) for _ in range(4)]
        pool = ConnectionPool(2, security=security)
        busy = asyncio.create_task(pool(servers[0].address).slow())
        await poll(lambda: servers[0].slow_started)
        for server in servers[1:]:
            assert await pool(server.address).ping() == "pong"
        assert pool.open == 2
        assert not busy.done()  # in use, so it stays
        await pool.close()
        with pytest.raises(CommClosedError):
            await busy
        for server in servers:
            await server.close()

    run(main())


def test_closing_while_connecting(run: Run, security: Security) -> None:
    async def main() -> None:
        async with Calculator(security=security) as server:
            pool = ConnectionPool(security=security)
            waiting = asyncio.create_task(pool(server.address).ping())
            await asyncio.sleep(0)
            await pool.close()
            with pytest.raises(RPCClosed):
                await waiting

    run(main())


def test_remove_ends_connecting(run: Run, security: Security) -> None:
    """A party that is frozen takes connections, and says nothing."""

    async def main() -> None:
        server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
        address = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        pool = ConnectionPool(security=security)
        call = asyncio.create_task(pool(address).ping())
        await poll(lambda: bool(pool._dialing))
        pool.remove(address)
        with pytest.raises(RPCClosed, match="was removed while connecting"):
            await call
        await pool.close()
        server.close()

    run(main())
