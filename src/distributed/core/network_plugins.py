"""Plugins of the network as one of its workers or nannies has them, and how it comes to agree with the scheduler.

The scheduler numbers what it was given. Who joins says which version of that collection it has; while it is not the
scheduler's, it is told all of it, sets up what is new, and says so again. Only then is it in the network's books: so
nothing runs on it before everything is there. A plugin that cannot be set up keeps nobody out: it is left out, and the
scheduler is told which, where and why.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from hashlib import blake2b
from typing import Any

from distributed.protocol.errors import exception_text
from distributed.protocol.payload import Payload, Serialized, unpack

#: Seconds after which a plugin that is still being set up is named.
PATIENCE = 10.0


class NetworkPlugins:
    """The plugins that the scheduler has told one server of.

    None of the names is removed by another scheduler that has never heard of it, as after a restart.

    Parameters
    ----------
    server : Worker or Nanny
        Has ``plugins`` by name.
    add, remove : coroutine functions
        ``add(plugin, name)`` sets one up in place of another of this name; ``remove(name)`` removes one.
    log : logging.Logger
    tell : callable
        ``tell(text)``: have clients warned.
    limit : float, optional
        Seconds after which a plugin that keeps this server from joining counts as failed.

    Attributes
    ----------
    version : list or None
        Which version of the scheduler's collection is here.
    """

    def __init__(
        self,
        server: Any,
        add: Callable[..., Awaitable[Any]],
        remove: Callable[..., Awaitable[Any]],
        log: logging.Logger,
        tell: Callable[[str], None],
        limit: float | None = None,
    ) -> None:
        self.version: list[Any] | None = None
        self._failures: list[list[str]] = []
        self._server = server
        self._add = add
        self._remove = remove
        self._log = log
        self._tell = tell
        self._limit = limit
        self._numbers: dict[str, int] = {}
        self._hashes: dict[str, bytes] = {}
        self._before: tuple[str, dict[str, int]] = ("", {})
        self._turns: dict[str, asyncio.Lock] = {}

    def adopt(self, version: list[Any] | None) -> None:
        """What is here is what the scheduler has by this version."""
        self._forget_numbers_of_others(version)
        self.version = version

    def _forget_numbers_of_others(self, version: list[Any] | None) -> None:
        if self.version is not None and (version is None or self.version[0] != version[0]):
            self._before = self.version[0], self._numbers
            self._numbers = {}

    async def agree(
        self,
        version: list[Any],
        plugins: Sequence[tuple[str, Payload, int, Any]],
        request: Callable[[str, dict[str, Any]], Awaitable[Any]],
    ) -> None:
        """Set up, replace and remove plugins, so that they are those of this version.

        What one raises is logged, and told to the scheduler by ``request(op, kwargs)``.
        """
        self._failures = []
        names = {name for name, *_ in plugins}
        self._forget_numbers_of_others(version)
        for name in self._numbers.keys() - names:
            with self._noting(name, "remove"):
                await self.remove(name, missing_ok=True)
        new = [entry for entry in plugins if self._numbers.get(entry[0]) != entry[2]]
        unpacked = await self._bring_files(new)
        for name, payload, number, origin in new:
            with self._noting(name, "set up"):
                plugin = unpacked[name] if name in unpacked else unpack(payload)
                async with self._turn(name), asyncio.timeout(self._limit):
                    # Else a newer one came meanwhile.
                    if self._numbers.get(name, 0) < number and not self._has(name, payload, origin):
                        await self._set_up(plugin, name)
                        self._hashes[name] = digest(payload)
            self._numbers[name] = max(number, self._numbers.get(name, 0))
        self.version = version
        if self._failures:
            await request("plugins_failed", {"where": self._where(), "failures": self._failures})

    async def _bring_files(self, new: Sequence[tuple[str, Payload, int, Any]]) -> dict[str, Any]:
        """All files lie in their place before one of them is imported: they may import each other.

        Returns the plugins that can be unpickled by now; others may need what those that come before them bring.
        """
        unpacked: dict[str, Any] = {}
        for name, payload, *_ in new:
            with contextlib.suppress(Exception, SystemExit):  # it is tried again, and noted
                unpacked[name] = unpack(payload)
        module = sys.modules.get("distributed.diagnostics.upload")
        for name, plugin in unpacked.items():
            if module is not None and isinstance(plugin, module.UploadFile):
                with self._noting(name, "set up"):
                    await self._server.upload_file(filename=plugin.filename, data=plugin.data, load=False)
        return unpacked

    def _has(self, name: str, payload: Any, origin: Any) -> bool:
        """Whether this plugin, or a newer one, is here from before the scheduler was started anew."""
        if name not in self._server.plugins or origin is None:
            return False
        epoch, numbers = self._before
        return self._hashes.get(name) == digest(payload) or (
            epoch == origin[0] and numbers.get(name, 0) > origin[1]
        )

    async def add(
        self,
        plugin: Any,
        name: str | None = None,
        number: int | None = None,
        origin: Any = None,
        **kwargs: Any,
    ) -> Any:
        """The operation ``plugin_add``: raises what ``setup`` raises.

        ``origin``: how an earlier scheduler numbered it; then it may be here already.
        """
        if name is None:
            return await self._add(plugin, name, **kwargs)
        async with self._turn(name):
            if number is not None and self._numbers.get(name) == number and name in self._server.plugins:
                return {"status": "OK", "name": name}  # it came with the others
            answer = {"status": "OK", "name": name}
            if not self._has(name, plugin, origin):
                answer = await self._set_up(plugin, name, **kwargs)
                self._hashes[name] = digest(plugin)
            if number is not None:
                self._numbers[name] = number
            return answer

    async def remove(self, name: str, missing_ok: bool = False) -> dict[str, Any]:
        """The operation ``plugin_remove``. Raises KeyError when there is none of this name, unless ``missing_ok``."""
        async with self._turn(name):
            self._numbers.pop(name, None)
            self._hashes.pop(name, None)
            if missing_ok and name not in self._server.plugins:
                return {"status": "OK"}
            answer: dict[str, Any] = await self._remove(name)
            return answer

    @contextlib.asynccontextmanager
    async def _turn(self, name: str) -> Any:
        """One thing at a time is done to one plugin; what one sets up may be another."""
        lock = self._turns.setdefault(name, asyncio.Lock())
        async with lock:
            yield

    async def _set_up(self, plugin: Any, name: str, **kwargs: Any) -> Any:
        with self._naming(name):
            return await self._add(plugin, name, **kwargs)

    @contextlib.contextmanager
    def _noting(self, name: str, what: str) -> Iterator[None]:
        try:
            yield
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # SystemExit, too: nobody ends a process by failing to be set up
            self._log.exception(
                "the plugin %s could not be %s here", name, "removed" if what == "remove" else what
            )
            self._failures.append([name, exception_text(error)])

    @contextlib.contextmanager
    def _naming(self, name: str) -> Iterator[None]:
        """Say so if it takes long; in a thread, for ``setup`` may keep the event loop from running."""
        loop = asyncio.get_running_loop()

        def say() -> None:
            text = f"the plugin {name} is still being set up after {PATIENCE:g} s on {self._where()}"
            self._log.warning(text)
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._tell, text)

        timer = threading.Timer(PATIENCE, say)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _where(self) -> str:
        return f"{type(self._server).__name__.lower()} {self._server.address}"


def digest(payload: Any) -> bytes:
    """Hash of a pickled plugin; of one that is not pickled, as a server's own program gives it, nothing."""
    hasher = blake2b(digest_size=16)
    frames = payload.frames if isinstance(payload, Serialized) else [payload]
    for frame in frames:
        if isinstance(frame, bytes | bytearray | memoryview):
            hasher.update(frame)
    return hasher.digest()


def failure_text(name: str, where: str, text: str) -> str:
    """The sentence that clients and the log are told."""
    return f"the plugin {name} could not be set up on {where}, which goes on without it: {text}"
