"""What the scheduler answers, as dictionaries that notebooks show as tables."""

from __future__ import annotations

import html
from collections.abc import Callable, Coroutine, Generator
from typing import Any

from dask.utils import format_bytes


class SchedulerInfo(dict[str, Any]):
    """What ``client.scheduler_info()`` gives: the scheduler and, under ``workers``, its workers by address.

    That of an asynchronous client is what was last heard; awaited, it is asked for anew.
    """

    fresh: Callable[[], Coroutine[Any, Any, dict[str, Any]]] | None = None

    def __await__(self) -> Generator[Any, Any, SchedulerInfo]:
        return self._anew().__await__()

    async def _anew(self) -> SchedulerInfo:
        return self if self.fresh is None else SchedulerInfo(await self.fresh())

    def __repr__(self) -> str:
        return f"<SchedulerInfo {self.get('address')!r}, workers: {len(self.get('workers', ()))}>"

    def _repr_html_(self) -> str:
        rows = "".join(_row(address, worker) for address, worker in self.get("workers", {}).items())
        head = "<tr><th>Worker</th><th>Name</th><th>Threads</th><th>Memory limit</th></tr>"
        title = html.escape(f"Scheduler {self.get('address', '')}")
        return f"<h4>{title}</h4><table>{head}{rows}</table>"


class HasWhat(dict[str, Any]):
    """What ``client.has_what()`` gives: keys by worker's address."""


class WhoHas(dict[Any, Any]):
    """What ``client.who_has()`` gives: workers' addresses by key."""


def _row(address: str, worker: dict[str, Any]) -> str:
    limit = worker.get("memory_limit")
    cells = address, worker.get("name"), worker.get("nthreads"), format_bytes(limit) if limit else "none"
    return "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells) + "</tr>"
