"""Servers, calls and streams, under the names known from ``distributed.core``. Each is loaded when first asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distributed.comm import Comm, connect, listen
    from distributed.comm.addressing import coerce_to_address
    from distributed.core.connection import Connection
    from distributed.core.errors import clean_exception, error_message
    from distributed.core.pool import ConnectionPool, PooledRPCCall
    from distributed.core.remote import rpc as rpc
    from distributed.core.server import Server
    from distributed.core.status import Status
    from distributed.exceptions import CommClosedError, RemoteError, RPCClosed

_HOMES = {
    "Comm": "distributed.comm.core",
    "CommClosedError": "distributed.exceptions",
    "Connection": "distributed.core.connection",
    "ConnectionPool": "distributed.core.pool",
    "PooledRPCCall": "distributed.core.pool",
    "RPCClosed": "distributed.exceptions",
    "RemoteError": "distributed.exceptions",
    "Server": "distributed.core.server",
    "Status": "distributed.core.status",
    "clean_exception": "distributed.core.errors",
    "coerce_to_address": "distributed.comm.addressing",
    "connect": "distributed.comm.registry",
    "error_message": "distributed.core.errors",
    "listen": "distributed.comm.registry",
    "rpc": "distributed.core.remote",
}


def __getattr__(name: str) -> Any:
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    value = globals()[name] = getattr(importlib.import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


__all__ = [
    "Comm",
    "CommClosedError",
    "Connection",
    "ConnectionPool",
    "PooledRPCCall",
    "RPCClosed",
    "RemoteError",
    "Server",
    "Status",
    "clean_exception",
    "coerce_to_address",
    "connect",
    "error_message",
    "listen",
    "rpc",
]
