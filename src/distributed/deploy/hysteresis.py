"""Nothing at once: what is to happen must be asked for several times in a row."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class Hysteresis(Generic[T]):
    """Counts for how many looks in a row each thing has been proposed.

    Parameters
    ----------
    wait_count : int
        Looks needed; 1 or less: at once.

    Examples
    --------
    >>> h = Hysteresis(2)
    >>> h.ripe(["a", "b"]), h.ripe(["a"]), h.ripe(["a", "b"])
    ([], ['a'], [])
    """

    def __init__(self, wait_count: int) -> None:
        self.wait_count = wait_count
        self._counts: dict[T, int] = {}

    def ripe(self, proposed: Iterable[T]) -> list[T]:
        """Those of the proposed that have waited long enough; what is not proposed starts from nothing again."""
        counts = {thing: self._counts.get(thing, 0) + 1 for thing in proposed}
        ripe = [thing for thing, count in counts.items() if count >= self.wait_count]
        self._counts = {thing: count for thing, count in counts.items() if count < self.wait_count}
        return ripe

    def clear(self) -> None:
        """Forget all."""
        self._counts.clear()
