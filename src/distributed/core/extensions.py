"""Parts of scheduler, worker and client that are loaded when they are first used.

Coordination (locks, queues, actors...) lies above the parties it extends, so they cannot import it. They know only
this table: which extension there is, where its halves are, which operations each serves. The first call of one of its
operations, or the first look at ``scheduler.extensions[name]``, imports it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any, NamedTuple

from distributed.core.connection import takes_comm


class Extension(NamedTuple):
    """Where one half of an extension is, ``"module:Class"``, and the operations it serves.

    The class is called with its party. Each operation is a method of the same name.
    """

    path: str
    operations: tuple[str, ...] = ()


_COORDINATION = "distributed.coordination"
_DIAGNOSTICS = "distributed.diagnostics"

#: Halves in the scheduler.
SCHEDULER: dict[str, Extension] = {
    "semaphores": Extension(
        f"{_COORDINATION}.semaphore:SchedulerSemaphores",
        ("semaphore_acquire", "semaphore_release", "semaphore_value", "semaphore_close"),
    ),
    "multi_locks": Extension(
        f"{_COORDINATION}.multi_lock:SchedulerMultiLocks", ("multi_lock_acquire", "multi_lock_release")
    ),
    "events": Extension(
        f"{_COORDINATION}.event:SchedulerEvents", ("event_wait", "event_set", "event_clear", "event_is_set")
    ),
    "queues": Extension(
        f"{_COORDINATION}.queues:SchedulerQueues",
        ("queue_create", "queue_put", "queue_get", "queue_qsize", "queue_release"),
    ),
    "variables": Extension(
        f"{_COORDINATION}.variable:SchedulerVariables", ("variable_set", "variable_get", "variable_delete")
    ),
    "publish": Extension(
        f"{_COORDINATION}.datasets:SchedulerDatasets",
        ("publish_put", "publish_get", "publish_delete", "publish_list"),
    ),
    "topics": Extension(
        f"{_COORDINATION}.topics:SchedulerTopics",
        ("log_event", "events", "subscribe_topic", "unsubscribe_topic"),
    ),
    "metadata": Extension(f"{_COORDINATION}.metadata:SchedulerMetadata", ("get_metadata", "set_metadata")),
    "profile": Extension(f"{_DIAGNOSTICS}.profile:SchedulerProfile", ("profile",)),
    "task_stream": Extension(
        f"{_DIAGNOSTICS}.task_stream:SchedulerTaskStream",
        ("get_task_stream", "start_task_stream", "stop_task_stream"),
    ),
    "performance_reports": Extension(
        f"{_DIAGNOSTICS}.performance_report:SchedulerReports",
        ("start_performance_report", "performance_report"),
    ),
    "task_metadata": Extension(
        f"{_DIAGNOSTICS}.task_metadata:SchedulerTaskMetadata", ("start_task_metadata", "stop_task_metadata")
    ),
    "answers": Extension("distributed.core.answers:Callers"),
    "plugins": Extension(
        f"{_COORDINATION}.plugins:SchedulerPlugins",
        (
            "register_plugin",
            "register_scheduler_plugin",
            "unregister_scheduler_plugin",
            "register_worker_plugin",
            "unregister_worker_plugin",
            "register_nanny_plugin",
            "unregister_nanny_plugin",
            "register_nanny",
            "plugins_failed",
            "upload_file",
        ),
    ),
}

#: Halves in workers.
WORKER: dict[str, Extension] = {
    "profile": Extension(f"{_DIAGNOSTICS}.profile:WorkerProfile", ("profile",)),
    "actors": Extension(f"{_COORDINATION}.actor:WorkerActors", ("actor_execute", "actor_attribute")),
}

#: Halves in clients; their methods are called by the client's.
CLIENT: dict[str, Extension] = {
    "publish": Extension(f"{_COORDINATION}.datasets:ClientDatasets"),
    "topics": Extension(f"{_COORDINATION}.topics:ClientTopics"),
    "plugins": Extension(f"{_COORDINATION}.plugins:ClientPlugins"),
    "logs": Extension(f"{_COORDINATION}.log_records:ClientLogs"),
    "actors": Extension(f"{_COORDINATION}.actor:ClientActors"),
    "pages": Extension(f"{_DIAGNOSTICS}.pages:ClientPages"),
}


class Extensions(Mapping[str, Any]):
    """The extensions of one party by name, each made when it is first looked at.

    Parameters
    ----------
    owner : Scheduler, Worker or Client
        Given to every extension.
    table : dict
        One of this module's.
    more : mapping of str to callable, optional
        Extensions of the user: called with the owner at once.
    """

    def __init__(
        self,
        owner: Any,
        table: Mapping[str, Extension],
        more: Mapping[str, Callable[[Any], Any]] | None = None,
    ) -> None:
        self._owner = weakref.ref(owner)
        self._table = table
        self._loaded: dict[str, Any] = {name: factory(owner) for name, factory in (more or {}).items()}

    def __getitem__(self, name: str) -> Any:
        found = self._loaded.get(name)
        if found is None:
            module, _, attribute = self._table[name].path.partition(":")
            factory = getattr(import_module(module), attribute)
            found = self._loaded[name] = factory(self._owner())
        return found

    def __setitem__(self, name: str, extension: Any) -> None:
        self._loaded[name] = extension

    def __iter__(self) -> Iterator[str]:
        return iter({**self._table, **self._loaded})

    def __len__(self) -> int:
        return len({**self._table, **self._loaded})

    def __contains__(self, name: object) -> bool:
        return name in self._table or name in self._loaded

    def unload(self) -> None:
        """Forget those of the table, and so what they have; they are made anew where somebody looks at them."""
        self._loaded = {name: found for name, found in self._loaded.items() if name not in self._table}

    def loaded(self) -> list[Any]:
        """Those that have been used."""
        return list(self._loaded.values())

    def handlers(self) -> dict[str, Callable[..., Any]]:
        """Handlers by operation; the first call of one loads its extension."""
        return {
            op: _lazy(self, name, op)
            for name, extension in self._table.items()
            for op in extension.operations
        }


def _lazy(extensions: Extensions, name: str, op: str) -> Callable[..., Any]:
    def handler(comm: Any = None, **kwargs: Any) -> Any:
        method = getattr(extensions[name], op)
        return method(comm=comm, **kwargs) if takes_comm(method) else method(**kwargs)

    handler.__name__ = op
    return handler
