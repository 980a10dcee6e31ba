"""Hosts as people write them: ``host``, ``user@host``, ``host:port``, ``user@[::1]:2222``, and files of those."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Host:
    """A host to be reached by SSH.

    Attributes
    ----------
    name : str
        Host name, IP address, or an alias in the SSH configuration.
    username : str or None
        None: as the SSH configuration says, else your own name.
    port : int or None
        Of the SSH server; None: as the SSH configuration says, else 22.
    """

    name: str
    username: str | None = None
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Host:
        """A host from its text.

        Raises
        ------
        ValueError
            When the text names no host, or a port that is none.

        Examples
        --------
        >>> Host.parse("ann@192.168.0.1:2222")
        Host(name='192.168.0.1', username='ann', port=2222)
        >>> Host.parse("fe80::1").name
        'fe80::1'
        """
        username, at, rest = text.strip().rpartition("@")
        port = ""
        if rest.startswith("["):
            name, bracket, port = rest[1:].partition("]")
            if not bracket or (port and not port.startswith(":")):
                raise ValueError(f"{text!r} is no host: an IPv6 address with a port is written [::1]:22")
            port = port[1:]
        elif rest.count(":") == 1:
            name, _, port = rest.partition(":")
            if not port:
                raise ValueError(f"{text!r} is no host: there is no port after the colon")
        else:  # none, or an IPv6 address
            name = rest
        if (
            not name
            or any(c.isspace() for c in text.strip())
            or name.startswith("-")
            or (at and not username)
        ):
            raise ValueError(f"{text!r} is no host; write HOST, USER@HOST or USER@HOST:PORT")
        if ":" in name:
            try:
                ipaddress.IPv6Address(name)
            except ValueError:
                raise ValueError(f"{text!r} is no host: {name!r} is no IPv6 address") from None
        if port and not (port.isascii() and port.isdigit() and 0 < int(port) <= 65535):
            raise ValueError(f"{text!r} is no host: {port!r} is no port")
        return cls(name, username or None, int(port) if port else None)

    @property
    def is_loopback(self) -> bool:
        """Whether the name itself says that it is this machine."""
        return is_loopback(self.name)


def is_loopback(name: str) -> bool:
    """Whether an address or a name stands for the machine it is used on."""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def parse_hosts(texts: Iterable[str]) -> list[Host]:
    """The hosts of a command line."""
    return [Host.parse(text) for text in texts]


def read_hostfile(path: str | Path) -> list[Host]:
    """Hosts from a file: one or more a line; blank lines and what follows a ``#`` do not count.

    Raises
    ------
    ValueError
        Naming file and line of what is no host; when the file cannot be read or names none.
    """
    try:
        text = Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ValueError(f"the hostfile {path} cannot be read: {reason}") from None
    hosts = []
    for number, line in enumerate(text.splitlines(), 1):
        for word in line.partition("#")[0].split():
            try:
                hosts.append(Host.parse(word))
            except ValueError as error:
                raise ValueError(f"hostfile {path}, line {number}: {error}") from None
    if not hosts:
        raise ValueError(f"the hostfile {path} names no host")
    return hosts


def unique_labels(hosts: Iterable[Host]) -> list[str]:
    """A name for each host, in order; a host that is given again gets a number after its name.

    Examples
    --------
    >>> unique_labels([Host("a"), Host("b"), Host("a")])
    ['a', 'b', 'a-2']
    """
    labels: list[str] = []
    for host in hosts:
        label, count = host.name, 1
        while label in labels:
            count += 1
            label = f"{host.name}-{count}"
        labels.append(label)
    return labels
