"""A scheduler or workers in a process somewhere, started by ``distributed.cli.dask_spec`` and tied to this process."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any, Protocol

from distributed.core import Status
from distributed.deploy.process_interface import ProcessInterface
from distributed.security import Security

_SCHEDULER_SAYS = re.compile(r"Start scheduler at (\S+)$")
_WORKER_SAYS = re.compile(r"Start worker at:\s+(\S+)$")
_DISMISSED = re.compile(r"Dismissed by the scheduler")
_REGISTERED = re.compile(r"Registered with center at:")


class Process(Protocol):
    """What runs the program: prints lines, ends when its input ends."""

    ended: asyncio.Event

    async def start(self) -> None: ...
    async def stop(self, timeout: float = ...) -> bool: ...
    def describe_end(self) -> str: ...


class SpecProcess(ProcessInterface):
    """A process that runs servers of given classes.

    Parameters
    ----------
    spec : dict
        As ``dask_spec`` takes it.
    security : Security
        Handed over on standard input.
    scheduler : str, optional
        Address; None for a scheduler.
    nservers : int
        How many servers the specification starts.
    """

    #: In error messages: where it runs.
    where = "this machine"

    def __init__(
        self,
        spec: dict[str, Any],
        security: Security,
        scheduler: str | None = None,
        name: Any = None,
        nservers: int = 1,
    ) -> None:
        super().__init__(scheduler=scheduler, name=name)
        self._spec = spec
        self._security = security
        self._nservers = nservers
        self._ndismissed = 0
        self._process: Process | None = None
        self._watching: asyncio.Task[None] | None = None

    async def _make_process(
        self, module: str, words: list[str], text: str, on_line: Callable[[str], None]
    ) -> Process:
        """The process that will run ``python -m module words``, with ``text`` on its input. Not started yet."""
        raise NotImplementedError

    @property
    def dismissed(self) -> bool:
        """Whether the scheduler has ended all its workers: somebody has retired them."""
        return self._ndismissed == self._nservers

    async def start(self) -> None:
        """Start it and wait until its servers run.

        Raises
        ------
        RuntimeError
            When they do not; says where and why.
        """
        left = self._nservers
        ready = asyncio.Event()

        def on_line(text: str) -> None:
            nonlocal left
            match = _SCHEDULER_SAYS.match(text) or _WORKER_SAYS.match(text)
            if match and self.address is None:
                self.address = f"tcp://{match[1]}"
            self._ndismissed += bool(_DISMISSED.match(text))
            if _SCHEDULER_SAYS.match(text) or _REGISTERED.match(text):
                left -= 1
                if left == 0:
                    ready.set()

        words = [*([self.scheduler] if self.scheduler else []), "--spec-file", "-", "--stop-at-eof"]
        words += ["--insecure"] if self._security.insecure else ["--key-file", "-"]
        key = self._security.cluster_key()
        text = ("" if key is None else key.text() + "\n") + self._text() + "\n"
        self._process = await self._make_process("distributed.cli.dask_spec", words, text, on_line)
        await self._process.start()
        waits = [asyncio.ensure_future(event.wait()) for event in (ready, self._process.ended)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if not ready.is_set():
            kind = "worker" if self.scheduler else "scheduler"
            raise RuntimeError(f"{kind} on {self.where}: {self._process.describe_end()}")
        self._watching = asyncio.create_task(self._watch(self._process))
        await super().start()

    def _text(self) -> str:
        import dask.config

        try:
            return json.dumps({"config": dask.config.config, "spec": self._spec})
        except TypeError as error:
            raise TypeError(
                f"options for servers in other processes must be texts, numbers, lists: {error}"
            ) from None

    async def _watch(self, process: Process) -> None:
        await process.ended.wait()
        if self.status is Status.running:
            await super().close()

    async def close(self) -> None:
        """End it, by force when it does not go within some seconds."""
        self.status = Status.closing
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None
        if self._process is not None:
            await self._process.stop()
        await super().close()


def workers_spec(worker_class: str, options: dict[str, Any], name: Any, n_workers: int) -> dict[str, Any]:
    """What ``dask_spec`` is told to start: one worker of this name, or several with -0, -1, … appended."""
    if n_workers == 1:
        return {"cls": worker_class, "opts": {"name": name, **options}}
    return {f"{name}-{i}": {"cls": worker_class, "opts": options} for i in range(n_workers)}


def class_name(cls: Any) -> str:
    """The dotted name by which another process finds a class."""
    return cls if isinstance(cls, str) else f"{cls.__module__}.{cls.__qualname__}"
