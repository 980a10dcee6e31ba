"""``distributed.print`` and ``distributed.warn``: what a task says reaches the user's screen."""

from __future__ import annotations

import builtins
import sys
import warnings
from collections.abc import Callable
from typing import Any

from distributed.protocol.payload import pack, unpack
from distributed.threadstate import current_slot

PRINT, WARN = "print", "warn"


def print(
    *args: Any, sep: str | None = " ", end: str | None = "\n", file: Any = None, flush: bool = False
) -> None:
    """As the builtin ``print``, and inside a task also on the screen of every client.

    Parameters
    ----------
    file : optional
        ``sys.stdout`` (default) or ``sys.stderr``.

    Raises
    ------
    TypeError
        ``file`` is something else: it would not be the same file elsewhere.
    """
    if file not in (None, sys.stdout, sys.stderr):
        raise TypeError(
            f"file= must be sys.stdout or sys.stderr, not {file!r}: others exist only in this process"
        )
    worker = _worker()
    if worker is not None:
        event = {
            "args": [str(arg) for arg in args],
            "sep": sep,
            "end": end,
            "file": "stderr" if file is sys.stderr else "stdout",
            "flush": bool(flush),
        }
        worker.log_event(PRINT, event)
    builtins.print(*args, sep=sep, end=end, file=file, flush=flush)


def warn(
    message: str | Warning,
    category: type[Warning] | None = UserWarning,
    stacklevel: int = 1,
    source: Any = None,
) -> None:
    """As ``warnings.warn``, and inside a task also in every client."""
    worker = _worker()
    if worker is not None:
        worker.log_event(WARN, {"warning": pack((message, category))})
    warnings.warn(message, category, stacklevel=stacklevel + 1, source=source)


def _worker() -> Any:
    """The worker whose task runs here; outside of tasks the user sees what is printed anyway."""
    slot = current_slot()
    return None if slot is None else slot.executor.worker


def _on_print(event: tuple[float, Any]) -> None:
    _, said = event
    if not isinstance(said, dict):  # logged by hand
        builtins.print(said)
        return
    file = sys.stderr if said.get("file") == "stderr" else sys.stdout
    builtins.print(
        *said["args"], sep=said.get("sep"), end=said.get("end"), file=file, flush=said.get("flush", False)
    )


def _on_warn(event: tuple[float, Any]) -> None:
    _, said = event
    if isinstance(said, dict) and "warning" in said:
        message, category = unpack(said["warning"])
    else:  # logged by hand
        message, category = str(said), UserWarning
    warnings.warn(message, category, stacklevel=1)


#: What clients do with events of these topics unless their user subscribes another handler.
HANDLERS: dict[str, Callable[[tuple[float, Any]], None]] = {PRINT: _on_print, WARN: _on_warn}
