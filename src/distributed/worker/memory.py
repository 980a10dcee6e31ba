"""A worker's memory: when its process takes too much of its limit it takes no new tasks and no new data.

What runs is finished, what has not started goes elsewhere; results are handed out as before. As soon as enough has been
released the worker goes on.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING

from distributed import config
from distributed.usage import process_memory
from distributed.worker import context

if TYPE_CHECKING:
    from distributed.worker.base import WorkerBase

logger = logging.getLogger("distributed.worker.memory")

#: New results of so large a part of the limit are looked at at once, not at the next interval.
STEP = 0.02


class WorkerMemoryManager:
    """Pauses a worker, and has it go on.

    Parameters
    ----------
    worker : WorkerBase
    memory_limit : int or None
        Bytes; None or 0: nothing is watched.

    Attributes
    ----------
    memory_limit : int or None
    memory_pause_fraction : float or None
        ``distributed.worker.memory.pause``; None or False: nothing is watched.
    memory_monitor_interval : float
        ``distributed.worker.memory.monitor-interval``, seconds.

    Notes
    -----
    Several workers of one process share its memory, and the sum of their limits.

    Each thread that runs may make one more result, as large as those that came last, and one that is handed out may be
    there twice for a while. So the worker also pauses when that would have the nanny end it; the scheduler then gives
    it one task at a time, as far as that goes (:meth:`pause_at`).
    """

    def __init__(self, worker: WorkerBase, memory_limit: int | None) -> None:
        self._worker = worker
        self.memory_limit = memory_limit
        self.memory_pause_fraction: float | None = config.get("distributed.worker.memory.pause") or None
        self.memory_monitor_interval = (
            config.seconds("distributed.worker.memory.monitor-interval", 0.1) or 0.1
        )
        self._terminate: float = config.get("distributed.worker.memory.terminate") or 0.0
        self._seen = (0, 0)
        self._result = 0.0  # bytes of a large result
        #: The worker's results have to be more than so many bytes for another look before the interval is over.
        self.look_beyond = float("inf")
        self._timer: asyncio.TimerHandle | None = None
        self._told = False
        self._paused = False

    def start(self) -> None:
        """Begin to watch."""
        if self.memory_limit and self.memory_pause_fraction and self._timer is None:
            self.look_beyond = 0
            self._worker.executor.large = int(STEP * self.memory_limit)
            self._tick(asyncio.get_running_loop())

    def stop(self) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.look_beyond = float("inf")

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(self.memory_monitor_interval, self._tick, loop)
        self.look()

    def look(self) -> None:
        """Pause, or go on, if it is time to."""
        assert self.memory_limit
        assert self.memory_pause_fraction
        worker = self._worker
        self._note_results()
        status = worker.state.status
        if status not in ("running", "paused"):
            return
        memory, limit = process_memory(os.getpid()), self._limit_of_process()
        soon = (worker.state.nthreads + 1) * self._result
        full = memory > self.memory_pause_fraction * limit
        full |= bool(self._terminate) and memory + soon > self._terminate * limit
        if full == (status == "paused") or (not full and not self._paused):  # else somebody else paused it
            return
        self._paused = full
        level = logging.INFO if self._told else logging.WARNING
        self._told = True
        logger.log(
            level,
            "Worker %s %s: it takes %.0f MiB of its limit of %.0f MiB, %.0f MiB of them results",
            worker.state.address,
            "pauses" if full else "goes on",
            *(n / 2**20 for n in (memory, self.memory_limit, worker.state.nbytes)),
        )
        worker.change_status("paused" if full else "running")

    def _note_results(self) -> None:
        nbytes, count = self._worker.state.nbytes, len(self._worker.data)
        self.look_beyond = nbytes + STEP * (self.memory_limit or 0)
        more, new = nbytes - self._seen[0], count - self._seen[1]
        self._seen = nbytes, count
        self._result = max(0.9 * self._result, more / new if new > 0 else 0.0)

    def pause_at(self) -> int:
        """Bytes of the process from which on it takes nothing at all; 0: there is no limit."""
        limit = self._limit_of_process() if self.memory_limit else 0
        full = (self.memory_pause_fraction or 0) * limit
        return int(min(full, self._terminate * limit - 2 * self._result) if self._terminate else full)

    def _limit_of_process(self) -> int:
        limits = [worker.memory_limit or 0 for worker in context.workers.values()]
        return sum(limits) if self._worker in context.workers.values() else self.memory_limit or 0
