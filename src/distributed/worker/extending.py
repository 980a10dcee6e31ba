"""What others may hang on a worker: extensions, plugins of the network with their hooks, and events that it logs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from distributed import config
from distributed.core.extensions import WORKER, Extensions
from distributed.core.network_plugins import NetworkPlugins
from distributed.core.observed import ObservedLog, is_default
from distributed.exceptions import CommClosedError
from distributed.protocol.codec import encode
from distributed.protocol.messages import WorkerEvent
from distributed.worker.operations import Operations

logger = logging.getLogger("distributed.worker")


class Extending(Operations):
    """Mixed into :class:`~distributed.worker.server.Worker`."""

    extensions: Extensions

    def init_extending(self) -> None:
        self.plugins = {}
        limit = config.seconds("distributed.worker.plugin-timeout")
        self.network_plugins = NetworkPlugins(
            self, self.plugin_add, self.plugin_remove, logger, self._warn_clients, limit
        )
        self.extensions = Extensions(self, WORKER)
        self._transition_hooks: list[Callable[..., Any]] = []

    # ------------------------------------------------------------ plugins

    async def plugin_add(
        self, plugin: Any, name: str | None = None, catch_errors: bool = False, **kwargs: Any
    ) -> dict[str, Any]:
        """As :meth:`Operations.plugin_add`; with ``catch_errors`` what ``setup`` raises is logged and returned."""
        try:
            answer = await super().plugin_add(plugin, name, **kwargs)
        except Exception as error:
            if not catch_errors:
                raise
            logger.exception("plugin %s could not be set up", name)
            return {"status": "error", "text": repr(error)}
        self._collect_hooks()
        return answer

    async def plugin_remove(self, name: str, missing_ok: bool = False) -> dict[str, Any]:
        """As :meth:`Operations.plugin_remove`; with ``missing_ok`` it need not be there."""
        if missing_ok and name not in self.plugins:
            return {"status": "OK"}
        try:
            return await super().plugin_remove(name)
        finally:
            self._collect_hooks()

    async def teardown_plugins(self) -> None:
        await super().teardown_plugins()
        for extension in self.extensions.loaded():
            if hasattr(extension, "close"):
                extension.close()

    def _warn_clients(self, text: str) -> None:
        scheduler = self.rpc(self.scheduler_address)  # type: ignore[attr-defined]
        self.spawn(scheduler.log_event(topic="warn", msg=text), name="warn clients")

    def _collect_hooks(self) -> None:
        methods = [getattr(plugin, "transition", None) for plugin in self.plugins.values()]
        self._transition_hooks = [m for m in methods if m is not None and not is_default(m)]
        history = self.state.history
        if self._transition_hooks and not isinstance(history, ObservedLog):
            self.state.history = ObservedLog(history)
        elif not self._transition_hooks and isinstance(history, ObservedLog):
            self.state.history = history.plain()

    def tell_transitions(self) -> None:
        """Plugins hear of what happened to tasks in this turn."""
        history = self.state.history
        if not isinstance(history, ObservedLog):
            return
        for key, start, finish, _ in history.take():
            for hook in self._transition_hooks:
                try:
                    hook(key, start, finish)
                except BaseException:  # no plugin ends the worker
                    logger.exception("a worker plugin failed in transition: %r", hook)

    async def get_profile(
        self,
        start: float | None = None,
        stop: float | None = None,
        key: str | None = None,
        server: bool = False,
    ) -> dict[str, Any]:
        """Where this worker's tasks spend their time; looks from the first call on.

        Raises ValueError for ``server=True``: the event loop itself is not looked at.
        """
        if server:
            raise ValueError("get_profile: only tasks are profiled here, not the event loop (server=True)")
        found: dict[str, Any] = await self.extensions["profile"].profile(start, stop, key)
        return found

    async def get_profile_metadata(self, start: float = 0, stop: float | None = None) -> dict[str, Any]:
        """How often was looked when: ``counts``, and by name of the tasks ``keys``: pairs of time and count."""
        found: dict[str, Any] = self.extensions["profile"].metadata(start, stop)
        return found

    def trigger_profile(self) -> None:
        """Look once at what tasks do now."""
        self.extensions["profile"].look()

    def cycle_profile(self) -> None:
        """What is seen from now on is kept apart from what was seen before."""
        self.extensions["profile"].next_cycle()

    # ------------------------------------------------------------ actors

    async def actor_execute(
        self, actor: Any = None, function: str = "", args: Any = (), kwargs: Any = None
    ) -> dict[str, Any]:
        """Call a method of an actor that lives here; its answer as it travels."""
        answer: dict[str, Any] = await self.extensions["actors"].actor_execute(actor, function, args, kwargs)
        return answer

    def actor_attribute(self, actor: Any = None, attribute: str = "") -> dict[str, Any]:
        """Read an attribute of an actor that lives here; its answer as it travels."""
        answer: dict[str, Any] = self.extensions["actors"].actor_attribute(actor, attribute)
        return answer

    # ------------------------------------------------------------ events

    def log_event(self, topic: str | Iterable[str], msg: Any) -> None:
        """Have the scheduler log an event under a topic, or under several. From any thread.

        ``msg`` is made of plain Python values. Without a connection to the scheduler the event is dropped.

        Raises
        ------
        TypeError
            ``msg`` cannot travel.
        """
        names = topic if isinstance(topic, str) else list(topic)
        encode([WorkerEvent("log-event", [names, msg])])  # whoever logs what cannot travel shall hear of it
        if self.loop is not None:
            self.loop.call_soon_threadsafe(self._send_event, [names, msg])

    def _send_event(self, data: list[Any]) -> None:
        stream = self.stream
        if stream is None or stream.closed:
            logger.debug("an event of the topic %s is dropped: there is no scheduler now", data[0])
            return
        try:
            stream.send(WorkerEvent("log-event", data))
        except CommClosedError:
            logger.debug("an event of the topic %s is dropped: the scheduler went away", data[0])
