"""Threads that run tasks.

All threads take from one heap of (order, seq, serial) and claim what they took by popping its serial from one dict;
both are single operations of the interpreter, so nobody holds a lock, and the event loop takes a task back by popping
the serial first. What happened is appended to lists; the loop is woken once for all that gathers there, never per task.

A thread that finds the heap empty announces itself in ``_idle``, looks again and sleeps until it gets a token.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import inspect
import itertools
import os
import pickle
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from queue import SimpleQueue
from time import perf_counter, time
from typing import Any, NamedTuple

from distributed.exceptions import Reschedule
from distributed.forks import end_child, in_child
from distributed.protocol.messages import Key, TaskError
from distributed.protocol.payload import unpack
from distributed.protocol.refs import resolving
from distributed.protocol.unpickling import STACK_GLOBAL
from distributed.threadstate import current_run, thread_state
from distributed.worker.errors import task_error
from distributed.worker.results import ATOMS, INLINE_NBYTES, describe, typename
from distributed.worker.state.machine import Completion
from distributed.worker.state.tasks import Function, TaskState

#: Files whose frames stand above the user's in a task's traceback.
_OUR_FRAMES = frozenset({__file__, concurrent.futures._base.__file__})

_names = itertools.count()


class Outcomes(NamedTuple):
    """What happened since the last look; the parameters of the machine's ``tasks_*`` events."""

    seceded: list[TaskState]
    completed: list[Completion]
    failed: list[tuple[TaskState, TaskError]]
    missing: list[tuple[TaskState, list[Key]]]
    rescheduled: list[TaskState]


class Slot:
    """One thread of the pool and what it does."""

    __slots__ = ("executor", "future", "seceded", "started", "task", "thread")

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.task: TaskState | None = None
        self.started = 0.0
        self.seceded = False
        self.future: concurrent.futures.Future[Any] | None = None
        self.thread: threading.Thread | None = None

    def start_time(self) -> float:
        """When the task began, in seconds since the epoch."""
        return time() - (perf_counter() - self.started)


class MissingDependencies(Exception):
    """Dependencies were freed between hand-over and start."""

    def __init__(self, keys: list[Key]) -> None:
        self.keys = keys


