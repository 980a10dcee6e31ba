"""The task stream: which task ran when and where."""

from __future__ import annotations

import time
import uuid
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
    """The scheduler's half: remembers which tasks ran as long as somebody holds it.

    A client holds it from its first ``get_task_stream`` on until it is gone; a context manager while it is open; code
    of the scheduler itself for ever. Otherwise nothing is paid for it; what was seen is forgotten with the last client
    that has held it.
    """

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self._plugin: TaskStreamPlugin | None = None
        self._holders: dict[tuple[str | None, str], None] = {}

    def _hold(self, client: str | None, name: str) -> TaskStreamPlugin:
        self._holders[client, name] = None
        if self._plugin is None:
            self._plugin = self._scheduler.plugins.get(TaskStreamPlugin.name) or TaskStreamPlugin(
                self._scheduler
            )
        elif TaskStreamPlugin.name not in self._scheduler.plugins:
            self._scheduler.add_plugin(self._plugin)
        return self._plugin

    def get_task_stream(
        self,
        start: Any = None,
        stop: Any = None,
        count: int | None = None,
        start_index: int | None = None,
        client: str | None = None,
    ) -> list[Record]:
        return self._hold(client, "").collect(start, stop, count)

    def start_task_stream(self, name: str, client: str | None = None) -> int:
        """Hold it under a name; returns how many tasks it has seen."""
        return self._hold(client, name).index

    def stop_task_stream(self, name: str, client: str | None = None, start: Any = None) -> list[Record]:
        """What was seen since ``start``, and let go of it."""
        records = self._hold(client, name).collect(start)
        self._let_go((client, name))
        return records

    def client_gone(self, client: str) -> None:
        for holder in [holder for holder in self._holders if holder[0] == client]:
            self._let_go(holder)
        if not self._holders:
            self._plugin = None

    def _let_go(self, holder: tuple[str | None, str]) -> None:
        del self._holders[holder]
        if not self._holders and TaskStreamPlugin.name in self._scheduler.plugins:
            self._scheduler.remove_plugin(TaskStreamPlugin.name)


# ---------------------------------------------------------------- client


class get_task_stream:
    """Context manager: which tasks ran when and where while it was open.

    Parameters
    ----------
    client : Client, optional
        Default: the current one.
    plot : "save", optional
        Write a page that shows them to ``filename`` at the end. A figure of Bokeh (True) is not available.
    filename : str

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

        if plot and plot != "save":
            raise NotImplementedError(
                "get_task_stream cannot draw figures of Bokeh; plot='save' writes a page, and the data is in 'data'"
            )
        self.data: list[Record] = []
        self.filename = filename if plot else None
        self.client = client or default_client()
        self._name = uuid.uuid4().hex

    async def __aenter__(self) -> get_task_stream:
        await self._call("start_task_stream")
        self.start = time.time()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.data.extend(await self._call("stop_task_stream", start=self.start))
        if self.filename is not None:
            await self.client.extensions["pages"].write_stream(self.filename, self.data, self.start)

    def __enter__(self) -> get_task_stream:
        self.client.sync(self.__aenter__)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.client.sync(self.__aexit__, kind, error, traceback)

    async def _call(self, operation: str, **kwargs: Any) -> Any:
        return await self.client._session.call(operation, name=self._name, client=self.client.id, **kwargs)
