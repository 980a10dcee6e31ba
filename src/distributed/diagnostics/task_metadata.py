"""Metadata and states of the tasks that ran while somebody looked."""

from __future__ import annotations

import uuid
from types import TracebackType
from typing import Any

from distributed.diagnostics.plugin import SchedulerPlugin

# ---------------------------------------------------------------- scheduler


class CollectTaskMetaDataPlugin(SchedulerPlugin):
    """Collects the final state of every task, and the metadata set under its key.

    Parameters
    ----------
    scheduler : Scheduler
    name : str
    """

    def __init__(self, scheduler: Any, name: str) -> None:
        self.scheduler = scheduler
        self.name = name
        self.keys: set[Any] = set()
        self.metadata: dict[Any, Any] = {}
        self.state: dict[Any, str] = {}

    def update_graph(self, scheduler: Any, *, keys: Any, tasks: Any, **kwargs: Any) -> None:
        self.keys.update(tasks)

    def transition(self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any) -> None:
        if finish in ("memory", "erred"):
            if key in self.scheduler.task_metadata:
                self.metadata[key] = self.scheduler.task_metadata[key]
            self.state[key] = finish
            self.keys.discard(key)


class SchedulerTaskMetadata:
    """The scheduler's half of :class:`get_task_metadata`."""

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler

    def start_task_metadata(self, name: str) -> None:
        self.scheduler.add_plugin(CollectTaskMetaDataPlugin(self.scheduler, name))

    def stop_task_metadata(self, name: str | None = None) -> dict[str, Any]:
        plugin = self.scheduler.plugins.get(name)
        if plugin is None:
            raise ValueError(f"nobody collects metadata under the name {name!r}")
        self.scheduler.remove_plugin(name)
        return {"metadata": list(plugin.metadata.items()), "state": list(plugin.state.items())}


# ---------------------------------------------------------------- client


class get_task_metadata:
    """Context manager: metadata and final states of the tasks that ran while it was open.

    Attributes
    ----------
    metadata, state : dict
        By key.

    Examples
    --------
    >>> with get_task_metadata() as tasks:  # doctest: +SKIP
    ...     client.submit(abs, -1).result()
    >>> tasks.state  # doctest: +SKIP
    {'abs-...': 'memory'}
    """

    def __init__(self) -> None:
        self.name = f"task-metadata-{uuid.uuid4().hex}"
        self.metadata: dict[Any, Any] | None = None
        self.state: dict[Any, str] | None = None

    async def __aenter__(self) -> get_task_metadata:
        await self._client().scheduler.start_task_metadata(name=self.name)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._take(await self._client().scheduler.stop_task_metadata(name=self.name))

    def __enter__(self) -> get_task_metadata:
        client = self._client()
        client.sync(client.scheduler.start_task_metadata, name=self.name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        client = self._client()
        self._take(client.sync(client.scheduler.stop_task_metadata, name=self.name))

    def _client(self) -> Any:
        from distributed.client import get_client

        return get_client()

    def _take(self, answer: dict[str, Any]) -> None:
        self.metadata = dict(answer["metadata"])
        self.state = dict(answer["state"])
