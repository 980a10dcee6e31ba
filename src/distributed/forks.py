"""Forks. What becomes of us in the child of a task or of a user's program: it is a stranger to all that is ours.

Only the thread that forked goes on in the child; no loop of ours turns there, so nothing of ours may wait for one,
close anything, or speak. In the child, before it runs on:

* sockets are replaced by ``/dev/null``. Kept, they would hold ports after the parent has died, keep connections open
  that the other side should see closed, and might even speak on them. Their numbers stay taken, so nothing that the
  child opens later is mistaken for them;
* signals are what they were without us: else a signal to the child would be written into the parent's wake-up
  descriptor, and the parent would take it for its own;
* locks of modules are free, whoever held them in the parent;
* loops, clients, clusters, servers and executors are told by :func:`in_child`, each where it is made.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import traceback
import weakref
from collections.abc import Callable
from typing import Any, NoReturn

#: File descriptors of sockets of this process, listening, connected or to a worker process.
_ours: dict[int, None] = {}
#: Signals that we handle, and how they were handled before.
_signals: dict[int, Any] = {}
#: Loops that turn for us alone; what the children do on them ends with them.
_loops: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()


class _Forking(threading.local):
    """Of the fork that this thread is in."""

    loop: Any = None
    mask: Any = None


_forking = _Forking()


def in_child(callback: Callable[[], None]) -> None:
    """Have every child call this, as long as the process lives: for modules, not for objects."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=callback)


def module_lock() -> threading.Lock:
    """A lock for the state of a module; it is free in a child."""
    lock = threading.Lock()
    in_child(lock._at_fork_reinit)  # type: ignore[attr-defined]  # as the standard library does
    return lock


def only_here(func: Callable[..., Any]) -> Callable[..., None]:
    """``func`` for this process alone: at the end of a child, what its parent has is not removed."""
    pid = os.getpid()

    def call(*args: Any) -> None:
        if os.getpid() == pid:
            func(*args)

    return call


def own(sock: Any) -> int:
    """A socket is open from now on; the number to :func:`disown` it by, -1 if it has none."""
    fd: int = -1 if sock is None else sock.fileno()
    if fd >= 0:
        _ours[fd] = None
    return fd


def disown(fd: int) -> None:
    """It is about to be closed."""
    _ours.pop(fd, None)


def own_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Nobody but us uses this loop: a child that comes back to it ends."""
    _loops.add(loop)


def on_signal(loop: asyncio.AbstractEventLoop, signum: int, callback: Callable[..., Any], *args: Any) -> None:
    """``loop.add_signal_handler`` for this process alone, not for its children."""
    _signals.setdefault(signum, signal.getsignal(signum))
    loop.add_signal_handler(signum, callback, *args)


def handles(signum: int) -> bool:
    """Whether :func:`on_signal` has been told of it."""
    return signum in _signals


def end_child(error: BaseException | None = None) -> NoReturn:
    """The child came back to us from what forked it: as at the end of a program, but nothing of ours is closed."""
    status: Any = 0
    if isinstance(error, SystemExit):
        status = error.code if error.code is not None else 0
        if not isinstance(status, int):
            print(status, file=sys.stderr)
            status = 1
    elif error is not None:
        traceback.print_exception(error)
        status = 1
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):  # there is none, or nobody reads it
            continue
    os._exit(status & 0xFF)


def _before() -> None:
    _forking.loop = asyncio._get_running_loop()
    if _signals:  # one that comes before the child is ready waits until it is
        _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _signals)


def _in_parent() -> None:
    _forking.loop = None
    mask, _forking.mask = _forking.mask, None
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _in_child() -> None:
    _leave_sockets()
    _leave_signals()
    loop, _forking.loop = _forking.loop, None
    if loop in _loops:
        loop.call_soon(end_child)
    _loops.clear()


def _leave_sockets() -> None:
    if not _ours:
        return
    null = os.open(os.devnull, os.O_RDWR)
    for fd in list(_ours):
        try:
            os.dup2(null, fd, inheritable=False)
        except OSError:  # there is nothing to replace
            continue
    os.close(null)
    _ours.clear()


def _leave_signals() -> None:
    if _signals:
        signal.set_wakeup_fd(-1)
    for signum, before in _signals.items():
        usual = signal.default_int_handler if signum == signal.SIGINT else signal.SIG_DFL
        signal.signal(signum, signal.SIG_IGN if before is signal.SIG_IGN else usual)
    _signals.clear()
    mask, _forking.mask = _forking.mask, None
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
