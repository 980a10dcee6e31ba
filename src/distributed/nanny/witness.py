"""What a nanny tells of its worker processes to a scheduler that hears nothing: whether one lives, how it ended.

The nanny has an interpreter of its own, so it answers while the worker's is held by a task.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable
from typing import Any

from distributed.nanny.process import WorkerProcess
from distributed.usage import process_memory

#: Processes remembered.
_REMEMBERED = 8


class Witness:
    """The processes of one nanny, the present one and those before it."""

    def __init__(self) -> None:
        self._processes: deque[WorkerProcess] = deque(maxlen=_REMEMBERED)

    def handlers(self) -> dict[str, Callable[..., Any]]:
        """Operations of the nanny."""
        return {"worker_end": self.worker_end, "worker_lives": self.worker_lives}

    def follow(self, process: WorkerProcess) -> WorkerProcess:
        """Remember a process."""
        self._processes.append(process)
        return process

    def _find(self, pid: int) -> WorkerProcess | None:
        return next((process for process in reversed(self._processes) if process.pid == pid), None)

    async def worker_end(self, pid: int, timeout: float) -> dict[str, Any]:
        """How the worker process with this number ended; waits ``timeout`` seconds for its end.

        Returns
        -------
        dict
            ``text`` in words, ``memory`` in bytes when last seen (0: nobody looked), ``returncode`` (None: it lives,
            or it is not known here; negative: minus a signal), ``over_limit``: whether its nanny ended it for its
            memory.
        """
        process = self._find(pid)
        if process is None:
            return {"text": f"its nanny knows of no process {pid}", "memory": 0, "returncode": None}
        if process.returncode is None:
            process.memory = process_memory(pid) or process.memory
            try:
                async with asyncio.timeout(timeout):
                    await process.ended.wait()
            except TimeoutError:
                return {"text": f"its process {pid} lives", "memory": process.memory, "returncode": None}
        text = f"its process {pid} {process.describe_exit()}"
        if process.killed_for:
            text += f" {process.killed_for}"
        return {
            "text": text,
            "memory": process.memory,
            "returncode": process.returncode,
            "over_limit": process.over_limit,
        }

    def worker_lives(self, pid: int) -> bool:
        """Whether the worker process with this number can run: it has not ended, and is not stopped by a signal."""
        process = self._find(pid)
        return process is not None and process.returncode is None and can_run(pid)


def can_run(pid: int) -> bool:
    """Whether a process exists that is neither stopped, nor traced to a standstill, nor a zombie."""
    if sys.platform == "linux":
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                return file.read().rpartition(b")")[2].split()[0] not in (b"T", b"t", b"Z", b"X")
        except (OSError, IndexError):
            return False
    import psutil

    try:
        return psutil.Process(pid).status() not in (
            psutil.STATUS_STOPPED,
            psutil.STATUS_TRACING_STOP,
            psutil.STATUS_ZOMBIE,
        )
    except psutil.Error:
        return False
