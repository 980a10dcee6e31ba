"""Looking into a network and adding to it: plugins, progress, statistics."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "MemorySampler": "distributed.diagnostics.memory_sampler",
    "progress": "distributed.diagnostics.progressbar",
    "NannyPlugin": "distributed.diagnostics.plugin",
    "SchedulerPlugin": "distributed.diagnostics.plugin",
    "WorkerPlugin": "distributed.diagnostics.plugin",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)
