"""Keeps one worker process running: starts it again when it dies, later each time, gives up in the end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from distributed.nanny.channel import EXIT_RESTART
from distributed.nanny.process import WorkerProcess, WorkerStartError

logger = logging.getLogger("distributed.nanny")

_MAX_DELAY = 5.0  # seconds between two starts
_MAX_PAUSE = 0.2  # of a worker that could start and then died, of which its tasks are to blame


def restart_delay(nfailures: int) -> float:
    """Seconds to wait before a worker is started again after so many failures in a row.

    Examples
    --------
    >>> [restart_delay(n) for n in range(6)]
    [0.0, 0.0, 0.1, 0.2, 0.4, 0.8]
    """
    return 0.0 if nfailures < 2 else min(_MAX_DELAY, 0.1 * 2 ** (nfailures - 2))


class Supervisor:
    """Supervises the process of one worker.

    Parameters
    ----------
    make_process : callable
        Gives a fresh :class:`WorkerProcess` for each start.
    start_timeout : float or None
        Seconds a worker gets to start.
    quick_failure : float
        A worker that dies within so many seconds of its start is started again a little later each time.
    max_quick_failures : int
        After so many starts in a row that failed it is not tried again. A worker that has started may die as often as
        it likes: that is its tasks' doing, or somebody's who kills it.
    on_start : callable, optional
        Called with the process each time a worker has started.
    on_end : callable, optional
        Called once when no worker will be started again: with None when the worker ended by its own will,
        else with the error.

    Attributes
    ----------
    process : WorkerProcess or None
        The present process, or the last.
    last_exit : str or None
        How the process before it ended, in words.
    """

    def __init__(
        self,
        make_process: Callable[[], WorkerProcess],
        *,
        start_timeout: float | None,
        quick_failure: float,
        max_quick_failures: int,
        on_start: Callable[[WorkerProcess], None] = lambda process: None,
        on_end: Callable[[Exception | None], None] = lambda error: None,
    ) -> None:
        self._make_process = make_process
        self._start_timeout = start_timeout
        self._quick_failure = quick_failure
        self._max_quick_failures = max_quick_failures
        self._on_start = on_start
        self._on_end = on_end
        self.process: WorkerProcess | None = None
        self.last_exit: str | None = None
        self._nfailures = 0  # starts that failed in a row
        self._ndeaths = 0  # of workers in a row that died soon after their start
        self._wanted = False  # whether a worker should be running now
        self._started_at = 0.0
        self._reviving: asyncio.Task[None] | None = None
        self._restarting: asyncio.Task[None] | None = None
        self._failure: Exception | None = None

    def is_alive(self) -> bool:
        """Whether there is a process now."""
        return self.process is not None and self.process.is_alive()

    async def start(self) -> None:
        """Start the worker; does nothing when there is one.

        Raises
        ------
        WorkerStartError, TimeoutError
            When it could not be started. It is not tried again.
        """
        if self.is_alive():
            return
        self._wanted = True
        try:
            await self._start()
        except BaseException:
            self._wanted = False
            raise

    async def stop(self, timeout: float, reason: str) -> None:
        """End the worker, by force after ``timeout`` seconds; it is not started again."""
        self._wanted = False
        await self._stop_reviving()
        if self.process is not None:
            await self.process.stop(timeout, reason)

    async def leave(self, timeout: float, reason: str) -> None:
        """As :meth:`stop`, but the worker retires first: what only it holds is moved."""
        self._wanted = False
        await self._stop_reviving()
        if self.process is not None:
            await self.process.leave(timeout, reason)

    async def restart(self, timeout: float, reason: str) -> None:
        """End the worker and start a fresh one; goes on when it is cancelled.

        Raises
        ------
        Exception
            What ``on_end`` is given, when no worker can be started.
        """
        if self._restarting is None:
            self._restarting = asyncio.ensure_future(self._restart(timeout, reason))
            self._restarting.add_done_callback(self._restarted)
        await asyncio.shield(self._restarting)

    async def replace(self, pid: int, timeout: float, reason: str) -> None:
        """End the process of this number and start another; if it has ended by itself, wait for the other."""
        process = self.process
        if process is not None and process.pid == pid and process.is_alive():
            if timeout <= 0:
                process.killed_for = f"by its nanny: {reason}"
            await self.restart(timeout, reason)
            return
        if process is not None and process.pid == pid:
            await process.wait()
        for task in (self._restarting, self._reviving):
            if task is not None:
                await asyncio.wait([task])

    async def _restart(self, timeout: float, reason: str) -> None:
        await self.stop(timeout, reason)
        self._nfailures = 0
        self._wanted = True
        await self._revive()
        if self._failure is not None:
            raise self._failure

    def _restarted(self, task: asyncio.Task[None]) -> None:
        self._restarting = None
        if not task.cancelled():
            task.exception()  # `on_end` has been told

    def kill_nowait(self) -> None:
        """Send the kill signal and start nothing again; for the last moment of this process."""
        self._wanted = False
        if self.process is not None:
            self.process.kill_nowait()

    async def _start(self) -> None:
        process = self.process = self._make_process()
        process.on_exit = self._exited
        self._started_at = time.monotonic()
        await process.start(self._start_timeout)
        if process.is_alive():
            self._on_start(process)

    def _exited(self, process: WorkerProcess) -> None:
        if process is not self.process or not self._wanted or process.address is None:
            return  # we ended it ourselves, or `start` raises
        self.last_exit = process.describe_exit()
        if process.returncode == 0 and process.ended_in_order:
            self._wanted = False
            self._on_end(None)
            return
        if process.failure is not None and process.failure.found_no_scheduler:
            self._give_up(process.failure)
            return
        if process.returncode == EXIT_RESTART:
            self._ndeaths = 0
        else:
            lived = time.monotonic() - self._started_at
            self._ndeaths = self._ndeaths + 1 if lived < self._quick_failure else 0
            logger.warning(
                "Worker %s (process %s) %s; starting it again", process.address, process.pid, self.last_exit
            )
        self._nfailures = 0
        self._reviving = asyncio.ensure_future(self._revive(min(_MAX_PAUSE, restart_delay(self._ndeaths))))

    async def _revive(self, pause: float = 0.0) -> None:
        """Start a worker, again and again. Only failed starts are counted: those no task can have brought about.

        ``pause``: seconds before the first attempt.
        """
        while self._wanted:
            if self._nfailures >= self._max_quick_failures:
                self._give_up(
                    RuntimeError(
                        f"the worker could not start {self._nfailures} times in a row: it {self.last_exit}"
                    )
                )
                return
            await asyncio.sleep(max(pause, restart_delay(self._nfailures)))
            try:
                await self._start()
                return
            except WorkerStartError as error:
                if error.found_no_scheduler:
                    self._give_up(error)
                    return
                self._nfailures += 1
                self.last_exit = f"could not start: {error}"
                logger.warning("Worker could not be started again: %s", error)
            except TimeoutError as error:
                self._give_up(error)
                return

    def _give_up(self, error: Exception) -> None:
        self._wanted = False
        self._failure = error
        logger.error("Giving up: %s", error)
        self._on_end(error)

    async def _stop_reviving(self) -> None:
        for task in (self._reviving, self._restarting):
            if task is not None and task is not asyncio.current_task():
                task.cancel()
                await asyncio.wait([task])
        self._reviving = None
