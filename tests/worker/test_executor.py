"""The executor: real threads, tasks handed over as the machine does it."""

from __future__ import annotations

import asyncio
import functools
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from distributed import threadstate
from distributed.exceptions import Reschedule
from distributed.protocol.messages import RunOptions
from distributed.protocol.payload import pack, unpack
from distributed.protocol.refs import Ref
from distributed.threadstate import thread_state
from distributed.worker import get_worker, rejoin, secede
from distributed.worker.data import DataStore, Packed
from distributed.worker.executor import Executor
from distributed.worker.state import Function, TaskGroup, TaskState

WORKER = object()

# What running tasks share with their test.
go = threading.Event()
started: list[Any] = []


class Pool:
    """An executor and what came out of it."""

    def __init__(self, nthreads: int = 1, **kwargs: Any) -> None:
        self.data = DataStore()
        self.woken = threading.Semaphore(0)
        self.wakes = 0
        self.executor = Executor(nthreads, self.data, self._wake, worker=WORKER, **kwargs)
        self.seq = 0
        self.values: dict[Any, Any] = {}
        self.completions: dict[Any, Any] = {}
        self.errors: dict[Any, Any] = {}
        self.missing: dict[Any, Any] = {}
        self.seceded: list[Any] = []
        self.rescheduled: list[Any] = []
        self.order: list[Any] = []

    def _wake(self) -> None:
        self.wakes += 1
        self.woken.release()

    def task(
        self, func: Any, *args: Any, key: Any = None, deps: Any = (), priority: int = 0, **kwargs: Any
    ) -> TaskState:
        self.seq += 1
        blob = func if isinstance(func, bytes) else pack(func)
        group = TaskGroup(Function(b"f", blob), "f", RunOptions(priority=priority))
        key = f"t{self.seq}" if key is None else key
        return TaskState(key, self.seq, group, pack((args, kwargs)), deps=tuple(deps))

    def submit(self, func: Any, *args: Any, **kwargs: Any) -> TaskState:
        ts = self.task(func, *args, **kwargs)
        self.executor.submit([ts])
        return ts

    def take_in(self) -> None:
        out = self.executor.drain()
        self.seceded += [ts.key for ts in out.seceded]
        self.rescheduled += [ts.key for ts in out.rescheduled]
        self.missing |= {ts.key: keys for ts, keys in out.missing}
        self.errors |= {ts.key: error for ts, error in out.failed}
        for completion in out.completed:
            self.completions[completion[0].key] = completion[1:]
            self.values[completion[0].key] = completion[1]
            self.order.append(completion[0].key)

    def wait(self, done: Any, timeout: float = 10) -> None:
        """Until ``done()`` holds of what came out."""
        deadline = time.monotonic() + timeout
        self.take_in()
        while not done():
            assert self.woken.acquire(timeout=max(0.0, deadline - time.monotonic())), "nothing came out"
            self.take_in()

    def result(self, ts: TaskState) -> Any:
        self.wait(lambda: ts.key in self.values or ts.key in self.errors)
        assert ts.key not in self.errors, self.errors[ts.key].traceback_text
        return self.values[ts.key]

    def error(self, ts: TaskState) -> Any:
        self.wait(lambda: ts.key in self.values or ts.key in self.errors)
        return self.errors[ts.key]


@pytest.fixture
def pool() -> Iterator[Pool]:
    go.clear()
    started.clear()
    pool = Pool()
    yield pool
    go.set()
    assert pool.executor.close(timeout=10)


def inc(x: int) -> int:
    return x + 1


def block(x: Any = None) -> Any:
    started.append(x)
    assert go.wait(10)
    return x


def until(condition: Any, timeout: float = 10) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.001)


def test_runs_and_reports(pool: Pool):
    ts = pool.submit(inc, 1)
    assert pool.result(ts) == 2
    value, nbytes, typename, payload, duration = pool.completions[ts.key]
    assert (value, nbytes, typename, unpack(payload)) == (2, sys.getsizeof(2), "int", 2)
    assert 0 < duration < 5


def test_keyword_arguments(pool: Pool):
    assert pool.result(pool.submit(sorted, [1, 3, 2], reverse=True)) == [3, 2, 1]


def test_the_loop_is_woken_once_for_what_gathers(pool: Pool):
    pool.submit(block)
    until(lambda: started)
    pool.executor.submit([pool.task(inc, i) for i in range(1000)])
    go.set()
    until(lambda: len(pool.executor._completed) == 1001)
    assert pool.wakes == 1
    pool.take_in()
    assert len(pool.values) == 1001


