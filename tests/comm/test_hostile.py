"""Hostile and confused peers on a real socket: each is closed with one log line, nobody else notices."""

from __future__ import annotations

import asyncio
import logging
import os
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import dask
import pytest
from comm_helpers import Peer, Run, poll

from distributed.comm import connect, listen, tcp
from distributed.comm.handshake import MAGIC, accept, initiate
from distributed.exceptions import AuthenticationError, ConnectError, ProtocolError
from distributed.protocol import codec
from distributed.protocol.messages import WantKeys
from distributed.security import ClusterKey, Security

Attack = Callable[[asyncio.StreamReader, asyncio.StreamWriter, ClusterKey], Awaitable[None]]


async def until_closed(reader: asyncio.StreamReader) -> bytes:
    """Read to the end of the connection."""
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: ClusterKey) -> None:
    writer.write(b"GET / HTTP/1.1\r\n\r\n")


async def long_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: ClusterKey) -> None:
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\n" + b"X-Header: y\r\n" * 1000)


async def tls_hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: ClusterKey) -> None:
    writer.write(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(500))


async def random_bytes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: ClusterKey) -> None:
    writer.write(b"\0" + os.urandom(100_000))


async def one_wrong_byte(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: ClusterKey) -> None:
    writer.write(b"x")


async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: ClusterKey) -> None:
    pass


async def half_a_handshake(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: ClusterKey
) -> None:
    writer.write(MAGIC + b"\x01\x00")


async def half_and_gone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: ClusterKey) -> None:
    writer.write(MAGIC + b"\x01\x00")
    writer.write_eof()


async def at_once_gone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: ClusterKey) -> None:
    writer.write_eof()


async def silent_after_opening(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: ClusterKey
) -> None:
    writer.write(next(initiate(key, peer="")).out)


async def garbage_proof(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: ClusterKey) -> None:
    writer.write(next(initiate(key, peer="")).out + os.urandom(32))


async def frames_without_proof(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: ClusterKey
) -> None:
    frame = codec.encode([WantKeys(["stolen"])])[0]
    writer.write(next(initiate(key, peer="")).out + bytes(frame) * 100)


async def wrong_key(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: ClusterKey) -> None:
    writer.write(next(initiate(ClusterKey.generate(), peer="")).out)


async def replay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: ClusterKey) -> None:
    """An earlier initiator's bytes, word by word."""
    initiator = initiate(key, peer="")
    acceptor = accept(key, peer="")
    next(acceptor)
    opening = next(initiator).out
    proof = initiator.send(acceptor.send(opening).out).out
    writer.write(opening + proof)


async def prove(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: ClusterKey) -> None:
    """Go through the handshake as one who holds the key."""
    side = initiate(key, peer="")
    step = next(side)
    while True:
        writer.write(step.out)
        try:
            step = side.send(await reader.readexactly(step.need))
        except StopIteration as stop:
            writer.write(stop.value.out)
            return


async def a_terabyte(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: ClusterKey) -> None:
    await prove(reader, writer, key)
    writer.write(struct.pack("<IIQ", 10, 1, 10**12) + bytes(100))


async def nonsense_in_a_frame(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: ClusterKey
) -> None:
    await prove(reader, writer, key)
    writer.write(struct.pack("<II", 100, 0) + os.urandom(100))


ATTACKS: dict[Attack, str] = {
    http: "does not speak the protocol",
    long_http: "does not speak the protocol",
    tls_hello: "does not speak the protocol",
    random_bytes: "does not speak the protocol",
    one_wrong_byte: "does not speak the protocol",
    silence: "sent nothing within",
    half_a_handshake: "sent half a handshake within",
    half_and_gone: "closed the connection during the handshake",
    at_once_gone: "closed the connection at once",
    silent_after_opening: "sent half a handshake within",
    garbage_proof: "cannot prove it",
    frames_without_proof: "cannot prove it",
    wrong_key: "holds cluster key",
    replay: "cannot prove it",
    a_terabyte: "1000000000000 bytes is over the limit",
    nonsense_in_a_frame: "does not hold messages",
}


@pytest.fixture
def short_handshake() -> Iterator[None]:
    """Handshakes must be done in 0.3 s."""
    with dask.config.set({"distributed.security.handshake-timeout": "300ms"}):
        yield


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


