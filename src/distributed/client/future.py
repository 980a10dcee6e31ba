"""The user's handle on a result that is not there yet."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any

from dask._task_spec import GraphNode, TaskRef

from distributed.client.state.records import ClientTask
from distributed.protocol import refs

if TYPE_CHECKING:
    from distributed.client.client import Client


class _Packing(threading.local):
    as_task_ref = False


packing = _Packing()


class Future(TaskRef):
    """A result that is being computed somewhere, or was.

    As long as a future on a key lives the network keeps its result; when the last one is garbage collected (or
    :meth:`release` is called) the result may be forgotten. Futures can be given as arguments to further calls, also
    inside lists, tuples, sets and dicts: the task then gets the value. They can be pickled: in another process they
    belong to that process's client.

    One without a client belongs to the current one when it is first used. Until then it keeps the result for whichever
    clients of this process have a future on the key.

    Parameters
    ----------
    key : str, tuple, ...
        The task's key.
    client : Client, optional
        Default: the current client, looked up when it is first needed.

    Examples
    --------
    >>> future = client.submit(sum, [1, 2])  # doctest: +SKIP
    >>> future.result()  # doctest: +SKIP
    3
    """

    #: ``__dict__``: programs hang attributes of their own on futures, as prefect does; it is made when one does.
    __slots__ = ("__dict__", "__weakref__", "_client", "_holds", "_task")

    _client: Client | None
    _holds: list[Future]  # of one that had no client when it was made
    _task: ClientTask

    def __init__(self, key: Any, client: Client | None = None, state: Any = None, _id: Any = None) -> None:
        self.key = key
        self._client = None
        self._task = ClientTask(key)
        if client is not None:
            self.bind_client(client)
        else:
            self._hold()

    def _hold(self) -> None:
        from distributed.client.owning import holds_on

        self._holds = holds_on(self._task)

    def bind_client(self, client: Client) -> None:
        """Make ``client`` the one that this future asks; a future that has one keeps it."""
        if self._client is not None:
            return
        theirs = None
        if getattr(self, "_holds", None):
            from distributed.client.owning import adopted

            theirs = adopted(self._holds, client)
        self._task = client._session.want(self._task if theirs is None else theirs._task)
        self._client = client
        self._holds = []  # not before it is wanted here

    def _bound(self) -> Client:
        client = self._client
        if client is None:
            from distributed.client.current import get_client

            self.bind_client(get_client())
            client = self._client
            assert client is not None
        return client

    @property
    def client(self) -> Client:
        return self._bound()

    executor = client

    @property
    def status(self) -> str:
        """``pending``, ``finished``, ``error``, ``cancelled`` or ``lost``."""
        self._bound()
        return self._task.status

    @property
    def type(self) -> Any:
        """Name of the result's type; None until it is known."""
        return self._task.type or None

    def done(self) -> bool:
        """Whether there is a result or an error, or the future was cancelled."""
        self._bound()
        return self._task.status != "pending"

    def cancelled(self) -> bool:
        """Whether it was cancelled (by whomever)."""
        return self._task.status == "cancelled"

    def result(self, timeout: float | str | None = None) -> Any:
        """Wait for the result and return it.

        Parameters
        ----------
        timeout : float or str, optional
            Seconds, or a text such as "10s".

        Raises
        ------
        TimeoutError
            The result is not there in time; the task goes on.
        CancelledError
            It was cancelled, or the connection to the scheduler is lost for good.
        Exception
            What the task raised, with its traceback.
        """
        client = self._bound()
        if client.asynchronous:
            return client._result(self, timeout)
        return client._result_sync(self, timeout)

    def exception(self, timeout: float | str | None = None, **kwargs: Any) -> Any:
        """Wait, and return what the task raised: None if it succeeded. Raises ``CancelledError`` if cancelled."""
        return self._bound().sync(self._exception, timeout, **kwargs)

    def traceback(self, timeout: float | str | None = None, **kwargs: Any) -> Any:
        """Wait, and return the traceback of a failed task: None if it succeeded."""
        return self._bound().sync(self._traceback, timeout, **kwargs)

    async def _exception(self, timeout: float | str | None = None) -> BaseException | None:
        from distributed.client.errors import failure_of, remote_exception

        task = self._task
        await self._bound()._wait_tasks([task], timeout)
        if task.status == "error":
            return remote_exception(task)
        if task.status != "finished":
            raise failure_of(task)
        return None

    async def _traceback(self, timeout: float | str | None = None) -> Any:
        from distributed.client.errors import failure_of, remote_traceback

        task = self._task
        await self._bound()._wait_tasks([task], timeout)
        if task.status == "error":
            return remote_traceback(task)
        if task.status != "finished":
            raise failure_of(task)
        return None

    def cancel(self, reason: str | None = None, msg: str | None = None, **kwargs: Any) -> Any:
        """Give the result up: for this client, or with ``force=True`` for all."""
        return self._bound().cancel([self], reason=reason, msg=msg, **kwargs)

    def retry(self, **kwargs: Any) -> Any:
        """Run a failed task again."""
        return self._bound().retry([self], **kwargs)

    def add_done_callback(self, fn: Callable[[Future], Any]) -> None:
        """Call ``fn(future)`` in a thread once the future is done; soon, if it is."""
        self._bound()._add_done_callback(self, fn)

    def release(self) -> None:
        """Say that this handle is not needed any more, as garbage collection would."""
        client = self._client
        if client is not None:
            task = self._task
            # a negative count: garbage collection of this handle shall not count again
            self._task = ClientTask(
                self.key, nfutures=-1, status="cancelled", reason="the future was released"
            )
            client._session.release(task)

    def __del__(self) -> None:
        # May run at any moment in any thread, even inside the machinery below: it only appends to a deque.
        try:
            client = self._client
            if client is not None:
                client._session.release(self._task)
        except (AttributeError, TypeError):  # half made, or the interpreter is taking modules apart
            pass

    def __reduce__(self) -> tuple[Any, ...]:
        if packing.as_task_ref:
            return TaskRef, (self.key,)
        refs.note(self)
        work = self._task.work
        return _rebuild, (self.key, work) if work else (self.key,)

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._bound()._await(self).__await__()

    def __repr__(self) -> str:
        task = self._task
        status = task.status if self._client is not None else "unbound"
        kind = f" type: {task.type}," if task.type else ""
        return f"<Future: {status},{kind} key: {self.key}>"

    __str__ = __repr__

    def _repr_html_(self) -> str:
        from html import escape

        return f"<b>Future: {escape(str(self.key))}</b> <i>{self._task.status}</i> {escape(self._task.type)}"


