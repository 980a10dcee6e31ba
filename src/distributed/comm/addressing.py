"""Addresses: ``tcp://127.0.0.1:8786``, ``tcp://[::1]:8786``, ``inproc://host/pid/n``.

Pure functions on strings, but for :func:`resolve_address` and :func:`get_local_address_for`, which ask the
system.
"""

from __future__ import annotations

import functools
import socket
from typing import Any

DEFAULT_SCHEME = "tcp"
_WILDCARDS = {"", "0.0.0.0", "::", "*"}


def parse_address(addr: str, strict: bool = False) -> tuple[str, str]:
    """Scheme and location of an address; the scheme is ``tcp`` where none is given.

    Parameters
    ----------
    addr : str
        Such as ``"tcp://127.0.0.1:8786"`` or ``"127.0.0.1:8786"``.
    strict : bool
        Raise ValueError when no scheme is given.

    Examples
    --------
    >>> parse_address("127.0.0.1:8786")
    ('tcp', '127.0.0.1:8786')
    """
    if not isinstance(addr, str):
        raise TypeError(f"an address is a str such as 'tcp://127.0.0.1:8786', not {type(addr).__name__}")
    scheme, sep, loc = addr.rpartition("://")
    if strict and not sep:
        raise ValueError(f"no scheme in address {addr!r}; give it as in 'tcp://127.0.0.1:8786'")
    return (scheme or DEFAULT_SCHEME), loc


def unparse_address(scheme: str, loc: str) -> str:
    """``scheme://loc``."""
    return f"{scheme}://{loc}"


def normalize_address(addr: str) -> str:
    """The address with its scheme."""
    return unparse_address(*parse_address(addr))


def parse_host_port(address: str | tuple[str, int], default_port: int | str | None = None) -> tuple[str, int]:
    """Host and port of a location ``"host:port"`` or ``"[ipv6]:port"``.

    Raises
    ------
    ValueError
        When there is no port and no default, or it is no number from 0 to 65535.
    """
    if isinstance(address, tuple):
        return address
    if address.startswith("["):
        host, bracket, port = address[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise ValueError(f"invalid address {address!r}; an IPv6 address stands as in '[::1]:8786'")
        port = port[1:]
    else:
        host, _, port = address.partition(":")
        if ":" in port:
            raise ValueError(
                f"invalid address {address!r}; an IPv6 address needs brackets, as in '[::1]:8786'"
            )
    if not port:
        if default_port is None:
            raise ValueError(
                f"missing port number in address {address!r}; give it as in '{host or 'host'}:8786'"
            )
        port = str(default_port)
    if not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError(f"invalid port {port!r} in address {address!r}; a port is a number from 0 to 65535")
    return host, int(port)


def unparse_host_port(host: str, port: int | None = None) -> str:
    """``host:port``, with brackets round an IPv6 address."""
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return f"{host}:{port}" if port is not None else host


def get_address_host_port(addr: str, strict: bool = False) -> tuple[str, int]:
    """Host and port of an address. Raises ValueError for an address that has none, such as ``inproc://``."""
    scheme, loc = parse_address(addr, strict)
    if scheme == "inproc":
        raise ValueError(f"don't know how to extract host and port for address {addr!r}")
    return parse_host_port(loc)


def get_address_host(addr: str) -> str:
    """The host of an address: ``"tcp://10.0.0.1:8786"`` gives ``"10.0.0.1"``."""
    scheme, loc = parse_address(addr)
    if scheme == "inproc":
        return loc.partition("/")[0]
    return parse_host_port(loc)[0]


def resolve_address(addr: str) -> str:
    """The address with its host name looked up, so that two names of one place compare equal."""
    scheme, loc = parse_address(addr)
    if scheme == "inproc":
        return unparse_address(scheme, loc)
    host, port = parse_host_port(loc)
    return unparse_address(scheme, unparse_host_port(ensure_ip(host), port))


def ensure_ip(host: str) -> str:
    """An IP address of a host name; IPv4 where it has both. Raises socket.gaierror for an unknown name."""
    if not host:
        return "127.0.0.1"
    infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    infos.sort(key=lambda info: info[0] != socket.AF_INET)
    return str(infos[0][4][0])


def get_local_address_for(addr: str) -> str:
    """An address of this machine that the machine at ``addr`` can reach, without a fixed port."""
    scheme, loc = parse_address(addr)
    if scheme == "inproc":
        return "inproc://"
    host, port = parse_host_port(loc)
    return unparse_address(scheme, unparse_host_port(local_ip_towards(host, port), None))


def local_ip_towards(host: str, port: int = 80) -> str:
    """The IP address this machine uses to talk to ``host``; nothing is sent. Raises OSError when there is no way."""
    last: OSError = OSError(f"{host!r} has no address")
    for family, kind, _, _, sockaddr in socket.getaddrinfo(host, port or 80, type=socket.SOCK_DGRAM):
        try:
            with socket.socket(family, kind) as sock:
                sock.connect(sockaddr)
                return str(sock.getsockname()[0])
        except OSError as exc:
            last = exc
    raise last


@functools.cache
def own_ip(ipv6: bool = False) -> str:
    """An IP address under which other machines most likely reach this one; loopback where there is no network."""
    for target in ("2001:4860:4860::8888",) if ipv6 else ("8.8.8.8", "192.0.2.1"):
        try:
            return local_ip_towards(target)
        except OSError:
            continue
    try:
        infos = socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET6 if ipv6 else socket.AF_INET)
        return str(infos[0][4][0])
    except OSError:
        return "::1" if ipv6 else "127.0.0.1"


def get_tcp_server_address(tcp_server: Any) -> tuple[Any, ...]:
    """Where a server listens, as its socket says it: a started ``asyncio.Server``, or a ``TCPServer`` of tornado.

    Raises
    ------
    RuntimeError
        When it does not listen.
    """
    own = getattr(tcp_server, "sockets", None)  # of asyncio
    listening = own if own is not None else getattr(tcp_server, "_sockets", {}).values()
    for each in listening:
        name: tuple[Any, ...] = each.getsockname()
        return name
    raise RuntimeError(f"{tcp_server!r} does not listen")


def is_wildcard(host: str) -> bool:
    """Whether a host to listen on means every interface."""
    return host in _WILDCARDS


def coerce_to_address(o: Any) -> str:
    """An address from what users give: ``"host:port"``, ``("host", port)``, an address.

    Examples
    --------
    >>> coerce_to_address(("127.0.0.1", 8786))
    'tcp://127.0.0.1:8786'
    """
    if isinstance(o, (tuple, list)) and len(o) == 2:
        o = unparse_host_port(str(o[0]), int(o[1]))
    return normalize_address(o)
