"""What only TCP has: sockets, names, ports, and clear errors about them."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Any

import pytest
from comm_helpers import Peer, Run, poll

from distributed.comm import connect, listen, tcp
from distributed.comm.sockets import bind
from distributed.comm.tcp import is_wildcard, join_small
from distributed.exceptions import AddressInUseError, ConnectError, ConnectTimeoutError, KeyNotFoundError
from distributed.protocol.messages import WantKeys
from distributed.security import Security


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def failure(awaitable: Any) -> BaseException:
    with pytest.raises(Exception) as info:  # noqa: PT011  (each test looks at what it is)
        await awaitable
    assert "\n" not in str(info.value)
    return info.value


def test_nobody_listens(run: Run, security: Security) -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    exc = run(failure(connect(address, security=security)))
    assert isinstance(exc, ConnectError)
    assert exc.errno == errno.ECONNREFUSED
    assert address in str(exc)
    assert str(exc).startswith("nobody listens")


def test_a_name_that_cannot_be_resolved(run: Run, security: Security) -> None:
    for call in (
        lambda: connect("tcp://no.such.host.invalid:8786", security=security),
        lambda: listen("tcp://no.such.host.invalid:8786", lambda comm: None, security=security),
    ):
        exc = run(failure(call()))
        assert isinstance(exc, OSError)
        assert "no.such.host.invalid:8786" in str(exc)
        assert "cannot be resolved" in str(exc)


def test_a_host_that_does_not_answer(run: Run, security: Security) -> None:
    """A socket that listens with a full backlog lets no connection through."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = []
        for _ in range(3):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
            fillers.append(filler)
        address = f"tcp://127.0.0.1:{full.getsockname()[1]}"
        exc = run(failure(connect(address, security=security, timeout=0.3)))
        for filler in fillers:
            filler.close()
    assert isinstance(exc, ConnectTimeoutError)
    assert isinstance(exc, TimeoutError)
    assert address in str(exc)


def test_cancelling_a_connect_leaves_nothing(run: Run, security: Security) -> None:
    async def main() -> None:
        silent = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        silent.close()
        with socket.socket() as quiet:
            quiet.bind(("127.0.0.1", 0))
            quiet.listen()
            task = asyncio.create_task(
                connect(f"tcp://127.0.0.1:{quiet.getsockname()[1]}", security=security)
            )
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(main())


def test_no_key_is_said_before_anything_is_sent(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("DISTRIBUTED_KEY", raising=False)
    assert isinstance(run(failure(connect(f"127.0.0.1:{free_port()}"))), KeyNotFoundError)
    assert isinstance(run(failure(listen("tcp://127.0.0.1:0", lambda comm: None))), KeyNotFoundError)


def test_a_port_that_is_taken_names_the_way_out(run: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        exc = run(failure(bind("127.0.0.1", port)))
    assert isinstance(exc, AddressInUseError)
    assert exc.errno == errno.EADDRINUSE
    assert (
        exc.strerror == f"port {port} on 127.0.0.1 is in use; give another with --port, or --port 0 for any"
    )


def test_a_host_of_somebody_else(run: Run) -> None:
    exc = run(failure(bind("192.0.2.123", 0)))
    assert isinstance(exc, OSError)
    assert str(exc).startswith("192.0.2.123 is not an address of this machine")


def test_of_two_that_listen_at_the_same_moment_one_is_told(run: Run, security: Security) -> None:
    async def main() -> None:
        for _ in range(5):
            address = f"tcp://127.0.0.1:{free_port()}"
            listening = [listen(address, Peer, security=security) for _ in range(4)]
            results = await asyncio.gather(*listening, return_exceptions=True)
            assert sorted(type(result).__name__ for result in results) == ["AddressInUseError"] * 3 + [
                "TcpListener"
            ]
            for result in results:
                if not isinstance(result, BaseException):
                    result.stop()

    run(main())


@pytest.mark.parametrize("where", ["tcp://0.0.0.0:0", "tcp://:0", "tcp://[::]:0"])
def test_a_wildcard_is_reached_at_a_real_address(run: Run, security: Security, where: str) -> None:
    async def main() -> None:
        far: list[Peer] = []
        listener = await listen(where, lambda comm: far.append(Peer(comm)), security=security)
        assert not is_wildcard(listener.contact_address.rpartition("://")[2].rpartition(":")[0].strip("[]"))
        port = int(listener.address.rpartition(":")[2])
        for address in (f"tcp://127.0.0.1:{port}", f"tcp://localhost:{port}"):
            near = await connect(address, security=security)
            await poll(lambda: far)
            assert (
                far[0].comm.peer_address.startswith("tcp://127.0.0.1:") or "::1" in far[0].comm.peer_address
            )
            await near.close()
            await far.pop().until(lambda p: p.closed)
        listener.stop()

    run(main())


def test_socket_options(run: Run, security: Security) -> None:
    async def main() -> None:
        far: list[Peer] = []
        listener = await listen("tcp://127.0.0.1:0", lambda comm: far.append(Peer(comm)), security=security)
        near = await connect(listener.address, security=security)
        await poll(lambda: far)
        for comm in (near, far[0].comm):
            sock = comm.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        await near.close()
        await far[0].until(lambda p: p.closed)
        listener.stop()

    run(main())


def test_connecting_from_a_given_interface(run: Run, security: Security) -> None:
    async def main() -> None:
        listener = await listen("tcp://127.0.0.1:0", Peer, security=security)
        near = await connect(listener.address, security=security, local_address="tcp://127.0.0.2")
        assert near.local_address.startswith("tcp://127.0.0.2:")
        await near.close()
        listener.stop()
        await asyncio.sleep(0.01)

    run(main())


def test_close_does_not_wait_for_ever_for_a_peer_that_does_not_read(
    run: Run, security: Security, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp, "CLOSE_TIMEOUT", 0.2)

    async def main() -> None:
        held: list[Any] = []
        listener = await listen(
            "tcp://127.0.0.1:0", held.append, security=security
        )  # never started: never reads
        near = Peer(await connect(listener.address, security=security))
        for i in range(40):
            near.comm.write([WantKeys([i, "x" * (1 << 20)])])
        draining = asyncio.create_task(near.comm.drain())
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await near.comm.close()
        with pytest.raises(OSError, match="closed"):
            await draining
        assert near.closed == [None]
        for comm in held:
            comm.abort()
        listener.stop()
        await asyncio.sleep(0.01)

    run(main())


def test_stopping_closes_those_that_have_not_proved_themselves(
    run: Run, security: Security, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        listener = await listen("tcp://127.0.0.1:0", Peer, security=security)
        reader, writer = await asyncio.open_connection("127.0.0.1", int(listener.address.rpartition(":")[2]))
        await poll(lambda: listener._unproved)  # type: ignore[attr-defined]
        listener.stop()
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()

    run(main())
    assert caplog.records == []


def test_small_parts_are_joined_and_big_ones_left_alone() -> None:
    big = bytearray(10_000)
    parts = join_small([b"a", b"", memoryview(b"b"), big, b"c", memoryview(b"de"), b""])
    assert [bytes(p)[:3] for p in parts] == [b"ab", b"\0\0\0", b"cde"]
    assert memoryview(parts[1]).obj is big
