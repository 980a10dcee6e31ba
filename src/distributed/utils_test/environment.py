"""What a test may change and must find again: configuration, modules, the cluster key."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import dask.config
import yaml

from distributed import config as configuration
from distributed.security import ClusterKey, Security
from distributed.security.keys import ENVIRONMENT_VARIABLE

#: Configuration without the active memory manager of the existing package; this engine has none to turn off.
NO_AMM = {"distributed.scheduler.active-memory-manager.start": False}


@functools.cache
def _process_key() -> ClusterKey:
    return ClusterKey.generate()


def process_security() -> Security:
    """The key that all test networks of this process share; it exists in memory only."""
    return Security(key=_process_key())


@contextlib.contextmanager
def process_key() -> Iterator[None]:
    """Inside, the cluster key of this process and of programs that it starts is that of :func:`process_security`.

    So tests need no key file and no home directory, and never reach a real network of this user.
    """
    with environment({ENVIRONMENT_VARIABLE: _process_key().text()}):
        yield


@contextlib.contextmanager
def environment(variables: Mapping[str, str | None]) -> Iterator[None]:
    """Inside, environment variables have other values; None: they are not there."""
    before = {name: os.environ.get(name) for name in variables}
    _set_environment(variables)
    try:
        yield
    finally:
        _set_environment(before)


def _set_environment(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@contextlib.contextmanager
def new_config(new_config: Mapping[str, Any]) -> Iterator[None]:
    """Inside, the configuration is this one, with our defaults underneath, and nothing of the user's."""
    with _replaced_config():
        dask.config.config.clear()
        dask.config.update(dask.config.config, configuration.load_defaults())
        dask.config.update(dask.config.config, new_config)
        yield


@contextlib.contextmanager
def new_config_file(c: Mapping[str, Any]) -> Iterator[str]:
    """Inside, the configuration is what it would be with this content in the only configuration file.

    Programs that are started inside read the same file. Gives its path.
    """
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "distributed.yaml")
        with open(path, "w") as file:
            yaml.safe_dump(dict(c), file)
        with environment({"DASK_CONFIG": path}), _replaced_config():
            dask.config.refresh(paths=[path])
            yield path


@contextlib.contextmanager
def _replaced_config() -> Iterator[None]:
    before = dask.config.merge(dask.config.config)
    try:
        yield
    finally:
        dask.config.config.clear()
        dask.config.config.update(before)


@contextlib.contextmanager
def save_sys_modules() -> Iterator[None]:
    """Afterwards, modules that were imported inside are not loaded any more, and ``sys.path`` is as before."""
    modules, path = set(sys.modules), list(sys.path)
    try:
        yield
    finally:
        sys.path[:] = path
        for name in sys.modules.keys() - modules:
            del sys.modules[name]


def nodebug(func: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: run a test without the checks that make networks slow (``validate`` of scheduler and worker)."""
    off = {"distributed.scheduler.validate": False, "distributed.worker.validate": False}

    @functools.wraps(func)
    def without_checks(*args: Any, **kwargs: Any) -> Any:
        with dask.config.set(off):
            return func(*args, **kwargs)

    return without_checks