def make_future(client: Client, task: ClientTask) -> Future:
    """A future on a task that is (being) submitted. Its count was or will be raised by the event of the submission."""
    future = Future.__new__(Future)
    future.key = task.key
    future._task = task
    future._client = client
    return future


def _rebuild(key: Any, work: bytes = b"") -> Future:
    """Unpickle: bound to the client of this process when first used. ``work``: what the key stood for."""
    future = Future.__new__(Future)
    future.key = key
    future._client = None
    future._task = ClientTask(key, work=work)
    future._hold()
    refs.note(future)
    return future


def futures_of(o: Any, client: Client | None = None) -> list[Future]:
    """All futures inside a (nested) list, tuple, set, dict or dask collection, each key once.

    Raises
    ------
    CancelledError
        With ``client`` given: some of them were cancelled.
    """
    found: dict[Any, Future] = {}
    stack = [o]
    while stack:
        obj = stack.pop()
        if isinstance(obj, Future):
            found.setdefault(obj.key, obj)
        elif isinstance(obj, list | tuple | set | frozenset):
            stack.extend(reversed(list(obj)))
        elif isinstance(obj, dict):
            stack.extend(reversed(list(obj.values())))
        elif isinstance(obj, GraphNode):
            stack.extend(
                part for part in (getattr(obj, name, None) for name in ("value", "args")) if part is not None
            )
        elif not isinstance(obj, type) and hasattr(obj, "__dask_graph__"):
            graph = obj.__dask_graph__()
            if graph is not None:
                values: Iterable[Any] = dict(graph).values()
                stack.extend(reversed(list(values)))
    if client is not None:
        bad = [future.key for future in found.values() if future.cancelled()]
        if bad:
            from distributed.client.errors import FutureCancelledError

            raise FutureCancelledError(bad[0], f"{len(bad)} of these futures were cancelled")
    return list(found.values())
