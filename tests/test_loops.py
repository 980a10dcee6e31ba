"""Loops, the threads that run them, and waiting for coroutines."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from concurrent.futures import Future
from datetime import timedelta
from typing import Any

import pytest

from distributed.loops import (
    Loop,
    LoopRunner,
    SyncMethodMixin,
    as_loop,
    new_event_loop,
    post,
    seconds,
    sync,
)
from distributed.waits import LoopStoppedError, Wait


@pytest.fixture
def runner() -> Any:
    runner = LoopRunner()
    runner.start()
    yield runner
    runner.stop()


async def add(x: int, y: int = 0) -> int:
    await asyncio.sleep(0)
    return x + y


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


def loop_threads() -> int:
    return sum(thread.name == "distributed-loop" for thread in threading.enumerate())


def test_sync(runner: LoopRunner) -> None:
    assert sync(runner.loop, add, 1, y=2) == 3
    assert sync(runner.loop, lambda: "plain functions too") == "plain functions too"
    assert sync(runner.loop.asyncio_loop, add, 1) == 1


def test_sync_raises_what_was_raised(runner: LoopRunner) -> None:
    async def fail() -> None:
        raise ValueError("no luck")

    with pytest.raises(ValueError, match="no luck"):
        sync(runner.loop, fail)


@pytest.mark.parametrize("limit", [0.02, "20 ms", timedelta(milliseconds=20)])
def test_sync_with_a_timeout(runner: LoopRunner, limit: Any) -> None:
    with pytest.raises(TimeoutError):
        sync(runner.loop, forever, callback_timeout=limit)


def test_sync_inside_the_loop_would_wait_for_ever(runner: LoopRunner) -> None:
    async def inside() -> None:
        sync(runner.loop, add, 1)

    with pytest.raises(RuntimeError, match="from inside it"):
        sync(runner.loop, inside)


def test_sync_on_a_closed_loop() -> None:
    runner = LoopRunner()
    runner.start()
    runner.stop()
    with pytest.raises(RuntimeError, match="closed"):
        sync(runner.loop, add, 1)
    with pytest.raises(RuntimeError, match="make a new LoopRunner"):
        runner.start()


def test_a_runner_leaves_no_thread_behind_and_ends_what_runs() -> None:
    before = loop_threads()
    runner = LoopRunner()
    assert not runner.is_started()
    runner.start()
    runner.start()
    assert runner.is_started()
    assert loop_threads() == before + 1
    ended: list[str] = []

    async def linger() -> None:
        try:
            await forever()
        finally:
            ended.append("cancelled")

    runner.loop.add_callback(linger)
    runner.run_sync(add, 1)
    runner.stop()
    assert (loop_threads(), ended, runner.is_started()) == (before, ["cancelled"], False)


def test_runners_share_a_loop_until_the_last_one_stops() -> None:
    first = LoopRunner()
    second = LoopRunner(loop=first.loop)
    first.start()
    second.start()
    first.stop()
    assert second.run_sync(add, 1, 2) == 3
    second.stop()
    assert not first.loop.is_running()


def test_run_sync_starts_the_loop_for_as_long() -> None:
    loop = new_event_loop()
    runner = LoopRunner(loop=loop)
    assert runner.run_sync(add, 1, 2) == 3
    assert runner.run_sync(add, 3, 4) == 7
    assert not runner.is_started()
    loop.close()


def test_asynchronous_runners_use_the_running_loop() -> None:
    async def main() -> None:
        runner = LoopRunner(asynchronous=True)
        assert runner.loop is Loop.current() is as_loop(asyncio.get_running_loop())
        runner.start()
        assert runner.is_started()
        runner.stop()

    asyncio.run(main())
    with pytest.raises(RuntimeError, match="needs a running event loop"):
        LoopRunner(asynchronous=True)


def test_a_loop_that_runs_elsewhere_is_used_and_not_stopped(runner: LoopRunner) -> None:
    other = LoopRunner(loop=runner.loop.asyncio_loop)
    other.start()
    other.stop()
    assert runner.run_sync(add, 1) == 1


def test_what_is_no_loop_is_refused() -> None:
    with pytest.raises(TypeError, match="not int"):
        as_loop(5)


def test_tornado_loops_are_taken() -> None:
    tornado = pytest.importorskip("tornado.ioloop")

    async def main() -> None:
        assert as_loop(tornado.IOLoop.current()).asyncio_loop is asyncio.get_running_loop()

    asyncio.run(main())


def test_methods_of_the_loop(runner: LoopRunner) -> None:
    loop = runner.loop
    seen: list[Any] = []
    done = threading.Event()

    async def coroutine(x: int, *, y: int) -> None:
        await asyncio.sleep(0)
        seen.append((x, y))

    loop.add_callback(coroutine, 1, y=2)
    loop.call_later(0.01, seen.append, "later")
    handle = loop.call_later(60, seen.append, "never")
    loop.add_callback(loop.remove_timeout, handle)
    loop.add_callback(loop.add_timeout, timedelta(milliseconds=15), seen.append, "timeout")
    loop.add_callback(lambda: loop.add_timeout(loop.time() + 0.02, done.set))
    assert done.wait(5)
    assert seen == [(1, 2), "later", "timeout"]
    future: Future[int] = Future()
    told: Future[Any] = Future()
    loop.add_future(future, lambda f: told.set_result((f.result(), threading.current_thread().name)))
    future.set_result(5)
    assert told.result(5) == (5, "distributed-loop")
    assert loop == Loop(loop.asyncio_loop)
    assert repr(loop) == "<Loop: running>"


def test_run_sync_of_a_stopped_loop() -> None:
    loop = Loop(asyncio.new_event_loop())
    assert loop.run_sync(lambda: add(1, 2)) == 3
    with pytest.raises(TimeoutError):
        loop.run_sync(forever, timeout=0.01)
    loop.close()
    assert repr(loop) == "<Loop: closed>"
    loop.add_callback(print)  # a closed loop takes it and runs nothing


class Thing(SyncMethodMixin):
    def __init__(self, loop: Any, asynchronous: bool) -> None:
        self.loop = loop
        self._asynchronous = asynchronous

    def add(self, x: int, y: int, **kwargs: Any) -> Any:
        return self.sync(add, x, y, **kwargs)


def test_one_method_for_both(runner: LoopRunner) -> None:
    thing = Thing(runner.loop, asynchronous=False)
    assert not thing.asynchronous
    assert thing.add(1, 2) == 3

    async def on_its_loop() -> Any:
        assert thing.asynchronous
        return await thing.add(3, 4, callback_timeout="5s")

    assert sync(runner.loop, on_its_loop) == 7

    async def on_another_loop() -> Any:
        assert not thing.asynchronous
        return thing.add(5, 6)

    assert asyncio.run(on_another_loop()) == 11
    assert not Thing(runner.loop, asynchronous=True).asynchronous  # its loop runs, and not in this thread
    stopped = asyncio.new_event_loop()
    assert Thing(as_loop(stopped), asynchronous=True).asynchronous
    stopped.close()


def test_seconds() -> None:
    assert [seconds(x) for x in (None, 5, 0.5, "2 s", "100ms", timedelta(seconds=3))] == [
        None,
        5,
        0.5,
        2,
        0.1,
        3,
    ]


def test_waiting_costs_no_polling(runner: LoopRunner) -> None:
    begin = time.process_time()
    sync(runner.loop, asyncio.sleep, 0.3)
    assert time.process_time() - begin < 0.2


@pytest.mark.parametrize("own", [True, False], ids=["its own loop", "a loop that it is given"])
def test_who_waits_hears_that_the_loop_stopped(own: bool) -> None:
    """All who wait as it stops, and who asks afterwards; whatever they wait for, and none of them looks for it."""
    loop = None if own else new_event_loop()
    runner = LoopRunner(loop=loop)
    runner.start()
    outcomes: list[str] = []

    def ask(call: Any) -> None:
        try:
            call()
        except LoopStoppedError as error:
            outcomes.append(str(error))

    wait = Wait(runner.loop)
    posted = post(runner.loop, forever())
    calls = [lambda: sync(runner.loop, forever), wait.until, posted.result]
    threads = [threading.Thread(target=ask, args=(call,), daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    while len(runner.loop.waiting) < 3:
        time.sleep(0.001)
    runner.stop()
    for thread in threads:
        thread.join(30)
    assert outcomes == ["the event loop stopped before the call was done"] * 3
    with pytest.raises(LoopStoppedError):
        Wait(runner.loop).until(30)
    with pytest.raises(LoopStoppedError):
        post(runner.loop, forever()).result(30)
    if loop is not None:
        runner.start()  # again
        assert runner.run_sync(add, 1, 2) == 3
        runner.stop()
        loop.close()


def test_what_has_happened_as_the_loop_stops_is_still_told() -> None:
    runner = LoopRunner()
    runner.start()
    begun = threading.Event()
    found: list[Any] = []
    happens: asyncio.Future[str] = runner.loop.asyncio_loop.create_future()

    async def wait() -> str:
        begun.set()
        return await happens

    thread = threading.Thread(target=lambda: found.append(sync(runner.loop, wait)), daemon=True)
    thread.start()
    assert begun.wait(30)

    def stop() -> None:
        happens.set_result("done")
        runner.loop.stop()

    runner.loop.add_callback(stop)
    thread.join(30)
    runner.stop()
    assert found == ["done"]


def test_what_is_posted_can_be_cancelled(runner: LoopRunner) -> None:
    ended = threading.Event()

    async def linger() -> None:
        try:
            await forever()
        finally:
            ended.set()

    outcome = post(runner.loop, linger())
    runner.run_sync(asyncio.sleep, 0)
    outcome.cancel()
    assert ended.wait(30)
    assert post(runner.loop, add(1, 2)).result(30) == 3
    assert not runner.loop.waiting


def test_loops_are_let_go() -> None:
    gc.disable()
    try:
        loop = asyncio.new_event_loop()
        loop.close()
        gone = weakref.ref(as_loop(loop))
        assert as_loop(loop) is as_loop(loop) or gone() is None
        del loop
        assert gone() is None
    finally:
        gc.enable()
