"""Imports, one at a time: so that threads which need modules at the same moment get whole ones.

Python locks each module by itself. Two threads that import modules of one package which import each other are both
handed halves, or one of them a ``_DeadlockError``; and who asks for ``package.module`` while another thread is in the
middle of ``package`` gets a module whose package has not registered what it registers. So whatever is imported because
bytes refer to it is imported in :func:`require`: by one thread at a time, each package before what is in it. So nobody
holds the lock of a part while waiting for the whole.

What an import is waiting for may need an import itself. A thread that is about to wait for somebody else
(:func:`give_up_turn`) lets the next one in, and goes on as Python has it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

#: Seconds after which a thread no longer waits for the import of another: it may be what that one is waiting for.
PATIENCE = 60.0


class _Turn(threading.local):
    """How deep this thread is in imports, and whether others wait for it."""

    depth = 0
    mine = False


_lock = threading.Lock()
_turn = _Turn()

#: Names of modules that are whole, and so are the packages they are in: nobody has to wait for them.
whole: set[str] = set()


def require(name: str) -> ModuleType:
    """The module of this name, imported if need be, when it and its packages are whole.

    Raises
    ------
    ImportError
        And whatever else importing it raises.
    """
    if name not in whole or name not in sys.modules:
        with turn():
            _import(name)
    return sys.modules[name]


def require_aside(name: str) -> ModuleType:
    """As :func:`require`, by a thread of its own, for callers that hold what is large.

    A module may keep an exception of its import, and with it all frames below, and so whatever these refer to.
    """
    if name not in whole or name not in sys.modules:
        thread = threading.Thread(target=_try_require, args=(name,), name=f"import {name}", daemon=True)
        give_up_turn()
        thread.start()
        thread.join()
    return require(name)


def _try_require(name: str) -> None:
    with contextlib.suppress(Exception):  # it is raised where it was asked for
        require(name)


@contextlib.contextmanager
def turn() -> Iterator[None]:
    """While inside, no other thread imports in :func:`require`, unless this one gives up its turn."""
    state = _turn
    if not state.depth:
        state.mine = _lock.acquire(timeout=PATIENCE)
    state.depth += 1
    try:
        yield
    finally:
        state.depth -= 1
        if not state.depth:
            give_up_turn()


def give_up_turn() -> None:
    """This thread is about to wait for somebody: who has to import something need not wait for it."""
    state = _turn
    if state.mine:
        state.mine = False
        _lock.release()


def forget(names: Iterable[str]) -> None:
    """These modules will be imported again."""
    whole.difference_update(names)


def _import(name: str) -> None:
    names = [name[:end] for end, letter in enumerate(name) if letter == "."]
    if name in sys.modules:  # it may be there without its packages
        names = [package for package in names if package in sys.modules]
    for one in (*names, name):
        __import__(one)
    if not any(_is_partial(sys.modules.get(one)) for one in (*names, name)):
        whole.add(name)


def _is_partial(module: Any) -> bool:
    """Whether it is still being imported: by this very thread, further up."""
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))


def _after_fork() -> None:
    """In a child that was forked while another thread was importing, nobody is."""
    global _lock, _turn
    _lock = threading.Lock()
    _turn = _Turn()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
