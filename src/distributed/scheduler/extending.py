"""What others may hang on a scheduler: extensions, plugins with their hooks, and the log of events.

Extensions and plugins hear of what happened at the end of the turn in which it did, never in the middle of it.
A hook that no plugin has costs nothing.
"""

from __future__ import annotations

import inspect
import logging
import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from distributed.core.contained import contained
from distributed.core.extensions import SCHEDULER, Extensions
from distributed.core.observed import ObservedLog, is_default
from distributed.protocol.messages import Message, SubmitGraph, SubmitTasks, TasksFinished, WorkerEvent
from distributed.scheduler.base import SchedulerBase
from distributed.scheduler.completions import Completions, as_startstops
from distributed.scheduler.state import WorkerState

logger = logging.getLogger("distributed.scheduler")

#: Methods of plugins that the scheduler calls, besides ``start`` and ``valid_workers_downscaling``.
HOOKS = (
    "transition",
    "update_graph",
    "add_worker",
    "remove_worker",
    "add_client",
    "remove_client",
    "restart",
    "before_close",
    "close",
    "log_event",
)


class Extending(SchedulerBase):
    """Mixed into :class:`~distributed.scheduler.server.Scheduler`."""

    plugins: dict[str, Any] = None  # type: ignore[assignment]  # from __init__ on, as the next two
    extensions: Extensions = None  # type: ignore[assignment]
    task_metadata: dict[Any, Any] = None  # type: ignore[assignment]

    def init_extending(self, extensions: Mapping[str, Callable[[Any], Any]] | None) -> None:
        """Before anything else of this class is used."""
        self.plugins = {}
        self.task_metadata = {}
        self._hooks: dict[str, list[Callable[..., Any]]] = {name: [] for name in HOOKS}
        self._completions = Completions()
        self.extensions = Extensions(self, SCHEDULER, extensions)

    # ------------------------------------------------------------ plugins

    def add_plugin(
        self, plugin: Any, *, idempotent: bool = False, name: str | None = None, **kwargs: Any
    ) -> None:
        """Have a plugin's methods called from now on. Its ``start`` is not.

        Parameters
        ----------
        plugin : SchedulerPlugin
        idempotent : bool
            Do nothing if there is one of this name.
        name : str, optional
            Default: the plugin's own ``name``, else one made from its class.
        """
        if kwargs:
            raise TypeError(f"add_plugin got unknown parameters: {', '.join(sorted(kwargs))}")
        name = plugin_name(plugin, name)
        if name in self.plugins:
            if idempotent:
                return
            warnings.warn(
                f"there is a scheduler plugin named {name!r}: it is replaced. Give another name to have both.",
                stacklevel=2,
            )
        self.plugins[name] = plugin
        self._collect_hooks()

    async def start_plugins(self) -> None:
        """Call ``start`` of all. Raises what it raises."""
        for plugin in list(self.plugins.values()):
            result = plugin.start(self) if hasattr(plugin, "start") else None
            if inspect.isawaitable(result):
                await result

    def remove_plugin(self, name: str | None = None) -> None:
        """Call a plugin's methods no more. Raises ValueError when there is none of this name."""
        if name not in self.plugins:
            raise ValueError(f"no scheduler plugin is named {name!r}; there are {sorted(self.plugins)}")
        del self.plugins[name]
        self._collect_hooks()

    def _collect_hooks(self) -> None:
        for hook in HOOKS:
            methods = [getattr(plugin, hook, None) for plugin in self.plugins.values()]
            self._hooks[hook] = [
                method for method in methods if method is not None and not is_default(method)
            ]
        log = self.state.log
        if self._hooks["transition"] and not isinstance(log, ObservedLog):
            self.state.log = ObservedLog(log)
        elif not self._hooks["transition"] and isinstance(log, ObservedLog):
            self.state.log = log.plain()

    def call_hooks(self, hook: str, *args: Any, **kwargs: Any) -> None:
        """Call a hook of all plugins; what is awaitable runs on beside, what raises is logged."""
        for method in list(self._hooks[hook]):
            try:
                result = method(*args, **kwargs)
                if inspect.isawaitable(result):
                    self.spawn(_awaiting(result), name=f"plugin's {hook}")
            except BaseException:  # whatever it is, no plugin ends the scheduler
                logger.exception("a scheduler plugin failed in %s: %r", hook, method)

    async def await_hooks(self, hook: str, *args: Any) -> None:
        """The same, and wait for those that are awaitable."""
        for method in list(self._hooks[hook]):
            try:
                with contained(method):
                    result = method(*args)
                    if inspect.isawaitable(result):
                        await result
            except Exception:
                logger.exception("a scheduler plugin failed in %s: %r", hook, method)

    async def register_scheduler_plugin(
        self, plugin: Any, name: str | None = None, idempotent: bool | None = None
    ) -> None:
        """Start a plugin (an object, or pickled) and add it."""
        await self.extensions["plugins"].register_scheduler_plugin(
            plugin=plugin, name=name, idempotent=idempotent
        )

    async def unregister_scheduler_plugin(self, name: str) -> None:
        """Close a plugin and remove it."""
        await self.extensions["plugins"].unregister_scheduler_plugin(name=name)

    async def register_worker_plugin(
        self, comm: Any, plugin: Any, name: str, idempotent: bool | None = None
    ) -> dict[str, Any]:
        """Give a pickled plugin to all workers, also to those that come later."""
        found: dict[str, Any] = await self.extensions["plugins"].register_worker_plugin(
            plugin=plugin, name=name, idempotent=idempotent
        )
        return found

    async def unregister_worker_plugin(self, comm: Any, name: str) -> dict[str, Any]:
        """Take a plugin from all workers."""
        found: dict[str, Any] = await self.extensions["plugins"].unregister_worker_plugin(name=name)
        return found

    async def register_nanny_plugin(
        self, comm: Any, plugin: Any, name: str, idempotent: bool | None = None
    ) -> dict[str, Any]:
        """Give a pickled plugin to all nannies, also to those that come later."""
        found: dict[str, Any] = await self.extensions["plugins"].register_nanny_plugin(
            plugin=plugin, name=name, idempotent=idempotent
        )
        return found

    async def unregister_nanny_plugin(self, comm: Any, name: str) -> dict[str, Any]:
        """Take a plugin from all nannies."""
        found: dict[str, Any] = await self.extensions["plugins"].unregister_nanny_plugin(name=name)
        return found

    async def upload_file(self, filename: str, data: bytes | str, load: bool = True) -> dict[str, Any]:
        """Put a file into a directory of this process's own and, for .py, .zip and .egg, import it."""
        answer: dict[str, Any] = await self.extensions["plugins"].upload_file(filename, data, load)
        return answer

    def valid_workers_downscaling(self, workers: list[WorkerState]) -> list[WorkerState]:
        """Those of ``workers`` that every plugin would let go."""
        for plugin in list(self.plugins.values()):
            choose = getattr(plugin, "valid_workers_downscaling", None)
            if choose is not None and not is_default(choose):
                workers = list(choose(self, workers))
        return workers

    # ------------------------------------------------------------ events

    def log_event(self, topic: str | Iterable[str], msg: Any) -> None:
        """Append to the log of a topic, or of several, and tell who has subscribed to it."""
        self.extensions["topics"].log_event(topic=topic, msg=msg)

    def log_worker_event(self, worker: str, topic: str | Iterable[str], msg: Any) -> None:
        """Log an event for a worker, as the worker itself would."""
        self.log_event(topic, {"worker": worker, **msg} if isinstance(msg, dict) else msg)

    async def get_profile(self, workers: Any = None, merge_workers: bool = True, **kwargs: Any) -> Any:
        """Profiles of tasks, as ``Client.profile`` returns them."""
        return await self.extensions["profile"].profile(workers, merge_workers, **kwargs)

    async def get_profile_metadata(
        self,
        workers: Any = None,
        start: float = 0,
        stop: float | None = None,
        profile_cycle_interval: Any = None,
    ) -> dict[str, Any]:
        """How often workers looked when, and at which tasks; ``profile_cycle_interval`` is not used."""
        found: dict[str, Any] = await self.extensions["profile"].metadata(workers, start=start, stop=stop)
        return found

    def get_task_stream(
        self, start: Any = None, stop: Any = None, count: int | None = None, start_index: int | None = None
    ) -> Any:
        """What ``Client.get_task_stream`` gives; looks from the first call on. ``start_index`` leaves out as many."""
        found = self.extensions["task_stream"].get_task_stream(start=start, stop=stop, count=count)
        return found if start_index is None else found[start_index:]

    async def performance_report(
        self, start: float, last_count: int, code: str = "", mode: Any = None
    ) -> str:
        """The page of :class:`distributed.performance_report`, since ``start``, in seconds since the epoch.

        It has what somebody has begun to look at by then: see :meth:`get_task_stream` and :meth:`get_profile`.
        ``last_count`` and ``mode`` are not used.
        """
        page: str = await self.extensions["performance_reports"].performance_report(
            start, last_count, code, mode
        )
        return page

    def get_task_stream_index(self) -> int:
        """How many entries :meth:`get_task_stream` has."""
        return len(self.get_task_stream())

    async def get_worker_logs(
        self, n: int | None = None, workers: Iterable[str] | None = None, nanny: bool = False
    ) -> dict[str, Any]:
        """The last ``n`` lines that workers (or their nannies) logged, by address."""
        answers = await self.broadcast(  # type: ignore[attr-defined]
            msg={"op": "get_logs", "n": n}, workers=workers, nanny=nanny, on_error="ignore"
        )
        return dict(answers)

    def subscribe_topic(self, topic: str, client: str) -> None:
        """From now on a client is told of the events of a topic."""
        self.extensions["topics"].subscribe_topic(topic=topic, client=client)

    def unsubscribe_topic(self, topic: str, client: str) -> None:
        """Undo :meth:`subscribe_topic`."""
        self.extensions["topics"].unsubscribe_topic(topic=topic, client=client)

    def get_events(self, topic: str | None = None) -> Any:
        """Pairs of time (seconds since the epoch) and message of a topic; by topic if none is named."""
        return self.extensions["topics"].events(topic=topic)

    def tell_client(self, client: str, message: Message) -> None:
        """A message beside those of the machine; dropped if the client is not connected."""
        stream = self._streams.get(client)
        if stream is not None and not stream.closed:
            stream.send(message)

    # ------------------------------------------------------------ metadata

    def start_task_metadata(self, name: str) -> None:
        """Begin to collect the metadata of tasks under a name."""
        self.extensions["task_metadata"].start_task_metadata(name=name)

    def stop_task_metadata(self, name: str | None = None) -> dict[str, Any]:
        """Stop, and return what was collected."""
        return self.extensions["task_metadata"].stop_task_metadata(name=name)  # type: ignore[no-any-return]

    def set_metadata(self, keys: list[str] | str, value: Any = None) -> None:
        """Set an entry of the nested dictionary :attr:`task_metadata`."""
        self.extensions["metadata"].set_metadata(keys=keys, value=value)

    def get_metadata(self, keys: list[str] | str, **kwargs: Any) -> Any:
        """An entry of the nested dictionary :attr:`task_metadata`; ``default=`` where there is none, else KeyError."""
        return self.extensions["metadata"].get_metadata(keys=keys, **kwargs)

    # ------------------------------------------------------------ what happened in this turn

    def tell_extensions(self) -> None:
        """Hand on what the machine noted in this turn."""
        notices, self.state.notices = self.state.notices, []
        for kind, peer, data in notices:
            if kind == "worker-event":
                self._on_worker_event(peer, data)
            elif kind == "worker-gone":
                self.call_hooks("remove_worker", self, peer, stimulus_id=data)
                self.log_event(["all", peer], {"action": "remove-worker", "worker": peer})
                self._tell("worker_gone", peer)
            else:
                self.call_hooks("remove_client", self, peer)
                self.log_event(["all", peer], {"action": "remove-client", "client": peer})
                self._tell("client_gone", peer)
        if isinstance(self.state.log, ObservedLog):
            self._tell_transitions(self.state.log)

    def _tell(self, method: str, peer: str) -> None:
        for extension in self.extensions.loaded():
            listener = getattr(extension, method, None)
            if listener is not None:
                listener(peer)

    def client_lost(self, client: str) -> None:
        """A client's connection broke; it may come back."""
        self._tell("client_lost", client)

    def worker_joined(self, address: str) -> None:
        self.log_event(["all", address], {"action": "add-worker", "worker": address})
        self.call_hooks("add_worker", self, address)

    def client_joined(self, client: str, topics: Iterable[str]) -> None:
        """A client registered, and subscribes to ``topics``."""
        for topic in topics:
            self.extensions["topics"].subscribe_topic(topic=topic, client=client)
        self.log_event(["all", client], {"action": "add-client", "client": client})
        self.call_hooks("add_client", self, client)

    def client_said(self, client: str, messages: list[Message]) -> None:
        """Plugins hear of new graphs. Called only when one listens."""
        for message in messages:
            if isinstance(message, SubmitTasks | SubmitGraph):
                wanted = (
                    message.wanted
                    if isinstance(message.wanted, list)
                    else [message.wanted] * len(message.keys)
                )
                self.call_hooks(
                    "update_graph",
                    self,
                    client=client,
                    keys={key for key, one in zip(message.keys, wanted, strict=True) if one},
                    tasks=list(message.keys),
                    annotations={},
                    priority={},
                    stimulus_id="update-graph",
                    dependencies=message.deps,
                )

    def worker_said(self, worker: str, messages: list[Message]) -> None:
        """Note when tasks ran. Called only when a plugin wants to hear of transitions."""
        ws = self.state.workers.get(worker)
        for message in messages:
            if type(message) is TasksFinished and ws is not None:
                self._completions.add(worker, ws.nthreads, message, time.time())

    @property
    def wants_transitions(self) -> bool:
        """Whether a plugin wants to hear of tasks' changes of state."""
        return bool(self._hooks["transition"])

    @property
    def wants_graphs(self) -> bool:
        """Whether a plugin wants to hear of new graphs."""
        return bool(self._hooks["update_graph"])

    def _on_worker_event(self, worker: str, message: WorkerEvent) -> None:
        if message.topic == "log-event" and "log_event" not in self._blocked_operations:
            topic, msg = message.data
            self.log_event(topic, msg)

    def _tell_transitions(self, log: ObservedLog[Any]) -> None:
        tasks = self.state.tasks
        spans = self._completions.take()
        for key, start, finish, (kind, source, number), _ in log.take():
            kwargs: dict[str, Any] = {}
            ts = tasks.get(key)
            span = spans.get(key) if finish == "memory" else None
            if span is not None:
                kwargs = {"worker": span[0], "thread": span[1], "startstops": as_startstops(span)}
            if ts is not None and finish == "memory":
                holder = ts.who_has[0].address if ts.who_has else None
                kwargs = {"worker": holder, "nbytes": ts.nbytes, "typename": ts.type, **kwargs}
            elif ts is not None and finish == "processing" and ts.processing_on is not None:
                kwargs = {"worker": ts.processing_on.address}
            elif ts is not None and finish == "erred" and ts.error is not None:
                kwargs = {
                    "worker": ts.error.erred_on[-1] if ts.error.erred_on else None,
                    "exception": ts.error.exception,
                    "traceback": ts.error.traceback,
                }
            self.call_hooks(
                "transition", key, start, finish, stimulus_id=f"{kind}-{source}-{number}", **kwargs
            )


def plugin_name(plugin: Any, name: str | None = None) -> str:
    """The name to keep a plugin under: ``name``, its own, or one made from its class."""
    return name or getattr(plugin, "name", None) or f"{type(plugin).__name__}-{uuid.uuid4()}"


async def _awaiting(awaitable: Any) -> None:
    with contained(awaitable):
        await awaitable
