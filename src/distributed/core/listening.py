"""From what a user says of host, port, interface and protocol to the addresses a server tries to listen at."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from distributed.comm.addressing import parse_address, unparse_host_port
from distributed.exceptions import AddressInUseError
from distributed.host import get_ip_interface, parse_ports

if TYPE_CHECKING:
    from distributed.core.server import Server


def listen_addresses(
    host: str | None = None,
    port: int | str | Collection[int] | None = 0,
    interface: str | None = None,
    protocol: str | None = None,
) -> list[str]:
    """Addresses to try in order.

    Parameters
    ----------
    host : str, optional
        A host name or IP address, default every interface; or a whole address (``tcp://127.0.0.1:8786``), which then is
        the only one.
    port : int, str or collection of int
        One port, a range ``"3000:3100"``, or 0 for any free one.
    interface : str, optional
        Listen at this network interface's address only.
    protocol : str, default "tcp"

    Raises
    ------
    ValueError
        When host and interface are both given, the interface does not exist, or the port is none.
    """
    if host and interface:
        raise ValueError(f"give a host or an interface, not both: host={host!r} interface={interface!r}")
    if interface:
        host = get_ip_interface(interface)
    scheme = (protocol or "tcp").removesuffix("://")
    if host and "://" in host:
        scheme, loc = parse_address(host)
        if scheme == "inproc" or loc.rpartition(":")[2].isdigit():
            return [host]
        host = loc
    if scheme == "inproc":
        return ["inproc://"]
    ports = [0 if number is None else number for number in parse_ports(port)]
    return [f"{scheme}://{unparse_host_port(host or '', number)}" for number in ports]


async def listen_at_first(server: Server, addresses: list[str]) -> None:
    """Listen at the first of these addresses whose port is free.

    Raises
    ------
    AddressInUseError
        When all are taken.
    OSError
        As ``distributed.comm.listen``.
    """
    for address in addresses[:-1]:
        try:
            await server.listen(address)
            return
        except AddressInUseError:
            continue
    await server.listen(addresses[-1])
