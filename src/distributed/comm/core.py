"""What every transport offers: :class:`Comm`, one proved connection, and :class:`Listener`."""

from __future__ import annotations

import abc
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from distributed.comm.handshake import Hello
from distributed.comm.inbox import Inbox
from distributed.exceptions import CommClosedError, FatalCommClosedError
from distributed.protocol.messages import Message
from distributed.security import Security

__all__ = ["Backend", "Comm", "CommClosedError", "FatalCommClosedError", "Listener"]

logger = logging.getLogger("distributed.comm")

OnMessages: TypeAlias = Callable[[list[Message]], None]
OnClose: TypeAlias = Callable[[Exception | None], None]
OnComm: TypeAlias = Callable[["Comm"], None]

#: Seconds for all of a handshake, where the settings do not say otherwise.
HANDSHAKE_TIMEOUT = 5.0


def handshake_timeout() -> float:
    """Seconds for all of a handshake: setting ``distributed.security.handshake-timeout``."""
    return _seconds("distributed.security.handshake-timeout", HANDSHAKE_TIMEOUT)


def connect_timeout() -> float:
    """Seconds for a connection to be made: setting ``distributed.comm.timeouts.connect``."""
    return _seconds("distributed.comm.timeouts.connect", 30)


def dead_peer_timeout() -> float:
    """Seconds without an acknowledgement that end a connection: setting ``distributed.comm.timeouts.tcp``."""
    return _seconds("distributed.comm.timeouts.tcp", 30)


def _seconds(key: str, default: float) -> float:
    from distributed import config  # loads dask, which whoever only imports this package does not need

    seconds = config.seconds(key, default)
    return default if seconds is None else seconds


class Comm(abc.ABC):
    """One connection, both ways, whose other side has proved itself. Belongs to the loop it was made on.

    Attributes
    ----------
    local_address, peer_address : str
        Such as ``"tcp://127.0.0.1:8786"``.
    peer : Hello
        What the other side said of itself in the handshake.
    """

    local_address: str
    peer_address: str
    peer: Hello
    _on_messages: OnMessages | None = None
    _inbox: Inbox | None = None

    @abc.abstractmethod
    def start(self, on_messages: OnMessages, on_close: OnClose) -> None:
        """Begin to receive.

        Parameters
        ----------
        on_messages : callable
            Called with the messages of one read, in order. Nothing arrives before ``start``.
        on_close : callable
            Called once when the connection is closed, by whichever side, with the reason: None after
            :meth:`close`.
        """

    async def read(self, deserializers: Any = None) -> list[Message]:
        """The messages of the next read, for programs that would rather wait than be called: instead of :meth:`start`.

        From the first call on, what comes is kept until it is read: some of it here, the rest with the system and the
        peer. ``deserializers`` is accepted, without a meaning.

        Raises
        ------
        CommClosedError
            When everything was read and the connection is closed.
        RuntimeError
            When :meth:`start` was called: then its functions get the messages.
        """
        if self._inbox is None:
            if self._on_messages is not None:
                raise RuntimeError(f"{self!r} hands its messages to the function that start() was given")
            self._inbox = Inbox(self.pause_receiving, self.resume_receiving)
            self.start(self._inbox.put, self._inbox.end)
        return await self._inbox.take()

    @abc.abstractmethod
    def pause_receiving(self) -> None:
        """Let what comes from now on wait: with the system, and so at last with the peer."""

    @abc.abstractmethod
    def resume_receiving(self) -> None:
        """Go on after :meth:`pause_receiving`."""

    @abc.abstractmethod
    def write(self, msg: Sequence[Message], serializers: Any = None, on_error: Any = None) -> None:
        """Send messages as one frame; never waits.

        Parameters
        ----------
        msg : sequence of Message
            Those of :mod:`distributed.protocol.messages`.
        serializers, on_error
            Accepted, without a meaning: there is one way to encode messages, and what goes wrong is raised.

        Raises
        ------
        CommClosedError
            When the connection is closed.
        TypeError, ValueError, OverflowError, ProtocolError
            When the messages cannot be encoded; then nothing was sent and the connection is as before.
        """

    @abc.abstractmethod
    async def drain(self) -> None:
        """Wait until the peer has taken most of what was written. Raises CommClosedError."""

    @abc.abstractmethod
    async def close(self) -> None:
        """Send what was written, then close, and wait for it."""

    @abc.abstractmethod
    def abort(self) -> None:
        """Close at once; what was not sent yet is lost."""

    @property
    @abc.abstractmethod
    def closed(self) -> bool:
        """Whether nothing can be written any more."""

    @property
    @abc.abstractmethod
    def write_buffer_nbytes(self) -> int:
        """Bytes written that the system has not taken yet."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the transport below knows under ``name``, as in asyncio."""
        return default

    @property
    def extra_info(self) -> dict[str, Any]:
        """What the transport below knows of the connection's ends and encryption, as far as it does."""
        names = "sockname", "peername", "cipher", "peercert"
        found = {name: self.get_extra_info(name) for name in names}
        return {name: value for name, value in found.items() if value is not None}

    @property
    def same_host(self) -> bool:
        """Whether both ends are on one machine, by the addresses."""
        from distributed.comm.addressing import get_address_host

        try:
            return get_address_host(self.local_address) == get_address_host(self.peer_address)
        except ValueError:
            return False

    def handshake_info(self) -> dict[str, Any]:
        """What the other side said of itself in the handshake."""
        return {name: getattr(self.peer, name) for name in self.peer.__struct_fields__}

    @staticmethod
    def handshake_configuration(local: Mapping[str, Any], remote: Mapping[str, Any]) -> dict[str, Any]:
        """What follows for a connection from what its two sides say of themselves, as :meth:`handshake_info` has it.

        Returns
        -------
        dict
            ``protocol``: the version that they speak; ``same_kernel``: whether both are on one running system, so that
            they could share memory.

        Raises
        ------
        ValueError
            When they do not speak the same version.
        """
        if local["protocol"] != remote["protocol"]:
            raise ValueError(
                f"one side speaks version {local['protocol']} of the protocol ({local['package']}), "
                f"the other version {remote['protocol']} ({remote['package']})"
            )
        return {"protocol": local["protocol"], "same_kernel": local["boot_id"] == remote["boot_id"]}

    def __repr__(self) -> str:
        state = " closed" if self.closed else ""
        return f"<{type(self).__name__}{state} local={self.local_address} remote={self.peer_address}>"


class Listener(abc.ABC):
    """Takes connections at an address until stopped.

    Attributes
    ----------
    address : str
        Where it listens, with the real port; a wildcard host stays one.
    contact_address : str
        Where others reach it.
    """

    address: str
    contact_address: str

    @abc.abstractmethod
    def stop(self) -> None:
        """Take no more connections; those made stay."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.address}>"


class Backend(abc.ABC):
    """A transport: what the registry knows under a scheme."""

    @abc.abstractmethod
    async def connect(
        self, loc: str, *, security: Security | None, timeout: float, local_address: str | None
    ) -> Comm:
        """Connect to the location, the part of the address behind ``://``."""

    @abc.abstractmethod
    async def listen(self, loc: str, on_comm: OnComm, *, security: Security | None) -> Listener:
        """Listen at the location, the part of the address behind ``://``."""
