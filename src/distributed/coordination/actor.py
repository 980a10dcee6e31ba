"""Actors: objects that live on one worker and keep state; everybody else holds proxies.

``client.submit(Class, actor=True)`` makes the object on a worker; the result is an :class:`Actor`. On that worker the
:class:`Actor` holds the object itself, and lives as long as the task's result does. Pickled, it becomes a proxy that
knows only where the object is. Calls are answered one at a time by one thread of that worker, coroutine methods on its
event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import queue
import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from concurrent.futures import Future as ConcurrentFuture
from functools import partial
from typing import Any, Generic, TypeVar

from distributed.client import get_client
from distributed.client.future import Future
from distributed.core.contained import contained
from distributed.forks import end_child
from distributed.loops import as_loop, outcome_of, post, seconds
from distributed.protocol.errors import pack_error, unpack_error
from distributed.protocol.payload import Serialized, pack, unpack
from distributed.threadstate import awaiting, block_on, current_run, current_slot, thread_state
from distributed.worker import context
from distributed.worker.executor import Slot

T = TypeVar("T")

# ---------------------------------------------------------------- results of calls


class BaseActorFuture(ABC, Generic[T]):
    """The result of a call of an actor's method."""

    @abstractmethod
    def result(self, timeout: Any = None) -> T:
        """Wait for it and return it, or raise what the method raised."""

    @abstractmethod
    def done(self) -> bool:
        """Whether it is there."""

    @abstractmethod
    def __await__(self) -> Generator[Any, Any, T]: ...


class ActorFuture(BaseActorFuture[T]):
    """The result of a call of an actor's method, to come.

    Wait for it with :meth:`result`, or ``await`` it.

    Parameters
    ----------
    io_loop : Loop
        The event loop on which the answer arrives.
    """

    def __init__(self, io_loop: Any) -> None:
        self._loop = as_loop(io_loop).asyncio_loop
        self._outcome: ConcurrentFuture[T] = ConcurrentFuture()

    def done(self) -> bool:
        return self._outcome.done()

    def result(self, timeout: Any = None) -> T:
        """Wait for it and return it, or raise what the method raised.

        Parameters
        ----------
        timeout : float or str, optional
            Seconds, or a text such as "5s"; then TimeoutError is raised.
        """
        if asyncio._get_running_loop() is self._loop and not self.done():
            raise RuntimeError(
                "this would block the event loop that brings the result: await the future instead"
            )
        block_on(self._outcome, seconds(timeout))
        try:
            return self._outcome.result(0)
        finally:
            del self  # no cycle through the traceback

    def __await__(self) -> Generator[Any, Any, T]:
        return self._awaited().__await__()

    async def _awaited(self) -> T:
        with awaiting(asyncio.get_running_loop()):
            return await outcome_of(self._outcome)

    def __repr__(self) -> str:
        return f"<ActorFuture: {'done' if self.done() else 'pending'}>"

    def _set_result(self, value: T) -> None:
        if not self._outcome.done():
            self._outcome.set_result(value)

    def _set_exception(self, error: BaseException) -> None:
        if not self._outcome.done():
            self._outcome.set_exception(error)


class EagerActorFuture(BaseActorFuture[T]):
    """The result of a call that an actor made of itself: it is there already."""

    def __init__(self, value: T) -> None:
        self._value = value

    def done(self) -> bool:
        return True

    def result(self, timeout: Any = None) -> T:
        return self._value

    def __await__(self) -> Generator[Any, Any, T]:
        return self._value
        yield

    def __repr__(self) -> str:
        return "<EagerActorFuture: done>"


# ---------------------------------------------------------------- proxies


