"""Run Python on many machines.

>>> from distributed import Client  # doctest: +SKIP
>>> with Client() as client:  # doctest: +SKIP
...     client.gather(client.map(abs, [-1, -2]))
[1, 2]

Names are loaded when they are first used: ``import distributed`` itself costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    network_version: str
    from distributed.client import (
        CancelledError,
        Client,
        Future,
        TimeoutError,
        as_completed,
        default_client,
        fire_and_forget,
        futures_of,
        get_client,
        wait,
    )
    from distributed.loops import sync

_HOMES = {
    "Adaptive": "deploy.adaptive",
    "Actor": "actor",
    "ActorFuture": "actor",
    "BaseActorFuture": "actor",
    "CompatibleExecutor": "client.executor",
    "CondaInstall": "diagnostics.plugin",
    "Environ": "diagnostics.plugin",
    "Event": "event",
    "InstallPlugin": "diagnostics.plugin",
    "Lock": "lock",
    "MultiLock": "multi_lock",
    "NannyPlugin": "diagnostics.plugin",
    "PipInstall": "diagnostics.plugin",
    "Queue": "queues",
    "SchedulerPlugin": "diagnostics.plugin",
    "Semaphore": "semaphore",
    "UploadDirectory": "diagnostics.plugin",
    "UploadFile": "diagnostics.plugin",
    "Variable": "variable",
    "WorkerPlugin": "diagnostics.plugin",
    "print": "coordination.messages_to_user",
    "warn": "coordination.messages_to_user",
    "CancelledError": "client",
    "Client": "client",
    "CommClosedError": "exceptions",
    "Future": "client",
    "KilledWorker": "exceptions",
    "LocalCluster": "deploy.local",
    "Nanny": "nanny",
    "Reschedule": "exceptions",
    "SSHCluster": "deploy.ssh",
    "Scheduler": "scheduler",
    "Security": "security",
    "SpecCluster": "deploy.spec",
    "Status": "core.status",
    "SubprocessCluster": "deploy.subprocess",
    "TimeoutError": "client",
    "Worker": "worker",
    "as_completed": "client",
    "connect": "comm",
    "default_client": "client",
    "fire_and_forget": "client",
    "futures_of": "client",
    "get_client": "client",
    "get_task_metadata": "diagnostics.task_metadata",
    "get_task_stream": "diagnostics.task_stream",
    "get_worker": "worker",
    "local_client": "client",
    "performance_report": "diagnostics.performance_report",
    "progress": "diagnostics.progressbar",
    "rejoin": "worker",
    "rpc": "core",
    "secede": "worker",
    "span": "spans",
    "sync": "loops",
    "wait": "client",
    "worker_client": "client",
}

#: The release of the interface that this package follows: programs compare it before they use what came with a release.
#: ``network_version`` is this package's own.
__version__ = "2026.8.0"

#: Modules that programs use after a mere ``import distributed``, as in ``distributed.lock.Lock``.
_MODULES = frozenset(
    {
        *(
            "actor",
            "batched",
            "client",
            "comm",
            "config",
            "core",
            "deploy",
            "diagnostics",
            "event",
            "lock",
            "metrics",
        ),
        *(
            "multi_lock",
            "nanny",
            "objects",
            "protocol",
            "queues",
            "scheduler",
            "security",
            "semaphore",
            "spans",
            "utils",
        ),
        *("variable", "versions", "worker"),
    }
)

__all__ = [
    "Actor",
    "ActorFuture",
    "Adaptive",
    "BaseActorFuture",
    "CancelledError",
    "Client",
    "CommClosedError",
    "CondaInstall",
    "Environ",
    "Event",
    "Future",
    "InstallPlugin",
    "KilledWorker",
    "LocalCluster",
    "Lock",
    "MultiLock",
    "Nanny",
    "NannyPlugin",
    "PipInstall",
    "Queue",
    "Reschedule",
    "SSHCluster",
    "Scheduler",
    "SchedulerPlugin",
    "Security",
    "Semaphore",
    "SpecCluster",
    "Status",
    "SubprocessCluster",
    "TimeoutError",
    "UploadDirectory",
    "UploadFile",
    "Variable",
    "Worker",
    "WorkerPlugin",
    "__version__",
    "as_completed",
    "connect",
    "default_client",
    "fire_and_forget",
    "futures_of",
    "get_client",
    "get_task_metadata",
    "get_task_stream",
    "get_worker",
    "local_client",
    "performance_report",
    "print",
    "progress",
    "rejoin",
    "rpc",
    "secede",
    "span",
    "sync",
    "wait",
    "warn",
    "worker_client",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "network_version":
        value: Any = _version()
    elif name in _HOMES:
        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    elif name in _MODULES:
        value = import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    from distributed.installed import installed_version

    return (
        installed_version("distributed-network") or "0.1.0"
    )  # the latter in a checkout that is not installed
