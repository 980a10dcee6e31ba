"""The scheduler: :mod:`server` is its shell, :mod:`state` its pure state machine."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "CollectTaskMetaDataPlugin": "distributed.diagnostics.task_metadata",
    "KilledWorker": "distributed.exceptions",
    "NoValidWorkerError": "distributed.exceptions",
    "NoWorkerError": "distributed.exceptions",
    "Scheduler": "distributed.scheduler.server",
    "SchedulerState": "distributed.scheduler.state",
    "TaskState": "distributed.scheduler.state",
    "WorkerState": "distributed.scheduler.state",
    "ClientState": "distributed.scheduler.state",
    "TaskPrefix": "distributed.scheduler.state",
    "logger": "distributed.scheduler.server",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)
