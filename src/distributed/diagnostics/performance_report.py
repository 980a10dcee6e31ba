"""``performance_report``: a page that says what a network did while a block of code ran.

The scheduler holds the task stream, looks at its own loop and has the workers look at their threads as long as a report
is open; at its end it asks everybody for their figures and writes the page in a thread of its own.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any

from distributed import loop_threads, loops
from distributed.diagnostics.profile import Profile, add_stack, create
from distributed.diagnostics.report_page import Report, WorkerFigures, render, runs_of
from distributed.diagnostics.task_stream import Record

#: Seconds between two looks at the scheduler's loop.
INTERVAL = 0.01

#: Files whose functions run event loops.
LOOPS = frozenset(
    [
        *(asyncio.events.__file__, asyncio.base_events.__file__, asyncio.runners.__file__),
        *(loops.__file__, loop_threads.__file__),
    ]
)

#: Characters of calling code that are shown.
MAX_CODE = 20_000

# ---------------------------------------------------------------- scheduler


class LoopProfile:
    """Looks at what the event loop of one thread does, from another, until it is stopped.

    What the loop calls is seen; the loop itself, and whatever runs it, is not.
    """

    def __init__(self) -> None:
        self.profile: Profile = create()
        self._watched = threading.get_ident()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._look, name="distributed-loop-profile", daemon=True)
        self._thread.start()

    def stop(self) -> Profile:
        """What was seen."""
        self._stopped.set()
        self._thread.join()
        return self.profile

    def _look(self) -> None:
        while not self._stopped.wait(INTERVAL):
            frame = sys._current_frames().get(self._watched)
            if frame is not None:
                add_stack(self.profile, frame, until=LOOPS)


@dataclass(slots=True)
class _Open:
    """A report that has begun."""

    client: str | None
    looking: LoopProfile
    before: Mapping[str, Any]  # by worker: its get_monitor_info


class SchedulerReports:
    """The scheduler's half."""

    name = "performance-reports"

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler
        self._open: dict[str, _Open] = {}

    async def start_performance_report(self, name: str, client: str | None = None) -> tuple[float, int]:
        """Begin; the time, and how many tasks the task stream has seen."""
        if not self._open:
            self.scheduler.add_plugin(self)
        self._open[name] = opened = _Open(client, LoopProfile(), {})
        count = self.scheduler.extensions["task_stream"].start_task_stream(name, client)
        self.scheduler.spawn(self._have_workers_look(), name="workers begin to profile")
        start = time.time()
        opened.before = await self.scheduler.get_worker_monitor_info(recent=True)
        return start, count

    async def _have_workers_look(self) -> None:
        await self.scheduler.get_profile(stop=0)

    async def performance_report(
        self, start: float, last_count: int = 0, code: str = "", mode: Any = None, name: str | None = None
    ) -> str:
        """The page of what happened since ``start``; ends the report of this name.

        ``last_count`` and ``mode`` are not used.
        """
        stop = time.time()
        opened = None if name is None else self._open.get(name)
        streams = self.scheduler.extensions["task_stream"]
        if name is None:
            records = streams.get_task_stream(start)
        else:  # a scheduler that was started meanwhile does not know the name, nor what was before it
            records = streams.stop_task_stream(name, opened.client if opened is not None else None, start)
        before = opened.before if opened is not None else {}
        starts = {address: info["count"] for address, info in before.items()}
        infos, profile = await asyncio.gather(
            self.scheduler.get_worker_monitor_info(starts=starts), self.scheduler.get_profile(start=start)
        )
        there = [
            (ws.address, str(ws.name), ws.nthreads, ws.memory_limit)
            for ws in self.scheduler.workers.values()
            if ws.address in infos
        ]
        own = self._end(name) if name is not None and opened is not None else None

        def page() -> str:
            times = _compute_times(records)
            report = Report(
                title="Performance report",
                began=time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(start)),
                wall=stop - start,
                runs=runs_of(records, start),
                workers=[
                    _figures(facts, infos[facts[0]], before.get(facts[0]), times.get(facts[0], []))
                    for facts in there
                ],
                worker_profile=profile,
                scheduler_profile=own,
                code=code[:MAX_CODE],
                versions=_versions(),
            )
            return render(report)

        return await asyncio.to_thread(page)

    def _end(self, name: str) -> Profile:
        profile = self._open.pop(name).looking.stop()
        if not self._open and self.scheduler.plugins.get(self.name) is self:
            self.scheduler.remove_plugin(self.name)
        return profile

    def client_gone(self, client: str) -> None:
        for name in [name for name, opened in self._open.items() if opened.client == client]:
            self._end(name)

    async def close(self) -> None:
        """The scheduler ends."""
        for name in list(self._open):
            self._end(name)