@asynccontextmanager
async def network(security: Security) -> AsyncIterator[tuple[int, Peer, list[Peer]]]:
    """A listener's port, an honest connection, and all far ends."""
    far: list[Peer] = []
    listener = await listen(
        "tcp://127.0.0.1:0", lambda comm: far.append(Peer(comm, echo=True)), security=security
    )
    near = Peer(await connect(listener.address, security=security))
    yield int(listener.address.rpartition(":")[2]), near, far
    listener.stop()
    await near.comm.close()
    for peer in far:
        await peer.until(lambda p: p.closed)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_an_attacker_is_closed_with_one_line_and_nobody_else_notices(
    run: Run,
    security: Security,
    caplog: pytest.LogCaptureFixture,
    short_handshake: None,
    attack: Attack,
) -> None:
    async def main() -> None:
        async with network(security) as (port, near, far):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert security.key is not None
            async with asyncio.timeout(5):
                await attack(reader, writer, security.key)
                near.comm.write([WantKeys(["meanwhile"])])
                await until_closed(reader)
            writer.close()
            near.comm.write([WantKeys(["afterwards"])])
            await near.until(lambda p: len(p.heard) == 2)
            await poll(lambda: lines(caplog))
            assert [message for peer in far[1:] for message in peer.heard] == []

    run(main())
    [line] = lines(caplog)
    assert ATTACKS[attack] in line
    assert "127.0.0.1" in line
    assert "\n" not in line
    assert "Traceback" not in caplog.text


def test_half_a_frame_is_just_a_connection_that_ends(run: Run, security: Security) -> None:
    async def main() -> None:
        async with network(security) as (port, near, far):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert security.key is not None
            await prove(reader, writer, security.key)
            writer.write(struct.pack("<IIQ", 10, 1, 10**9) + bytes(1000))
            await poll(lambda: len(far) == 2)
            writer.close()
            await far[1].until(lambda p: p.closed)
            assert far[1].heard == []
            near.comm.write([WantKeys(["x"])])
            await near.until(lambda p: p.heard)

    run(main())


def test_unproved_connections_are_capped(
    run: Run, security: Security, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp, "MAX_UNPROVED", 5)

    async def main() -> None:
        async with network(security) as (port, near, _):
            silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert await until_closed(reader) == b""
            writer.close()
            near.comm.write([WantKeys(["x"])])
            await near.until(lambda p: p.heard)
            for _, writer in silent:
                writer.close()
            await poll(lambda: len(lines(caplog)) == 6)
            again = await connect(f"tcp://127.0.0.1:{port}", security=security)
            await again.close()

    run(main())
    assert "5 others had not proved themselves" in lines(caplog)[0]


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", ProtocolError, "does not speak the protocol"),
        (b"", ConnectError, "closed the connection"),
        (None, ConnectError, "sent nothing within"),
        (bytes(64), ProtocolError, "does not speak the protocol"),
    ],
    ids=["http", "eof", "silence", "zeros"],
)
def test_a_server_that_is_something_else_is_said(
    run: Run,
    security: Security,
    short_handshake: None,
    answer: bytes | None,
    error: type[Exception],
    text: str,
) -> None:
    async def main() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(64)
            if answer is None:
                await until_closed(reader)
            else:
                writer.write(answer)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(error, match=text) as info:
            await connect(f"tcp://127.0.0.1:{port}", security=security, timeout=5)
        assert f"127.0.0.1:{port}" in str(info.value)
        server.close()
        await poll(lambda: len(asyncio.all_tasks()) == 1)

    run(main())


def test_both_sides_say_why_a_key_is_refused(
    run: Run, security: Security, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with network(security) as (port, _, _):
            other = Security.temporary()
            with pytest.raises(AuthenticationError) as info:
                await connect(f"tcp://127.0.0.1:{port}", security=other)
            for key in (security.key, other.key):
                assert key is not None
                assert key.id in str(info.value)
                assert key.id in lines(caplog)[0]
            with pytest.raises(AuthenticationError, match="--insecure"):
                await connect(f"tcp://127.0.0.1:{port}", security=Security(insecure=True))
            assert "--insecure" in lines(caplog)[1]

    run(main())
