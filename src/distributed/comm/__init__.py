"""Connections: framed, proved, by address. ``tcp://`` between machines, ``inproc://`` inside a process."""

from __future__ import annotations

from distributed.comm.addressing import (
    get_address_host,
    get_address_host_port,
    get_local_address_for,
    get_tcp_server_address,
    normalize_address,
    parse_address,
    parse_host_port,
    resolve_address,
    unparse_address,
    unparse_host_port,
)
from distributed.comm.core import Comm, CommClosedError, Listener
from distributed.comm.registry import backends, connect, listen

__all__ = [
    "Comm",
    "CommClosedError",
    "Listener",
    "backends",
    "connect",
    "get_address_host",
    "get_address_host_port",
    "get_local_address_for",
    "get_tcp_server_address",
    "listen",
    "normalize_address",
    "parse_address",
    "parse_host_port",
    "resolve_address",
    "unparse_address",
    "unparse_host_port",
]
