"""Event loops and threads: where coroutines run, and how a plain thread waits for one.

Everything of this package is written once, as coroutines. A synchronous user's coroutines run on a loop in a thread of
its own (:class:`LoopRunner`); :func:`sync` waits for one from any other thread. :class:`SyncMethodMixin` gives an
object both faces.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Executor, InvalidStateError
from concurrent.futures import Future as ConcurrentFuture
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

from distributed.forks import in_child, module_lock
from distributed.loop_threads import LoopThread, new_event_loop
from distributed.waits import STOPPED, LeftBehind, LoopStoppedError, Wait, why_stopped

T = TypeVar("T")

_running_loop = asyncio._get_running_loop


class Loop:
    """An asyncio loop with the methods that programs of the field call on a client's ``loop``.

    Parameters
    ----------
    asyncio_loop : asyncio.AbstractEventLoop
        The loop that does the work.
    """

    def __init__(self, asyncio_loop: asyncio.AbstractEventLoop) -> None:
        self.asyncio_loop = asyncio_loop
        #: Whether the thread that ran it has stopped: what is asked of it now is never done.
        self.ended = False
        #: Who is told, by ``loop_ended()``, when that happens.
        self.waiting: set[Any] = set()

    def __repr__(self) -> str:
        state = "closed" if self.asyncio_loop.is_closed() else "running" if self.is_running() else "stopped"
        return f"<Loop: {state}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Loop) and other.asyncio_loop is self.asyncio_loop

    def __hash__(self) -> int:
        return hash(self.asyncio_loop)

    @classmethod
    def current(cls) -> Loop:
        """The loop that runs in this thread. Raises ``RuntimeError`` where none does."""
        return as_loop(asyncio.get_running_loop())

    def is_running(self) -> bool:
        return self.asyncio_loop.is_running()

    def time(self) -> float:
        return self.asyncio_loop.time()

    def add_callback(self, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Call ``callback(*args, **kwargs)`` soon on the loop, from any thread. A coroutine it returns is run."""
        if _running_loop() is self.asyncio_loop:
            self.asyncio_loop.call_soon(self._call, callback, args, kwargs)
        else:
            with contextlib.suppress(RuntimeError):  # a closed loop runs nothing any more
                self.asyncio_loop.call_soon_threadsafe(self._call, callback, args, kwargs)

    spawn_callback = add_callback
    add_callback_from_signal = add_callback

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call on the loop in ``delay`` seconds; the answer can be given to :meth:`remove_timeout`."""
        return self.asyncio_loop.call_later(delay, self._call, callback, args, kwargs)

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call on the loop at ``when`` of the loop's :meth:`time`."""
        return self.asyncio_loop.call_at(when, self._call, callback, args, kwargs)

    def add_timeout(
        self, deadline: float | timedelta, callback: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        if isinstance(deadline, timedelta):
            return self.call_later(deadline.total_seconds(), callback, *args, **kwargs)
        return self.call_at(deadline, callback, *args, **kwargs)

    def remove_timeout(self, timeout: Any) -> None:
        timeout.cancel()

    def add_future(self, future: Any, callback: Callable[[Any], Any]) -> None:
        """Call ``callback(future)`` on the loop when a future (asyncio's or concurrent.futures') is done."""
        future.add_done_callback(lambda done: self.add_callback(callback, done))

    def create_task(self, coroutine: Any) -> asyncio.Task[Any]:
        return self.asyncio_loop.create_task(coroutine)

    def run_in_executor(self, executor: Executor | None, func: Callable[..., Any], *args: Any) -> Any:
        return self.asyncio_loop.run_in_executor(executor, func, *args)

    def run_sync(self, func: Callable[[], Any], timeout: float | None = None) -> Any:
        """Run a loop that does not run yet until ``func()`` is done."""

        async def run() -> Any:
            result = func()
            if inspect.isawaitable(result):
                result = await asyncio.wait_for(result, timeout)
            return result

        return self.asyncio_loop.run_until_complete(run())

    def start(self) -> None:
        """Run the loop in this thread until :meth:`stop`."""
        asyncio.set_event_loop(self.asyncio_loop)
        self.asyncio_loop.run_forever()

    def stop(self) -> None:
        if _running_loop() is self.asyncio_loop:
            self.asyncio_loop.stop()
        else:
            with contextlib.suppress(RuntimeError):
                self.asyncio_loop.call_soon_threadsafe(self.asyncio_loop.stop)

    def close(self, all_fds: bool = False) -> None:
        self.asyncio_loop.close()

    def end(self) -> None:
        """Nobody runs this loop any more: tell whoever waits for something on it."""
        self.ended = True
        for waiting in list(self.waiting):
            waiting.loop_ended()

    def _call(self, callback: Callable[..., Any], args: Any, kwargs: Any) -> None:
        result = callback(*args, **kwargs)
        if inspect.isawaitable(result):
            future = asyncio.ensure_future(result, loop=self.asyncio_loop)
            _spawned.add(future)
            future.add_done_callback(_spawned.discard)


_spawned: set[asyncio.Future[Any]] = set()  # a loop does not keep its tasks alive
_wrapped: weakref.WeakValueDictionary[int, Loop] = (
    weakref.WeakValueDictionary()
)  # which keep their loops alive


def as_loop(loop: Any) -> Loop:
    """The :class:`Loop` of an asyncio loop, a tornado ``IOLoop`` or a :class:`Loop`; the same one each time."""
    if isinstance(loop, Loop):
        return loop
    inner = getattr(loop, "asyncio_loop", loop)
    if not isinstance(inner, asyncio.AbstractEventLoop):
        raise TypeError(f"loop must be an asyncio loop, a tornado IOLoop or None, not {type(loop).__name__}")
    wrapped = _wrapped.get(id(inner))
    if wrapped is None:
        wrapped = _wrapped[id(inner)] = Loop(inner)
    return wrapped


class _Posted:
    """A coroutine on a loop, of which a future of ``concurrent.futures`` tells."""

    __slots__ = ("loop", "outcome")

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.outcome: ConcurrentFuture[Any] = ConcurrentFuture()

    def loop_ended(self) -> None:
        with contextlib.suppress(InvalidStateError):  # it is done
            self.outcome.set_exception(LoopStoppedError(STOPPED))

    async def run(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        loop, task, outcome = self.loop, asyncio.current_task(), self.outcome
        assert task is not None
        outcome.add_done_callback(
            lambda outcome: loop.add_callback(task.cancel) if outcome.cancelled() else None
        )
        with contextlib.suppress(InvalidStateError):  # nobody waits any more
            try:
                outcome.set_result(await coroutine)
            except InvalidStateError:
                raise
            except BaseException as error:
                outcome.set_exception(error)
            finally:
                loop.waiting.discard(self)
                del outcome, self  # no cycle through the traceback


async def outcome_of(future: ConcurrentFuture[T]) -> T:
    """Await a future of another thread, without the cycle that ``asyncio.wrap_future`` leaves behind."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    future.add_done_callback(partial(_tell, loop, done))
    try:
        await done
        return future.result(0)
    except asyncio.CancelledError:
        future.cancel()
        raise
    finally:
        del future  # no cycle through the traceback


def _tell(loop: asyncio.AbstractEventLoop, done: asyncio.Future[None], _: Any) -> None:
    with contextlib.suppress(RuntimeError):  # nobody is left to hear it
        loop.call_soon_threadsafe(_set, done)


def _set(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


def post(loop: Any, coroutine: Coroutine[Any, Any, T]) -> ConcurrentFuture[T]:
    """Run a coroutine on a loop of another thread. The future that is returned is done in the end, whatever happens."""
    loop = as_loop(loop)
    posted = _Posted(loop)
    loop.waiting.add(posted)
    if loop.ended or loop.asyncio_loop.is_closed():
        coroutine.close()
        posted.loop_ended()
    else:
        loop.add_callback(posted.run, coroutine)
    return posted.outcome


_threads: dict[asyncio.AbstractEventLoop, LoopThread] = {}
_threads_lock = module_lock()


def _in_child() -> None:
    for loop in list(_wrapped.values()):
        behind: Any = LeftBehind(loop.asyncio_loop)
        loop.asyncio_loop = behind
        loop.ended = True
        loop.waiting.clear()
    _wrapped.clear()
    _threads.clear()


in_child(_in_child)


class LoopRunner:
    """Gives an object its loop: the running one, or one in a background thread.

    Parameters
    ----------
    loop : Loop, IOLoop or asyncio loop, optional
        The loop to use. Default: the running loop if ``asynchronous``, else a new one (uvloop where available) in a
        thread of its own.
    asynchronous : bool, default False
        Whether the caller already lives on a loop.

    Examples
    --------
    >>> runner = LoopRunner()
    >>> runner.start()
    >>> import asyncio
    >>> runner.run_sync(asyncio.sleep, 0, "done")
    'done'
    >>> runner.stop()
    """

    def __init__(self, loop: Any = None, asynchronous: bool = False) -> None:
        self._asynchronous = asynchronous
        self._started = False
        self._thread: LoopThread | None = None
        self._own = False
        if loop is not None:
            self._loop = as_loop(loop)
        elif asynchronous:
            try:
                self._loop = as_loop(asyncio.get_running_loop())
            except RuntimeError:
                raise RuntimeError(
                    "asynchronous=True needs a running event loop: create the object inside a coroutine, "
                    "or leave asynchronous out to have a loop in a background thread"
                ) from None
        else:
            self._loop = as_loop(new_event_loop())
            self._own = True

    def __repr__(self) -> str:
        return f"<LoopRunner: started={self._started}, loop={self._loop}>"

    @property
    def loop(self) -> Loop:
        return self._loop

    def is_started(self) -> bool:
        return self._started

    def start(self) -> None:
        """Make sure that the loop runs. With a loop of a coroutine's thread this does nothing."""
        if self._started:
            return
        if self._loop.asyncio_loop.is_closed():
            raise RuntimeError("this event loop was closed: make a new LoopRunner")
        if not self._asynchronous:
            with _threads_lock:
                thread = _threads.get(self._loop.asyncio_loop)
                if thread is None and not self._loop.is_running():
                    thread = LoopThread(self._loop, close=self._own)
                    thread.start()
                    _threads[self._loop.asyncio_loop] = thread
                if thread is not None:
                    thread.nrunners += 1
                self._thread = thread
        self._started = True

    def stop(self, timeout: float | None = 10) -> None:
        """Stop the thread if this is the last runner that uses it. ``timeout`` in seconds."""
        self._started = False
        thread, self._thread = self._thread, None
        if thread is None:
            return
        with _threads_lock:
            thread.nrunners -= 1
            if thread.nrunners:
                return
            _threads.pop(self._loop.asyncio_loop, None)
        thread.stop(timeout)

    def run_sync(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run ``func(*args, **kwargs)`` on the loop and wait for its result, starting the loop for as long."""
        if self._started:
            return sync(self._loop, func, *args, **kwargs)
        self.start()
        try:
            return sync(self._loop, func, *args, **kwargs)
        finally:
            self.stop()


def sync(
    loop: Any,
    func: Callable[..., Awaitable[T] | T],
    *args: Any,
    callback_timeout: float | timedelta | str | None = None,
    **kwargs: Any,
) -> T:
    """Run a coroutine function on a loop of another thread and wait for its result.

    Parameters
    ----------
    loop : Loop, IOLoop or asyncio loop
        A loop that runs in another thread.
    func : callable
        Called on the loop; what it returns is awaited if it can be.
    callback_timeout : float or str, optional
        Seconds (or "10s") to wait before the coroutine is cancelled and ``TimeoutError`` raised.

    Raises
    ------
    RuntimeError
        When called on the loop itself (it would wait for ever), the loop is closed, or (``LoopStoppedError``) stops.
    """
    here = as_loop(loop)
    inner = here.asyncio_loop
    if _running_loop() is inner:
        raise RuntimeError(
            "cannot wait for the event loop from inside it: use await (asynchronous=True) instead"
        )
    if inner.is_closed():
        raise RuntimeError(why_stopped(inner, "the event loop is closed"))
    timeout = seconds(callback_timeout)
    done = Wait(here)
    outcome: list[Any] = [None, None]  # the result, the exception
    running: list[asyncio.Task[Any]] = []

    async def call() -> None:
        try:
            result = func(*args, **kwargs)
            if inspect.isawaitable(result):
                result = await (result if timeout is None else asyncio.wait_for(result, timeout))
            outcome[0] = result
        except BaseException as error:
            stopped = here.ended and isinstance(error, asyncio.CancelledError)
            outcome[1] = LoopStoppedError(STOPPED) if stopped else error
        finally:
            done.wake()

    def start() -> None:
        running.append(inner.create_task(call()))

    try:
        inner.call_soon_threadsafe(start)
    except RuntimeError:
        raise RuntimeError("the event loop is closed") from None

    try:
        done.until()
    except BaseException:  # Ctrl-C in the waiting thread

        def cancel() -> None:
            for task in running:
                task.cancel()

        with contextlib.suppress(RuntimeError):
            inner.call_soon_threadsafe(cancel)
        raise
    result: T
    result, error = outcome
    if error is not None:
        try:
            raise error
        finally:
            del error, outcome  # no cycle through the traceback
    return result


def seconds(value: float | timedelta | str | None) -> float | None:
    """A duration in seconds from a number, a ``timedelta`` or a text such as "10s"."""
    if value is None or isinstance(value, int | float):
        return value
    from distributed.durations import parse_duration

    return parse_duration(value)


class SyncMethodMixin:
    """For objects with a ``loop`` and ``_asynchronous``: methods that block or are awaited, as the caller needs it."""

    loop: Loop
    _asynchronous: bool

    @property
    def asynchronous(self) -> bool:
        """Whether calls return awaitables here: true on the object's own loop, never in another thread."""
        loop = getattr(self, "loop", None)
        if loop is None:
            return getattr(self, "_asynchronous", False)
        inner = as_loop(loop).asyncio_loop
        if _running_loop() is inner:
            return True
        return getattr(self, "_asynchronous", False) and not inner.is_running()

    def sync(
        self,
        func: Callable[..., Any],
        *args: Any,
        asynchronous: bool | None = None,
        callback_timeout: float | timedelta | str | None = None,
        **kwargs: Any,
    ) -> Any:
        """Call a coroutine function: an awaitable for asynchronous callers, else wait for its result."""
        if asynchronous is None:
            asynchronous = self.asynchronous
        if asynchronous:
            result = func(*args, **kwargs)
            if callback_timeout is not None:
                return asyncio.wait_for(result, seconds(callback_timeout))
            return result
        return sync(self.loop, func, *args, callback_timeout=callback_timeout, **kwargs)