def _compute_times(records: list[Record]) -> dict[str, list[float]]:
    """Seconds of each run, by worker."""
    times: dict[str, list[float]] = {}
    for record in records:
        for span in record["startstops"]:
            times.setdefault(record["worker"], []).append(span["stop"] - span["start"])
    return times


def _figures(facts: tuple[str, str, int, int], info: Any, before: Any, times: list[float]) -> WorkerFigures:
    """``facts``: address, name, threads and bytes of memory of a worker."""
    series, earlier = info["range_query"], (before or {}).get("range_query", {})

    def gained(what: str) -> float:
        values = [value for value in series.get(what, ()) if value is not None]
        return max(0.0, values[-1] - (earlier.get(what) or [0.0])[-1]) if values else 0.0

    return WorkerFigures(
        *facts,
        series=series,
        transfer_nbytes=gained("transfer_incoming_bytes"),
        transfer_seconds=gained("transfer_incoming_seconds"),
        compute_seconds=sum(times),
        nruns=len(times),
    )


def _versions() -> dict[str, str]:
    import platform
    from importlib.metadata import version

    import distributed

    return {
        "Python": platform.python_version(),
        "dask": version("dask"),
        "distributed (interface)": distributed.__version__,
        "distributed-network": distributed.network_version,
    }


# ---------------------------------------------------------------- client


class performance_report:
    """Context manager: write a page that says what the network did while it was open.

    The page needs nothing else, no network in particular: a summary, tasks by name, the task stream, figures of the
    workers, where tasks and the scheduler spent their time, and the code of the block.

    Parameters
    ----------
    filename : str
        Where to write; anything that ``fsspec`` can open.
    stacklevel : int
        Whose code is shown: 1 is the caller's, 2 that of its caller…
    mode : str, optional
        Accepted, without a meaning: nothing on the page is loaded from elsewhere.
    storage_options : dict, optional
        For ``fsspec``.

    Examples
    --------
    >>> with performance_report(filename="report.html"):  # doctest: +SKIP
    ...     collection.compute()
    """

    def __init__(
        self,
        filename: str = "dask-report.html",
        stacklevel: int = 1,
        mode: str | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.filename = str(filename)
        self.mode = mode
        self.storage_options = dict(storage_options or {})
        self._code = calling_code(sys._getframe(stacklevel))
        self._name = uuid.uuid4().hex

    async def __aenter__(self) -> performance_report:
        client = self._client()
        self._start, self._count = await client._session.call(
            "start_performance_report", name=self._name, client=client.id
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        page = await self._client()._session.call(
            "performance_report",
            start=self._start,
            last_count=self._count,
            code=self._code,
            mode=self.mode,
            name=self._name,
        )
        await asyncio.to_thread(self._write, page)

    def __enter__(self) -> performance_report:
        client = self._client()
        if client.asynchronous:
            raise TypeError("an asynchronous client needs 'async with performance_report(...)'")
        client.sync(self.__aenter__)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._client().sync(self.__aexit__, kind, error, traceback)

    _known: Any = None

    def _client(self) -> Any:
        """The one that was current at the beginning."""
        from distributed.client import get_client

        if self._known is None:
            self._known = get_client()
        return self._known

    def _write(self, page: str) -> None:
        import fsspec

        with fsspec.open(self.filename, mode="w", encoding="utf-8", **self.storage_options) as file:
            file.write(page)


def calling_code(frame: FrameType) -> str:
    """The source of the function, cell or module that a frame runs; empty where there is none to be found."""
    try:
        return inspect.getsource(frame)
    except (OSError, TypeError):
        return ""
