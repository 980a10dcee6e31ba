"""What a test leaves behind: threads, sockets, child processes, open clients and servers, tasks of this package."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import dask.config

from distributed.utils_test.environment import process_key

#: Seconds that things may take to be gone after a test.
GRACE = 5.0


class Leak(AssertionError):
    """A test left something behind."""


@contextlib.contextmanager
def clean(
    threads: bool = True,
    instances: bool = True,
    processes: bool = True,
    sockets: bool = True,
    timeout: float = GRACE,
) -> Iterator[None]:
    """Inside, the cluster key is one for tests; afterwards nothing that began inside may be left.

    Configuration, default client and levels of the loggers are as before afterwards.

    Parameters
    ----------
    threads, instances, processes, sockets : bool
        What is looked at. Instances are clients, clusters and servers of this package that were not closed.
    timeout : float
        Seconds that things may take to be gone.

    Raises
    ------
    Leak
        Something is left; the message names all of it. Not when the body itself raised.
    """
    checks: list[Callable[[], list[str]]] = []
    if threads:
        checks.append(_new_threads())
    if processes:
        checks.append(_new_children())
    if sockets:
        checks.append(_new_sockets())
    if instances:
        checks.append(_open_instances())
    with process_key(), _same_config(), _same_log_levels():
        yield
        _wait_until_clean(checks, timeout)


def _wait_until_clean(checks: list[Callable[[], list[str]]], timeout: float) -> None:
    left = [line for check in checks for line in check()]
    if not left:
        return
    gc.collect()  # what only a reference cycle keeps is no leak
    deadline = time.monotonic() + timeout
    pause = 0.001
    while left := [line for check in checks for line in check()]:
        if time.monotonic() > deadline:
            raise Leak("left behind:\n- " + "\n- ".join(left))
        time.sleep(pause)
        pause = min(2 * pause, 0.05)


# ---------------------------------------------------------------- threads


def _new_threads() -> Callable[[], list[str]]:
    before = set(threading.enumerate())

    def check() -> list[str]:
        pool = _threads_of_dask()
        left = [
            thread
            for thread in threading.enumerate()
            if thread not in before and thread not in pool and thread.is_alive()
        ]
        return [f"thread {thread.name!r}, at{_where(thread)}" for thread in left]

    return check


def _threads_of_dask() -> set[threading.Thread]:
    """Of dask's own threaded scheduler: it keeps them for the process's life."""
    module = sys.modules.get("dask.threaded")
    if module is None:
        return set()
    pools = [module.default_pool, *(p for by_size in module.pools.values() for p in by_size.values())]
    return {thread for pool in pools if pool is not None for thread in getattr(pool, "_threads", ())}


def _where(thread: threading.Thread) -> str:
    frame = sys._current_frames().get(thread.ident or 0)
    if frame is None:
        return " its end"
    return "\n" + "".join(traceback.format_stack(frame)[-4:]).rstrip()


# ---------------------------------------------------------------- processes


def _new_children() -> Callable[[], list[str]]:
    before = set(children_of_this_process())

    def check() -> list[str]:
        helpers = _helpers_of_multiprocessing()
        left = [pid for pid in children_of_this_process() if pid not in before and pid not in helpers]
        return [f"child process {pid}: {_command(pid)}" for pid in left]

    return check


def children_of_this_process() -> list[int]:
    """Process ids of the children that have not been waited for."""
    pids: list[int] = []
    try:
        for task in os.listdir("/proc/self/task"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                with open(f"/proc/self/task/{task}/children") as file:
                    pids += map(int, file.read().split())
    except OSError:  # not Linux, or a kernel without this file
        import psutil

        return [child.pid for child in psutil.Process().children()]
    return pids


def _helpers_of_multiprocessing() -> set[int]:
    """Processes that ``multiprocessing`` starts once and keeps."""
    found = set()
    for module, owner, attribute in (
        ("multiprocessing.resource_tracker", "_resource_tracker", "_pid"),
        ("multiprocessing.forkserver", "_forkserver", "_forkserver_pid"),
    ):
        pid = getattr(getattr(sys.modules.get(module), owner, None), attribute, None)
        if pid is not None:
            found.add(pid)
    return found


def _command(pid: int) -> str:
    import psutil

    try:
        return " ".join(psutil.Process(pid).cmdline())[:200]
    except psutil.Error:
        return "ended, but nobody waited for it"


# ---------------------------------------------------------------- sockets


def _new_sockets() -> Callable[[], list[str]]:
    before = set(open_sockets())

    def check() -> list[str]:
        return [f"socket {name}" for name in open_sockets() if name not in before]

    return check


def open_sockets() -> list[str]:
    """Names of the sockets this process holds; empty where the system does not tell (it is Linux that does)."""
    names = []
    try:
        fds = os.listdir("/proc/self/fd")
    except OSError:
        return []
    for fd in fds:
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{fd}")
            if target.startswith("socket:"):
                names.append(target)
    return names


# ---------------------------------------------------------------- clients and servers

_WATCHED = (
    ("distributed.client.owning", "_all_clients"),
    ("distributed.deploy.cluster", "_live"),
    ("distributed.worker.context", "workers"),
)


def _open_instances() -> Callable[[], list[str]]:
    before = set(map(id, _instances()))

    def check() -> list[str]:
        return [
            f"{instance!r} was not closed"
            for instance in _instances()
            if id(instance) not in before and _status(instance) not in ("closed", "failed", "newly-created")
        ]

    return check


def _instances() -> list[Any]:
    found: list[Any] = []
    for module, name in _WATCHED:
        found += list(getattr(sys.modules.get(module), name, ()))
    return found


def _status(instance: Any) -> str:
    status = instance.status
    return str(getattr(status, "name", status))


# ---------------------------------------------------------------- asyncio tasks


async def check_tasks(before: set[asyncio.Task[Any]], timeout: float = 1.0) -> None:
    """Raise :class:`Leak` if tasks of this package still run on this loop that did not before.

    Tasks of other code are not looked at: they are cancelled with the loop, as ``asyncio.run`` does.
    """

    def left() -> list[asyncio.Task[Any]]:
        own = asyncio.current_task()
        return [
            task for task in asyncio.all_tasks() if task is not own and task not in before and _ours(task)
        ]

    deadline = time.monotonic() + timeout
    pause = 0.001
    while tasks := left():
        if time.monotonic() > deadline:
            raise Leak("tasks left behind:\n- " + "\n- ".join(map(repr, tasks)))
        await asyncio.sleep(pause)
        pause = min(2 * pause, 0.05)


def _ours(task: asyncio.Task[Any]) -> bool:
    code = getattr(task.get_coro(), "cr_code", None)
    name = "" if code is None else code.co_filename.replace(os.sep, "/")
    return "/distributed/" in name and "/distributed/utils_test/" not in name and not task.done()


# ---------------------------------------------------------------- what is put back


@contextlib.contextmanager
def _same_config() -> Iterator[None]:
    before = dask.config.merge(dask.config.config)
    try:
        yield
    finally:
        dask.config.config.clear()
        dask.config.config.update(before)


@contextlib.contextmanager
def _same_log_levels() -> Iterator[None]:
    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "distributed"]
    before = {name: logging.getLogger(name).level for name in names}
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
