"""Small functions to submit: they increment, are slow, fail, or vary from call to call."""

from __future__ import annotations

import asyncio
import functools
import itertools
import random
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any


def inc(x: Any) -> Any:
    """``x + 1``"""
    return x + 1


def dec(x: Any) -> Any:
    """``x - 1``"""
    return x - 1


def add(x: Any, y: Any) -> Any:
    """``x + y``"""
    return x + y


def mul(x: Any, y: Any) -> Any:
    """``x * y``"""
    return x * y


def div(x: Any, y: Any) -> Any:
    """``x / y``: fails by ``y=0``."""
    return x / y


def double(x: Any) -> Any:
    """``x * 2``"""
    return x * 2


def identity(x: Any) -> Any:
    """``x``"""
    return x


def throws(x: Any) -> Any:
    """Raise a RuntimeError, whatever ``x`` is."""
    raise RuntimeError("hello!")


def slowinc(x: Any, delay: float = 0.02) -> Any:
    """``x + 1`` after ``delay`` seconds."""
    time.sleep(delay)
    return x + 1


def slowdec(x: Any, delay: float = 0.02) -> Any:
    """``x - 1`` after ``delay`` seconds."""
    time.sleep(delay)
    return x - 1


def slowadd(x: Any, y: Any, delay: float = 0.02) -> Any:
    """``x + y`` after ``delay`` seconds."""
    time.sleep(delay)
    return x + y


def slowsum(seq: Iterable[Any], delay: float = 0.02) -> Any:
    """The sum of ``seq`` after ``delay`` seconds."""
    time.sleep(delay)
    return sum(seq)


def slowidentity(*args: Any, **kwargs: Any) -> Any:
    """Its argument, or the tuple of several, after ``delay=0.02`` seconds."""
    time.sleep(kwargs.get("delay", 0.02))
    return args[0] if len(args) == 1 else args


def slowmul(x: Any, y: Any, delay: float = 0.02) -> Any:
    """``x * y`` after ``delay`` seconds."""
    time.sleep(delay)
    return x * y


def slowdouble(x: Any, delay: float = 0.02) -> Any:
    """``x * 2`` after ``delay`` seconds."""
    time.sleep(delay)
    return x * 2


def randominc(x: Any, scale: float = 1) -> Any:
    """``x + 1`` after a random time of at most ``scale`` seconds."""
    time.sleep(random.random() * scale)
    return x + 1


async def asyncinc(x: Any, delay: float = 0.02) -> Any:
    """``x + 1`` after ``delay`` seconds, as a coroutine."""
    await asyncio.sleep(delay)
    return x + 1


def block_on_event(event: Any) -> None:
    """Return when ``event`` (of threads or of the network) is set."""
    event.wait()


def lock_inc(x: Any, lock: Any) -> Any:
    """``x + 1`` while holding ``lock``."""
    with lock:
        return x + 1


_counters: dict[str, itertools.count[int]] = {}


def varying(items: Iterable[Any]) -> Callable[..., Any]:
    """A function that gives the next of ``items`` at each call; an exception among them is raised.

    The position is kept in each process that calls it, also when the function was pickled on the way.

    Examples
    --------
    >>> f = varying([1, ZeroDivisionError("no"), 3])
    >>> f()
    1
    >>> f()
    Traceback (most recent call last):
    ZeroDivisionError: no
    >>> f()
    3
    """
    return functools.partial(_next_item, uuid.uuid4().hex, list(items))


def _next_item(counter: str, items: list[Any], *args: Any, **kwargs: Any) -> Any:
    position = next(_counters.setdefault(counter, itertools.count()))
    if position >= len(items):
        raise IndexError(
            f"varying() was given {len(items)} items and is called for the {position + 1}th time"
        )
    item = items[position]
    if isinstance(item, BaseException) or (isinstance(item, type) and issubclass(item, BaseException)):
        raise item
    return item


def map_varying(itemslists: Iterable[Iterable[Any]]) -> tuple[Callable[[Callable[[], Any]], Any], list[Any]]:
    """For ``Client.map``: a function and its arguments, such that the n-th call varies over the n-th list.

    Examples
    --------
    >>> function, arguments = map_varying([[1, 2], [3]])
    >>> [function(argument) for argument in arguments]
    [1, 3]
    """
    return _call, [varying(items) for items in itemslists]


def _call(function: Callable[[], Any]) -> Any:
    return function()
