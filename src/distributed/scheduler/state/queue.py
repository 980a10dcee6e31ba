"""A queue of runnable tasks in the order of their priority, from which any task can be taken back."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributed.scheduler.state.records import TaskState

#: Entries that are looked at for each task that is taken back, while most of a line is dead.
SWEPT = 8


class TaskQueue:
    """Tasks by (priority, seq).

    A task is in at most one queue, ``ts.queue``. What was taken back stays in its :class:`Line` as a dead entry until
    it comes to the head, or is swept. ``seconds`` is the expected time of all that is queued.
    """

    __slots__ = ("_lines", "_n", "_order", "seconds")

    def __init__(self) -> None:
        self._lines: dict[int, Line] = {}
        self._order: list[int] = []  # a heap of the keys of the lines, which are priorities times -1
        self._n = 0
        self.seconds = 0.0

    def __len__(self) -> int:
        return self._n

    def __iter__(self) -> Iterator[TaskState]:
        """Roughly in their order; what nobody asks for is not looked at."""
        seen: set[TaskState] = set()
        for rank in sorted(self._lines):
            for ts in self._lines[rank]:
                if ts.queue is self and ts not in seen:
                    seen.add(ts)
                    yield ts

    def push(self, ts: TaskState) -> None:
        spec = ts.spec
        assert spec is not None
        assert ts.queue is None
        ts.queue = self
        self._n += 1
        self.seconds += spec.prefix.expected
        rank = -spec.options.priority
        line = self._lines.get(rank)
        if line is None:
            line = self._lines[rank] = Line()
            heapq.heappush(self._order, rank)
        line.push(ts)

    def discard(self, ts: TaskState) -> None:
        """Take a task back."""
        assert ts.queue is self
        assert ts.spec is not None
        self._left(ts)
        self._lines[-ts.spec.options.priority].one_died(self)

    def peek(self) -> TaskState | None:
        """The task that should run first, or None."""
        while self._order:
            ts = self._lines[self._order[0]].first(self)
            if ts is not None:
                return ts
            del self._lines[heapq.heappop(self._order)]
        return None

    def pop(self) -> TaskState | None:
        """Take the task that should run first, or None."""
        ts = self.peek()
        if ts is None:
            return None
        self._lines[self._order[0]].drop_first(ts)
        self._left(ts)
        return ts

    def _left(self, ts: TaskState) -> None:
        ts.queue = None
        self._n -= 1
        spec = ts.spec
        assert spec is not None
        # Averages move while tasks are queued; what is left of the sum when nothing is queued is that drift.
        self.seconds = self.seconds - spec.prefix.expected if self._n and self.seconds > 0 else 0.0


class Line:
    """The tasks of one priority by ``seq``.

    Most come in this order, and are appended; the others go into a heap. What has been swept stands in front of what
    has not, so sweeping goes on step by step, and no step has to look at a million entries.
    """

    __slots__ = ("_late", "_ndead", "_newest", "_rest", "_swept")

    def __init__(self) -> None:
        self._swept: deque[TaskState] = deque()
        self._rest: deque[TaskState] = deque()
        self._newest = -1
        self._late: list[tuple[int, TaskState]] = []
        self._ndead = 0  # at most: a task that comes back brings its old entry to life

    def __iter__(self) -> Iterator[TaskState]:
        late = iter(self._late)
        next_late = next(late, None)
        for ts in chain(self._swept, self._rest):
            while next_late is not None and next_late[0] < ts.seq:
                yield next_late[1]
                next_late = next(late, None)
            yield ts
        if next_late is not None:
            yield next_late[1]
            for _, ts in late:
                yield ts

    def push(self, ts: TaskState) -> None:
        seq = ts.seq
        if seq > self._newest or not (self._rest or self._swept):
            self._newest = seq
            self._rest.append(ts)
        else:
            heapq.heappush(self._late, (seq, ts))

    def first(self, queue: TaskQueue) -> TaskState | None:
        """The first that is in ``queue``; the dead before it are dropped."""
        late = self._late
        while late and late[0][1].queue is not queue:
            heapq.heappop(late)
            self._ndead -= 1
        for entries in (self._swept, self._rest):
            while entries:
                ts = entries[0]
                if ts.queue is queue:
                    return ts if not late or ts.seq <= late[0][0] else late[0][1]
                entries.popleft()
                self._ndead -= 1
        return late[0][1] if late else None

    def drop_first(self, ts: TaskState) -> None:
        """This is what :meth:`first` has just given."""
        for entries in (self._swept, self._rest):
            if entries and entries[0] is ts:
                entries.popleft()
                return
        heapq.heappop(self._late)

    def one_died(self, queue: TaskQueue) -> None:
        """A task was taken back: sweep a little, if most is dead."""
        self._ndead += 1
        if 2 * self._ndead <= len(self._swept) + len(self._rest) + len(self._late):
            return
        swept, rest = self._swept, self._rest
        for _ in range(min(SWEPT, len(rest))):
            ts = rest.popleft()
            if ts.queue is queue:
                swept.append(ts)
            else:
                self._ndead -= 1
        if not rest:
            self._swept, self._rest = rest, swept
            late = [entry for entry in self._late if entry[1].queue is queue]
            heapq.heapify(late)
            self._ndead = max(0, self._ndead - len(self._late) + len(late))
            self._late = late


__all__ = ["TaskQueue"]
