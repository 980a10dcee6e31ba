"""What becomes of our sockets when a task, or a user's program, forks: the child must not have them.

A child that keeps them would hold ports after the parent has died, keep connections open that the other side should
see closed, and might even speak on them. So in the child each is replaced by ``/dev/null``: its number stays taken,
so nothing the child opens later is mistaken for it.
"""

from __future__ import annotations

import os
from typing import Any

#: File descriptors of listening and connected sockets of this process.
_ours: dict[int, None] = {}


def own(sock: Any) -> int:
    """A socket is open from now on; the number to :func:`disown` it by, -1 if it has none."""
    fd: int = -1 if sock is None else sock.fileno()
    if fd >= 0:
        _ours[fd] = None
    return fd


def disown(fd: int) -> None:
    """It is about to be closed."""
    _ours.pop(fd, None)


def _in_child() -> None:
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


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
