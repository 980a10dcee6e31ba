"""Metadata: a nested dictionary in the scheduler that all of the network can read and write."""

from __future__ import annotations

from typing import Any

_MISSING = "--no-default--"

# ---------------------------------------------------------------- scheduler


class SchedulerMetadata:
    """The scheduler's half; the dictionary is ``scheduler.task_metadata``."""

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler

    def set_metadata(self, keys: Any, value: Any = None) -> None:
        path = _path(keys)
        entry = self.scheduler.task_metadata
        for i, key in enumerate(path[:-1]):
            entry = entry.setdefault(key, {})
            if not isinstance(entry, dict):
                raise TypeError(
                    f"cannot set metadata {path!r}: at {path[: i + 1]!r} stands a {type(entry).__name__}"
                )
        entry[path[-1]] = value

    def get_metadata(self, keys: Any, default: Any = _MISSING) -> Any:
        entry = self.scheduler.task_metadata
        for key in _path(keys):
            if not isinstance(entry, dict) or key not in entry:
                if isinstance(default, str) and default == _MISSING:
                    raise KeyError(keys)
                return default
            entry = entry[key]
        return entry


def _path(keys: Any) -> list[Any]:
    path = list(keys) if isinstance(keys, list) else [keys]
    if not path:
        raise ValueError("metadata needs at least one key")
    return path
