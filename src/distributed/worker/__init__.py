"""The worker: :mod:`server` is its shell, :mod:`executor` its threads, :mod:`state` its pure state machine."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distributed.threadstate import thread_state
    from distributed.worker.context import get_worker, rejoin, secede
    from distributed.worker.server import Worker
    from distributed.worker.state import WorkerState

_HOMES = {
    "Reschedule": "distributed.exceptions",
    "TaskState": "distributed.worker.state",
    "Worker": "distributed.worker.server",
    "WorkerState": "distributed.worker.state",
    "get_client": "distributed.client",
    "get_worker": "distributed.worker.context",
    "logger": "distributed.worker.server",
    "print": "distributed.coordination.messages_to_user",
    "warn": "distributed.coordination.messages_to_user",
    "rejoin": "distributed.worker.context",
    "secede": "distributed.worker.context",
    "thread_state": "distributed.threadstate",
}

__all__ = ["Worker", "WorkerState", "get_worker", "rejoin", "secede", "thread_state"]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
