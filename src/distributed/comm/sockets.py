"""Sockets: to connect, to listen, their options, and one clear sentence for each way in which that fails."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Callable
from typing import Any, TypeVar

from distributed.comm.addressing import unparse_host_port
from distributed.exceptions import AddressInUseError, ConnectError, ConnectTimeoutError, ListenError

P = TypeVar("P", bound=asyncio.BaseProtocol)

#: Connections the system completes for a listener that has not got to them yet.
BACKLOG = 1024


async def dial(
    loop: asyncio.AbstractEventLoop,
    make: Callable[[], P],
    host: str,
    port: int,
    local: tuple[str, int] | None,
    shown: str,
) -> P:
    """Connect to the first address of ``host`` that takes it; the protocol of the connection.

    Raises
    ------
    ConnectError
        With one sentence that names ``shown`` and says what to check.
    """
    try:
        infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as exc:
        raise ConnectError(
            f"the host name in {shown} cannot be resolved ({exc.strerror}); check its spelling, or give an IP address"
        ) from None
    infos.sort(key=lambda info: info[0] != socket.AF_INET)  # stable: IPv4 first, where most listen
    last: OSError | None = None
    for family, _, _, _, sockaddr in infos:
        try:
            _, comm = await loop.create_connection(
                make, str(sockaddr[0]), int(sockaddr[1]), family=family, local_addr=local
            )
            return comm
        except OSError as exc:
            last = exc
    assert last is not None
    code = last.errno
    if code == errno.ECONNREFUSED:
        text = f"nobody listens at {shown}; check host and port, and that it is running"
    elif code in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL):
        text = f"{shown} cannot be reached from here ({os.strerror(code)}); check the address and the network"
    elif code == errno.ETIMEDOUT:
        raise ConnectTimeoutError(f"no answer from {shown}; is the host up, and no firewall between?")
    else:
        text = f"no connection to {shown}: {last.strerror or last}"
    raise ConnectError(code, text) if code else ConnectError(text)


async def bind(host: str, port: int) -> socket.socket:
    """A socket that listens. An empty host means every interface, IPv6 too where the machine has it.

    Raises
    ------
    AddressInUseError, ListenError
        With one sentence that says what to do.
    """
    shown = unparse_host_port(host, port)
    if not host or host == "*":
        candidates: list[tuple[int, str]] = [(socket.AF_INET6, "::"), (socket.AF_INET, "0.0.0.0")]
    else:
        loop = asyncio.get_running_loop()
        try:
            infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        except socket.gaierror as exc:
            raise ListenError(
                f"the host name in {shown} cannot be resolved ({exc.strerror}); give an address of this machine"
            ) from None
        infos.sort(key=lambda info: info[0] != socket.AF_INET)
        candidates = [(info[0], str(info[4][0])) for info in infos]
    last: OSError | None = None
    for family, ip in candidates:
        try:
            return _bind_one(family, ip, port, dual=ip == "::")
        except OSError as exc:
            last = exc
            if exc.errno in (errno.EADDRINUSE, errno.EACCES):
                break
    assert last is not None
    where = host or "any interface"
    if last.errno == errno.EADDRINUSE:
        raise AddressInUseError(
            last.errno, f"port {port} on {where} is in use; give another with --port, or --port 0 for any"
        )
    if last.errno == errno.EADDRNOTAVAIL:
        raise ListenError(
            last.errno, f"{host} is not an address of this machine; give one of its own, or none for all"
        )
    if last.errno == errno.EACCES:
        raise ListenError(
            last.errno, f"port {port} on {where} is not allowed for this user; give one above 1023"
        )
    raise ListenError(last.errno, f"cannot listen on {shown}: {last.strerror or last}")


def _bind_one(family: int, ip: str, port: int, *, dual: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if dual else 1)
        sock.setblocking(False)
        sock.bind((ip, port))
        sock.listen(BACKLOG)  # of two that bind at the same moment, this fails for the second
    except BaseException:
        sock.close()
        raise
    return sock


def set_tcp_options(sock: Any, dead_peer: float) -> None:
    """No delay for small frames; notice a peer that is gone. What a platform does not have is left out."""
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    options = [
        (socket.IPPROTO_TCP, "TCP_NODELAY", 1),
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 10),
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 4),
        (socket.IPPROTO_TCP, "TCP_KEEPCNT", 5),
        (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", int(dead_peer * 1000)),
    ]
    for level, name, value in options:
        option = getattr(socket, name, None)
        if option is not None:
            with contextlib.suppress(
                OSError
            ):  # a system may know the name and not offer it; all work without
                sock.setsockopt(level, option, value)


def address_of(name: Any) -> str:
    """The address of what the system calls a socket's name; it has none when the other side is gone already."""
    if not name:
        return "tcp://?"
    host, port = name[:2]
    return f"tcp://{unparse_host_port(host.removeprefix('::ffff:'), port)}"
