"""The task stream: which task ran when and where."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import deque
from types import TracebackType
from typing import Any

from distributed import config
from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.loops import seconds

#: Entry of the task stream: a dictionary with ``key worker thread status startstops nbytes type``.
Record = dict[str, Any]

# ---------------------------------------------------------------- scheduler


class TaskStreamPlugin(SchedulerPlugin):
    """Remembers the last tasks that ran.

    Parameters
    ----------
    scheduler : Scheduler
    maxlen : int, optional
        Default: ``distributed.scheduler.dashboard.tasks.task-stream-length``.
    """

    name = "task-stream"

    def __init__(self, scheduler: Any, maxlen: int | None = None) -> None:
        length = config.get("distributed.scheduler.dashboard.tasks.task-stream-length", 100_000)
        self.buffer: deque[Record] = deque(maxlen=maxlen or int(length))
        self.index = 0
        scheduler.add_plugin(self)

    async def start(self, scheduler: Any) -> None:
        """It was added when it was made."""

    def transition(self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any) -> None:
        if start == "processing" and finish in ("memory", "erred"):
            now = time.time()
            self.index += 1
            self.buffer.append(
                {
                    "key": key,
                    "worker": kwargs.get("worker"),
                    "thread": kwargs.get("thread", 0),
                    "status": "OK" if finish == "memory" else "error",
                    "startstops": kwargs.get("startstops")
                    or [{"action": "compute", "start": now, "stop": now}],
                    "nbytes": kwargs.get("nbytes", 0),
                    "type": kwargs.get("typename", ""),
                }
            )

    def collect(self, start: Any = None, stop: Any = None, count: int | None = None) -> list[Record]:
        """Records of tasks that ended between two times, or the last ``count``.

        Times are seconds since the epoch, or a text such as "5s" for so long ago.
        """
        now = time.time()
        records = sorted(self.buffer, key=_ended)
        ends = [_ended(record) for record in records]
        first = 0 if start is None else bisect_left(ends, _moment(start, now))
        last = len(records) if stop is None else bisect_left(ends, _moment(stop, now))
        if count is not None:
            if start is not None and stop is None:
                last = min(last, first + count)
            else:
                first = max(first, last - count)
        return records[first:last]


def _ended(record: Record) -> float:
    return float(record["startstops"][-1]["stop"])


def _moment(given: Any, now: float) -> float:
    return now - (seconds(given) or 0.0) if isinstance(given, str) else float(given)


class SchedulerTaskStream:
    """The scheduler's half of ``Client.get_task_stream``: begins to remember when it is first asked."""

    def __init__(self, scheduler: Any) -> None:
        self.plugin = scheduler.plugins.get(TaskStreamPlugin.name) or TaskStreamPlugin(scheduler)

    def get_task_stream(
        self, start: Any = None, stop: Any = None, count: int | None = None, start_index: int | None = None
    ) -> list[Record]:
        return self.plugin.collect(start, stop, count)


# ---------------------------------------------------------------- client


class get_task_stream:
    """Context manager: which tasks ran when and where while it was open.

    Parameters
    ----------
    client : Client, optional
        Default: the current one.
    plot, filename
        Known to users of the field. Drawing is not available; the data is.

    Attributes
    ----------
    data : list of dict
        One a task: ``key worker thread status startstops nbytes type``.

    Examples
    --------
    >>> with get_task_stream() as stream:  # doctest: +SKIP
    ...     client.gather(client.map(abs, range(10)))
    >>> len(stream.data)  # doctest: +SKIP
    10
    """

    def __init__(self, client: Any = None, plot: Any = False, filename: str = "task-stream.html") -> None:
        from distributed.client import default_client

        if plot:
            raise NotImplementedError(
                "get_task_stream cannot draw (plot=); the data is in its attribute 'data'"
            )
        self.data: list[Record] = []
        self.client = client or default_client()

    def __enter__(self) -> get_task_stream:
        self.client.get_task_stream(start=0, stop=0)  # begin to remember
        self.start = time.time()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.data.extend(self.client.get_task_stream(start=self.start))

    async def __aenter__(self) -> get_task_stream:
        await self.client.get_task_stream(start=0, stop=0)
        self.start = time.time()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.data.extend(await self.client.get_task_stream(start=self.start))
