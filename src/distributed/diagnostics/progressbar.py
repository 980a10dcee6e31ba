"""Bars that show how many of some tasks are done, on a terminal or in a notebook."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, TextIO

from dask.utils import format_time, key_split

from distributed.client.current import default_client
from distributed.client.future import Future, futures_of
from distributed.loops import seconds

#: States of tasks that are still to be computed.
_LEFT = frozenset({"released", "waiting", "no-worker", "queued", "processing"})


class ProgressBar:
    """Watches some tasks, and all that they depend on and is not computed yet, until they are done.

    Parameters
    ----------
    keys : futures, keys or collections
    scheduler : Client, optional
        The client to ask through. Default: the one of the futures, else the current one.
    interval : float or str
        Seconds between two looks.
    complete : bool
        Whether tasks that were done before count too.

    Attributes
    ----------
    counts : dict
        By name of the tasks: pairs of those done and all.
    status : str
        "pending", "finished" or "error".
    """

    def __init__(
        self, keys: Any, scheduler: Any = None, interval: float | str = "100ms", complete: bool = True
    ) -> None:
        items = list(keys) if isinstance(keys, list | tuple | set | frozenset) else [keys]
        futures = [future for item in items for future in _futures(item)]
        self._futures = {future.key: future for future in futures}
        self.keys = list(self._futures)
        self.keys += [item for item in items if not _futures(item)]
        own = futures[0].client if futures else None
        self.client: Any = scheduler if hasattr(scheduler, "sync") else own or default_client()
        self.interval = seconds(interval) or 0.1
        self.complete = complete
        self.counts: dict[str, tuple[int, int]] = {}
        self.status = "pending"
        self._started = time.monotonic()
        self._done_before: set[Any] | None = None

    @property
    def elapsed(self) -> float:
        """Seconds since it was made."""
        return time.monotonic() - self._started

    async def listen(self) -> None:
        """Look until all is done, and draw each time."""
        while await self._look():
            self._draw(last=False)
            await asyncio.sleep(self.interval)
        self._draw(last=True)

    async def _look(self) -> bool:
        """Ask for the states once; whether there is something left."""
        states: dict[Any, str] = {key: state or self._unknown(key) for key, state in await self._states()}
        if self._done_before is None:
            self._done_before = {key for key, state in states.items() if state not in _LEFT}
        total: Counter[str] = Counter()
        done: Counter[str] = Counter()
        for key, state in states.items():
            if self.complete or key not in self._done_before:
                name = key_split(key)
                total[name] += 1
                done[name] += state not in _LEFT
        self.counts = {name: (done[name], total[name]) for name in total}
        asked = [states.get(key) for key in self.keys]
        if "erred" in asked:
            self.status = "error"
        elif not any(state in _LEFT for state in asked):
            self.status = "finished"
        return self.status == "pending"

    def _unknown(self, key: Any) -> str:
        """The state of a task that the scheduler does not know: (not) yet, or not any more."""
        future = self._futures.get(key)
        return "waiting" if future is not None and future.status == "pending" else "forgotten"

    async def _states(self) -> list[Any]:
        found: list[Any] = await self.client._call("get_progress", keys=self.keys)
        return found

    def _draw(self, last: bool) -> None:
        """Show :attr:`counts`; nothing here."""


class TextProgressBar(ProgressBar):
    """A line of text that is drawn over again.

    Parameters
    ----------
    keys, scheduler, interval, complete
        As for :class:`ProgressBar`.
    width : int
        Characters of the bar.
    loop
        Accepted, without a meaning: it is the client's.
    start : bool
        Draw until all is done, in the client's loop, before this returns; False: see :meth:`listen`.
    file : text file, optional
        Default: standard output.
    """

    def __init__(
        self,
        keys: Any,
        scheduler: Any = None,
        interval: float | str = "100ms",
        width: int = 40,
        loop: Any = None,
        complete: bool = True,
        start: bool = True,
        file: TextIO | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(keys, scheduler, interval, complete)
        self.width = width
        self.file = file or sys.stdout
        if start:
            self.client.sync(self.listen, asynchronous=False)

    @property
    def loop(self) -> Any:
        """The client's loop."""
        return self.client.loop

    def text(self) -> str:
        """The line as it is now."""
        done = sum(done for done, _ in self.counts.values())
        total = sum(total for _, total in self.counts.values())
        share = done / total if total else 1.0
        bar = "#" * int(self.width * share)
        note = " | failed" if self.status == "error" else ""
        return f"[{bar:<{self.width}}] | {share:4.0%} | {done} of {total} | {format_time(self.elapsed)}{note}"

    def _draw(self, last: bool) -> None:
        self.file.write(f"\r{self.text()}" + ("\n" if last else ""))
        self.file.flush()


def progress(
    *futures: Any,
    notebook: bool | None = None,
    multi: bool = True,
    complete: bool = True,
    group_by: str | Callable[..., Any] = "prefix",
    **kwargs: Any,
) -> Any:
    """Show a bar until futures are done; in a notebook too, where it is the same line of text.

    Parameters
    ----------
    *futures : futures, lists of futures, or persisted collections
    complete : bool
        Whether tasks that were done before count too.
    notebook, multi, group_by
        Accepted, without a meaning: there is one bar for all.
    **kwargs
        As for :class:`TextProgressBar`: ``interval``, ``width``, ``file``.

    Returns
    -------
    TextProgressBar
        In a coroutine: an awaitable that draws.

    Examples
    --------
    >>> progress(client.map(abs, range(10)))  # doctest: +SKIP
    [########################################] | 100% | 10 of 10 | 105.12 ms
    """
    found = futures_of(list(futures))
    if not found:
        raise ValueError("progress needs futures, or collections that were persisted")
    if found[0].client.asynchronous:
        return TextProgressBar(found, complete=complete, start=False, **kwargs).listen()
    return TextProgressBar(found, complete=complete, **kwargs)


def _futures(item: Any) -> Iterable[Future]:
    if isinstance(item, str | int | float | bytes) or (
        isinstance(item, tuple) and item and isinstance(item[0], str)
    ):
        return []
    return futures_of(item)
