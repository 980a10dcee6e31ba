"""A server's life: started once, closed once, nothing left behind."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

import pytest
from core_helpers import Calculator, Run, poll

from distributed.core import Server, Status, rpc
from distributed.exceptions import AddressInUseError, CommClosedError, ConnectError, KeyNotFoundError
from distributed.security import Security


def test_start_serve_close(run: Run, security: Security) -> None:
    async def main() -> None:
        server = Calculator(security=security)
        assert server.status is Status.init
        assert server.address_safe == "not-running"
        with pytest.raises(ValueError, match="does not listen yet"):
            _ = server.address
        assert await server is server
        assert server.status is Status.running
        assert server.loop is asyncio.get_running_loop()
        assert server.address == f"tcp://127.0.0.1:{server.port}"
        assert server.ip == "127.0.0.1"
        await server  # again: nothing happens
        assert len(server.listeners) == 1
        async with rpc(server.address, security=security) as remote:
            assert await remote.add(a=1, b=2) == 3
            assert (await remote.whoami()).startswith("tcp://127.0.0.1:")
            identity = await remote.identity()
            assert identity["type"] == "Calculator"
            assert identity["id"] == server.id
            assert await remote.ping() == "pong"
            versions = await remote.versions(packages=["pytest", "no-such-thing"])
            assert versions["packages"]["dask"]
            assert versions["packages"]["pytest"]
            assert versions["packages"]["no-such-thing"] is None
            assert len(server.connections) == 1
        await poll(lambda: not server.connections)
        await server.close()
        await server.close()
        await server.finished()
        assert server.status is Status.closed
        assert server.on_close_reasons == [""]
        assert "closed" in repr(server)
        with pytest.raises(RuntimeError, match="make a new one"):
            await server
        with pytest.raises(ConnectError, match="nobody listens"):
            await rpc(server.address, security=security).ping()

    run(main())


def test_terminate_answers_then_closes(run: Run, security: Security) -> None:
    async def main() -> None:
        server = await Calculator(security=security)
        remote = rpc(server.address, security=security)
        pending = asyncio.create_task(remote.slow())
        await poll(lambda: server.slow_started)
        assert await remote.terminate(reason="enough") == "OK"
        async with asyncio.timeout(5):
            await server.finished()
        assert server.on_close_reasons == ["enough"]
        assert server.slow_cancelled == 1
        with pytest.raises(CommClosedError):
            await pending
        with pytest.raises(OSError, match=r"127\.0\.0\.1"):
            await remote.ping()
        await remote.close_rpc()

    run(main())


def test_a_handler_may_close_its_own_server(run: Run, security: Security) -> None:
    async def main() -> None:
        server = await Calculator(security=security)
        server.handlers["end"] = server.close
        async with rpc(server.address, security=security) as remote:
            with pytest.raises(CommClosedError):
                await remote.end()
        await server.finished()
        assert server.status is Status.closed

    run(main())


def test_a_failed_start_closes_what_was_begun_and_says_why(run: Run, security: Security) -> None:
    class Broken(Calculator):
        async def on_start(self) -> None:
            await super().on_start()
            raise LookupError("no luck")

    async def main() -> None:
        server = Broken(security=security)
        with pytest.raises(LookupError, match="no luck"):
            await server
        assert server.status is Status.failed
        assert len(server.on_close_reasons) == 1
        await server.finished()
        with pytest.raises(RuntimeError, match="failed"):
            await server
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", server.port))

    run(main())


def test_a_start_that_takes_too_long(run: Run, security: Security) -> None:
    class Slow(Server):
        async def on_start(self) -> None:
            await asyncio.Event().wait()

    async def main() -> None:
        server = Slow(security=security, timeout=0.05)
        with pytest.raises(TimeoutError, match=r"Slow did not start within 0.05 s"):
            await server
        assert server.status is Status.failed

    run(main())


def test_without_a_key_nothing_listens(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("DISTRIBUTED_KEY", raising=False)

    async def main() -> None:
        server = Server()
        with pytest.raises(KeyNotFoundError, match=r"DISTRIBUTED_KEY.*--key-file.*cluster\.key"):
            await server
        assert server.listeners == []

    run(main())


def test_a_port_that_is_taken(run: Run, security: Security) -> None:
    async def main() -> None:
        async with Calculator(security=security) as server:
            other = Server(security=security)
            with pytest.raises(AddressInUseError, match=rf"port {server.port} on 127\.0\.0\.1 is in use"):
                await other.listen(server.address)
            await other.close()

    run(main())


def test_two_addresses_and_the_default_one(run: Run, security: Security) -> None:
    async def main() -> None:
        server = Server({"add": lambda a, b: a + b}, security=security)
        await server.listen("inproc://")
        await server.listen("tcp://127.0.0.1:0")
        async with server:
            for listener in server.listeners:
                async with rpc(listener.contact_address, security=security) as remote:
                    assert await remote.add(a=1, b=1) == 2
            assert server.port == 0
            assert server.address.startswith("inproc://")
        async with Server(security=security) as wide:
            assert wide.port > 0
            async with rpc(("127.0.0.1", wide.port), security=security) as remote:
                assert await remote.ping() == "pong"
            assert wide.listen_address != ""

    run(main())


def test_blocked_handlers_are_refused(run: Run, security: Security) -> None:
    async def main() -> None:
        async with Calculator(security=security, blocked_handlers=["add"]) as server:
            async with rpc(server.address, security=security) as remote:
                with pytest.raises(ValueError, match="'add' has been explicitly disallowed in Calculator"):
                    await remote.add(a=1, b=2)

    run(main())


def test_servers_call_each_other_over_their_pools(run: Run, security: Security) -> None:
    async def main() -> None:
        async with Calculator(security=security) as one, Calculator(security=security) as two:
            remote = one.rpc(two.address)
            assert await asyncio.gather(*(remote.add(a=i, b=1) for i in range(20))) == list(range(1, 21))
            assert one.pool.open == 1
            assert len(two.connections) == 1
            with pytest.raises(ZeroDivisionError, match="on purpose"):
                await remote.fail()

    run(main())


def test_spawned_tasks_are_logged_when_they_fail_and_cancelled_at_close(
    run: Run, security: Security, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> None:
        raise LookupError("spawned")

    async def main() -> None:
        async with Calculator(security=security) as server:
            server.spawn(fail(), name="a failing task")
            forever = server.spawn(asyncio.Event().wait())
            await poll(lambda: "spawned" in caplog.text)
        assert forever.cancelled()

    run(main())
    assert "a failing task" in caplog.text


def test_a_hook_that_hangs_or_fails_does_not_keep_the_server_open(
    run: Run, security: Security, caplog: pytest.LogCaptureFixture
) -> None:
    class Hanging(Calculator):
        async def on_close(self, reason: str) -> None:
            await asyncio.Event().wait()

    class Failing(Calculator):
        async def on_close(self, reason: str) -> None:
            raise LookupError("hook")

    async def main() -> None:
        for kind in (Hanging, Failing):
            server = await kind(security=security)
            await server.close(timeout=0.05)
            assert server.status is Status.closed

    run(main())
    assert len([r for r in caplog.records if r.levelno >= logging.WARNING]) == 2