class Actor:
    """A proxy of an object that lives on a worker.

    Calls of its methods return an :class:`ActorFuture`; other attributes are fetched when they are read. A client's
    proxy keeps the object alive.

    Parameters
    ----------
    cls : type
        The object's class.
    address : str
        Of the worker.
    key : str
        Of the task that made it.
    worker : Worker, optional
        Known to users of the field; found out.
    token : str
        Of the object itself: another actor may come under the key.

    Examples
    --------
    >>> counter = client.submit(Counter, actor=True).result()  # doctest: +SKIP
    >>> counter.increment().result()  # doctest: +SKIP
    1
    >>> counter.n  # doctest: +SKIP
    1
    """

    def __init__(self, cls: type, address: str, key: Any, worker: Any = None, token: str = "") -> None:
        self._cls = cls
        self._address = address
        self._key = key
        self._token = token
        self._instance: Any = None
        self._host: Any = None
        self._client: Any = None
        self._future: Any = None
        if worker is None and current_slot() is None:
            with contextlib.suppress(ValueError):  # no client: a party that only passes it on
                self._client = get_client()
                self._future = Future(key, self._client)

    @classmethod
    def _hosted(cls, instance: Any, worker: Any, key: Any) -> Actor:
        """The one that holds the object itself."""
        actor = cls(type(instance), worker.address, key, worker, uuid.uuid4().hex)
        actor._instance = instance
        actor._host = worker
        return actor

    @property
    def key(self) -> Any:
        """Key of the task that made the actor."""
        return self._key

    @property
    def client(self) -> Any:
        """The client through which it is called."""
        if self._client is None or self._client.status == "closed":
            self._client = get_client()
        return self._client

    def _here(self) -> Actor:
        """In a task or actor of the very worker that it lives on: the one that holds the object; else this."""
        slot = current_slot() if self._instance is None else None
        if slot is not None and slot.executor.worker.address == self._address:
            return slot.executor.worker.extensions["actors"].find(self._key, self._token) or self
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Actor, (self._cls, self._address, self._key, None, self._token)

    def __repr__(self) -> str:
        return f"<Actor: {self._cls.__name__}, key={self._key}>"

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *(name for name in dir(self._cls) if not name.startswith("_"))})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("_cls", "_instance", "_token"):
            raise AttributeError(name)
        if callable(getattr(self._cls, name, None)):
            return _Method(self, name)
        here = self._here()
        if here._instance is not None:
            return getattr(here._instance, name)
        client = self.client
        return client.sync(_fetch_attribute, client, self, name)


class _Method:
    """``actor.method``."""

    def __init__(self, actor: Actor, name: str) -> None:
        self._actor = actor
        self._name = name
        self.__name__ = name
        self.__doc__ = getattr(getattr(actor._cls, name), "__doc__", None)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        actor = self._actor._here()
        if actor._instance is not None:
            return actor._host.extensions["actors"].call_here(actor, self._name, args, kwargs)
        client = actor.client
        future: ActorFuture[Any] = ActorFuture(client.loop)
        # Packed now: what the caller changes afterwards is not what was sent.
        request = {
            "actor": actor._key,
            "function": self._name,
            "args": pack(args),
            "kwargs": pack(kwargs),
            "token": actor._token,
        }
        future._outcome = post(client.loop, _ask(client, actor, "actor_execute", request))
        return future

    def __repr__(self) -> str:
        return f"<method {self._name} of {self._actor!r}>"


async def _fetch_attribute(client: Any, actor: Actor, name: str) -> Any:
    return await _ask(
        client, actor, "actor_attribute", {"actor": actor._key, "attribute": name, "token": actor._token}
    )


async def _ask(client: Any, actor: Actor, op: str, request: dict[str, Any]) -> Any:
    """Call an operation of the actor's worker: straight, or through the scheduler where that is not possible."""
    client._session.flush()
    try:
        try:
            connection = await client._pool.connect(actor._address)
        except OSError:
            answer = await client._session.call("proxy", worker=actor._address, op=op, kwargs=request)
        else:
            answer = await connection.request(op, request)
    except OSError as error:
        raise ValueError(
            f"Worker holding Actor was lost: {actor!r} was on {actor._address} ({error})"
        ) from None
    if answer["status"] == "OK":
        return unpack(answer["result"])
    if answer["status"] == "missing":
        raise ValueError(
            f"Worker holding Actor was lost: {actor._address} does not have {actor!r} (any more); "
            "somebody must hold its future or a proxy"
        )
    raise unpack_error(answer["exception"], answer["traceback"], answer["text"])


# ---------------------------------------------------------------- client


class ActorFactory:
    """The function of a task that makes an actor."""

    def __init__(self, cls: Callable[..., Any]) -> None:
        self.cls = cls
        self.__name__ = getattr(cls, "__name__", "actor")

    def __call__(self, *args: Any, **kwargs: Any) -> Actor:
        return Actor._hosted(self.cls(*args, **kwargs), context.get_worker(), context.get_current_task())


class ClientActors:
    """The client's half."""

    def __init__(self, client: Any) -> None:
        pass

    def factory(self, func: Callable[..., Any]) -> ActorFactory:
        return ActorFactory(func)


# ---------------------------------------------------------------- worker


