"""Plugins: the user's code in the scheduler, in workers and in nannies, also in those that come later.

The scheduler keeps plugins of workers and nannies pickled and passes them on. It unpickles only those that were made
for itself.
"""

from __future__ import annotations

import asyncio
import inspect
import tempfile
import weakref
from collections.abc import Callable
from typing import Any

from distributed import uploads
from distributed.exceptions import RemoteError
from distributed.protocol.errors import unpack_error
from distributed.protocol.payload import Payload, Serialized, pack, unpack
from distributed.scheduler.control import allow_code, unpack_code

# ---------------------------------------------------------------- scheduler


class Registry:
    """Pickled plugins by name, in the order they were registered. Pure."""

    def __init__(self) -> None:
        self.plugins: dict[str, Payload] = {}

    def register(self, name: str, plugin: Payload, idempotent: bool) -> bool:
        """Whether it has to be given to those that are there."""
        if idempotent and name in self.plugins:
            return False
        self.plugins.pop(name, None)
        self.plugins[name] = plugin
        return True

    def unregister(self, name: str, kind: str) -> None:
        if name not in self.plugins:
            raise ValueError(f"no {kind} plugin is named {name!r}; there are {list(self.plugins)}")
        del self.plugins[name]

    def all(self) -> list[list[Any]]:
        """[name, payload] of each."""
        return [list(entry) for entry in self.plugins.items()]


class SchedulerPlugins:
    """The scheduler's half."""

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler
        self.workers = Registry()
        self.nannies = Registry()
        self._directory: tempfile.TemporaryDirectory[str] | None = None

    def for_workers(self) -> list[list[Any]]:
        """What a worker that joins has to set up."""
        return self.workers.all()

    def register_nanny(self) -> list[list[Any]]:
        """What a nanny that starts has to set up."""
        return self.nannies.all()

    async def register_scheduler_plugin(
        self, plugin: Any, name: str | None = None, idempotent: bool | None = None
    ) -> None:
        if isinstance(plugin, bytes | Serialized):
            plugin = unpack_code(plugin)
        scheduler = self.scheduler
        name = name or getattr(plugin, "name", None)
        if idempotent is None:
            idempotent = bool(getattr(plugin, "idempotent", False))
        if idempotent and name in scheduler.plugins:
            return
        if hasattr(plugin, "start"):
            await _result(plugin.start(scheduler))
        scheduler.plugins.pop(name, None)
        scheduler.add_plugin(plugin, name=name)

    async def unregister_scheduler_plugin(self, name: str) -> None:
        plugin = self.scheduler.plugins.get(name)
        self.scheduler.remove_plugin(name)
        if hasattr(plugin, "close"):
            await _result(plugin.close())

    async def register_worker_plugin(
        self, plugin: Payload, name: str, idempotent: bool | None = None
    ) -> dict[str, Any]:
        if not self.workers.register(name, plugin, bool(idempotent)):
            return {}
        return await self._everywhere("plugin_add", nanny=False, plugin=plugin, name=name)

    async def unregister_worker_plugin(self, name: str) -> dict[str, Any]:
        self.workers.unregister(name, "worker")
        return await self._everywhere("plugin_remove", nanny=False, name=name, missing_ok=True)

    async def register_nanny_plugin(
        self, plugin: Payload, name: str, idempotent: bool | None = None
    ) -> dict[str, Any]:
        if not self.nannies.register(name, plugin, bool(idempotent)):
            return {}
        return await self._everywhere("plugin_add", nanny=True, plugin=plugin, name=name)

    async def unregister_nanny_plugin(self, name: str) -> dict[str, Any]:
        self.nannies.unregister(name, "nanny")
        return await self._everywhere("plugin_remove", nanny=True, name=name, missing_ok=True)

    async def upload_file(self, filename: str, data: Any, load: bool = True) -> dict[str, Any]:
        allow_code()
        if self._directory is None:
            self._directory = tempfile.TemporaryDirectory(prefix="distributed-scheduler-")
            weakref.finalize(self, uploads.remove, self._directory.name)
        content = unpack(data) if isinstance(data, Serialized) else data
        content = content.encode() if isinstance(content, str) else content
        where = self._directory.name
        await asyncio.to_thread(uploads.install, where, filename, content, load=load, update_own=False)
        return {"status": "OK", "nbytes": len(content)}

    async def _everywhere(self, op: str, *, nanny: bool, **kwargs: Any) -> dict[str, Any]:
        answers = dict(await self.scheduler.broadcast(op=op, kwargs=kwargs, nanny=nanny))
        # whoever is lost meanwhile hears of it when it is back
        return {address: answer for address, answer in answers.items() if not answer.get("lost")}


async def _result(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


# ---------------------------------------------------------------- client


class ClientPlugins:
    """The client's half."""

    def __init__(self, client: Any) -> None:
        self.client = client

    async def register(self, plugin: Any, name: str | None, idempotent: bool | None) -> Any:
        """To whom the plugin belongs, its class says."""
        from distributed.diagnostics.plugin import NannyPlugin, SchedulerPlugin, WorkerPlugin
        from distributed.scheduler.extending import plugin_name

        kinds = {"nanny": NannyPlugin, "scheduler": SchedulerPlugin, "worker": WorkerPlugin}
        kind = next((kind for kind, base in kinds.items() if isinstance(plugin, base)), None)
        if kind is None:
            raise TypeError(
                "a plugin is an object of a class made from SchedulerPlugin, WorkerPlugin or NannyPlugin, "
                f"not {plugin!r}"
            )
        if idempotent is None:
            idempotent = bool(getattr(plugin, "idempotent", False))
        answers = await self.client._call(
            f"register_{kind}_plugin",
            plugin=pack(plugin),
            name=plugin_name(plugin, name),
            idempotent=idempotent,
        )
        result = None if kind == "scheduler" else _raise_first(answers)
        _note_upload(plugin)
        return result

    async def unregister(self, kind: str, name: str) -> Any:
        answers = await self.client._call(f"unregister_{kind}_plugin", name=name)
        return None if kind == "scheduler" else _raise_first(answers)

    async def register_setup(self, setup: Callable[..., Any] | None) -> Any:
        from distributed.diagnostics.callbacks import SetupCallback

        if setup is None:
            return {}
        return await self.register(SetupCallback(setup), None, None)

    async def upload_file(self, filename: str, load: bool) -> Any:
        from distributed.diagnostics.plugin import SchedulerUploadFile, UploadFile

        plugin = UploadFile(filename, load=load)
        await self.register(SchedulerUploadFile(filename, load=load), None, None)
        return await self.register(plugin, None, None)


def _note_upload(plugin: Any) -> None:
    """What is submitted from now on is other work where it refers to modules that the plugin has brought."""
    from distributed.client.packing import uploaded
    from distributed.diagnostics.plugin import UploadDirectory, UploadFile

    if isinstance(plugin, UploadFile):
        uploaded.note(uploads.names_in(plugin.filename, plugin.data), plugin.data)
    elif isinstance(plugin, UploadDirectory):
        uploaded.note(uploads.names_in("directory.zip", plugin.data), plugin.data)


def _raise_first(answers: dict[str, Any]) -> dict[str, Any]:
    """Answers by address; the first error is raised."""
    for address, answer in answers.items():
        if answer["status"] != "OK":
            text = f"{address}: {answer.get('text', '')}"
            error = unpack_error(answer.get("exception"), answer.get("traceback"), text)
            raise error if isinstance(error, Exception) else RemoteError(text)
    return {address: {"status": "OK"} for address in answers}