class Executor:
    """A pool of threads.

    Parameters
    ----------
    nthreads : int
        Tasks that run at the same time.
    data : mapping of key to value
        Results that tasks depend on.
    wake : callable
        Called from any thread, once for all outcomes that wait for :meth:`drain`.
    loop : asyncio loop, optional
        Where coroutine functions run; without one they fail.
    worker : object, optional
        What ``get_worker()`` gives inside tasks.
    name : str
        Start of the threads' names.
    """

    def __init__(
        self,
        nthreads: int,
        data: Any,
        wake: Callable[[], None],
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        worker: Any = None,
        name: str = "Dask-Worker-Threads",
    ) -> None:
        if nthreads < 1:
            raise ValueError(f"nthreads must be at least 1, not {nthreads}")
        self.nthreads = nthreads
        self.data = data
        self.loop = loop
        self.worker = worker
        self.name = f"{name}-{next(_names)}"
        self.execution_state: dict[str, Any] = {"worker": worker}
        self.slots: set[Slot] = set()
        self._wake = wake
        self._notified = False
        self._closing = False
        self._serial = 0
        self._heap: list[tuple[int, int, int]] = []
        self._claims: dict[int, TaskState] = {}
        self._idle: list[None] = []
        self._tokens: SimpleQueue[None] = SimpleQueue()
        self._retire: deque[threading.Event | None] = deque()  # each says that one thread shall end
        self._generation = 0
        self._loading: dict[Function, threading.Lock] = {}
        self._completed: list[Completion] = []
        self._failed: list[tuple[TaskState, TaskError]] = []
        self._missing: list[tuple[TaskState, list[Key]]] = []
        self._seceded: list[TaskState] = []
        self._rescheduled: list[TaskState] = []
        #: A thread whose result has more bytes takes no other task before the loop has dealt with this one.
        self.large = sys.maxsize
        self._looking: list[threading.Event] = []
        #: Called in the task's thread when its function has returned, before anybody else can know.
        self.before_outcome: Callable[[], None] | None = None
        for _ in range(nthreads):
            self._start_thread()

    def __repr__(self) -> str:
        return f"<Executor {self.name}: {self.nthreads} threads, {len(self._claims)} tasks queued>"

    # ------------------------------------------------------------ the loop's side

    def submit(self, tasks: list[TaskState]) -> None:
        """Queue tasks for the threads."""
        heap = self._heap
        claims = self._claims
        serial = self._serial
        for ts in tasks:
            serial += 1
            ts.serial = serial
            claims[serial] = ts
            heappush(heap, (ts.group.order, ts.seq, serial))
        self._serial = serial
        for _ in range(min(len(tasks), len(self._idle))):
            try:
                self._idle.pop()
            except IndexError:
                break
            self._tokens.put(None)

    def take_back(self, tasks: Iterable[TaskState]) -> list[TaskState]:
        """Those of ``tasks`` that no thread had started; none will."""
        claims = self._claims
        return [ts for ts in tasks if claims.pop(ts.serial, None) is not None]

    def drain(self) -> Outcomes:
        """Everything that happened since the last call."""
        self._notified = False
        return Outcomes(
            _take(self._seceded),
            _take(self._completed),
            _take(self._failed),
            _take(self._missing),
            _take(self._rescheduled),
        )

    def go_on(self) -> None:
        """What :meth:`drain` gave has been dealt with: threads with large results take other tasks."""
        for event in _take(self._looking):
            event.set()

    def queued(self) -> int:
        """Tasks that no thread has started."""
        return len(self._claims)

    def running(self) -> list[Slot]:
        """Slots that run a task now, seceded ones too."""
        return [slot for slot in list(self.slots) if slot.task is not None]

    def call_stacks(self) -> dict[Key, list[str]]:
        """The Python stack of every running task, innermost frame last, as lines of text."""
        import traceback

        frames = sys._current_frames()
        stacks: dict[Key, list[str]] = {}
        for slot in self.running():
            ts, thread = slot.task, slot.thread
            frame = None if thread is None or thread.ident is None else frames.get(thread.ident)
            if ts is not None and frame is not None:
                summary = traceback.extract_stack(frame)
                stacks[ts.key] = [
                    line
                    for entry, line in zip(summary, summary.format(), strict=False)
                    if entry.filename not in (__file__, threading.__file__)
                ]
        return stacks

    def close(self, timeout: float = 0.0) -> bool:
        """Start nothing more, end the threads. Those in the middle of a task are left behind after ``timeout`` s.

        Returns
        -------
        bool
            Whether all threads have ended.
        """
        self._closing = True
        self._claims.clear()
        self.go_on()
        while self._retire:
            self._retired()
        slots = list(self.slots)
        for slot in slots:
            self._tokens.put(None)
            if slot.future is not None:
                slot.future.cancel()
        now = perf_counter()
        for slot in slots:
            if slot.thread is not None and slot.thread is not threading.current_thread():
                patience = timeout if slot.task is not None else max(timeout, 1.0)
                slot.thread.join(max(0.0, now + patience - perf_counter()))
        return not self.slots

    # ------------------------------------------------------------ the threads' side

    def _start_thread(self) -> None:
        slot = Slot(self)
        self.slots.add(slot)
        slot.thread = threading.Thread(target=self._work, args=(slot,), name=self.name, daemon=True)
        slot.thread.start()

    def _work(self, slot: Slot) -> None:
        thread_state.slot = slot
        try:
            self._take_tasks(slot)
        finally:
            self.slots.discard(slot)

    def _take_tasks(self, slot: Slot) -> None:
        """The loop of one thread. Everything here is paid once a task."""
        heap, claims, retire, completed = self._heap, self._claims, self._retire, self._completed
        clock, pop, loads, dumps, getsizeof = perf_counter, heappop, pickle.loads, pickle.dumps, sys.getsizeof
        names = STACK_GLOBAL
        start = clock()
        looking: threading.Event | None = None
        while True:
            if retire and self._retired():
                return
            try:
                serial = pop(heap)[2]
            except IndexError:
                slot.task = None
                if not self._sleep():
                    return
                start = clock()
                continue
            ts = claims.pop(serial, None)
            if ts is None:  # taken back
                continue
            slot.started = start
            slot.task = ts
            group = ts.group
            try:
                function = group.function
                func = function.func
                if func is None:
                    func = self._load(function)
                args = ts.args
                if ts.deps:
                    args, kwargs = self._arguments(ts)
                else:
                    plain = type(args) is bytes and names not in args
                    args, kwargs = loads(args) if plain else unpack(args)
                value = func(*args, **kwargs)
                if function.is_async:
                    value = self._await(slot, ts, value)
                if self.before_outcome is not None:
                    self.before_outcome()
                end = clock()
                cls = type(value)
                if cls in ATOMS:
                    nbytes = getsizeof(value)
                    payload = dumps(value, 5) if nbytes <= INLINE_NBYTES and group.inline else None
                    completed.append((ts, value, nbytes, typename(cls), payload, end - start))
                    start = end
                else:
                    described = describe(value, group.inline)
                    nbytes = described[0]
                    completed.append((ts, value, *described, end - start))
                    start = clock()
                if nbytes > self.large:
                    looking = threading.Event()
                    self._looking.append(looking)
            except BaseException as error:  # whatever it is, it ends the task and not the thread
                self._failure(ts, error)
                start = clock()
            value = args = kwargs = None  # the store alone keeps results alive
            if not self._notified:
                self._notified = True
                self._wake()
            if slot.seceded:
                return
            if looking is not None:
                if not self._closing:
                    looking.wait()
                looking = None
                start = clock()

    def _sleep(self) -> bool:
        """Wait until there may be something to do. False: end this thread."""
        self._idle.append(None)
        if not self._heap and not self._retire and not self._closing:
            self._tokens.get()
        else:
            with contextlib.suppress(IndexError):  # somebody has just sent a token: it will wake one in vain
                self._idle.pop()
        return not self._closing

    def _retired(self) -> bool:
        """Whether this thread makes room for one that rejoins."""
        try:
            event = self._retire.popleft()
        except IndexError:
            return False
        if event is not None:
            event.set()
        return True

    def _load(self, function: Function) -> Any:
        """Unpickle a function: once, and while that waits for something, other functions are loaded beside it."""
        with self._loading.setdefault(function, threading.Lock()):
            func = function.func
            if func is None:
                generation = self._generation
                func = unpack(function.blob)
                target = func
                while isinstance(target, functools.partial):
                    target = target.func
                function.is_async = inspect.iscoroutinefunction(target) or inspect.iscoroutinefunction(
                    getattr(type(target), "__call__", None)  # noqa: B004 - not to see whether it can be called
                )
                function.func = func
                if generation != self._generation:  # it may be made of modules that were replaced meanwhile
                    function.func = None
        self._loading.pop(function, None)
        return func

    def reload(self, functions: Iterable[Function]) -> None:
        """Modules were replaced: what is made of them is unpickled anew by the next task that needs it."""
        self._generation += 1
        for function in functions:
            function.func = None

    def _arguments(self, ts: TaskState) -> tuple[Any, Any]:
        data = self.data
        values: dict[Key, Any] = {}
        missing: list[Key] = []
        for key in ts.deps:
            try:
                values[key] = data[key]
            except KeyError:
                if key in data:  # the value's own unpickling raised it
                    raise
                missing.append(key)
        if missing:
            raise MissingDependencies(missing)
        with resolving(values):
            args, kwargs = unpack(ts.args)
        return args, kwargs

    def _await(self, slot: Slot, ts: TaskState, coroutine: Any) -> Any:
        if self.loop is None or self._closing:
            coroutine.close()
            raise RuntimeError("no event loop runs here for a coroutine function")
        current_run.set((slot, ts))  # the coroutine runs in a copy of this thread's context
        slot.future = asyncio.run_coroutine_threadsafe(_contained(coroutine), self.loop)
        try:
            value, error = slot.future.result()
            if error is not None:
                raise error
            return value
        finally:
            slot.future = error = None

    def _failure(self, ts: TaskState, error: BaseException) -> None:
        if isinstance(error, MissingDependencies):
            self._missing.append((ts, error.keys))
        elif isinstance(error, Reschedule):
            self._rescheduled.append(ts)
        else:
            try:
                packed = task_error(error, skip=_OUR_FRAMES)
            except BaseException as second:  # an exception that fights back
                text = f"{type(error).__name__} (packing it raised {type(second).__name__})"
                packed = task_error(RuntimeError(text))
            self._failed.append((ts, packed))

    # ------------------------------------------------------------ called inside tasks

    def secede(self, slot: Slot) -> None:
        """The task of this slot goes on without counting; another thread takes its place."""
        if slot.seceded or slot.task is None:
            return
        slot.seceded = True
        self._seceded.append(slot.task)
        if not self._notified:
            self._notified = True
            self._wake()
        if not self._closing:
            self._start_thread()

    def rejoin(self, slot: Slot) -> None:
        """Wait for a place in the pool and take it."""
        if not slot.seceded or self._closing:
            return
        event = threading.Event()
        self._end_one(event)
        event.wait()
        slot.seceded = False

    def resume(self, slot: Slot) -> None:
        """Count again at once; the next thread that is between two tasks ends for it.

        Unlike :meth:`rejoin` this waits for nobody: what others do may depend on this task.
        """
        if slot.seceded:
            slot.seceded = False
            self._end_one(None)

    def leave_behind(self) -> None:
        """In the child of a task: end when the task does, whichever way."""
        self._notified = False
        self._wake = end_child
        self._failure = lambda ts, error: end_child(error)  # type: ignore[method-assign]

    def _end_one(self, event: threading.Event | None) -> None:
        self._retire.append(event)
        with contextlib.suppress(IndexError):  # nobody sleeps, and whoever is about to will look first
            self._idle.pop()
            self._tokens.put(None)


async def _contained(coroutine: Any) -> tuple[Any, BaseException | None]:
    """What a task's coroutine returns or raises, whatever it is: what ends a loop shall end the task alone."""
    pid = os.getpid()
    try:
        return await coroutine, None
    except BaseException as error:
        if os.getpid() != pid:  # a child that the task forked
            end_child(error)
        return None, error


def _in_child() -> None:
    """The thread of a task has forked: in the child it has no worker, and does nothing when it comes back to us."""
    slot, thread_state.slot = thread_state.slot, None
    current_run.set(None)
    if slot is not None:
        slot.executor.leave_behind()


in_child(_in_child)


def _take(items: list[Any]) -> list[Any]:
    """Empty a list that other threads append to."""
    n = len(items)
    if not n:
        return []
    taken = items[:n]
    del items[:n]
    return taken
