"""A machine's log of transitions that somebody watches. While nobody does, nothing is paid for it."""

from __future__ import annotations

from collections import deque
from typing import Any, TypeVar

T = TypeVar("T")


class ObservedLog(deque[T]):
    """A bounded log that also gives every new entry to ``fresh``, a list that the watcher empties."""

    def __init__(self, log: deque[T]) -> None:
        super().__init__(log, log.maxlen)
        self.fresh: list[T] = []

    def append(self, entry: T) -> None:
        super().append(entry)
        self.fresh.append(entry)

    def take(self) -> list[T]:
        """The entries since the last call."""
        fresh, self.fresh = self.fresh, []
        return fresh

    def plain(self) -> deque[T]:
        """The same log, no longer watched."""
        return deque(self, self.maxlen)


def is_default(hook: Any) -> bool:
    """Whether a plugin's method is the one of its base class, which does nothing: then it need not be called."""
    return getattr(hook, "does_nothing", False)
