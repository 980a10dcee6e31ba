"""A cluster on this machine whose scheduler has a process of its own too."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from typing import Any

from distributed.deploy.local import local_security, share_cores, share_memory
from distributed.deploy.spec import SpecCluster
from distributed.deploy.spec_process import Process, SpecProcess, class_name, workers_spec
from distributed.nanny.environment import worker_environment
from distributed.security import Security

__all__ = ["Subprocess", "SubprocessCluster", "SubprocessScheduler", "SubprocessWorker"]


class LocalProcess:
    """A program on this machine that ends when we do: its input ends then.

    Parameters
    ----------
    words : list of str
        Command line.
    text : str
        Written to its input at once.
    on_line : callable
        Called with each line it prints, standard output and error together.
    """

    def __init__(self, words: list[str], text: str, on_line: Callable[[str], None]) -> None:
        self._words = words
        self._text = text
        self._on_line = on_line
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self.last_lines: deque[str] = deque(maxlen=20)
        self.ended = asyncio.Event()

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *self._words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            limit=1 << 20,
            env=os.environ
            | {"PYTHONHASHSEED": worker_environment().get("PYTHONHASHSEED", "random")}
            | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},  # modules beside the script
            start_new_session=True,  # Ctrl-C is for us
        )
        assert self._process.stdin is not None
        self._process.stdin.write(self._text.encode())
        self._text = ""
        self._reading = asyncio.create_task(self._read(self._process))

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        try:
            async for line in process.stdout:
                text = line.decode(errors="replace").rstrip("\n")
                self.last_lines.append(text)
                self._on_line(text)
            await process.wait()
        finally:
            self.ended.set()

    def describe_end(self) -> str:
        """How it ended, with its last words."""
        assert self._process is not None
        words = next((line for line in reversed(self.last_lines) if line.strip()), "")
        return f"ended with exit status {self._process.returncode}" + (f": {words}" if words else "")

    async def stop(self, timeout: float = 15.0) -> bool:
        """End its input, which tells it to stop; kill it after ``timeout`` seconds. Whether it went by itself."""
        if self._process is None or self.ended.is_set():
            return True
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(timeout):
                await self.ended.wait()
        except TimeoutError:
            self._process.kill()
            await self.ended.wait()
            return False
        return True


class Subprocess(SpecProcess):
    """Servers in a process of their own on this machine."""

    async def _make_process(
        self, module: str, words: list[str], text: str, on_line: Callable[[str], None]
    ) -> Process:
        return LocalProcess([sys.executable, "-u", "-m", module, *words], text, on_line)


class SubprocessScheduler(Subprocess):
    """A scheduler.

    Parameters
    ----------
    scheduler_kwargs : dict, optional
        Parameters of ``distributed.Scheduler``.
    """

    def __init__(
        self, scheduler_kwargs: dict[str, Any] | None = None, security: Security | None = None
    ) -> None:
        spec = {"cls": "distributed.Scheduler", "opts": scheduler_kwargs or {}}
        super().__init__(spec, security or local_security(None))


class SubprocessWorker(Subprocess):
    """A worker.

    Parameters
    ----------
    scheduler : str
        Its address.
    worker_class : str or type
    name : optional
    worker_kwargs : dict, optional
        Parameters of the class.
    """

    def __init__(
        self,
        scheduler: str,
        worker_class: Any = "distributed.Nanny",
        name: Any = None,
        worker_kwargs: dict[str, Any] | None = None,
        security: Security | None = None,
    ) -> None:
        spec = workers_spec(class_name(worker_class), dict(worker_kwargs or {}), name, 1)
        super().__init__(spec, security or local_security(None), scheduler=scheduler, name=name)


def SubprocessCluster(
    host: str | None = None,
    scheduler_port: int = 0,
    scheduler_kwargs: dict[str, Any] | None = None,
    dashboard_address: str = ":8787",
    worker_class: Any = "distributed.Nanny",
    n_workers: int | None = None,
    threads_per_worker: int | None = None,
    worker_kwargs: dict[str, Any] | None = None,
    silence_logs: int | str | bool = logging.WARNING,
    **kwargs: Any,
) -> SpecCluster:
    """A cluster on this machine with every part in a process of its own: the scheduler does not share this one.

    Parameters
    ----------
    host : str, optional
        Where scheduler and workers listen; default ``127.0.0.1``.
    scheduler_port : int
        0 takes any free port.
    scheduler_kwargs, worker_kwargs : dict, optional
        Further parameters of the scheduler and of every worker: texts, numbers and lists of those.
    dashboard_address : str
        Of the scheduler's web page.
    n_workers, threads_per_worker : int, optional
        As for ``LocalCluster``.
    **kwargs
        For :class:`SpecCluster`.
    """
    security = local_security(kwargs.pop("security", None))
    n_workers, threads_per_worker = share_cores(n_workers, threads_per_worker, True)
    host = host or "127.0.0.1"
    worker_kwargs = {
        "host": host,
        "nthreads": threads_per_worker,
        "memory_limit": "auto",
        **(worker_kwargs or {}),
    }
    limit = share_memory(worker_kwargs["memory_limit"], n_workers, worker_kwargs["nthreads"])
    scheduler = {
        "cls": SubprocessScheduler,
        "options": {
            "scheduler_kwargs": {
                "host": host,
                "port": scheduler_port,
                "dashboard": dashboard_address is not None,
                "dashboard_address": dashboard_address,
                **(scheduler_kwargs or {}),
            },
            "security": security,
        },
    }
    worker = {
        "cls": SubprocessWorker,
        "options": {
            "worker_class": worker_class,
            "worker_kwargs": {**worker_kwargs, "memory_limit": limit or 0},
            "security": security,
        },
    }
    return SpecCluster(
        workers=dict.fromkeys(range(n_workers), worker),
        scheduler=scheduler,
        worker=worker,
        name=kwargs.pop("name", "SubprocessCluster"),
        silence_logs=silence_logs,
        security=security,
        **kwargs,
    )
