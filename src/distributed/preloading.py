"""User modules that run beside a scheduler, worker or nanny: ``--preload module``.

A preload is the name of a module, a path of a ``.py`` file, or Python source text (told by a line break).
It may define ``dask_setup(server)`` and ``dask_teardown(server)``, plain or coroutine functions;
``dask_setup`` may be a click command, which then gets the ``preload_argv``.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import logging
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

logger = logging.getLogger(__name__)


class Preload:
    """One preload of one server.

    Parameters
    ----------
    server : object
        What ``dask_setup`` and ``dask_teardown`` are given.
    name : str
        Module name, path of a ``.py`` file, or source text.
    argv : sequence of str
        Words for a ``dask_setup`` that is a click command.

    Raises
    ------
    ImportError
        When there is no such module or file.
    """

    def __init__(self, server: Any, name: str, argv: Sequence[str] = ()) -> None:
        self.server = server
        self.name = name
        self.argv = list(argv)
        self.module = _load(name)

    async def start(self) -> None:
        """Run ``dask_setup``."""
        setup = getattr(self.module, "dask_setup", None)
        if setup is None:
            return
        if callable(getattr(setup, "make_context", None)):  # a click command
            context = setup.make_context("dask_setup", list(self.argv), allow_extra_args=False)
            result = setup.callback(self.server, *context.args, **context.params)
        else:
            result = setup(self.server)
        if inspect.isawaitable(result):
            await result

    async def teardown(self) -> None:
        """Run ``dask_teardown``."""
        teardown = getattr(self.module, "dask_teardown", None)
        if teardown is not None:
            result = teardown(self.server)
            if inspect.isawaitable(result):
                await result


class PreloadManager(Sequence[Preload]):
    """All preloads of one server, in their order."""

    def __init__(self, preloads: Iterable[Preload]) -> None:
        self._preloads = list(preloads)

    def __getitem__(self, index: Any) -> Any:
        return self._preloads[index]

    def __len__(self) -> int:
        return len(self._preloads)

    async def start(self) -> None:
        """Run each ``dask_setup``; one that raises is logged with its name and the rest go on."""
        for preload in self._preloads:
            try:
                await preload.start()
            except (Exception, SystemExit, KeyboardInterrupt):
                logger.exception("preload %s failed to start", _title(preload.name))

    async def teardown(self) -> None:
        """Run each ``dask_teardown``, last first; one that raises is logged."""
        for preload in reversed(self._preloads):
            try:
                await preload.teardown()
            except (Exception, SystemExit, KeyboardInterrupt):
                logger.exception("preload %s failed to stop", _title(preload.name))


def process_preloads(
    server: Any,
    preload: str | Iterable[str] | None,
    preload_argv: Sequence[str] | Sequence[Sequence[str]] | None = None,
) -> PreloadManager:
    """Load the preloads of a server; their ``dask_setup`` runs at :meth:`PreloadManager.start`.

    Parameters
    ----------
    preload_argv : sequence
        Words for all, or one sequence of words for each.
    """
    names = [preload] if isinstance(preload, str) else list(preload or ())
    argv: list[Any] = list(preload_argv or ())
    if argv and not isinstance(argv[0], str):
        if len(argv) != len(names):
            raise ValueError(f"{len(names)} preloads, but arguments for {len(argv)}")
        each = argv
    else:
        each = [argv] * len(names)
    return PreloadManager(Preload(server, name, words) for name, words in zip(names, each, strict=True))


def _load(name: str) -> ModuleType:
    if "\n" in name:
        module = ModuleType("preload")
        exec(compile(name, "<preload>", "exec"), module.__dict__)
        return module
    if name.endswith(".py"):
        path = Path(os.path.expanduser(name)).resolve()
        if not path.is_file():
            raise ImportError(f"preload {name}: there is no such file")
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
        return module
    return importlib.import_module(name)


def _title(name: str) -> str:
    return "given as source text" if "\n" in name else name
