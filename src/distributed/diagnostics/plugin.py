"""Plugins: what users add to a scheduler, its workers and their nannies.

A plugin is an object of a class made from :class:`SchedulerPlugin`, :class:`WorkerPlugin` or :class:`NannyPlugin`,
given to :meth:`distributed.Client.register_plugin`. A hook that a class does not define is never called.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def _does_nothing(hook: F) -> F:
    """A hook of a base class: nobody needs to call it."""
    hook.does_nothing = True  # type: ignore[attr-defined]
    return hook


class SchedulerPlugin:
    """Runs in the scheduler's process.

    Hooks are called at the end of the turn of the event loop in which something happened, so they see the scheduler as
    it is by then. They run on its event loop: be quick. What one raises is logged and does no harm.

    Attributes
    ----------
    idempotent : bool
        Whether a second plugin of the same name is ignored.
    name : str, optional
        Under which it is kept.

    Examples
    --------
    >>> class Counter(SchedulerPlugin):
    ...     name = "counter"
    ...     def start(self, scheduler):
    ...         self.count = 0
    ...     def transition(self, key, start, finish, *args, **kwargs):
    ...         self.count += finish == "memory"
    >>> client.register_plugin(Counter())  # doctest: +SKIP
    """

    idempotent: bool = False

    async def start(self, scheduler: Any) -> None:
        """Called once, before any other hook. May be a plain function."""

    @_does_nothing
    async def before_close(self) -> None:
        """The scheduler is about to close; its connections are still there."""

    @_does_nothing
    async def close(self) -> None:
        """The scheduler closes, or the plugin is removed."""

    @_does_nothing
    def update_graph(
        self,
        scheduler: Any,
        *,
        client: str,
        keys: set[Any],
        tasks: list[Any],
        annotations: dict[str, Any],
        priority: dict[Any, Any],
        stimulus_id: str,
        **kwargs: Any,
    ) -> None:
        """A client submitted tasks: ``tasks`` are their keys, ``keys`` those that it holds futures on."""

    @_does_nothing
    def restart(self, scheduler: Any) -> None:
        """All workers are being restarted."""

    @_does_nothing
    def transition(
        self, key: Any, start: str, finish: str, *args: Any, stimulus_id: str, **kwargs: Any
    ) -> None:
        """A task changed its state. ``kwargs``: ``worker``, and with a result ``nbytes`` and ``typename``."""

    @_does_nothing
    def add_worker(self, scheduler: Any, worker: str) -> Any:
        """A worker joined; ``worker`` is its address. May be a coroutine function."""

    @_does_nothing
    def remove_worker(self, scheduler: Any, worker: str, *, stimulus_id: str, **kwargs: Any) -> Any:
        """A worker left; ``worker`` is its address. May be a coroutine function."""

    @_does_nothing
    def add_client(self, scheduler: Any, client: str) -> None:
        """A client connected; ``client`` is its id."""

    @_does_nothing
    def remove_client(self, scheduler: Any, client: str) -> None:
        """A client left for good; ``client`` is its id."""

    @_does_nothing
    def log_event(self, topic: str, msg: Any) -> None:
        """Somebody logged an event."""

    @_does_nothing
    def valid_workers_downscaling(self, scheduler: Any, workers: list[Any]) -> list[Any]:
        """Those of ``workers`` that may be closed when the network shrinks."""
        return workers


class WorkerPlugin:
    """Runs in every worker's process, also in those that join later, where it is set up before the first task.

    Examples
    --------
    >>> class Models(WorkerPlugin):
    ...     def setup(self, worker):
    ...         worker.models = load_models()
    >>> client.register_plugin(Models(), name="models")  # doctest: +SKIP
    """

    idempotent: bool = False

    def setup(self, worker: Any) -> Any:
        """Called when it is added. May be a coroutine function.

        What it raises when it is registered is raised there, and it is not kept. A worker that joins later goes on
        without it, and clients are warned.
        """

    def teardown(self, worker: Any) -> Any:
        """Called when it is removed, and when the worker closes."""

    @_does_nothing
    def transition(self, key: Any, start: str, finish: str, **kwargs: Any) -> None:
        """A task changed its state on this worker."""


class NannyPlugin:
    """Runs in every nanny's process, also in those that start later.

    Attributes
    ----------
    restart : bool
        Whether the worker has to be started anew to see the effect.
    """

    idempotent: bool = False
    restart: bool = False

    def setup(self, nanny: Any) -> Any:
        """Called when it is added. May be a coroutine function."""

    def teardown(self, nanny: Any) -> Any:
        """Called when it is removed, and when the nanny closes."""


_HOMES = {
    "CondaInstall": "install",
    "Environ": "install",
    "InstallPlugin": "install",
    "PackageInstall": "install",
    "PipInstall": "install",
    "SchedulerUploadFile": "upload",
    "UploadDirectory": "upload",
    "UploadFile": "upload",
}

__all__ = ["NannyPlugin", "SchedulerPlugin", "WorkerPlugin", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"distributed.diagnostics.{_HOMES[name]}"), name)
    if name == "ForwardLoggingPlugin":
        return import_module("distributed.coordination.log_records").ForwardLoggingPlugin
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
