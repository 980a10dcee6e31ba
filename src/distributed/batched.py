"""Messages that leave together: a connection with the names that programs know of the existing package's batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distributed.exceptions import CommClosedError

if TYPE_CHECKING:
    from distributed.core.connection import Connection
    from distributed.protocol.messages import Message


class BatchedSend:
    """Sends messages over a connection; all of one turn of the event loop leave as one frame.

    Connections do that by themselves; this keeps what is sent before there is one.

    Parameters
    ----------
    interval : float
        Accepted, without a meaning: nothing waits here.
    loop, serializers
        Accepted, without a meaning.

    Attributes
    ----------
    buffer : list
        Messages that wait for :meth:`start`.
    """

    def __init__(self, interval: Any, loop: Any = None, serializers: Any = None) -> None:
        self.interval = interval
        self.buffer: list[Message] = []
        self.comm: Connection | None = None

    def start(self, comm: Connection) -> None:
        """Send over this connection from now on, first what waits."""
        self.comm = comm
        buffer, self.buffer = self.buffer, []
        if buffer:
            comm.send_all(buffer)

    def send(self, *msgs: Message) -> None:
        """Send messages (of ``protocol.messages``). Raises CommClosedError once the connection is closed."""
        if self.comm is None:
            self.buffer += msgs
        else:
            self.comm.send_all(list(msgs))

    def closed(self) -> bool:
        """Whether nothing can be sent now: there is no connection, or it is closed."""
        return self.comm is None or self.comm.closed

    async def close(self, timeout: float | None = None) -> None:
        """Send what was said, then close the connection. Raises CommClosedError if that was lost before."""
        if self.comm is None:
            return
        if self.comm.closed:
            raise CommClosedError("the connection was closed already")
        await self.comm.drain()
        await self.comm.close()

    def abort(self) -> None:
        """Close the connection at once."""
        if self.comm is not None:
            self.comm.abort()

    def __repr__(self) -> str:
        where = "not started" if self.comm is None else f"to {self.comm.peer_address}"
        return f"<BatchedSend {where}, {len(self.buffer)} waiting>"
