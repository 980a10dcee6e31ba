"""Futures in the order in which they finish."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from time import monotonic
from typing import Any

from distributed.client.errors import failure_of
from distributed.client.future import Future
from distributed.client.gather import unpack_all
from distributed.client.state.records import EACH, ClientTask, Waiter
from distributed.loops import seconds
from distributed.protocol.messages import Key
from distributed.threadstate import awaiting, block


class _Waiting(dict[Key, list[Future]]):
    """Futures by key, and how many they are."""

    total = 0

    def clear(self) -> None:
        super().clear()
        self.total = 0


class _Done(deque[Future]):
    """What is done, also by the names of a queue."""

    def empty(self) -> bool:
        return not self

    def get(self) -> Future:
        """The first; raises IndexError when there is none."""
        return self.popleft()


class as_completed:
    """Iterate over futures as they finish; more can be added meanwhile.

    Parameters
    ----------
    futures : iterable of Future, optional
    loop : optional
        Not needed; kept for other programs' sake.
    with_results : bool, default False
        Give pairs ``(future, result)``.
    raise_errors : bool, default True
        With results: raise a failed future's exception. False: give ``(future, (type, exception, traceback))``.
    timeout : float or str, optional
        Seconds from now in which everything must be done, else ``TimeoutError``.

    Examples
    --------
    >>> for future in as_completed(client.map(abs, [-1, -2])):  # doctest: +SKIP
    ...     print(future.result())
    """

    def __init__(
        self,
        futures: Iterable[Future] | None = None,
        loop: Any = None,
        with_results: bool = False,
        raise_errors: bool = True,
        *,
        timeout: float | str | None = None,
    ) -> None:
        self.with_results = with_results
        self.raise_errors = raise_errors
        futures = list(futures or ())
        self._client: Any = None
        self._futures = _Waiting()
        self._ready = _Done()
        self._changed = threading.Condition()
        self._sleepers: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._waiters: dict[Any, Waiter] = {}  # by session
        limit = seconds(timeout)
        self._deadline = None if limit is None else monotonic() + limit
        self._loop = loop
        if futures:
            self.update(futures)

    # ------------------------------------------------------------ what is waited for

    def add(self, future: Future) -> None:
        """Wait for this one too. A future added twice comes twice."""
        self.update((future,))

    def update(self, futures: Iterable[Future]) -> None:
        """Wait for these too."""
        futures = list(futures)
        for future in futures:
            if not isinstance(future, Future):
                raise TypeError(f"as_completed waits for futures, not for {future!r}")
        by_session: dict[Any, list[ClientTask]] = {}
        with self._changed:
            for future in futures:
                client = future._bound()
                self._client = self._client or client
                waiting = self._futures.setdefault(future.key, [])
                waiting.append(future)
                self._futures.total += 1
                by_session.setdefault(client._session, []).append(future._task)
            for session in by_session:
                if session not in self._waiters:
                    self._waiters[session] = _waiter_of(self)
        for session, tasks in by_session.items():
            session.post(session.state.handle_wait, self._waiters[session], tasks)

    def __del__(self) -> None:
        for waiter in getattr(self, "_waiters", {}).values():
            waiter.abandon()

    def _take(self, keys: list[Key]) -> None:
        """On the loop: these are done."""
        with self._changed:
            for key in keys:
                waiting = self._futures.get(key)
                if waiting:
                    self._ready.append(waiting.pop(0))
                    self._futures.total -= 1
                    if not waiting:
                        del self._futures[key]
            self._changed.notify_all()
            sleepers, self._sleepers = self._sleepers, []
        for loop, sleeper in sleepers:
            loop.call_soon_threadsafe(_set, sleeper)

    # ------------------------------------------------------------ looking

    @property
    def condition(self) -> threading.Condition:
        """Notified whenever something is done."""
        return self._changed

    lock = condition

    @property
    def futures(self) -> dict[Key, list[Future]]:
        """Those that are waited for, by key. Hold :attr:`lock` to change it."""
        return self._futures

    @property
    def queue(self) -> _Done:
        """Those that are done and have not been given out: ``empty()`` and ``get()`` as of a queue."""
        return self._ready

    def count(self) -> int:
        """Futures that have not been given out yet."""
        with self._changed:
            return self._futures.total + len(self._ready)

    def is_empty(self) -> bool:
        """Whether all have been given out."""
        return self.count() == 0

    def has_ready(self) -> bool:
        """Whether one could be given out without waiting."""
        return bool(self._ready)

    def clear(self) -> None:
        """Forget all futures, done or not."""
        with self._changed:
            self._futures.clear()
            self._ready.clear()
            waiters, self._waiters = self._waiters, {}
        for waiter in waiters.values():
            waiter.abandon()

    # ------------------------------------------------------------ taking

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        self._wait()
        return self._one(self._ready.popleft())

    next = __next__

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        if not await self._wait_async():
            raise StopAsyncIteration
        return await self._one_async(self._ready.popleft())

    def next_batch(self, block: bool = True) -> list[Any]:
        """All that are done; with ``block`` at least one."""
        if block:
            self._wait()
        batch = []
        while self._ready:
            batch.append(self._one(self._ready.popleft()))
        return batch

    def batches(self) -> Iterator[list[Any]]:
        """Lists of what is done by then, until all are done."""
        while True:
            try:
                yield self.next_batch(block=True)
            except StopIteration:
                return

    def _wait(self) -> None:
        """Until one is ready. Raises ``StopIteration`` when there is none left."""
        if self._client is not None and self._client.status == "closed" and not self._ready:
            self._check_loop()
        with self._changed:
            while not self._ready:
                if not self._futures.total:
                    raise StopIteration
                self._check_loop()
                block(self._changed.wait, self._left(), self._check_loop)

    async def _wait_async(self) -> bool:
        while not self._ready:
            loop = asyncio.get_running_loop()
            sleeper: asyncio.Future[None] = loop.create_future()
            with self._changed:
                if self._ready:
                    break
                if not self._futures.total:
                    return False
                self._sleepers.append((loop, sleeper))
            left = self._left()
            try:
                with awaiting(loop):
                    await asyncio.wait_for(sleeper, left)
            except TimeoutError:
                self._left()
        return True

    def _left(self) -> float | None:
        if self._deadline is None:
            return None
        left = self._deadline - monotonic()
        if left <= 0 and not self._ready:
            raise TimeoutError(f"{self._futures.total} futures were not done in time")
        return max(left, 0)

    def _check_loop(self) -> None:
        client = self._client
        if client is not None and not self._ready:
            client._session.check_loop()

    def _one(self, future: Future) -> Any:
        if not self.with_results:
            return future
        task = future._task
        if task.status in ("finished", "pending"):
            client = future._bound()
            payloads = client._payloads_here({task.key: task}) or client.sync(
                client._fetch, [task], asynchronous=False
            )
            return future, unpack_all(payloads)[task.key]
        return future, self._failure(task)

    async def _one_async(self, future: Future) -> Any:
        if not self.with_results:
            return future
        task = future._task
        if task.status in ("finished", "pending"):
            return future, await future
        return future, self._failure(task)

    def _failure(self, task: ClientTask) -> Any:
        if self.raise_errors:
            raise failure_of(task)
        error = failure_of(task)
        return type(error), error, error.__traceback__


def _waiter_of(owner: as_completed) -> Waiter:
    """A waiter that tells ``owner`` what is done. It keeps nobody: who leaves early lets go of the tasks."""
    owner_of = weakref.ref(owner)

    def wake() -> None:
        keys = ready[:]
        ready.clear()
        owner = owner_of()
        if owner is not None:
            owner._take(keys)

    waiter = Waiter(EACH, wake)
    ready = waiter.ready
    return waiter


def _set(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)
