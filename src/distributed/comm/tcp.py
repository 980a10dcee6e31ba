"""Connections over TCP: ``asyncio.BufferedProtocol``, proved by the handshake before anything else is read."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple, cast

from distributed.comm import descriptors
from distributed.comm.addressing import is_wildcard, own_ip, parse_host_port, unparse_host_port
from distributed.comm.core import (
    Backend,
    Comm,
    Listener,
    OnClose,
    OnComm,
    OnMessages,
    dead_peer_timeout,
    handshake_timeout,
    logger,
)
from distributed.comm.handshake import HandshakeFailed, Outcome, Step, accept, initiate, not_this_protocol
from distributed.comm.sockets import BACKLOG, address_of, bind, dial, set_tcp_options
from distributed.exceptions import (
    CommClosedError,
    ConnectError,
    ConnectTimeoutError,
    ProtocolError,
    SecurityError,
)
from distributed.forks import disown, own
from distributed.protocol.codec import Decoder, Encoder
from distributed.protocol.frames import FrameReader
from distributed.protocol.messages import Message
from distributed.protocol.payload import Buffer
from distributed.security import ClusterKey, Security

#: Connections of one listener that have not proved themselves yet; more are closed at once.
MAX_UNPROVED = 1000
#: Bytes waiting to be sent above which ``drain`` waits.
HIGH_WATER_NBYTES = 4 * 1024 * 1024
#: Seconds that ``close`` gives the peer to take what is left.
CLOSE_TIMEOUT = 5.0
#: Parts of a frame up to this size are joined before they are sent: copying them costs less than naming them.
JOIN_NBYTES = 4096

Handshake = Generator[Step, bytes, Outcome]
#: Called once when the handshake ends: with None, or with what went wrong.
OnProved = Callable[["TcpComm", Exception | None], None]


class Timeouts(NamedTuple):
    """Seconds, as configured."""

    handshake: float
    dead_peer: float

    @classmethod
    def configured(cls) -> Timeouts:
        """Those of the settings now."""
        return cls(handshake_timeout(), dead_peer_timeout())


class TcpComm(Comm, asyncio.BufferedProtocol):
    """One TCP connection: first its handshake, then its frames."""

    def __init__(
        self, make_handshake: Callable[[str], Handshake], on_proved: OnProved, timeouts: Timeouts
    ) -> None:
        self._make_handshake = make_handshake
        self._timeouts = timeouts
        self._on_proved: OnProved | None = on_proved
        self._on_messages: OnMessages | None = None
        self._on_close: OnClose | None = None
        self._closed = False
        self._lost = False
        self._reason: Exception | None = None
        self._paused = False
        self._waiters: list[asyncio.Future[None]] = []
        self._closers: list[asyncio.Future[None]] = []
        self._encoder = Encoder()
        self._decoder = Decoder()
        self._reader = FrameReader()
        self._handshake: Handshake | None = None
        self._step = Step(b"", 0)
        self._answer = bytearray()
        self._answered = 0
        self._receiving = True

    # ------------------------------------------------------------ asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = cast("asyncio.Transport", transport)
        self._scatter = sys.version_info >= (3, 12) or type(transport).__module__.startswith("uvloop")
        self._transport.set_write_buffer_limits(high=HIGH_WATER_NBYTES)
        self.local_address = address_of(transport.get_extra_info("sockname"))
        self.peer_address = address_of(transport.get_extra_info("peername"))
        set_tcp_options(transport.get_extra_info("socket"), self._timeouts.dead_peer)
        self._fd = own(transport.get_extra_info("socket"))
        descriptors.note(self._fd)
        self._timer = self._loop.call_later(self._timeouts.handshake, self._handshake_timed_out)
        self._handshake = self._make_handshake(self.peer_address)
        self._advance_handshake(None)

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._handshake is not None:
            return memoryview(self._answer)[self._answered :]  # exactly what is due, so nothing else is read
        return self._reader.get_buffer(sizehint)

    def buffer_updated(self, nbytes: int) -> None:
        if self._handshake is not None:
            self._handshake_bytes(nbytes)
            return
        if self._closed:
            return
        messages: list[Message] = []
        try:
            for body, buffers in self._reader.buffer_updated(nbytes):
                messages += self._decoder.decode(body, buffers)
        except ProtocolError as exc:
            logger.warning("closed the connection to %s: %s", self.peer_address, exc)
            self._abort(exc)
            return
        if messages and self._on_messages is not None:
            self._on_messages(messages)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = self._closed = True
        disown(self._fd)
        self._timer.cancel()
        if self._on_proved is not None:
            self._handshake = None
            what = (
                "closed the connection during the handshake"
                if self._heard
                else "closed the connection at once"
            )
            self._proved(CommClosedError(f"{self.peer_address} {what}"))
        if self._reason is None and not self._closing:
            why = f": {exc.strerror or exc}" if isinstance(exc, OSError) else ""
            verb = "lost" if why else "was closed by the other side"
            if self._reader.mid_frame:
                why = f" in the middle of a frame{why}"
                logger.warning("the connection to %s %s%s", self.peer_address, verb, why)
            self._reason = CommClosedError(f"the connection to {self.peer_address} {verb}{why}")
        error = CommClosedError(f"the connection to {self.peer_address} is closed")
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(error)
        for closer in self._closers:
            if not closer.done():
                closer.set_result(None)
        self._waiters.clear()
        self._closers.clear()
        if self._on_close is not None:
            self._tell_closed()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    # ------------------------------------------------------------ handshake

    _fd = -1
    _closing = False  # by this side, on purpose
    _heard = False  # whether a byte of the other side has come

    def _handshake_bytes(self, nbytes: int) -> None:
        self._heard = True
        self._answered += nbytes
        prefix = self._step.prefix
        if not self._answer[: self._answered].startswith(prefix[: self._answered]):
            self._fail_handshake(HandshakeFailed(not_this_protocol(self.peer_address)))
        elif self._answered == len(self._answer):
            self._advance_handshake(bytes(self._answer))

    def _advance_handshake(self, data: bytes | None) -> None:
        assert self._handshake is not None
        try:
            step = next(self._handshake) if data is None else self._handshake.send(data)
        except StopIteration as stop:
            outcome: Outcome = stop.value
            self._handshake = None
            self._timer.cancel()
            self.peer = outcome.peer
            if outcome.out:
                self._transport.write(outcome.out)
            self._proved(None)
            if self._on_messages is None and not self._closed:
                self._transport.pause_reading()
                self._receiving = False
        except HandshakeFailed as failed:
            self._fail_handshake(failed)
        else:
            self._step = step
            self._answer = bytearray(step.need)
            self._answered = 0
            if step.out:
                self._transport.write(step.out)

    def _fail_handshake(self, failed: HandshakeFailed) -> None:
        self._closed = True
        self._closing = True
        if failed.reply:
            self._transport.write(failed.reply)
        self._transport.close()
        self._proved(failed.error)

    def _handshake_timed_out(self) -> None:
        if self._on_proved is not None:
            got = "half a handshake" if self._heard else "nothing"
            self._closing = self._closed = True
            self._transport.abort()
            self._proved(
                ConnectTimeoutError(
                    f"{self.peer_address} sent {got} within {self._timeouts.handshake:g} s; "
                    "is it a scheduler or worker of distributed-network?"
                )
            )

    def _proved(self, error: Exception | None) -> None:
        on_proved, self._on_proved = self._on_proved, None
        if on_proved is not None:
            on_proved(self, error)

    # ------------------------------------------------------------ Comm

    def start(self, on_messages: OnMessages, on_close: OnClose) -> None:
        self._on_messages, self._on_close = on_messages, on_close
        if self._lost:
            self._loop.call_soon(self._tell_closed)
        elif not self._receiving:
            self._receiving = True
            self._transport.resume_reading()

    def pause_receiving(self) -> None:
        if self._receiving and not self._closed:
            self._receiving = False
            self._transport.pause_reading()

    def resume_receiving(self) -> None:
        if not self._receiving and not self._closed:
            self._receiving = True
            self._transport.resume_reading()

    def write(self, msg: Sequence[Message], serializers: Any = None, on_error: Any = None) -> None:
        if self._closed:
            raise CommClosedError(f"the connection to {self.peer_address} is closed")
        parts = self._encoder.encode(msg)
        if len(parts) == 1:
            self._transport.write(parts[0])
            return
        parts = join_small(parts)
        if self._scatter:
            self._transport.writelines(parts)
        else:
            for part in parts:
                self._transport.write(part)

    async def drain(self) -> None:
        if self._closed:
            raise CommClosedError(f"the connection to {self.peer_address} is closed")
        if self._paused:
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            await waiter

    async def close(self) -> None:
        if self._lost:
            return
        self._closing = self._closed = True
        self._transport.close()
        closer = self._loop.create_future()
        self._closers.append(closer)
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await closer
        except TimeoutError:
            self._transport.abort()
            closer = self._loop.create_future()
            self._closers.append(closer)
            await closer

    def abort(self) -> None:
        self._abort(None)

    def _abort(self, reason: Exception | None) -> None:
        if not self._lost and (not self._closed or self._closing):
            self._closed = self._closing = True
            self._reason = reason
            self._transport.abort()

    def _tell_closed(self) -> None:
        on_close, self._on_close, self._on_messages = self._on_close, None, None
        if on_close is not None:
            on_close(self._reason)

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def write_buffer_nbytes(self) -> int:
        return 0 if self._lost else self._transport.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)


def join_small(parts: list[Buffer]) -> list[Buffer]:
    """The same bytes with neighbours of up to ``JOIN_NBYTES`` joined, and nothing empty."""
    joined: list[Buffer] = []
    small: list[Buffer] = []
    for part in parts:
        nbytes = memoryview(part).nbytes
        if nbytes > JOIN_NBYTES:
            if small:
                joined.append(b"".join(small))
                small = []
            joined.append(memoryview(part).cast("B"))
        elif nbytes:
            small.append(part)
    if small:
        joined.append(b"".join(small))
    return joined


def _resolve_key(security: Security | None) -> ClusterKey | None:
    security = security or Security()
    if security.require_encryption:
        raise SecurityError("encryption is required here, but this release cannot encrypt connections")
    return security.cluster_key()


class TcpListener(Listener):
    """Takes TCP connections and hands them on once they are proved."""

    def __init__(self, host: str, on_comm: OnComm, key: ClusterKey | None) -> None:
        self._host = host
        self._on_comm = on_comm
        self._key = key
        self._timeouts = Timeouts.configured()
        self._unproved: set[TcpComm] = set()
        self._stopped = False

    async def start(self, sock: socket.socket) -> None:
        """Listen on a bound socket."""
        loop = asyncio.get_running_loop()
        host, port = sock.getsockname()[:2]
        self._server = await loop.create_server(self._make_protocol, sock=sock, backlog=BACKLOG)
        self._fd = own(sock)
        shown = self._host if is_wildcard(self._host) and self._host else host
        self.address = f"tcp://{unparse_host_port(shown, port)}"
        contact = own_ip(ipv6=self._host == "::") if is_wildcard(self._host) else host
        self.contact_address = f"tcp://{unparse_host_port(contact, port)}"

    def _make_protocol(self) -> TcpComm:
        comm = TcpComm(self._make_handshake, self._proved, self._timeouts)
        self._unproved.add(comm)
        return comm

    def _make_handshake(self, peer: str) -> Handshake:
        if len(self._unproved) > MAX_UNPROVED:
            return _refuse(f"{peer} came while {MAX_UNPROVED} others had not proved themselves yet")
        return accept(self._key, peer=peer)

    def _proved(self, comm: TcpComm, error: Exception | None) -> None:
        self._unproved.discard(comm)
        if error is None:
            self._on_comm(comm)
        elif not self._stopped:
            logger.warning("refused a connection to %s: %s", self.address, error)

    def stop(self) -> None:
        self._stopped = True
        disown(self._fd)
        self._server.close()
        for comm in list(self._unproved):
            comm.abort()


def _refuse(why: str) -> Handshake:
    raise HandshakeFailed(ProtocolError(why))
    yield


class TcpBackend(Backend):
    """``tcp://``."""

    async def connect(
        self, loc: str, *, security: Security | None, timeout: float, local_address: str | None
    ) -> TcpComm:
        host, port = parse_host_port(loc)
        shown = f"tcp://{unparse_host_port(host, port)}"
        key = _resolve_key(security)
        local = parse_host_port(local_address.rpartition("://")[2], 0) if local_address else None
        timeouts = Timeouts.configured()
        loop = asyncio.get_running_loop()
        proved: asyncio.Future[None] = loop.create_future()

        def make() -> TcpComm:
            return TcpComm(lambda _: initiate(key, peer=shown), on_proved, timeouts)

        def on_proved(comm: TcpComm, error: Exception | None) -> None:
            if not proved.done():
                if error is None:
                    comm.peer_address = shown
                    proved.set_result(None)
                else:
                    proved.set_exception(error)
            elif error is None:
                comm.abort()

        comm: TcpComm | None = None
        try:
            async with asyncio.timeout(timeout):
                comm = await dial(loop, make, host or "127.0.0.1", port, local, shown)
                await proved
            return comm
        except BaseException as exc:
            if comm is not None:
                comm.abort()
            if not proved.cancel() and not proved.cancelled():
                proved.exception()  # seen
            if isinstance(exc, TimeoutError) and not isinstance(exc, ConnectError):
                raise ConnectTimeoutError(
                    f"no connection to {shown} within {timeout:g} s; is the host up, and no firewall between?"
                ) from None
            if isinstance(exc, CommClosedError):
                raise ConnectError(
                    f"{exc}; it may be busy or shutting down, or no scheduler or worker of distributed-network"
                ) from None
            raise

    async def listen(self, loc: str, on_comm: OnComm, *, security: Security | None) -> TcpListener:
        host, port = parse_host_port(loc, 0)
        key = _resolve_key(security)
        sock = await bind(host, port)
        try:
            listener = TcpListener(host, on_comm, key)
            await listener.start(sock)
        except BaseException:
            sock.close()
            raise
        return listener
