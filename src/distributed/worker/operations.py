"""What others may call on a worker."""

from __future__ import annotations

import asyncio
import inspect
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from distributed import uploads
from distributed.core.contained import contained
from distributed.core.network_plugins import NetworkPlugins
from distributed.private_files import fresh_directory
from distributed.protocol.messages import FreeKeys, Key
from distributed.protocol.payload import Payload, Serialized, pack, unpack
from distributed.protocol.payload import nbytes as payload_nbytes
from distributed.utils import has_arg
from distributed.worker.base import WorkerBase, logger
from distributed.worker.data import Packed
from distributed.worker.results import describe, pack_result

#: Results together larger than this (bytes) are pickled in a thread, not on the loop.
OFFLOAD_NBYTES = 1_000_000


class Operations(WorkerBase):
    """Handlers: data in and out, running functions, plugins, and looking inside."""

    name: Any
    nthreads: int
    local_directory: str
    plugins: dict[str, Any]
    network_plugins: NetworkPlugins
    max_transfers: int = 10
    _transfers = 0
    _own_directory: str | None = None

    def operations(self) -> dict[str, Callable[..., Any]]:
        """Handlers by the name of their operation."""
        return {
            "get_data": self.get_data,
            "update_data": self.update_data,
            "free_keys": self.free_keys,
            "delete_data": self.free_keys,
            "run": self.run,
            "run_coroutine": self.run_coroutine,
            "plugin_add": self._network_plugin_add,
            "plugin_remove": self._network_plugin_remove,
            "upload_file": self.upload_file,
            "story": self.get_story,
            "call_stack": self.get_call_stack,
            "executing": self.executing,
            "keys": self.keys,
            "has_what": self.keys,
        }

    # ------------------------------------------------------------ data

    async def get_data(
        self,
        comm: Any = None,
        keys: Iterable[Key] = (),
        who: str | None = None,
        serializers: Any = None,
        works: Iterable[tuple[Key, bytes]] = (),
    ) -> dict[str, Any]:
        """Results held here. ``comm`` and ``serializers`` are not used. ``works``: what is meant by some of the keys.

        Returns
        -------
        dict
            ``status``: "OK", or "busy" when too many large transfers are under way: ask again later. ``data``: pairs
            of key and payload. Keys not held are absent. The payload of a result that cannot be pickled raises an
            ImmovableDataError when it is unpickled. ``immovable``: [key, address of the holder, reason] of these.
        """
        tasks = self.state.tasks
        held = [(key, self.data.raw(key)) for key in keys if key in self.data]
        if works:
            meant = dict(works)
            held = [(key, value) for key, value in held if meant.get(key) in (None, tasks[key].work)]
        sizes = [tasks[key].nbytes if key in tasks else 0 for key, _ in held]
        total = sum(sizes)
        if total < OFFLOAD_NBYTES:
            return self._packed(*_pack_all(held, sizes, self.address))
        if self._transfers >= self.max_transfers:
            return {"status": "busy", "data": []}
        self._transfers += 1
        try:
            packed = await asyncio.to_thread(_pack_all, held, sizes, self.address)
        finally:
            self._transfers -= 1
        return self._packed(*packed)

    def _packed(self, data: list[Any], immovable: list[tuple[Key, str]]) -> dict[str, Any]:
        if not immovable:
            return {"status": "OK", "data": data}
        self.state.immovable(immovable)
        self.turn()
        stuck = [[key, self.address, reason] for key, reason in immovable]
        return {"status": "OK", "data": data, "immovable": stuck}

    async def update_data(
        self,
        data: list[Any],
        stimulus_id: str | None = None,
        nfrees: int = 0,
        works: Iterable[tuple[Key, bytes]] = (),
        since: int = 0,
    ) -> dict[str, Any]:
        """Take scattered data: pairs of key and payload; others as in :class:`WorkerState.scattered`.

        Returns
        -------
        dict
            ``data``: [key, nbytes, type] of each. The type is empty where the payload cannot be unpickled here.
        """
        if sum(payload_nbytes(payload) for _, payload in data) < OFFLOAD_NBYTES // 10:
            items = [_take_in(key, payload) for key, payload in data]
        else:
            items = await asyncio.to_thread(lambda: [_take_in(key, payload) for key, payload in data])
        while self.introducing:
            await self.introduced.wait()
        self.state.scattered(items, nfrees, dict(works), since)
        self.turn()
        return {"status": "OK", "data": [[key, nbytes, typename] for key, _, nbytes, typename in items]}

    def free_keys(self, keys: list[Key], reason: str = "") -> str:
        """Forget these, as the stream message FreeKeys."""
        self.state.handle(FreeKeys(list(keys), heard=1 << 62), time.monotonic())
        self.turn()
        return "OK"

    def keys(self) -> list[Key]:
        """Keys of everything held here."""
        return list(self.data)

    # ------------------------------------------------------------ running functions

    async def run(
        self, comm: Any = None, function: Any = None, args: Any = None, wait: bool = True, kwargs: Any = None
    ) -> Payload | None:
        """Call a function on the worker's loop, outside of any task; a coroutine is awaited.

        Parameters
        ----------
        function, args, kwargs : payload
            A parameter ``dask_worker`` of the function gets this worker.
        wait : bool
            False: answer at once; an exception is logged.
        comm
            Not used.
        """
        func = _unpacked(function)
        call_args = _unpacked(args) or ()
        call_kwargs = dict(_unpacked(kwargs) or {})
        if "dask_worker" not in call_kwargs and has_arg(func, "dask_worker"):
            call_kwargs["dask_worker"] = self
        if not wait:
            self.spawn(_call(func, call_args, call_kwargs), name=f"run {func!r}")
            return None
        return pack(await _call(func, call_args, call_kwargs))

    run_coroutine = run

    async def plugin_add(self, plugin: Any, name: str | None = None, **kwargs: Any) -> dict[str, Any]:
        """Install a plugin (an object or its payload); its ``setup(worker=...)`` is called and awaited.

        One of the same name is torn down and replaced. What ``setup`` raises is raised here.
        """
        plugin = _unpacked(plugin)
        name = name or getattr(plugin, "name", None) or f"{type(plugin).__name__}-{uuid.uuid4()}"
        if name in self.plugins:
            try:
                await self.plugin_remove(name)
            except (Exception, SystemExit, KeyboardInterrupt):
                logger.exception("plugin %s failed to stop; another takes its place", name)
        self.plugins[name] = plugin
        setup = getattr(plugin, "setup", None)
        if setup is not None:
            try:
                await _call(setup, (), {"worker": self})
            except BaseException:
                self.plugins.pop(name, None)
                raise
        return {"status": "OK", "name": name}

    async def _network_plugin_add(self, **kwargs: Any) -> dict[str, Any]:
        """As :meth:`plugin_add`, for others: in order."""
        answer: dict[str, Any] = await self.network_plugins.add(**kwargs)
        return answer

    async def _network_plugin_remove(self, **kwargs: Any) -> dict[str, Any]:
        """As :meth:`plugin_remove`, for others: in order."""
        return await self.network_plugins.remove(**kwargs)

    async def plugin_remove(self, name: str) -> dict[str, Any]:
        """Remove a plugin; its ``teardown(worker=...)`` is called. Raises KeyError when there is none of this name."""
        plugin = self.plugins.pop(name)
        teardown = getattr(plugin, "teardown", None)
        if teardown is not None:
            await _call(teardown, (), {"worker": self})
        return {"status": "OK"}

    async def teardown_plugins(self) -> None:
        """At the end: every ``teardown``; one that raises is logged."""
        for name in list(self.plugins):
            try:
                await self.plugin_remove(name)
            except (Exception, SystemExit, KeyboardInterrupt):
                logger.exception("plugin %s failed to stop", name)

    async def upload_file(self, filename: str, data: Any, load: bool = True) -> dict[str, Any]:
        """Put a file into the worker's directory and, for .py, .zip and .egg, import it."""
        content = _unpacked(data) if isinstance(data, Serialized) else data
        if isinstance(content, str):
            content = content.encode()
        directory = self.ensure_local_directory()
        if await asyncio.to_thread(uploads.install, directory, filename, content, load=load):
            self.modules_replaced()
        return {"status": "OK", "nbytes": len(content)}

    def modules_replaced(self) -> None:
        """Functions that were unpickled before may be made of modules that are no more: they are unpickled anew."""
        used = {ts.group.function for ts in self.state.tasks.values() if ts.group is not None}
        self.executor.reload({*self.state.functions.values(), *used})

    def ensure_local_directory(self) -> str:
        """The worker's directory for files, made when it is first needed and removed at the end."""
        if self._own_directory is None:
            self._own_directory = fresh_directory(self.local_directory, "worker-")
        return self._own_directory

    def remove_local_directory(self) -> None:
        if self._own_directory is not None:
            import shutil

            uploads.remove(self._own_directory)
            shutil.rmtree(self._own_directory, ignore_errors=True)
            self._own_directory = None

    # ------------------------------------------------------------ looking inside

    def identity(self) -> dict[str, Any]:
        """Who this is, and what it can take."""
        return {
            **super().identity(),
            "name": self.name,
            "nthreads": self.nthreads,
            "status": self.status.name,
            "resources": dict(self.state.total_resources),
            "ndata": len(self.data),
            "nbytes": self.state.nbytes,
        }

    def get_story(self, keys_or_stimuli: Iterable[Key]) -> list[list[Any]]:
        """What happened to these keys: [key, start, finish, cause], oldest first."""
        return [list(entry) for entry in self.state.story(*keys_or_stimuli)]

    story = get_story

    def executing(self) -> list[list[Any]]:
        """[key, seconds] of every task that runs now."""
        now = time.perf_counter()
        return [
            [slot.task.key, now - slot.started] for slot in self.executor.running() if slot.task is not None
        ]

    def get_call_stack(self, keys: list[Key] | None = None) -> list[list[Any]]:
        """[key, lines] of the Python stack of every task that runs now, or of those of ``keys``."""
        stacks = self.executor.call_stacks()
        return [[key, lines] for key, lines in stacks.items() if keys is None or key in keys]


