"""Who can connect to a listener, and from where; where the dashboard is."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from distributed.comm.registry import connect
from distributed.host import get_ip, get_ipv6


async def assert_can_connect(addr: str, timeout: float = 0.5, **kwargs: Any) -> None:
    """Fail unless a connection to ``addr`` can be made and proved; keywords as for ``distributed.comm.connect``."""
    comm = await connect(addr, timeout=timeout, **kwargs)
    comm.abort()


async def assert_cannot_connect(
    addr: str, timeout: float = 0.5, exception_class: type[BaseException] = OSError, **kwargs: Any
) -> None:
    """Fail unless connecting to ``addr`` raises an error of that kind."""
    try:
        comm = await connect(addr, timeout=timeout, **kwargs)
    except exception_class:
        return
    comm.abort()
    raise AssertionError(f"a connection to {addr} could be made")


async def assert_can_connect_from_everywhere_4(port: int, protocol: str = "tcp", **kwargs: Any) -> None:
    """Fail unless loopback and outer interface answer at ``port``, and those of IP version 6 do not."""
    await _all(
        [assert_can_connect(f"{protocol}://{host}:{port}", **kwargs) for host in ("127.0.0.1", get_ip())]
        + [assert_cannot_connect(f"{protocol}://{host}:{port}", **kwargs) for host in _hosts_6()]
    )


async def assert_can_connect_from_everywhere_6(port: int, protocol: str = "tcp", **kwargs: Any) -> None:
    """Fail unless the interfaces of IP version 6 answer at ``port``, and those of version 4 do not."""
    await _all(
        [assert_cannot_connect(f"{protocol}://{host}:{port}", **kwargs) for host in ("127.0.0.1", get_ip())]
        + [assert_can_connect(f"{protocol}://{host}:{port}", **kwargs) for host in _hosts_6()]
    )


async def assert_can_connect_from_everywhere_4_6(port: int, protocol: str = "tcp", **kwargs: Any) -> None:
    """Fail unless all interfaces answer at ``port``, of both versions (of 6 where this machine has it)."""
    hosts = ["127.0.0.1", get_ip(), *_hosts_6()]
    await _all([assert_can_connect(f"{protocol}://{host}:{port}", **kwargs) for host in hosts])


async def assert_can_connect_locally_4(port: int, protocol: str = "tcp", **kwargs: Any) -> None:
    """Fail unless only loopback answers at ``port``."""
    calls = [assert_can_connect(f"{protocol}://127.0.0.1:{port}", **kwargs)]
    if get_ip() != "127.0.0.1":
        calls.append(assert_cannot_connect(f"{protocol}://{get_ip()}:{port}", **kwargs))
    await _all(
        calls + [assert_cannot_connect(f"{protocol}://{host}:{port}", **kwargs) for host in _hosts_6()]
    )


async def assert_can_connect_locally_6(port: int, protocol: str = "tcp", **kwargs: Any) -> None:
    """Fail unless only loopback of IP version 6 answers at ``port``. Nothing where this machine has none."""
    if not has_ipv6():
        return
    refused = ["127.0.0.1", *(host for host in (get_ip(),) if host != "127.0.0.1")]
    await _all(
        [
            assert_can_connect(f"{protocol}://[::1]:{port}", **kwargs),
            *(assert_cannot_connect(f"{protocol}://{host}:{port}", **kwargs) for host in refused),
        ]
    )


async def _all(calls: list[Any]) -> None:
    await asyncio.gather(*calls)


def has_ipv6() -> bool:
    """Whether this machine has a loopback interface of IP version 6."""
    if not socket.has_ipv6:
        return False
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


def _hosts_6() -> list[str]:
    if not has_ipv6():
        return []
    try:
        outer = get_ipv6()
    except (OSError, ValueError):
        return ["[::1]"]
    return [f"[{host}]" for host in dict.fromkeys(("::1", outer)) if not host.startswith("fe80")]


def get_dashboard_port(client: Any) -> int:
    """The port of the scheduler's dashboard.

    Raises
    ------
    ValueError
        When it has none.
    """
    port = (client.scheduler_info().get("services") or {}).get("dashboard")
    if port is None:
        raise ValueError(f"the scheduler at {client.scheduler_address} has no dashboard")
    return int(port)
