"""Supervision of worker processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distributed.nanny.nanny import Nanny
    from distributed.nanny.process import WorkerProcess, WorkerStartError

__all__ = ["Nanny", "WorkerProcess", "WorkerStartError"]

# Lazy: the worker process comes through here and needs none of it.
_HOMES = {
    "Nanny": "distributed.nanny.nanny",
    "WorkerProcess": "distributed.nanny.process",
    "WorkerStartError": "distributed.nanny.process",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
