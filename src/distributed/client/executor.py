"""A network as an executor of ``concurrent.futures``: for libraries that ask for one."""

from __future__ import annotations

import concurrent.futures
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from time import monotonic
from typing import Any

from distributed.client.errors import failure_of
from distributed.client.future import Future
from distributed.client.owning import keep_until_done
from distributed.exceptions import TimeoutError
from distributed.threadstate import block_on

#: Keywords of ``Client.submit`` that an executor may be given.
OPTIONS = frozenset({"pure", "workers", "resources", "allow_other_workers", "retries", "priority"})


class _Result(concurrent.futures.Future[Any]):
    """What ``submit`` gives: inside a task, whoever waits for it leaves its place to others."""

    def result(self, timeout: float | None = None) -> Any:
        block_on(self, timeout)
        try:
            return super().result(0)
        finally:
            del self  # no cycle through the traceback

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
        self._outer: weakref.WeakSet[concurrent.futures.Future[Any]] = weakref.WeakSet()
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
        self._outer.add(outer)
        link = _Link(future)
        outer.add_done_callback(link.outer_done)
        future.add_done_callback(partial(link.inner_done, outer))
        return outer

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        **kwargs: Any,
    ) -> Iterator[Any]:
        """As of every executor: results in order, TimeoutError after ``timeout`` seconds. ``chunksize`` is ignored.

        All calls are made, whether or not somebody asks for results; who leaves the iterator early gives up the rest.
        """
        if self._shutdown:
            raise RuntimeError("cannot map: this executor was shut down")
        deadline = None if timeout is None else monotonic() + timeout
        futures = self._client.map(fn, *iterables, **self._kwargs, **kwargs)
        self._futures.update(futures)
        keep_until_done(self._client._session, futures, [future._task for future in futures])
        return _results(futures, deadline)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks. ``wait`` for those there are; else, or with ``cancel_futures``, they are cancelled.

        On the event loop of an asynchronous client nothing is waited for.
        """
        self._shutdown = True
        left = [future for future in self._futures if not future.done()]
        if left and (cancel_futures or not wait):
            _cancel(self._client, left)
        if wait and not self._client.asynchronous:
            session = self._client._session
            if session.status != "closed":
                session.wait([future._task for future in left], None)
            concurrent.futures.wait(list(self._outer))


def CompatibleExecutor(*args: Any, **kwargs: Any) -> ClientExecutor:
    """Does no longer exist. Raises TypeError; use ``Client.get_executor()``."""
    raise TypeError("CompatibleExecutor does no longer exist: use client.get_executor()")


class _Link:
    """Between a future of the network and one of ``concurrent.futures``: what becomes of one is told to the other.

    Either side may be first, in threads of their own; one of them alone says to those who wait for the outer future
    that it is cancelled, or that it is not and has an outcome.
    """

    __slots__ = ("_decided", "_inner")

    def __init__(self, inner: Future) -> None:
        self._inner: Future | None = inner
        self._decided = threading.Lock()

    def outer_done(self, outer: concurrent.futures.Future[Any]) -> None:
        inner = self._inner
        if outer.cancelled() and self._decided.acquire(blocking=False):
            outer.set_running_or_notify_cancel()
            if inner is not None:
                _cancel(inner.client, [inner])

    def inner_done(self, outer: concurrent.futures.Future[Any], inner: Future) -> None:
        self._inner = None
        if inner.status == "cancelled":
            outer.cancel()  # and so outer_done
        elif self._decided.acquire(blocking=False) and outer.set_running_or_notify_cancel():
            _tell(outer, inner)


def _tell(outer: concurrent.futures.Future[Any], inner: Future) -> None:
    """The outcome of a task that was not cancelled."""
    try:
        if inner.status == "finished":
            outer.set_result(inner.result())
        else:
            outer.set_exception(failure_of(inner._task))
    except BaseException as error:
        outer.set_exception(error)
    finally:
        del outer, inner  # no cycle through the traceback


def _cancel(client: Any, futures: list[Future]) -> None:
    """From any thread, without waiting."""
    session = client._session
    session.post(session.state.handle_cancel, [future.key for future in futures])


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
        if pending := [future for future in futures if not future.done()]:
            _cancel(pending[0].client, pending)
