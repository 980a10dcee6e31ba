"""Plugins: the user's code in the scheduler, in workers and in nannies, also in those that come later.

The scheduler keeps plugins of workers and nannies pickled and passes them on. It unpickles only those that were made
for itself.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import shutil
import tempfile
import uuid
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

from distributed import uploads
from distributed.core.network_plugins import failure_text
from distributed.exceptions import RemoteError
from distributed.forks import only_here
from distributed.protocol.errors import unpack_error
from distributed.protocol.payload import Payload, Serialized, pack, unpack
from distributed.scheduler.control import allow_code, unpack_code

logger = logging.getLogger("distributed.scheduler")

# ---------------------------------------------------------------- scheduler


#: Which registry numbered a plugin first, and how.
Origin: TypeAlias = tuple[str, int]


class Registry:
    """Pickled plugins by name, in the order in which they were registered, each with a number. Pure.

    Parameters
    ----------
    epoch : str
        Unique: numbers of another registry mean nothing here.

    Attributes
    ----------
    version : list
        Changes with whatever is changed.
    """

    def __init__(self, epoch: str) -> None:
        self.plugins: dict[str, tuple[Payload, int]] = {}
        self._told_again: dict[str, Origin] = {}
        self.version: list[Any] = [epoch, 0]

    def get(self, name: str) -> Payload | None:
        return self.plugins[name][0] if name in self.plugins else None

    def register(self, name: str, plugin: Payload, idempotent: bool = False) -> int | None:
        """Its number; None if there is one already and that is enough."""
        if idempotent and name in self.plugins:
            return None
        self.plugins.pop(name, None)
        self._told_again.pop(name, None)
        number = self._count()
        self.plugins[name] = (plugin, number)
        return number

    def register_again(self, name: str, plugin: Payload, origin: Origin) -> int | None:
        """As :meth:`register` for what an earlier scheduler had; None if a newer one of this name is here."""
        if name in self.plugins:
            known = self._told_again.get(name)
            if known is None or known[0] != origin[0] or known[1] >= origin[1]:
                return None
        number = self.register(name, plugin)
        self._told_again[name] = origin
        return number

    def origin(self, name: str) -> Origin | None:
        """What a client has to say about its plugin when it registers it again at another scheduler."""
        return (self.version[0], self.plugins[name][1]) if name in self.plugins else None

    def unregister(self, name: str, kind: str) -> None:
        if name not in self.plugins:
            raise ValueError(f"no {kind} plugin is named {name!r}; there are {list(self.plugins)}")
        del self.plugins[name]
        self._count()

    def _count(self) -> int:
        number: int = self.version[1] + 1
        self.version = [self.version[0], number]
        return number

    def all(self) -> list[list[Any]]:
        """[name, payload, number, origin] of each; an origin has what an earlier scheduler had."""
        told_again = self._told_again
        entries = [
            [name, plugin, number, told_again.get(name)] for name, (plugin, number) in self.plugins.items()
        ]
        # Clients come back in any order; what they registered is set up in the order it had.
        return sorted(entries, key=lambda entry: (1, entry[2]) if entry[3] is None else (0, entry[3][1]))

    def told_to(self, version: Any) -> dict[str, Any] | None:
        """What to tell somebody who has this version; None if it is this one, or there is nothing to be told."""
        stranger = version is None or version[0] != self.version[0]
        if version == self.version or (stranger and not self.plugins):
            return None
        return {"version": self.version, "plugins": self.all()}


class SchedulerPlugins:
    """The scheduler's half."""

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler
        self.workers = Registry(uuid.uuid4().hex)
        self.nannies = Registry(uuid.uuid4().hex)
        self._turns: dict[tuple[bool, str], asyncio.Lock] = {}
        self._directory: str | None = None

    def for_worker(self, version: Any) -> dict[str, Any] | None:
        """What a worker has to set up before it may join."""
        return self.workers.told_to(version)

    def register_nanny(self) -> dict[str, Any]:
        """What a nanny that starts has to set up."""
        return {"version": self.nannies.version, "plugins": self.nannies.all()}

    def plugins_failed(self, where: str, failures: Iterable[Sequence[str]]) -> None:
        """Somebody could not set up a plugin that others have: tell clients and the log."""
        for name, text in failures:
            sentence = failure_text(name, where, text)
            logger.error("%s", sentence)
            self.scheduler.log_event("warn", sentence)

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

    async def register_plugin(
        self, kind: str, plugin: Payload, name: str, idempotent: bool = False, origin: Origin | None = None
    ) -> dict[str, Any]:
        """For clients. ``origin``: it was registered at the scheduler that was here before this one.

        Returns
        -------
        dict
            ``answers`` by address, and the ``origin`` to say at the next scheduler.
        """
        if kind == "scheduler":
            if origin is None or name not in self.scheduler.plugins:
                await self.register_scheduler_plugin(plugin, name, idempotent)
            return {"answers": {}, "origin": ("", 0)}
        nanny = kind == "nanny"
        registry = self.nannies if nanny else self.workers
        if origin is not None:
            await self._register_again(registry, plugin, name, tuple(origin), nanny=nanny)
            return {}
        answers = await self._register(registry, plugin, name, idempotent, nanny=nanny)
        return {"answers": answers, "origin": registry.origin(name)}

    async def register_worker_plugin(
        self, plugin: Payload, name: str, idempotent: bool | None = None
    ) -> dict[str, Any]:
        return await self._register(self.workers, plugin, name, bool(idempotent), nanny=False)

    async def unregister_worker_plugin(self, name: str) -> dict[str, Any]:
        return await self._unregister(self.workers, name, nanny=False)

    async def register_nanny_plugin(
        self, plugin: Payload, name: str, idempotent: bool | None = None
    ) -> dict[str, Any]:
        return await self._register(self.nannies, plugin, name, bool(idempotent), nanny=True)

    async def unregister_nanny_plugin(self, name: str) -> dict[str, Any]:
        return await self._unregister(self.nannies, name, nanny=True)

    async def _register(
        self, registry: Registry, plugin: Payload, name: str, idempotent: bool, *, nanny: bool
    ) -> dict[str, Any]:
        """Everywhere or nowhere: where one cannot set it up, all have again what they had before."""
        # One after the other: else two clients' plugins of one name end up in different orders on different workers.
        async with self._turn(nanny, name):
            before = registry.get(name)
            number = registry.register(name, plugin, idempotent)
            if number is None:
                return {}
            answers = await self._everywhere("plugin_add", nanny, plugin=plugin, name=name, number=number)
            if any(answer["status"] != "OK" for answer in answers.values()):
                if before is None:
                    registry.unregister(name, "")
                    await self._everywhere("plugin_remove", nanny, name=name, missing_ok=True)
                else:
                    number = registry.register(name, before)
                    await self._everywhere("plugin_add", nanny, plugin=before, name=name, number=number)
            return answers

    async def _register_again(
        self, registry: Registry, plugin: Payload, name: str, origin: Any, *, nanny: bool
    ) -> None:
        """Workers that have it from before keep it as it is; those that joined meanwhile set it up now."""
        async with self._turn(nanny, name):
            number = registry.register_again(name, plugin, origin)
            if number is None:
                return
            given = {"plugin": plugin, "name": name, "number": number, "origin": origin}
            for address, answer in (await self._everywhere("plugin_add", nanny, **given)).items():
                if answer["status"] != "OK":
                    self.plugins_failed(address, [(name, answer["text"])])

    async def _unregister(self, registry: Registry, name: str, *, nanny: bool) -> dict[str, Any]:
        async with self._turn(nanny, name):
            registry.unregister(name, "nanny" if nanny else "worker")
            return await self._everywhere("plugin_remove", nanny, name=name, missing_ok=True)

    def _turn(self, nanny: bool, name: str) -> asyncio.Lock:
        return self._turns.setdefault((nanny, name), asyncio.Lock())

    async def _everywhere(self, op: str, nanny: bool, /, **kwargs: Any) -> dict[str, Any]:
        """Have it done by all workers, or by all nannies, also those without a worker at the moment."""
        scheduler = self.scheduler
        if nanny:
            await scheduler.mustered()
            there = {ws.extra["nanny"]: None for ws in scheduler.workers.values() if ws.extra.get("nanny")}
            targets = list(there | dict.fromkeys(scheduler.nannies_there()))
            said = await asyncio.gather(*(scheduler._answer(target, op, kwargs) for target in targets))
            answers = dict(zip(targets, said, strict=True))
        else:
            answers = dict(await scheduler.broadcast(op=op, kwargs=kwargs))
        # whoever is lost meanwhile hears of it when it is back
        return {address: answer for address, answer in answers.items() if not answer.get("lost")}

    async def upload_file(self, filename: str, data: Any, load: bool = True) -> dict[str, Any]:
        allow_code()
        if self._directory is None:
            self._directory = tempfile.mkdtemp(prefix="distributed-scheduler-")
            weakref.finalize(self, only_here(_remove_uploads), self._directory)
        content = unpack(data) if isinstance(data, Serialized) else data
        content = content.encode() if isinstance(content, str) else content
        where = self._directory
        await asyncio.to_thread(uploads.install, where, filename, content, load=load, update_own=False)
        return {"status": "OK", "nbytes": len(content)}


