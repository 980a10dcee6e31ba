"""A network as an executor of ``concurrent.futures``: for libraries that ask for one."""

from __future__ import annotations

import concurrent.futures
import weakref
from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from typing import Any

from distributed.client.future import Future
from distributed.exceptions import TimeoutError
from distributed.threadstate import block_on

#: Keywords of ``Client.submit`` that an executor may be given.
OPTIONS = frozenset({"pure", "workers", "resources", "allow_other_workers", "retries", "priority"})


class _Result(concurrent.futures.Future[Any]):
    """What ``submit`` gives: inside a task, whoever waits for it leaves its place to others."""

    def result(self, timeout: float | None = None) -> Any:
        block_on(self, timeout)
        return super().result(0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        block_on(self, timeout)
        return super().exception(0)


class ClientExecutor(concurrent.futures.Executor):
    """Submits to a network; made by ``Client.get_executor()``.

    Parameters
    ----------
    client : Client
    **kwargs
        Given with every ``submit``: ``pure``, ``workers``, ``resources``, ``allow_other_workers``, ``retries``,
        ``priority``. Calls are not ``pure`` unless told so: an executor runs what it is given.
    """

    def __init__(self, client: Any, **kwargs: Any) -> None:
        unknown = set(kwargs) - OPTIONS
        if unknown:
            raise TypeError(f"unknown parameters of an executor: {', '.join(sorted(unknown))}")
        self._client = client
        self._kwargs = {"pure": False, **kwargs}
        self._futures: weakref.WeakSet[Future] = weakref.WeakSet()
        self._shutdown = False

    def __repr__(self) -> str:
        return f"<ClientExecutor of {self._client!r}>"

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:
        """As of every executor. Cancelling the future cancels the task."""
        if self._shutdown:
            raise RuntimeError("cannot submit: this executor was shut down")
        future = self._client.submit(fn, *args, **self._kwargs, **kwargs)
        self._futures.add(future)
        outer = _Result()
        outer.add_done_callback(lambda done: future.cancel() if done.cancelled() else None)
        future.add_done_callback(lambda done: _copy(done, outer))
        return outer

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        **kwargs: Any,
    ) -> Iterator[Any]:
        """As of every executor: results in order, TimeoutError after ``timeout`` seconds. ``chunksize`` is ignored."""
        if self._shutdown:
            raise RuntimeError("cannot map: this executor was shut down")
        deadline = None if timeout is None else monotonic() + timeout
        futures = self._client.map(fn, *iterables, **self._kwargs, **kwargs)
        self._futures.update(futures)
        return _results(futures, deadline)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks. ``wait``: until all are done; else, or with ``cancel_futures``, they are cancelled."""
        if self._shutdown:
            return
        self._shutdown = True
        left = [future for future in self._futures if not future.done()]
        if left and (cancel_futures or not wait):
            self._client.cancel(left)
        elif left:
            from distributed.client.waiting import wait as wait_for

            wait_for(left)


def CompatibleExecutor(*args: Any, **kwargs: Any) -> ClientExecutor:
    """Does no longer exist. Raises TypeError; use ``Client.get_executor()``."""
    raise TypeError("CompatibleExecutor does no longer exist: use client.get_executor()")


def _copy(future: Future, outer: concurrent.futures.Future[Any]) -> None:
    if outer.cancelled() or not outer.set_running_or_notify_cancel():
        return
    try:
        result = future.result()
    except concurrent.futures.CancelledError as error:
        outer.set_exception(concurrent.futures.CancelledError(str(error)))
    except BaseException as error:
        outer.set_exception(error)
    else:
        outer.set_result(result)


def _results(futures: list[Future], deadline: float | None) -> Iterator[Any]:
    try:
        for position, future in enumerate(futures):
            left = None if deadline is None else max(0.0, deadline - monotonic())
            try:
                yield future.result(timeout=left)
            except TimeoutError:
                raise concurrent.futures.TimeoutError(
                    f"{len(futures) - position} of {len(futures)} results are not there"
                ) from None
    finally:
        for future in futures:
            future.cancel()
