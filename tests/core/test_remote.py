"""``rpc``: all forms of an address, one connection, clear ends."""

from __future__ import annotations

import asyncio

import pytest
from core_helpers import Calculator, Run, poll

from distributed.core import rpc
from distributed.exceptions import CommClosedError, ConnectError, RPCClosed
from distributed.security import Security


def test_every_form_of_address(run: Run, security: Security) -> None:
    async def main() -> None:
        async with Calculator(security=security) as server:
            port = server.port
            for remote in (
                rpc(f"127.0.0.1:{port}", security=security),
                rpc(f"tcp://127.0.0.1:{port}", security=security),
                rpc(("127.0.0.1", port), security=security),
                rpc(ip="127.0.0.1", port=port, security=security),
                rpc(addr=server.address, connection_args=security.get_connection_args("client")),
            ):
                assert await remote.ping() == "pong"
                assert remote.address == server.address
                await remote.close_rpc()
                await remote.close_rpc()
                with pytest.raises(RPCClosed, match="closed"):
                    await remote.ping()

    run(main())


@pytest.mark.parametrize("kwargs", [{}, {"ip": "127.0.0.1"}, {"arg": "a:1", "comm": object()}])
def test_what_is_no_address_is_said(kwargs: dict[str, object]) -> None:
    with pytest.raises(TypeError, match="address"):
        rpc(**kwargs)  # type: ignore[arg-type]


def test_one_connection_for_many_calls(run: Run, security: Security) -> None:
    async def main() -> None:
        async with Calculator(security=security) as server:
            async with rpc(server.address, security=security) as remote:
                assert await asyncio.gather(*(remote.add(a=i, b=0) for i in range(50))) == list(range(50))
                assert len(server.connections) == 1
                assert server.address in repr(remote)

    run(main())


def test_closing_ends_pending_calls_and_dialing(run: Run, security: Security) -> None:
    async def main() -> None:
        async with Calculator(security=security) as server:
            remote = rpc(server.address, security=security)
            pending = asyncio.create_task(remote.slow())
            await poll(lambda: server.slow_started)
            await remote.close_rpc()
            with pytest.raises(CommClosedError):
                await pending
            remote = rpc(server.address, security=security)
            pending = asyncio.create_task(remote.ping())
            await asyncio.sleep(0)
            await remote.close_rpc()
            with pytest.raises(RPCClosed):
                await pending

    run(main())


def test_it_connects_again_after_the_server_came_back(run: Run, security: Security) -> None:
    class Fixed(Calculator):
        port_wanted = 0

        async def on_start(self) -> None:
            await self.listen(f"tcp://127.0.0.1:{self.port_wanted}")

    async def main() -> None:
        server = await Fixed(security=security)
        remote = rpc(server.address, security=security)
        assert await remote.ping() == "pong"
        await server.close()
        with pytest.raises((CommClosedError, ConnectError)):
            await remote.ping()
        again = Fixed(security=security)
        again.port_wanted = server.port
        await again
        assert await remote.ping() == "pong"
        await remote.close_rpc()
        await again.close()

    run(main())
