"""What others may have a nanny do in its own process: run functions, hold plugins and files."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import shutil
import uuid
from collections.abc import Callable
from typing import Any

from distributed import config, uploads
from distributed.core.contained import contained
from distributed.core.network_plugins import NetworkPlugins
from distributed.core.server import Server
from distributed.private_files import scratch_space
from distributed.protocol.payload import Payload, Serialized, pack, unpack
from distributed.utils import has_arg

logger = logging.getLogger("distributed.nanny")


class Operations(Server):
    """Handlers of a nanny that do not concern its worker process.

    Attributes
    ----------
    plugins : dict
        By name.
    scratch : str
        A directory of this nanny's own below ``local_directory``. It is made when somebody first needs it; the worker
        puts its files there too. Removed with all that is in it when the worker or the nanny ends.
    """

    local_directory: str | None
    scheduler_address: str
    plugins: dict[str, Any]
    network_plugins: NetworkPlugins
    scratch: str

    def operations(self) -> dict[str, Callable[..., Any]]:
        return {
            "run": self.run,
            "plugin_add": self._network_plugin_add,
            "plugin_remove": self._network_plugin_remove,
            "upload_file": self.upload_file,
        }

    async def restart(self, timeout: float = 30, reason: str = "nanny-restart") -> str:
        raise NotImplementedError

    async def run(
        self, comm: Any = None, function: Any = None, args: Any = None, wait: bool = True, kwargs: Any = None
    ) -> Payload | None:
        """Call a function in this process; its pickled result.

        Parameters
        ----------
        function, args, kwargs : payload
            A parameter ``dask_worker`` of the function gets this nanny.
        wait : bool
            False: answer at once; an exception is logged.
        """
        await self.plugins_there()
        func, call_args, call_kwargs = (
            _unpacked(function),
            _unpacked(args) or (),
            dict(_unpacked(kwargs) or {}),
        )
        if "dask_worker" not in call_kwargs and has_arg(func, "dask_worker"):
            call_kwargs["dask_worker"] = self
        if not wait:
            self.spawn(_call(func, *call_args, **call_kwargs), name=f"run {func!r}")
            return None
        return pack(await _call(func, *call_args, **call_kwargs))

    async def plugin_add(
        self, plugin: Any, name: str | None = None, start: bool = True, **kwargs: Any
    ) -> dict[str, Any]:
        """Install a plugin (an object or its payload): its ``setup(nanny=...)`` is called.

        One of the same name is torn down and replaced. A plugin with a true ``restart`` has the worker started anew;
        not if ``start`` is False: there is none yet.
        """
        plugin = _unpacked(plugin)
        name = name or getattr(plugin, "name", None) or f"{type(plugin).__name__}-{uuid.uuid4()}"
        if name in self.plugins:
            try:
                await self.plugin_remove(name)
            except (Exception, SystemExit, KeyboardInterrupt):
                logger.exception("plugin %s failed to stop; another takes its place", name)
        self.plugins[name] = plugin
        if hasattr(plugin, "setup"):
            try:
                await _call(plugin.setup, nanny=self)
            except BaseException:
                self.plugins.pop(name, None)
                raise
        if start and getattr(plugin, "restart", False):
            await self.restart(reason=f"plugin {name}")
        return {"status": "OK", "name": name}

    async def _network_plugin_add(self, **kwargs: Any) -> dict[str, Any]:
        """As :meth:`plugin_add`, for others: in order."""
        answer: dict[str, Any] = await self.network_plugins.add(**kwargs)
        return answer

    async def _network_plugin_remove(self, **kwargs: Any) -> dict[str, Any]:
        """As :meth:`plugin_remove`, for others: in order."""
        return await self.network_plugins.remove(**kwargs)

    async def plugins_there(self) -> None:
        """Wait until the network's plugins for nannies are set up here."""
        raise NotImplementedError

    async def plugin_remove(self, name: str, missing_ok: bool = False) -> dict[str, Any]:
        """Remove a plugin: its ``teardown(nanny=...)`` is called. ``KeyError`` when there is none of this name."""
        if missing_ok and name not in self.plugins:
            return {"status": "OK"}
        plugin = self.plugins.pop(name)
        if hasattr(plugin, "teardown"):
            await _call(plugin.teardown, nanny=self)
        return {"status": "OK"}

    async def upload_file(self, filename: str, data: Any, load: bool = True) -> dict[str, Any]:
        """Put a file into the nanny's directory and, for .py, .zip and .egg, import it."""
        content = _unpacked(data) if isinstance(data, Serialized) else data
        if isinstance(content, str):
            content = content.encode()
        await asyncio.to_thread(uploads.install, self.scratch, filename, content, load=load, update_own=False)
        return {"status": "OK", "nbytes": len(content)}

    async def log_event(self, topic: Any, msg: Any) -> None:
        """Have the scheduler log an event under a topic, or under several. ``msg`` is made of plain Python values."""
        names = topic if isinstance(topic, str) else list(topic)
        await self.rpc(self.scheduler_address).log_event(topic=names, msg=msg)

    def remove_scratch(self) -> None:
        """Remove the directory, if it was made, with what a killed worker has left in it."""
        uploads.remove(self.scratch)
        shutil.rmtree(self.scratch, ignore_errors=True)


def scratch_directory(local_directory: str | None) -> str:
    """A path nobody has below the directory that the user or the configuration names; nothing is made there."""
    base = local_directory or config.get("temporary-directory", None)
    return os.path.join(os.path.abspath(base or scratch_space()), f"nanny-{uuid.uuid4().hex[:12]}")


def _unpacked(value: Any) -> Any:
    """Payloads come from other processes, plain values from callers in this one."""
    return unpack(value) if isinstance(value, bytes | Serialized) else value


async def _call(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    with contained(func):
        result = func(*args, **kwargs)
        return await result if inspect.isawaitable(result) else result
