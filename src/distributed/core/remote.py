"""Calls to one party by its address: ``await rpc("127.0.0.1:8786").identity()``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from distributed.comm.addressing import coerce_to_address, unparse_host_port
from distributed.comm.registry import connect
from distributed.core.connection import Connection
from distributed.core.status import Status
from distributed.exceptions import RPCClosed
from distributed.security import Security, as_security


class rpc:
    """The operations of a scheduler, worker or nanny as awaitable methods.

    Parameters
    ----------
    arg : str or (str, int)
        Its address: ``"127.0.0.1:8786"``, ``"tcp://..."``, ``("127.0.0.1", 8786)``.
    timeout : float, optional
        Seconds to connect; default: the setting ``distributed.comm.timeouts.connect``, 30.
    security : Security, optional
        Default: the key of this user. ``connection_args={"security": ...}`` does the same.
    ip, port, addr : optional
        The address in parts.
    comm, deserialize, serializers, deserializers
        Known to users of the field; without a meaning here. ``comm`` must be None.

    Examples
    --------
    >>> async def show():
    ...     async with rpc("127.0.0.1:8786") as scheduler:
    ...         print(await scheduler.identity())
    """

    address: str

    def __init__(
        self,
        arg: str | tuple[str, int] | None = None,
        comm: None = None,
        deserialize: bool = True,
        timeout: float | None = None,
        connection_args: dict[str, Any] | None = None,
        serializers: Any = None,
        deserializers: Any = None,
        *,
        ip: str | None = None,
        port: int | None = None,
        addr: str | tuple[str, int] | None = None,
        security: Security | None = None,
    ) -> None:
        if comm is not None:
            raise TypeError("rpc makes its own connection; give an address instead of comm=")
        where = arg if arg is not None else addr
        if where is None:
            if ip is None or port is None:
                raise TypeError(
                    'rpc needs an address: rpc("127.0.0.1:8786"), or rpc(ip="127.0.0.1", port=8786)'
                )
            where = unparse_host_port(ip, port)
        self.address = coerce_to_address(where)
        self.timeout = timeout
        self.status = Status.running
        self._security = as_security(security) or (connection_args or {}).get("security")
        self._connection: Connection | None = None
        self._dialing: asyncio.Task[Connection] | None = None

    async def live_connection(self) -> Connection:
        """The connection, made now if there is none. Raises as ``distributed.comm.connect``, and RPCClosed."""
        if self.status is Status.closed:
            raise RPCClosed(f"this rpc to {self.address} was closed")
        if self._connection is not None and not self._connection.closed:
            return self._connection
        if self._dialing is None or self._dialing.done():
            self._dialing = asyncio.create_task(self._dial(), name=f"connect to {self.address}")
        dialing = self._dialing
        try:
            return await asyncio.shield(dialing)
        except asyncio.CancelledError:
            if dialing.cancelled():
                raise RPCClosed(f"this rpc to {self.address} was closed while connecting") from None
            raise

    async def _dial(self) -> Connection:
        comm = await connect(self.address, security=self._security, timeout=self.timeout)
        self._connection = Connection(comm)
        return self._connection

    def __getattr__(self, op: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        if op.startswith("_"):
            raise AttributeError(op)

        async def call(**kwargs: Any) -> Any:
            connection = await self.live_connection()
            return await connection.request(op, kwargs)

        call.__name__ = op
        return call

    async def live_comm(self) -> Connection:
        """Another name of :meth:`live_connection`."""
        return await self.live_connection()

    @property
    def comms(self) -> dict[Connection, bool]:
        """The open connection, if there is one, and whether calls are under way on it."""
        connection = self._connection
        return {} if connection is None or connection.closed else {connection: not connection.idle}

    @property
    def active(self) -> int:
        """Connections on which calls are under way: 0 or 1, all calls share one."""
        return sum(self.comms.values())

    def close_comms(self) -> None:
        """Close the connection at once; the next call makes another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    async def close_rpc(self) -> None:
        """Close the connection. Pending calls raise CommClosedError. May be called again."""
        self.status = Status.closed
        if self._dialing is not None and not self._dialing.done():
            self._dialing.cancel()
            await asyncio.wait([self._dialing])
        self._dialing = None
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def __aenter__(self) -> rpc:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close_rpc()

    def __repr__(self) -> str:
        return f"<rpc to {self.address!r}, {self.status.name}>"
