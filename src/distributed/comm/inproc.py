"""Connections inside one process: messages are handed over as they are, between event loops of any threads."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Sequence
from typing import Any

from distributed.comm.addressing import own_ip
from distributed.comm.core import Backend, Comm, Listener, OnClose, OnComm, OnMessages
from distributed.comm.handshake import own_hello
from distributed.exceptions import AddressInUseError, CommClosedError, ConnectError
from distributed.forks import in_child, module_lock
from distributed.protocol.messages import Message
from distributed.security import Security

_listeners: dict[str, InprocListener] = {}
_lock = module_lock()
in_child(_listeners.clear)
_numbers = itertools.count(1)


def new_location() -> str:
    """A location nobody has: ``host/pid/n``."""
    return f"{own_ip()}/{os.getpid()}/{next(_numbers)}"


class InprocComm(Comm):
    """One end of a connection inside the process."""

    def __init__(self, loop: asyncio.AbstractEventLoop, local_address: str, peer_address: str) -> None:
        self._loop = loop
        self.local_address = local_address
        self.peer_address = peer_address
        self.peer = own_hello()
        self._other: InprocComm | None = None
        self._on_messages: OnMessages | None = None
        self._on_close: OnClose | None = None
        self._early: list[Message] = []
        self._paused = False
        self._closed = False
        self._reason: Exception | None = None

    @classmethod
    def pair(
        cls,
        near: asyncio.AbstractEventLoop,
        far: asyncio.AbstractEventLoop,
        near_address: str,
        far_address: str,
    ) -> tuple[InprocComm, InprocComm]:
        """Both ends of a new connection, each for its loop."""
        one, two = cls(near, near_address, far_address), cls(far, far_address, near_address)
        one._other, two._other = two, one
        return one, two

    def start(self, on_messages: OnMessages, on_close: OnClose) -> None:
        self._on_messages, self._on_close = on_messages, on_close
        self._loop.call_soon(self._deliver, [])
        if self._closed:
            self._loop.call_soon(self._tell_closed)

    def write(self, msg: Sequence[Message], serializers: Any = None, on_error: Any = None) -> None:
        other = self._other
        if self._closed or other is None:
            raise CommClosedError(f"the connection to {self.peer_address} is closed")
        try:
            other._call(other._deliver, list(msg))
        except RuntimeError:  # the loop of the other side is gone
            self._close(CommClosedError(f"the event loop of {self.peer_address} is closed"))
            raise CommClosedError(f"the connection to {self.peer_address} is closed") from None

    def pause_receiving(self) -> None:
        self._paused = True

    def resume_receiving(self) -> None:
        self._paused = False
        self._loop.call_soon(self._deliver, [])

    def _call(self, function: object, *args: object) -> None:
        """Run in this end's loop at its next turn; calls keep their order."""
        try:
            same = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            same = False
        call = self._loop.call_soon if same else self._loop.call_soon_threadsafe
        call(function, *args)  # type: ignore[arg-type]

    def _deliver(self, messages: list[Message]) -> None:
        if self._on_messages is None or self._paused:
            self._early += messages
        elif (
            not self._closed or self._reason is not None
        ):  # what came before the other side closed still counts
            if self._early:
                messages, self._early = self._early + messages, []
            if messages:
                self._on_messages(messages)

    async def drain(self) -> None:
        await asyncio.sleep(0)
        if self._closed:
            raise CommClosedError(f"the connection to {self.peer_address} is closed")

    async def close(self) -> None:
        self.abort()
        await asyncio.sleep(0)

    def abort(self) -> None:
        self._close(None)

    def _close(self, reason: Exception | None) -> None:
        if self._closed:
            return
        self._closed = True
        self._reason = reason
        other, self._other = self._other, None
        if other is not None:
            try:
                other._call(other._close, CommClosedError(f"{other.peer_address} closed the connection"))
            except RuntimeError:
                other._closed = True  # its loop is closed, nobody is there to be told
        try:
            self._call(self._tell_closed)
        except RuntimeError:
            self._on_close = self._on_messages = None

    def _tell_closed(self) -> None:
        on_close = self._on_close
        if on_close is not None:
            self._paused = False
            self._deliver([])
            self._on_close = self._on_messages = None
            on_close(self._reason)

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def write_buffer_nbytes(self) -> int:
        return 0


class InprocListener(Listener):
    """Takes connections from inside this process."""

    def __init__(self, loc: str, on_comm: OnComm) -> None:
        self._loc = loc
        self._on_comm = on_comm
        self._loop = asyncio.get_running_loop()
        self.address = self.contact_address = f"inproc://{loc}"
        with _lock:
            if loc in _listeners:
                raise AddressInUseError(f"{self.address} is in use; give inproc:// for an address of its own")
            _listeners[loc] = self

    def stop(self) -> None:
        with _lock:
            if _listeners.get(self._loc) is self:
                del _listeners[self._loc]

    def connect(self, address: str) -> InprocComm:
        """A new connection to this listener for the running loop."""
        near, far = InprocComm.pair(asyncio.get_running_loop(), self._loop, address, self.address)
        try:
            far._call(self._on_comm, far)
        except RuntimeError:
            self.stop()
            raise ConnectError(
                f"nobody listens at {self.address} any more: its event loop is closed"
            ) from None
        return near


class InprocBackend(Backend):
    """``inproc://``."""

    async def connect(
        self, loc: str, *, security: Security | None, timeout: float, local_address: str | None
    ) -> InprocComm:
        with _lock:
            listener = _listeners.get(loc)
        if listener is None:
            _, _, place = loc.rpartition(f"{own_ip()}/")
            pid = place.partition("/")[0]
            if pid.isdigit() and int(pid) != os.getpid():  # waiting for it would be in vain
                raise ValueError(
                    f"inproc://{loc} is an address inside process {pid}, and this is process {os.getpid()}: "
                    "use a scheduler that listens at tcp:// (LocalCluster(processes=True), the default)"
                )
            raise ConnectError(
                f"nobody listens at inproc://{loc}; such an address is good only inside the process that listens"
            )
        return listener.connect(f"inproc://{new_location()}")

    async def listen(self, loc: str, on_comm: OnComm, *, security: Security | None) -> InprocListener:
        return InprocListener(loc or new_location(), on_comm)
