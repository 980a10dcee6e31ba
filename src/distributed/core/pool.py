"""Connections to many addresses, one each, shared by all calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from distributed.comm.addressing import coerce_to_address
from distributed.comm.registry import connect
from distributed.core.connection import Connection, Handler
from distributed.exceptions import RPCClosed
from distributed.security import Security


class ConnectionPool:
    """Opens connections on demand and keeps them.

    Parameters
    ----------
    limit : int, default 512
        Connections kept open; over it, the one that was unused for longest and waits for nothing is closed.
    security : Security, optional
        Default: the key of this user.
    timeout : float, optional
        Seconds to connect; default: the setting ``distributed.comm.timeouts.connect``, 30.
    handlers : mapping, optional
        Operations the other sides may call over these connections.
    unpickle : bool
        Whether exceptions of the other sides are rebuilt, see Connection.

    Examples
    --------
    ``await pool("tcp://10.0.0.1:8786").identity()``
    """

    def __init__(
        self,
        limit: int = 512,
        *,
        security: Security | None = None,
        timeout: float | None = None,
        handlers: Mapping[str, Handler] | None = None,
        unpickle: bool = True,
    ) -> None:
        self.limit = limit
        self.security = security
        self.timeout = timeout
        self.closed = False
        self._handlers = handlers
        self._unpickle = unpickle
        self._connections: dict[str, Connection] = {}  # in order of last use
        self._dialing: dict[str, asyncio.Task[Connection]] = {}

    @property
    def open(self) -> int:
        """Number of open connections."""
        return len(self._connections)

    @property
    def connections(self) -> list[Connection]:
        """The open connections."""
        return list(self._connections.values())

    def __call__(self, addr: str | tuple[str, int]) -> PooledRPCCall:
        """The operations of the party at ``addr``: ``await pool(addr).operation(**kwargs)``."""
        return PooledRPCCall(coerce_to_address(addr), self)

    async def connect(self, addr: str, timeout: float | None = None) -> Connection:
        """The connection to ``addr``, made now if there is none.

        Raises RPCClosed, and whatever ``distributed.comm.connect`` does.
        """
        if self.closed:
            raise RPCClosed(f"the connection pool is closed; no call to {addr} can be made")
        if "://" not in addr:
            addr = coerce_to_address(addr)
        connection = self._connections.pop(addr, None)
        if connection is not None and not connection.closed:
            self._connections[addr] = connection
            return connection
        dialing = self._dialing.get(addr)
        if dialing is None:
            dialing = asyncio.create_task(
                self._dial(addr, timeout or self.timeout), name=f"connect to {addr}"
            )
            self._dialing[addr] = dialing
            dialing.add_done_callback(lambda task: self._dialed(addr, task))
        try:
            return await asyncio.shield(dialing)
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if not dialing.cancelled() or (current is not None and current.cancelling()):
                raise
            what = "the connection pool was closed" if self.closed else f"{addr} was removed"
            raise RPCClosed(f"{what} while connecting to {addr}") from None

    def _dialed(self, addr: str, task: asyncio.Task[Connection]) -> None:
        if self._dialing.get(addr) is task:
            del self._dialing[addr]
        if not task.cancelled():
            task.exception()  # its waiters have it; nobody may be left to look

    async def _dial(self, addr: str, timeout: float | None) -> Connection:
        comm = await connect(addr, security=self.security, timeout=timeout)
        connection = Connection(comm, handlers=self._handlers, unpickle=self._unpickle)
        connection.on_close.append(lambda closed: self._forget(addr, closed))
        self._connections[addr] = connection
        self._evict()
        return connection

    def _evict(self) -> None:
        if len(self._connections) <= self.limit:
            return
        for connection in list(self._connections.values())[:-1]:
            if connection.idle:
                connection.abort()
                if len(self._connections) <= self.limit:
                    return

    def _forget(self, addr: str, connection: Connection) -> None:
        if self._connections.get(addr) is connection:
            del self._connections[addr]

    def remove(self, addr: str, *, reason: str = "") -> None:
        """Close the connection to ``addr``, whose party is gone. Its pending calls raise RPCClosed.

        Who is connecting to it gets the same.
        """
        dialing = self._dialing.pop(addr, None)
        if dialing is not None:
            dialing.cancel()
        connection = self._connections.pop(addr, None)
        if connection is not None:
            connection.abort(
                RPCClosed(f"the connection to {addr} was removed{': ' + reason if reason else ''}")
            )

    async def close(self) -> None:
        """Close all connections. Pending calls raise CommClosedError."""
        self.closed = True
        dialing = list(self._dialing.values())
        for task in dialing:
            task.cancel()
        if dialing:
            await asyncio.wait(dialing)
        connections = list(self._connections.values())
        if connections:
            await asyncio.gather(*(connection.close() for connection in connections))


class PooledRPCCall:
    """The operations of one party, over a pool's connection to it."""

    def __init__(self, addr: str, pool: ConnectionPool) -> None:
        self.address = addr
        self._pool = pool

    def __getattr__(self, op: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        if op.startswith("__"):
            raise AttributeError(op)

        async def call(**kwargs: Any) -> Any:
            connection = await self._pool.connect(self.address)
            return await connection.request(op, kwargs)

        call.__name__ = op
        return call

    async def close_rpc(self) -> None:
        """Nothing: the connection is the pool's."""

    def __repr__(self) -> str:
        return f"<pooled rpc to {self.address}>"
