"""What a ``SpecCluster`` needs of a scheduler or a worker that it starts somewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any

from distributed.core import Status


class ProcessInterface:
    """A process somewhere else (a job, a container, a remote shell) that can be started and ended.

    Subclasses override :meth:`start` and :meth:`close`, do their work there and call these at the end.

    Parameters
    ----------
    scheduler : str, optional
        Address of the scheduler; None for the scheduler itself.
    name : str or int, optional
        Name in the cluster.

    Attributes
    ----------
    status : Status
    address : str or None
        Where it listens, once known.
    external_address : str or None
        Where it is reached from outside its own network, if that differs.
    """

    status: Status = Status.created

    def __init__(self, scheduler: str | None = None, name: Any = None) -> None:
        # Subclasses (dask-jobqueue's) set these before they call us without arguments.
        self.scheduler: str | None = scheduler if scheduler is not None else getattr(self, "scheduler", None)
        self.name: Any = name if name is not None else getattr(self, "name", None)
        self.address: str | None = getattr(self, "address", None)
        self.external_address: str | None = None
        self.lock = asyncio.Lock()
        self.status = Status.created
        self._event_finished = asyncio.Event()

    def __await__(self) -> Generator[Any, None, ProcessInterface]:
        async def start() -> ProcessInterface:
            if self.status == Status.created:
                async with self.lock:
                    if self.status == Status.created:
                        await self.start()
                        self.status = Status.running
            return self

        return start().__await__()

    async def start(self) -> None:
        """Start the process."""
        self.status = Status.running

    async def close(self) -> None:
        """End the process."""
        self.status = Status.closed
        self._event_finished.set()

    async def finished(self) -> None:
        """Wait until the process has ended."""
        await self._event_finished.wait()

    async def __aenter__(self) -> ProcessInterface:
        await self
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: status={self.status.name}>"