def _pack_all(
    held: list[tuple[Key, Any]], sizes: list[int], address: str
) -> tuple[list[Any], list[tuple[Key, str]]]:
    """[key, payload] of each, and (key, reason) of those that cannot be pickled."""
    data: list[Any] = []
    immovable: list[tuple[Key, str]] = []
    for (key, value), nbytes in zip(held, sizes, strict=True):
        if type(value) is Packed:
            payload = value.payload
            if payload is not None:
                data.append([key, payload])
                continue
            value = value.value()
        payload, reason = pack_result(key, value, address, nbytes)
        data.append([key, payload])
        if reason:
            immovable.append((key, reason))
    return data, immovable


def _take_in(key: Key, payload: Payload) -> tuple[Key, Any, int, str]:
    """(key, value, nbytes, type) of scattered data; what cannot be unpickled here may still be passed on."""
    try:
        value = unpack(payload)
    except BaseException:
        return key, Packed(payload), payload_nbytes(payload), ""
    size, typename, _ = describe(value, False)
    return key, value, size, typename


def _unpacked(value: Any) -> Any:
    return unpack(value) if isinstance(value, bytes | Serialized) else value


async def _call(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    with contained(func):
        result = func(*args, **kwargs)
        return await result if inspect.isawaitable(result) else result
