"""A queue of runnable tasks in the order of their priority, from which any task can be taken back."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributed.scheduler.state.records import TaskState


class TaskQueue:
    """A heap of tasks by (priority, seq).

    A task is in at most one queue, ``ts.queue``. What was taken back stays in the heap as a dead entry until it comes
    to the top or dead entries are the majority. ``seconds`` is the expected time of all that is queued.
    """

    __slots__ = ("_heap", "_n", "seconds")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, TaskState]] = []
        self._n = 0
        self.seconds = 0.0

    def __len__(self) -> int:
        return self._n

    def __iter__(self) -> Iterator[TaskState]:
        return iter(dict.fromkeys(entry[2] for entry in self._heap if entry[2].queue is self))

    def push(self, ts: TaskState) -> None:
        spec = ts.spec
        assert spec is not None
        assert ts.queue is None
        ts.queue = self
        self._n += 1
        self.seconds += spec.prefix.expected
        heapq.heappush(self._heap, (-spec.options.priority, ts.seq, ts))

    def discard(self, ts: TaskState) -> None:
        """Take a task back."""
        assert ts.queue is self
        self._left(ts)
        if self._n < len(self._heap) // 2:
            self._heap = [entry for entry in self._heap if entry[2].queue is self]
            heapq.heapify(self._heap)

    def peek(self) -> TaskState | None:
        """The task that should run first, or None."""
        heap = self._heap
        while heap:
            ts = heap[0][2]
            if ts.queue is self:
                return ts
            heapq.heappop(heap)
        return None

    def pop(self) -> TaskState | None:
        """Take the task that should run first, or None."""
        heap = self._heap
        while heap:
            ts = heapq.heappop(heap)[2]
            if ts.queue is self:
                self._left(ts)
                return ts
        return None

    def _left(self, ts: TaskState) -> None:
        ts.queue = None
        self._n -= 1
        spec = ts.spec
        assert spec is not None
        # Averages move while tasks are queued; what is left of the sum when nothing is queued is that drift.
        self.seconds = self.seconds - spec.prefix.expected if self._n and self.seconds > 0 else 0.0