def _remove_uploads(directory: str) -> None:
    uploads.remove(directory)
    shutil.rmtree(directory, ignore_errors=True)


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
        name = plugin_name(plugin, name)
        request = {"kind": kind, "plugin": pack(plugin), "name": name, "idempotent": idempotent}
        told = await self.client._call("register_plugin", **request)
        result = _raise_first(told["answers"], name)
        self.client.plugins_told[kind, name] = {**request, "origin": told["origin"]}
        _note_upload(plugin)
        return None if kind == "scheduler" else result

    async def unregister(self, kind: str, name: str) -> Any:
        self.client.plugins_told.pop((kind, name), None)
        answers = await self.client._call(f"unregister_{kind}_plugin", name=name)
        return None if kind == "scheduler" else _raise_first(answers, name)

    async def register_setup(self, setup: Callable[..., Any] | None) -> Any:
        from distributed.diagnostics.callbacks import SetupCallback

        if setup is None:
            return {}
        return await self.register(SetupCallback(setup), None, None)

    async def upload_file(self, filename: str, load: bool) -> Any:
        from distributed.diagnostics.plugin import SchedulerUploadFile, UploadFile

        plugin = UploadFile(filename, load=load)
        answers = await self.register(plugin, None, None)
        try:
            await self.register(SchedulerUploadFile(filename, load=load), None, None)
        except Exception as error:
            if not answers:  # nobody has shown that it can be imported
                await self.unregister("worker", plugin.name)
                raise
            logger.warning(
                "%s is on all workers; the scheduler cannot import it, which matters only to scheduler plugins: %r",
                *(plugin.filename, error),
            )
        return answers


def _note_upload(plugin: Any) -> None:
    """What is submitted from now on is other work where it refers to modules that the plugin has brought."""
    from distributed.client.packing import uploaded
    from distributed.diagnostics.plugin import UploadDirectory, UploadFile

    if isinstance(plugin, UploadFile):
        uploaded.note(uploads.names_in(plugin.filename, plugin.data), plugin.data)
    elif isinstance(plugin, UploadDirectory):
        uploaded.note(uploads.names_in("directory.zip", plugin.data), plugin.data)


def _raise_first(answers: dict[str, Any], name: str) -> dict[str, Any]:
    """Answers by address; the first error is raised, and says of which plugin it is."""
    for address, answer in answers.items():
        if answer["status"] != "OK":
            text = f"{address}: {answer.get('text', '')}"
            error = unpack_error(answer.get("exception"), answer.get("traceback"), text)
            error.add_note(f"raised for the plugin {name} on {address}")
            raise error if isinstance(error, Exception) else RemoteError(text)
    return {address: {"status": "OK"} for address in answers}
