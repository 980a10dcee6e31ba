"""Standard input, output and error of our processes: always open, and never a reason to end.

Whoever starts a process may have closed some of them, and may go away while it runs. Descriptors 0 to 2 that are closed
would be given to the next sockets: event loops abort on that, and child processes would print into connections.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from typing import Any

#: Nobody reads any more: the other end of a pipe or socket is closed, the terminal is gone.
_GONE = frozenset((errno.EPIPE, errno.ECONNRESET, errno.EIO))

#: There is no room for it now: the disk, or what is allowed of it, is full. There may be some later.
_FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


def fill() -> None:
    """Put ``/dev/null`` where descriptors 0, 1 or 2 are closed. Before any loop, and any process, is made."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, fd)  # which child processes inherit
            if null != fd:
                os.close(null)
            else:
                os.set_inheritable(fd, True)


def outlive_readers() -> None:
    """For a process of our own: what is printed when nobody reads any more, or the disk is full, is lost, no error."""
    fill()
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115 - as long as the process
    for name, fd in (("stdout", 1), ("stderr", 2)):
        old = getattr(sys, name)
        if old is None:
            setattr(sys, name, _open(fd, errors="backslashreplace", line_buffering=fd == 2))
        elif isinstance(old, io.TextIOWrapper) and _number(old) == fd:
            with contextlib.suppress(OSError):  # nobody reads already
                old.flush()
            how = {"encoding": old.encoding, "errors": old.errors, "line_buffering": old.line_buffering}
            setattr(sys, name, _open(fd, write_through=old.write_through, **how))


class _Output(io.FileIO):
    """A file whose readers may go away, and whose disk may be full."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except OSError as error:
            if error.errno in _FULL:
                return len(data)
            if error.errno not in _GONE:
                raise
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, self.fileno())  # for what we start, too
            os.close(null)
            return len(data)


def _open(fd: int, **how: Any) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BufferedWriter(_Output(fd, "w", closefd=False)), **how)


def _number(stream: io.TextIOWrapper) -> int:
    try:
        return stream.fileno()
    except (OSError, ValueError):  # tests' streams have none
        return -1
