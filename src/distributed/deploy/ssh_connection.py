"""SSH connections to many hosts: one a host, not too many at once, and errors in a sentence."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from distributed.deploy.ssh_hosts import Host

if TYPE_CHECKING:
    import asyncssh

#: Connections that prove themselves at one time, to one server or through one jump host. An SSH server drops further
#: ones by chance from its MaxStartups on, which is 10 by default.
MAX_STARTUPS = 6
#: The same for all hosts together: this machine has to compute too.
MAX_CONNECTING = 64
_TRIES = 4  # for a server that drops a connection before it is proved
CONNECT_TIMEOUT = 15.0  # seconds
_KEEPALIVE = {
    "keepalive_interval": 30,
    "keepalive_count_max": 20,
}  # a host that is silent for ten minutes is lost


class SSHError(OSError):
    """A host could not be reached, or a connection to it was lost; the text says why."""


class Connections:
    """Opens connections.

    Parameters
    ----------
    options : mapping, optional
        For ``asyncssh.connect``, such as ``username``, ``port``, ``client_keys``, ``known_hosts``. What is not given
        comes from ``~/.ssh/config``, the agent and the usual key files. Host keys are checked against ``known_hosts``.
    timeout : float
        Seconds for one connection.
    """

    def __init__(self, options: Mapping[str, Any] | None = None, timeout: float = CONNECT_TIMEOUT) -> None:
        self._options = dict(options or {})
        self._timeout = timeout
        self._all = asyncio.Semaphore(MAX_CONNECTING)
        self._gates: defaultdict[Any, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(MAX_STARTUPS)
        )

    async def connect(
        self, host: Host, options: Mapping[str, Any] | None = None
    ) -> asyncssh.SSHClientConnection:
        """A connection that has proved itself.

        Raises
        ------
        SSHError
            With the cause.
        """
        import asyncssh

        given = {**_KEEPALIVE, "connect_timeout": self._timeout, **self._options, **(options or {})}
        if host.username is not None:
            given["username"] = host.username
        if host.port is not None:
            given["port"] = host.port
        try:
            resolved = await asyncssh.SSHClientConnectionOptions.construct(
                host=host.name,
                **{"config": (), **given},  # (): ~/.ssh/config, as `connect` has it
            )
        except (ValueError, OSError, asyncssh.Error) as error:
            raise SSHError(f"SSH settings: {error}") from None
        async with self._all, self._gates[resolved.tunnel or (resolved.host, resolved.port)]:
            for last in (False,) * (_TRIES - 1) + (True,):
                try:
                    return await asyncssh.connect(host.name, **given)
                except (asyncssh.ConnectionLost, ConnectionResetError) as error:
                    if last:
                        raise SSHError(explain(error, resolved, self._timeout)) from None
                except (OSError, asyncssh.Error, ValueError) as error:
                    raise SSHError(explain(error, resolved, self._timeout)) from None
                await asyncio.sleep(
                    random.uniform(0.2, 1.0)
                )  # the server is busy with others: not all again at once
        raise AssertionError("unreachable")


def explain(error: BaseException, options: Any = None, timeout: float | None = None) -> str:
    """Why there is no connection, in words for the one who gave the host's name."""
    import asyncssh

    where = f"port {getattr(options, 'port', None) or 22}"
    user = getattr(options, "username", None)
    if isinstance(error, TimeoutError):
        return f"no answer at {where}" + (f" within {timeout:g} s" if timeout else "")
    if isinstance(error, ConnectionRefusedError):
        return f"connection refused at {where}: no SSH server listens there"
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return f"its host key is not among your known_hosts ({error.reason}); to look at it and accept it run ssh once"
    if isinstance(error, asyncssh.PermissionDenied):
        return f"user {user} was not let in: {error.reason.rstrip('.')}; no key of your agent or ~/.ssh was accepted"
    if isinstance(error, asyncssh.ConnectionLost | ConnectionResetError):
        return "the SSH server closed the connection"
    if isinstance(error, asyncssh.Error):
        return f"SSH: {error.reason or type(error).__name__}"
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror
        if "Connect call failed" in text or text.startswith("Multiple exceptions"):
            if "Errno 111" in text or "[Errno 61]" in text:
                return f"connection refused at {where}: no SSH server listens there"
            text = text.partition(":")[0]
        return text[:1].lower() + text[1:]
    return str(error) or type(error).__name__


async def close(connection: asyncssh.SSHClientConnection, timeout: float = 2.0) -> None:
    """Close a connection; one that no longer answers is dropped."""
    connection.close()
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(timeout):
            await connection.wait_closed()
            return
    connection.abort()


def address_there(connection: asyncssh.SSHClientConnection) -> str:
    """Address at which this connection reaches the host."""
    peer = connection.get_extra_info("peername")
    return str(peer[0]) if peer else ""
