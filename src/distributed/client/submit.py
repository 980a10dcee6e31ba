"""``submit`` and ``map``: calls become keys, records and futures in the caller's thread."""

from __future__ import annotations

import itertools
import pickle
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from distributed.client.future import Future, make_future
from distributed.client.options import check_key, task_options
from distributed.client.owning import keep_until_done
from distributed.client.packing import Packer, functions, name_of, uploaded
from distributed.client.state.records import Call, ClientTask
from distributed.core.extensions import Extensions
from distributed.protocol import refs
from distributed.protocol.messages import Key, TaskOptions
from distributed.protocol.payload import OUT_OF_BAND_NBYTES, pack
from distributed.protocol.payload import nbytes as payload_nbytes

if TYPE_CHECKING:
    from distributed.client.session import Session

#: A keyword argument of ``map`` from this size in bytes on travels once, not with every task.
LARGE = 32 * 2**10
#: Tasks handed to the loop at once: while it sends these, the caller's thread packs the next.
CHUNK = 2_000


class SubmitMixin:
    """The part of ``Client`` that makes tasks."""

    _session: Session
    extensions: Extensions
    _calls: dict[Any, Call]

    def submit(
        self,
        func: Callable[..., Any],
        *args: Any,
        key: Key | None = None,
        workers: Any = None,
        resources: Mapping[str, float] | None = None,
        retries: int | None = None,
        priority: int = 0,
        fifo_timeout: Any = "100 ms",
        allow_other_workers: bool = False,
        actor: bool = False,
        actors: bool = False,
        pure: bool = True,
        **kwargs: Any,
    ) -> Future:
        """Run ``func(*args, **kwargs)`` on some worker.

        Parameters
        ----------
        func : callable
            A function or coroutine function.
        *args, **kwargs
            Its arguments. Futures among them, also inside lists, tuples, sets and dicts, become their results.
        key : str or tuple, optional
            Name of the task. Default: the function's name and a hash of function and arguments, so that the same
            call is computed once.
        workers : str or iterable of str, optional
            Addresses, names or host names that may run it.
        resources : dict, optional
            Amount of each resource the running task takes.
        retries : int, optional
            How often it is run again when it fails.
        priority : int, default 0
            Higher runs first.
        allow_other_workers : bool, default False
            Whether ``workers`` is only a preference.
        pure : bool, default True
            False: every call is a new task, even with the same arguments.

        Returns
        -------
        Future

        Raises
        ------
        TypeError
            ``func`` is not callable, or something cannot be pickled.

        Examples
        --------
        >>> client.submit(pow, 2, 10).result()  # doctest: +SKIP
        1024
        """
        if not callable(func):
            raise TypeError(f"submit needs a function to call, not {func!r}")
        session = self._session
        session.check_open()
        if actor or actors:
            func = self.extensions["actors"].factory(func)
        function = functions.get(func)
        options = task_options(
            workers=workers,
            resources=resources,
            retries=retries,
            priority=priority,
            allow_other_workers=allow_other_workers,
            actor=actor or actors,
        )
        packer = Packer(function, self)
        payload, deps = packer.pack(args, kwargs)
        name = name_of(func)
        named = key is not None
        if key is None:
            key = packer.key(name, payload) if pure and not options.actor else f"{name}-{uuid.uuid4().hex}"
        else:
            check_key(key)
        made = ClientTask(key, self._record(function, name, options), payload, deps, named=named)
        task = session.state.tasks.get(key)
        if task is None or deps or not task.reusable or (named and task.is_other(made)):
            task = made  # with dependencies: only the loop knows what their keys stand for by now
        future = make_future(self, task)  # type: ignore[arg-type]
        session.submit([task])
        if packer.inside:
            keep_until_done(session, packer.inside, [task])
        return future

    def map(
        self,
        func: Callable[..., Any],
        *iterables: Any,
        key: Any = None,
        workers: Any = None,
        retries: int | None = None,
        resources: Mapping[str, float] | None = None,
        priority: int = 0,
        allow_other_workers: bool = False,
        fifo_timeout: Any = "100 ms",
        actor: bool = False,
        actors: bool = False,
        pure: bool = True,
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> list[Future]:
        """Run ``func`` on every element of one or several sequences, as the builtin ``map`` would.

        Parameters
        ----------
        func : callable
        *iterables
            Sequences; the shortest decides. Queues and endless iterators are refused.
        key : str or list, optional
            Prefix of the keys, or the keys themselves.
        batch_size : int, optional
            Kept for other programs' sake: large maps are sent in pieces anyway.
        **kwargs
            Given to every call. Everything else: see :meth:`submit`.

        Returns
        -------
        list of Future

        Examples
        --------
        >>> client.gather(client.map(abs, [-1, -2]))  # doctest: +SKIP
        [1, 2]
        """
        if not callable(func):
            raise TypeError(f"map needs a function to call, not {func!r}")
        rows = _rows(iterables)
        session = self._session
        session.check_open()
        if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
            raise ValueError(f"batch_size= must be a positive number of tasks, not {batch_size!r}")
        if actor or actors:
            func = self.extensions["actors"].factory(func)
        function = functions.get(func)
        options = task_options(
            workers=workers,
            resources=resources,
            retries=retries,
            priority=priority,
            allow_other_workers=allow_other_workers,
            actor=actor or actors,
        )
        name = name_of(func)
        keys: Iterator[Key] | None = None
        named = False
        prefix = name
        if isinstance(key, list | tuple) and not (isinstance(key, tuple) and key and not iterables):
            rows = list(rows)
            if len(key) != len(rows):
                raise ValueError(f"key= lists {len(key)} keys, but there are {len(rows)} tasks")
            for one in key:
                check_key(one)
            if len(set(key)) != len(key):
                raise ValueError("key= lists a key twice")
            keys = iter(key)
            named = True
        elif key is not None:
            prefix = str(key)
        if keys is None and (not pure or options.actor):
            token = uuid.uuid4().hex
            keys = (f"{prefix}-{token[:20]}{i:012x}" for i in itertools.count())
        call = self._record(function, name, options)
        kwargs = {label: self._sent_once(value, options.priority) for label, value in kwargs.items()}
        return self._map_rows(Packer(function, self), call, prefix, rows, kwargs, keys, named)

    def _map_rows(
        self,
        packer: Packer,
        call: Call,
        prefix: str,
        rows: Iterable[tuple[Any, ...]],
        kwargs: dict[str, Any],
        keys: Iterator[Key] | None,
        named: bool,
    ) -> list[Future]:
        """The loop over the elements: what stands here costs every task."""
        session = self._session
        known = session.state.tasks.get
        dumps, limit, main = pickle.dumps, OUT_OF_BAND_NBYTES, b"__main__"
        copy_hasher = packer.hashing().copy
        dash = prefix + "-"
        uploads = bool(uploaded.digests)
        new_future, future_class = Future.__new__, Future
        buffers: list[Any] = []
        take_buffer = buffers.append
        futures: list[Future] = []
        tasks: list[ClientTask] = []
        inside: dict[int, list[Future]] = {}
        deps: tuple[Key, ...]
        payload: Any
        try:
            with refs.collecting() as noted:
                for args in rows:
                    deps = ()
                    try:
                        payload = dumps((args, kwargs), 5, buffer_callback=take_buffer)
                        plain = not buffers and not noted and len(payload) < limit and main not in payload
                        plain = plain and not (uploads and uploaded.salt(payload))
                    except Exception:
                        plain = (
                            False  # the long way says what is wrong with it, or finds that cloudpickle can
                        )
                    if not plain:
                        buffers.clear()
                        noted.clear()
                        payload, deps = packer.pack(args, kwargs)
                        if packer.inside:
                            inside[len(futures)], packer.inside = packer.inside, []
                    if keys is not None:
                        key: Key = next(keys)
                    elif plain:
                        hasher = copy_hasher()
                        hasher.update(payload)
                        key = dash + hasher.hexdigest()
                    else:
                        key = packer.key(prefix, payload)
                    task = known(key)
                    if task is None or named or deps or not task.reusable:
                        task = ClientTask(key, call, payload, deps, named=named)
                    tasks.append(task)
                    future = new_future(future_class)
                    future.key = key  # type: ignore[assignment]
                    future._task = task
                    future._client = None  # bound below, when its submission is counted
                    futures.append(future)
                    if len(tasks) >= CHUNK:
                        self._hand_over(tasks, futures)
                        tasks = []
        finally:
            self._hand_over(tasks, futures)
            for place, kept in inside.items():
                if place < len(futures):
                    keep_until_done(session, kept, [futures[place]._task])
        return futures

    def _sent_once(self, value: Any, priority: int) -> Any:
        """A large object that all tasks of a map get: a task of its own that they depend on."""
        if isinstance(value, Future | int | float | str) or value is None:
            return value
        try:
            payload = pack(value)
        except Exception:
            return value  # packing the calls says what is wrong
        return value if payload_nbytes(payload) < LARGE else self.submit(itself, value, priority=priority)

    def _hand_over(self, tasks: list[ClientTask], futures: list[Future]) -> None:
        """Bind the last futures and post their tasks; from then on their garbage collection counts."""
        if tasks:
            for future in futures[-len(tasks) :]:
                future._client = self  # type: ignore[assignment]
            self._session.submit(tasks)

    def _record(self, function: Any, name: str, options: TaskOptions) -> Call:
        """One record for all calls of the same function with the same options."""
        signature = (function.id, name, options)
        call = self._calls.get(signature)
        if call is None:
            if len(self._calls) >= 1_000:
                self._calls.clear()
            call = self._calls[signature] = Call(function, name, options)
        return call


def itself(value: Any) -> Any:
    """A task that brings an object to the workers."""
    return value


def _rows(iterables: tuple[Any, ...]) -> Iterable[tuple[Any, ...]]:
    import queue

    if not iterables:
        raise TypeError("map needs at least one sequence to go over")
    for iterable in iterables:
        if isinstance(iterable, queue.Queue | Iterator):
            raise TypeError(
                f"map goes over sequences, not over a {type(iterable).__name__}: wrap it in list(...), "
                "or submit its elements one by one"
            )
        if not isinstance(iterable, Iterable):
            raise TypeError(f"map goes over sequences, not over a {type(iterable).__name__}")
    return zip(*iterables, strict=False)