def test_higher_priority_first_then_order_of_submission(pool: Pool):
    pool.submit(block, key="first")
    until(lambda: started)
    pool.submit(inc, 1, key="low", priority=-1)
    pool.submit(inc, 1, key="a")
    pool.submit(inc, 1, key="b")
    pool.submit(inc, 1, key="high", priority=3)
    go.set()
    pool.wait(lambda: len(pool.values) == 5)
    assert pool.order == ["first", "high", "a", "b", "low"]


def test_all_threads_work():
    pool = Pool(4)
    barrier = _barriers["four"] = threading.Barrier(4)
    pool.executor.submit([pool.task(meet, "four") for _ in range(8)])
    pool.wait(lambda: len(pool.values) + len(pool.errors) == 8)
    assert pool.errors == {}
    assert not barrier.broken
    assert pool.executor.close(timeout=10)


_barriers: dict[str, threading.Barrier] = {}


def meet(name: str) -> int:
    return _barriers[name].wait(10)


def test_take_back(pool: Pool):
    running = pool.submit(block)
    until(lambda: started)
    queued = [pool.task(inc, i) for i in range(3)]
    pool.executor.submit(queued)
    assert pool.executor.take_back([running, queued[1]]) == [queued[1]]
    assert pool.executor.take_back([queued[1]]) == []
    assert pool.executor.queued() == 2
    go.set()
    pool.wait(lambda: len(pool.values) == 3)
    assert queued[1].key not in pool.values


def test_every_task_is_either_taken_back_or_run_exactly_once():
    pool = Pool(3)
    done: list[int] = []
    _lists["done"] = done
    taken: list[TaskState] = []
    total = 0
    for _ in range(200):
        tasks = [pool.task(append, "done", total + i) for i in range(20)]
        total += 20
        pool.executor.submit(tasks)
        taken += pool.executor.take_back(tasks[::2])
    pool.wait(lambda: len(pool.values) + len(taken) == total)
    assert len(done) == len(set(done)) == total - len(taken)
    assert pool.executor.close(timeout=10)


_lists: dict[str, list[Any]] = {}


def append(name: str, x: Any) -> None:
    _lists[name].append(x)


# ---------------------------------------------------------------- dependencies


def test_references_are_resolved(pool: Pool):
    pool.data["a"] = 1
    pool.data["b"] = Packed(pack([2, 3]))
    ts = pool.submit(lambda x, y: (x, y), Ref("a"), y={"deep": [Ref("b")]}, deps=["a", "b"])
    assert pool.result(ts) == (1, {"deep": [[2, 3]]})


def test_a_dependency_that_is_gone_is_told(pool: Pool):
    ts = pool.submit(inc, Ref("a"), deps=["a"])
    pool.wait(lambda: ts.key in pool.missing)
    assert pool.missing == {ts.key: ["a"]}


def refuse_to_unpickle() -> None:
    raise KeyError("not here")


class Unloadable:
    def __reduce__(self) -> Any:
        return refuse_to_unpickle, ()


def test_a_dependency_that_cannot_be_unpickled_is_an_error(pool: Pool):
    pool.data["a"] = Packed(pack(Unloadable()))
    error = pool.error(pool.submit(inc, Ref("a"), deps=["a"]))
    assert error.exception_text == "KeyError('not here')"


# ---------------------------------------------------------------- errors


def fail(text: str) -> None:
    helper(text)


def helper(text: str) -> None:
    raise ValueError(text)


def test_an_exception_comes_with_the_users_frames_only(pool: Pool):
    error = pool.error(pool.submit(fail, "boom"))
    exception = unpack(error.exception)
    assert (type(exception), exception.args) == (ValueError, ("boom",))
    assert error.exception_text == "ValueError('boom')"
    assert "in fail" in error.traceback_text
    assert "in helper" in error.traceback_text
    assert "distributed/worker/executor.py" not in error.traceback_text
    tb = unpack(error.traceback)
    assert tb.tb_frame.f_code.co_name == "fail"


def test_a_function_that_cannot_be_unpickled_is_an_error_of_its_tasks(pool: Pool):
    assert "UnpicklingError" in pool.error(pool.submit(b"no pickle")).exception_text
    assert pool.result(pool.submit(inc, 1)) == 2


def test_arguments_that_cannot_be_unpickled_are_an_error_of_that_task(pool: Pool):
    assert pool.error(pool.submit(inc, Unloadable())).exception_text == "KeyError('not here')"
    assert pool.result(pool.submit(inc, 1)) == 2


