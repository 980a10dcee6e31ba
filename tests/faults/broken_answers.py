"""Preloaded into a scheduler: as it answers an operation that a file names, it dies, or its connection breaks."""

from __future__ import annotations

import inspect
import os
import signal
from pathlib import Path
from typing import Any

ORDER = "BROKEN_ANSWERS"


def dask_setup(scheduler: Any) -> None:
    """Every operation looks whether it is its turn: the file holds ``OPERATION before``, ``after`` or ``cut``."""
    order = Path(os.environ[ORDER])
    for op, handler in list(scheduler.handlers.items()):
        scheduler.handlers[op] = _watched(op, handler, order)


def _watched(op: str, handler: Any, order: Path) -> Any:
    def watched(comm: Any = None, **kwargs: Any) -> Any:
        name, _, moment = order.read_text().partition(" ") if order.exists() else ("", "", "")
        if name == op:
            order.unlink()
        if name == op and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        wants_comm = "comm" in inspect.signature(handler).parameters
        result = handler(comm=comm, **kwargs) if wants_comm else handler(**kwargs)
        return _broken(result, comm, moment) if name == op else result

    return watched


async def _broken(result: Any, comm: Any, moment: str) -> Any:
    """It is carried out, and nobody is told."""
    result = await result if inspect.isawaitable(result) else result
    if moment == "after":
        os.kill(os.getpid(), signal.SIGKILL)
    comm.abort()
    return result
