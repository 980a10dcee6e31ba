"""Tasks that came from one call or collection, seen together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

from distributed.protocol.messages import Key

if TYPE_CHECKING:
    from distributed.scheduler.state import TaskPrefix, TaskState


class TaskGroup:
    """Tasks whose keys begin alike, such as ``('x-123', 0)`` and ``('x-123', 1)``, as they were when it was made.

    Attributes
    ----------
    name : str
    prefix : TaskPrefix or None
        What is known of all tasks of this name, of other groups too.
    states : Counter
        Number of tasks in each state.
    types : set of str
        Of the results.
    nbytes_total : int
        Bytes of the results.
    """

    __slots__ = ("name", "nbytes_total", "prefix", "states", "types")

    def __init__(self, name: str) -> None:
        self.name = name
        self.prefix: TaskPrefix | None = None
        self.states: Counter[str] = Counter()
        self.types: set[str] = set()
        self.nbytes_total = 0

    def add(self, ts: TaskState) -> None:
        self.prefix = ts.prefix
        self.states[ts.state] += 1
        if ts.type:
            self.types.add(ts.type)
        self.nbytes_total += max(ts.nbytes, 0)

    @property
    def done(self) -> bool:
        """Whether none of them is still to be computed."""
        return not any(self.states[state] for state in ("waiting", "no-worker", "queued", "processing"))

    def __len__(self) -> int:
        return self.states.total()

    def __repr__(self) -> str:
        counts = " ".join(f"{state}: {count}" for state, count in self.states.items() if count)
        return f"<TaskGroup {self.name!r} {counts}>"


def groups_of(tasks: Iterable[TaskState]) -> dict[str, TaskGroup]:
    """All groups of these tasks, by name."""
    groups: dict[str, TaskGroup] = {}
    for ts in tasks:
        name = group_name(ts.key)
        group = groups.get(name)
        if group is None:
            group = groups[name] = TaskGroup(name)
        group.add(ts)
    return groups


def group_name(key: Key) -> str:
    """The common part of the keys of a task's group.

    Examples
    --------
    >>> group_name(("x-0123456789abcdef0123456789abcdef", 1)), group_name("inc-0123456789abcdef0123456789abcdef")
    ('x-0123456789abcdef0123456789abcdef', 'inc')
    """
    while isinstance(key, tuple) and key:
        key = key[0]
        if isinstance(key, str):
            return key
    return _split(key) if isinstance(key, str) else str(key)


@lru_cache(100_000)
def _split(key: str) -> str:
    from dask.utils import key_split

    name: str = key_split(key)
    return name
