"""Ends a worker process that takes too much memory, before the system kills something else for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from distributed.usage import process_memory

logger = logging.getLogger("distributed.nanny.memory")


class NannyMemoryManager:
    """Kills a worker process whose resident memory passes a fraction of its limit; the nanny then starts a
    fresh one.

    Parameters
    ----------
    memory_limit : int or None
        Bytes; None: nothing is watched.
    fraction : float or None
        ``distributed.worker.memory.terminate``; None or False: nothing is watched.
    interval : float
        Seconds between two looks.

    Attributes
    ----------
    memory_limit : int or None
    memory_terminate_fraction : float or None
    nkills : int
        How often a process was killed.
    """

    def __init__(self, memory_limit: int | None, fraction: float | None, interval: float) -> None:
        self.memory_limit = memory_limit
        self.memory_terminate_fraction = fraction or None
        self.memory_monitor_interval = interval
        self.nkills = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self, process: Callable[[], Any]) -> None:
        """Begin to watch what ``process()`` gives: a WorkerProcess or None."""
        if self.memory_limit and self.memory_terminate_fraction and self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self.memory_monitor_interval, self._look, loop, process)

    def stop(self) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, loop: asyncio.AbstractEventLoop, process: Callable[[], Any]) -> None:
        self._timer = loop.call_later(self.memory_monitor_interval, self._look, loop, process)
        worker = process()
        if worker is None or not worker.is_alive():
            return
        assert self.memory_limit is not None
        assert self.memory_terminate_fraction is not None
        memory = process_memory(worker.pid)
        worker.memory = memory or worker.memory
        if memory > self.memory_limit * self.memory_terminate_fraction:
            self.nkills += 1
            taken, limit = memory / 2**20, self.memory_limit / 2**20
            worker.over_limit = True
            worker.killed_for = f"by its nanny, for it took {taken:.0f} MiB of its limit of {limit:.0f} MiB"
            logger.warning(
                "Worker %s (process %d) uses %.2f GiB, over %.0f%% of its limit of %.2f GiB: restarting it",
                worker.address,
                worker.pid,
                memory / 2**30,
                100 * self.memory_terminate_fraction,
                self.memory_limit / 2**30,
            )
            worker.kill_nowait()
