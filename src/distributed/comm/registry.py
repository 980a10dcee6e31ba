"""Schemes and the transports behind them; :func:`connect` and :func:`listen` for any address."""

from __future__ import annotations

import asyncio
from typing import Any

from distributed.comm.addressing import parse_address
from distributed.comm.core import Backend, Comm, Listener, OnComm, connect_timeout
from distributed.comm.inproc import InprocBackend
from distributed.comm.tcp import TcpBackend
from distributed.exceptions import ConnectError, ConnectTimeoutError
from distributed.security import Security

#: Scheme -> transport. More can be added.
backends: dict[str, Backend] = {"tcp": TcpBackend(), "inproc": InprocBackend()}

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0


def get_backend(scheme: str) -> Backend:
    """The transport of a scheme. Raises ValueError for an unknown one."""
    try:
        return backends[scheme]
    except KeyError:
        known = ", ".join(f"{name}://" for name in sorted(backends))
        raise ValueError(f"unknown scheme {scheme}:// in an address; known are {known}") from None


async def connect(
    addr: str,
    timeout: float | None = None,
    deserialize: bool = True,
    handshake_overrides: Any = None,
    *,
    security: Security | None = None,
    local_address: str | None = None,
    retry: bool = False,
) -> Comm:
    """Make a connection and prove both sides.

    Parameters
    ----------
    addr : str
        Such as ``"tcp://127.0.0.1:8786"``; ``tcp`` where no scheme is given.
    security : Security, optional
        Default: the key of this user, see :func:`distributed.security.find_key`.
    timeout : float, optional
        Seconds for all of it; default: the setting ``distributed.comm.timeouts.connect``, 30.
    deserialize, handshake_overrides
        Accepted, without a meaning: messages are always decoded, the handshake is always the same.
    local_address : str, optional
        Address of an interface of this machine to connect from.
    retry : bool
        Try again until the timeout while nobody listens there, as for a scheduler that is just being started.

    Raises
    ------
    ConnectError
        Nobody listens there, the name is unknown, the host cannot be reached. ConnectTimeoutError after the
        timeout.
    AuthenticationError, KeyNotFoundError
        The sides do not hold the same key; this side holds none.
    ProtocolError
        What listens there is something else, or another version.
    """
    scheme, loc = parse_address(addr)
    backend = get_backend(scheme)
    timeout = connect_timeout() if timeout is None else timeout
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    pause = _FIRST_PAUSE
    refused: ConnectError | None = None
    while True:
        left = max(deadline - loop.time(), 0)
        try:
            return await backend.connect(loc, security=security, timeout=left, local_address=local_address)
        except ConnectTimeoutError as error:  # maybe only because the last attempt had little time
            raise refused or error from None
        except ConnectError as error:
            refused = error
            if not retry or loop.time() + pause >= deadline:
                raise
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


async def listen(
    addr: str, handle_comm: OnComm, deserialize: bool = True, *, security: Security | None = None
) -> Listener:
    """Take connections at ``addr``: ``"tcp://0.0.0.0:8786"``, ``"tcp://:0"`` (any port), ``"inproc://"``.

    Parameters
    ----------
    handle_comm : callable
        Called with each Comm once its other side has proved itself.
    deserialize : bool
        Accepted, without a meaning: messages are always decoded.
    security : Security, optional
        Default: the key of this user, see :func:`distributed.security.find_key`.

    Raises
    ------
    AddressInUseError
        The port is taken.
    OSError
        The host is not an address of this machine, or the port is not allowed.
    KeyNotFoundError
        There is no key. Nothing listens without one, unless ``Security(insecure=True)``.
    """
    scheme, loc = parse_address(addr)
    return await get_backend(scheme).listen(loc, handle_comm, security=security)
