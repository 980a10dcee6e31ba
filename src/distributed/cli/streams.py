"""Standard streams: a command goes on when one of them is closed, or nobody reads what it prints any more."""

from __future__ import annotations

import os
import sys
from typing import IO, Any


def hold_standard_descriptors() -> None:
    """Open the null device at each of the descriptors 0, 1, 2 that is closed.

    Else the first sockets get these numbers: what is printed goes to them, and uvloop ends the process.
    """
    for descriptor, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != descriptor:  # something has been opened below it: not by us
                os.dup2(opened, descriptor)
                os.close(opened)
            os.set_inheritable(descriptor, True)  # as those of others are, for the processes that we start
        if getattr(sys, name) is None:
            stream = open(descriptor, mode, closefd=False)  # noqa: SIM115 - as long as the process
            setattr(sys, name, stream)


def write_line(text: str, stream: IO[str] | None) -> None:
    """Print a line at once. Where its readers are gone, this and what follows go nowhere: the work goes on."""
    if stream is None:
        return
    try:
        print(text, file=stream, flush=True)
    except OSError:
        _lead_nowhere(stream)


def _lead_nowhere(stream: Any) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, stream.fileno())
    finally:
        os.close(null)