class _ActorExecutor:
    """What ``get_worker``, ``secede`` and the like see inside an actor's method: it holds no place in the pool."""

    def __init__(self, worker: Any) -> None:
        self.worker = worker
        self.execution_state = worker.executor.execution_state

    def secede(self, slot: Slot) -> None:
        """It has."""

    def rejoin(self, slot: Slot) -> None:
        """It cannot."""

    def leave_behind(self) -> None:
        """In the child of a method: end when the method does."""
        self.worker.extensions["actors"].end = end_child


class WorkerActors:
    """The worker's half: one thread for all actors of this worker."""

    def __init__(self, worker: Any) -> None:
        self.worker = worker
        self._executor: Any = _ActorExecutor(worker)
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def close(self) -> None:
        if self._thread is not None:
            self._calls.put(None)

    def end(self) -> None:
        """After every call; in a child that a method made, its end."""

    async def actor_execute(
        self, actor: Any, function: str, args: Any, kwargs: Any, token: str = ""
    ) -> dict[str, Any]:
        found = self.find(actor, token)
        if found is None:
            return {"status": "missing"}
        try:
            arguments = unpack(args) if isinstance(args, bytes | Serialized) else args
            named = unpack(kwargs) if isinstance(kwargs, bytes | Serialized) else kwargs or {}
            return {"status": "OK", "result": pack(await self._call(found, function, arguments, named))}
        except Exception as error:
            return _failure(error)

    def actor_attribute(self, actor: Any, attribute: str, token: str = "") -> dict[str, Any]:
        found = self.find(actor, token)
        if found is None:
            return {"status": "missing"}
        try:
            return {"status": "OK", "result": pack(getattr(found._instance, attribute))}
        except BaseException as error:
            return _failure(_as_exception(error))

    def call_here(self, actor: Actor, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call that comes from this worker: nothing is pickled."""
        if threading.current_thread() is self._thread:  # an actor that calls an actor of the same thread
            method = getattr(actor._instance, name)
            if not inspect.iscoroutinefunction(method):
                return _eager(self.worker.loop, method, args, kwargs)
        loop = self.worker.loop
        future: ActorFuture[Any] = ActorFuture(loop)

        future._outcome = post(loop, self._call(actor, name, args, kwargs))
        return future

    def find(self, key: Any, token: str = "") -> Actor | None:
        """The actor that lives here under this key, if it is the one of this token."""
        found = self.worker.data.get(key)
        if not isinstance(found, Actor) or found._instance is None:
            return None
        return found if token in ("", found._token) else None

    async def _call(self, actor: Actor, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        method = getattr(actor._instance, name)
        slot = Slot(self._executor)
        slot.seceded = True
        slot.task = self.worker.state.tasks.get(actor._key)
        if inspect.iscoroutinefunction(method):
            token = current_run.set((slot, slot.task))
            try:
                with contained("the actor"):
                    return await method(*args, **kwargs)
            finally:
                current_run.reset(token)
        outcome: ConcurrentFuture[Any] = ConcurrentFuture()
        self._start_thread()
        self._calls.put(partial(_call_in_thread, outcome, slot, partial(method, *args, **kwargs)))
        try:
            return await outcome_of(outcome)
        finally:
            del outcome  # no cycle through the traceback

    def _start_thread(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, name=f"Dask-Actor-Thread-{self.worker.name}", daemon=True
                )
                self._thread.start()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
            self.end()
            del call  # a finished call keeps nothing alive while the thread waits


def _call_in_thread(outcome: ConcurrentFuture[Any], slot: Slot, call: Callable[[], Any]) -> None:
    if not outcome.set_running_or_notify_cancel():  # the caller is gone
        return
    thread_state.slot = slot
    try:
        outcome.set_result(call())
    except BaseException as error:  # whatever it is, it ends the call and not the thread
        outcome.set_exception(_as_exception(error))
    finally:
        thread_state.slot = None
        del outcome, call  # no cycle through the traceback


def _eager(loop: Any, method: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> BaseActorFuture[Any]:
    try:
        return EagerActorFuture(method(*args, **kwargs))
    except Exception as error:
        failed: ActorFuture[Any] = ActorFuture(loop)
        failed._set_exception(error)
        return failed


def _as_exception(error: BaseException) -> Exception:
    """What a method raised, made harmless: whatever it is, it ends the call and nothing else."""
    return error if isinstance(error, Exception) else RuntimeError(f"the actor raised {error!r}")


def _failure(error: Exception) -> dict[str, Any]:
    packed = pack_error(error)
    return {
        "status": "error",
        "text": packed.exception_text,
        "exception": packed.exception,
        "traceback": packed.traceback,
    }
