"""Addresses and ports of this host."""

from __future__ import annotations

import functools
import socket
from collections.abc import Collection


def get_ip(host: str = "8.8.8.8", port: int = 80) -> str:
    """The IPv4 address by which this machine would reach ``host``. Nothing is sent.

    Returns
    -------
    str
        ``127.0.0.1`` when there is no route, after a look at what the machine's own name resolves to.
    """
    return _own_address(host, port, socket.AF_INET, "127.0.0.1")


def get_ipv6(host: str = "2001:4860:4860::8888", port: int = 80) -> str:
    """The IPv6 address by which this machine would reach ``host``. Nothing is sent."""
    return _own_address(host, port, socket.AF_INET6, "::1")


@functools.lru_cache(maxsize=64)
def _own_address(host: str, port: int, family: socket.AddressFamily, default: str) -> str:
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, port))  # a datagram socket only looks up the route
            return str(probe.getsockname()[0])
        except OSError:
            pass
    try:
        return str(socket.getaddrinfo(socket.gethostname(), port, family)[0][4][0])
    except OSError:
        return default


def get_ip_interface(ifname: str) -> str:
    """The IPv4 address of a network interface, of another family where it has no IPv4 address.

    Raises
    ------
    ValueError
        When there is no such interface, or it has no address; names those there are.
    """
    import psutil

    interfaces = psutil.net_if_addrs()
    if ifname not in interfaces:
        raise ValueError(
            f"no network interface named {ifname!r}; this machine has: {', '.join(sorted(interfaces))}"
        )
    for family in (socket.AF_INET, socket.AF_INET6):
        for entry in interfaces[ifname]:
            if entry.family == family:
                return str(entry.address)
    raise ValueError(f"network interface {ifname!r} has no IP address")


@functools.lru_cache(maxsize=1024)
def ensure_ip(hostname: str) -> str:
    """``hostname`` as an IP address, IPv4 where it has one; an address is returned as it is.

    Raises
    ------
    OSError
        When the name cannot be resolved.
    """
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return str(socket.getaddrinfo(hostname, 1234, family, socket.SOCK_STREAM)[0][4][0])
        except socket.gaierror as error:
            failure = error
    raise failure


def open_port(host: str = "") -> int:
    """A port that was free a moment ago. Somebody else may take it first: rather listen on port 0 and ask."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def parse_ports(port: int | str | Collection[int] | None) -> list[int] | list[None]:
    """Ports to try, in order.

    Parameters
    ----------
    port : int, str, collection of int or None
        One port, ``"8786"``, a range ``"3000:3100"`` with both ends counted, or None for "any".

    Raises
    ------
    ValueError
        When it is none of these.

    Examples
    --------
    >>> parse_ports("3000:3002")
    [3000, 3001, 3002]
    >>> parse_ports(None)
    [None]
    """
    if port is None:
        return [None]
    if isinstance(port, str):
        first, colon, last = port.partition(":")
        try:
            ports = list(range(int(first), int(last) + 1)) if colon else [int(first)]
        except ValueError:
            raise ValueError(
                f"{port!r} is no port; give a number such as 8786 or a range such as 3000:3100"
            ) from None
        if not ports:
            raise ValueError(f"port range {port!r} is empty: the last port comes before the first")
    else:
        ports = [port] if isinstance(port, int) else list(port)
    for number in ports:
        if not isinstance(number, int):
            raise TypeError(f"a port is a whole number, not {number!r}")
        if not 0 <= number <= 65535:
            raise ValueError(f"port {number} is not between 0 and 65535")
    return ports