def exit_() -> None:
    sys.exit(3)


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(("func", "name"), [(exit_, "SystemExit(3)"), (interrupt, "KeyboardInterrupt()")])
def test_no_task_ends_its_thread_or_its_client(pool: Pool, func: Any, name: str):
    error = pool.error(pool.submit(func))
    exception = unpack(error.exception)
    assert isinstance(exception, RuntimeError)
    assert name in str(exception)
    assert pool.result(pool.submit(inc, 1)) == 2


class Stubborn(Exception):
    def __reduce__(self) -> Any:
        raise TypeError("never")


class OneWay(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} {b}")


def raise_stubborn() -> None:
    raise Stubborn("text")


def raise_one_way() -> None:
    raise OneWay(1, 2)


def test_an_exception_that_cannot_travel_is_replaced(pool: Pool):
    exception = unpack(pool.error(pool.submit(raise_stubborn)).exception)
    assert type(exception) is RuntimeError
    assert "Stubborn('text')" in str(exception)


def test_an_exception_with_another_signature_travels(pool: Pool):
    exception = unpack(pool.error(pool.submit(raise_one_way)).exception)
    assert type(exception) is OneWay
    assert str(exception) == "1 2"


def chained() -> None:
    try:
        raise KeyError("first")
    except KeyError as error:
        raise ValueError("second") from error


def test_causes_travel(pool: Pool):
    exception = unpack(pool.error(pool.submit(chained)).exception)
    assert isinstance(exception.__cause__, KeyError)


def reschedule() -> None:
    raise Reschedule


def test_reschedule(pool: Pool):
    ts = pool.submit(reschedule)
    pool.wait(lambda: pool.rescheduled)
    assert pool.rescheduled == [ts.key]


def test_unpicklable_results_stay(pool: Pool):
    lock = pool.result(pool.submit(threading.Lock))
    assert lock.acquire(blocking=False)
    nbytes, typename, payload = pool.completions["t1"][1:4]
    assert nbytes > 0
    assert typename == "_thread.lock"
    assert payload is None


def test_results_are_not_kept_alive_by_their_thread(pool: Pool):
    import weakref

    value = pool.result(pool.submit(set))
    reference = weakref.ref(value)
    del value
    pool.values.clear()
    pool.completions.clear()
    until(lambda: not pool.executor.running())
    assert reference() is None


# ---------------------------------------------------------------- inside tasks


def look_around() -> Any:
    return get_worker() is thread_state.execution_state["worker"], thread_state.key, thread_state.start_time


def test_a_task_knows_where_it_runs(pool: Pool):
    same, key, start_time = pool.result(pool.submit(look_around, key="me"))
    assert same
    assert key == "me"
    assert abs(start_time - time.time()) < 10
    assert not hasattr(thread_state, "execution_state")
    assert not hasattr(thread_state, "key")


def secede_and_wait() -> str:
    secede()
    assert go.wait(10)
    return threading.current_thread().name


def test_secede_gives_the_slot_to_others(pool: Pool):
    long = pool.submit(secede_and_wait)
    assert pool.result(pool.submit(inc, 1)) == 2
    assert pool.seceded == [long.key]
    go.set()
    pool.result(long)
    until(lambda: len(pool.executor.slots) == 1)


def secede_then_rejoin() -> str:
    secede()
    assert go.wait(10)
    rejoin()
    return "back"


def test_rejoin_takes_a_place_again(pool: Pool):
    long = pool.submit(secede_then_rejoin)
    assert pool.result(pool.submit(inc, 1)) == 2
    go.set()
    assert pool.result(long) == "back"
    assert pool.result(pool.submit(inc, 1)) == 2
    until(lambda: len(pool.executor.slots) == 1)


def test_secede_outside_of_a_task():
    with pytest.raises(ValueError, match="only inside a task"):
        secede()
    with pytest.raises(ValueError, match="only in the thread of a task"):
        rejoin()


def test_call_stacks(pool: Pool):
    ts = pool.submit(block)
    until(lambda: started)
    stacks = pool.executor.call_stacks()
    assert list(stacks) == [ts.key]
    assert any("in block" in line for line in stacks[ts.key])
    assert not any("distributed/worker/executor.py" in line for line in stacks[ts.key])


# ---------------------------------------------------------------- coroutine functions


async def slow_inc(x: int) -> Any:
    await asyncio.sleep(0.001)
    return x + 1, get_worker() is WORKER, threading.current_thread().name


