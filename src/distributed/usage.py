"""What a process uses: memory, processor time, open files. On Linux from ``/proc``, elsewhere from ``psutil``.

``psutil`` takes as long to load as the whole of a worker's machine, and a heartbeat needs three numbers of it.
"""

from __future__ import annotations

import os
import sys
import time

_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def process_memory(pid: int) -> int:
    """Resident memory of a process in bytes; 0 when there is no such process."""
    if sys.platform == "linux":
        try:
            with open(f"/proc/{pid}/statm", "rb") as file:
                return int(file.read().split()[1]) * _PAGE
        except (OSError, IndexError):
            return 0
    import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def open_files() -> int:
    """Descriptors this process has open; 0 where the system does not tell."""
    if sys.platform == "linux":
        try:
            return len(os.listdir("/proc/self/fd")) - 1  # the one that lists them
        except OSError:  # none is left for it
            return 0
    import psutil

    process = psutil.Process()
    return int(process.num_fds()) if hasattr(process, "num_fds") else 0


class ProcessorMeter:
    """Share of a processor that this process takes.

    Examples
    --------
    >>> meter = ProcessorMeter()
    >>> _ = sum(range(1_000_000))
    >>> meter.percent() > 0
    True
    """

    def __init__(self) -> None:
        self._last = time.monotonic(), time.process_time()

    def percent(self) -> float:
        """Per cent of one processor since the last look, more than 100 with several threads; 0.0 at once after it."""
        (then, used_then), self._last = self._last, (time.monotonic(), time.process_time())
        now, used = self._last
        return 100.0 * (used - used_then) / (now - then) if now > then else 0.0