class Callable:
    async def __call__(self, x: int) -> int:
        return x + 1


@pytest.fixture
def loop_pool() -> Iterator[Pool]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="the-loop")
    thread.start()
    pool = Pool(loop=loop)
    yield pool
    assert pool.executor.close(timeout=10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


def test_coroutine_functions_run_on_the_loop(loop_pool: Pool):
    value, same_worker, thread = loop_pool.result(loop_pool.submit(slow_inc, 1))
    assert (value, same_worker, thread) == (2, True, "the-loop")
    assert loop_pool.result(loop_pool.submit(functools.partial(slow_inc, x=2)))[0] == 3
    assert loop_pool.result(loop_pool.submit(Callable(), 3)) == 4


async def fail_later() -> None:
    await asyncio.sleep(0)
    raise ValueError("later")


def test_a_coroutines_exception_comes_with_the_users_frames_only(loop_pool: Pool):
    error = loop_pool.error(loop_pool.submit(fail_later))
    assert error.exception_text == "ValueError('later')"
    assert "in fail_later" in error.traceback_text
    assert "futures" not in error.traceback_text


async def secede_in_coroutine() -> str:
    secede()
    while not go.is_set():  # noqa: ASYNC110 - set by another thread
        await asyncio.sleep(0.001)
    return "done"


def test_a_coroutine_task_may_secede(loop_pool: Pool):
    go.clear()
    long = loop_pool.submit(secede_in_coroutine)
    assert loop_pool.result(loop_pool.submit(inc, 1)) == 2
    assert loop_pool.seceded == [long.key]
    go.set()
    assert loop_pool.result(long) == "done"
    until(lambda: len(loop_pool.executor.slots) == 1)


async def forever() -> None:
    started.append(1)
    await asyncio.Event().wait()


def test_closing_cancels_coroutines(loop_pool: Pool):
    started.clear()
    loop_pool.submit(forever)
    until(lambda: started)


# ---------------------------------------------------------------- the end


def test_close_ends_idle_threads_and_leaves_busy_ones():
    go.clear()
    started.clear()
    pool = Pool(2)
    pool.submit(block)
    pool.submit(inc, 1)
    until(lambda: started)
    assert not pool.executor.close()
    assert len(pool.executor.slots) == 1
    go.set()
    assert pool.executor.close(timeout=10)


def test_a_pool_has_at_least_one_thread():
    with pytest.raises(ValueError, match="at least 1"):
        Executor(0, {}, lambda: None)


def test_signals_are_left_to_the_main_thread(pool: Pool):
    handler = signal.getsignal(signal.SIGINT)
    pool.result(pool.submit(inc, 1))
    assert signal.getsignal(signal.SIGINT) is handler


# ---------------------------------------------------------------- waiting for the network


def wait_blocked(times: int = 1) -> str:
    for _ in range(times):
        assert threadstate.block(lambda seconds: go.wait(min(seconds, 10)), None, lambda: None)
    return "back"


def test_who_waits_for_the_network_leaves_its_place_and_has_it_again(pool: Pool):
    tasks = [pool.submit(wait_blocked) for _ in range(5)]
    assert pool.result(pool.submit(inc, 1)) == 2
    assert len(pool.executor.slots) == 6
    go.set()
    assert {pool.result(ts) for ts in tasks} == {"back"}
    assert set(pool.seceded) == {ts.key for ts in tasks}
    until(lambda: len(pool.executor.slots) == 1)
    assert pool.result(pool.submit(inc, 2)) == 3
    until(lambda: len(pool.executor._idle) == 1)  # no sleeper is announced who is none


def test_who_finds_it_there_keeps_its_place(pool: Pool):
    go.set()
    assert pool.result(pool.submit(wait_blocked, 100)) == "back"
    assert pool.seceded == []


def wait_in_vain(seconds: float) -> bool:
    return threadstate.block(lambda seconds: go.wait(seconds), seconds, lambda: None)


@pytest.mark.parametrize("seconds", [0, 0.001, 0.05])
def test_waiting_ends_after_its_timeout(pool: Pool, seconds: float):
    go.clear()
    assert pool.result(pool.submit(wait_in_vain, seconds)) is False
    assert threadstate.block(lambda seconds: go.wait(seconds), seconds, lambda: None) is False


def test_waiting_ends_where_nothing_can_come(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(threadstate, "LOOK", 0.01)

    def check() -> None:
        raise RuntimeError("nothing can come")

    with pytest.raises(RuntimeError, match="nothing can come"):
        threadstate.block(lambda seconds: False, None, check)
