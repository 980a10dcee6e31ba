"""What a task costs does not depend on how many workers there are that have nothing to do. Counted, not timed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from distributed.protocol.messages import (
    Message,
    PutFunctions,
    ReleaseKeys,
    RunTasks,
    SubmitTasks,
    TaskOptions,
    TasksFinished,
)
from distributed.scheduler.state import SchedulerState

CHAINS, STEPS = 5, 40
FN = b"f" * 16


def chains(options: TaskOptions) -> Iterator[SubmitTasks]:
    """A few chains: most workers are idle all the time."""
    for step in range(STEPS):
        keys = [f"step-{step}-{i}" for i in range(CHAINS)]
        deps = [[f"step-{step - 1}-{i}"] for i in range(CHAINS)] if step else None
        yield SubmitTasks(FN, "step", keys, [b"x"] * CHAINS, deps, options=options)


def apart(options: TaskOptions) -> Iterator[SubmitTasks]:
    for i in range(CHAINS * STEPS):
        yield SubmitTasks(FN, "inc", [f"inc-{i}"], [b"x"], options=options)


def network(nworkers: int) -> SchedulerState:
    state = SchedulerState()
    for i in range(nworkers):
        state.add_worker(f"tcp://10.0.0.1:{i}", name=i, nthreads=1, resources={"GPU": 1}, now=0.0)
    state.add_client("client", now=0.0)
    state.handle_client("client", PutFunctions([FN], [b"inc"]), 0.0)
    return state


def work_off(state: SchedulerState, messages: list[SubmitTasks]) -> None:
    """Each worker finishes at once what it is given."""
    now, left = 0.0, sum(len(message.keys) for message in messages)
    for message in messages:
        state.handle_client("client", message, now)
        left -= turn(state, now)
    while left:
        now += 1e-3
        done = turn(state, now)
        assert done
        left -= done
    for message in messages:
        state.handle_client("client", ReleaseKeys(message.keys), now)
    list(state.drain(now))
    assert not state.tasks


def turn(state: SchedulerState, now: float) -> int:
    done = 0
    for peer, outgoing in state.drain(now):
        for message in outgoing:
            done += finish(state, peer, message, now)
    return done


def finish(state: SchedulerState, worker: str, message: Message, now: float) -> int:
    if not isinstance(message, RunTasks):
        return 0
    n = len(message.keys)
    answer = TasksFinished(message.keys, message.seqs, [28] * n, [1e-6] * n, ["int"] * n, [b"v"] * n)
    state.handle_worker(worker, answer, now)
    return n


def steps_of(call: Callable[[], Any]) -> int:
    """Lines of the machine that a call goes through, each pass of a loop anew."""
    count = 0

    def on_line(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal count
        count += 1
        return on_line

    def on_call(frame: FrameType, event: str, arg: Any) -> Any:
        return on_line if "scheduler/state" in frame.f_code.co_filename else None

    before = sys.gettrace()
    sys.settrace(on_call)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("work", [chains, apart])
def test_idle_workers_cost_nothing(work: Callable[[TaskOptions], Iterator[SubmitTasks]]) -> None:
    messages = list(work(TaskOptions()))
    few, many = (network(n) for n in (10, 1_000))
    assert steps_of(lambda: work_off(many, messages)) == steps_of(lambda: work_off(few, messages))


@pytest.mark.parametrize("work", [chains, apart])
def test_nor_do_those_that_a_restricted_task_might_use(
    work: Callable[[TaskOptions], Iterator[SubmitTasks]],
) -> None:
    messages = list(work(TaskOptions(resources=(("GPU", 1.0),))))
    few, many = (network(n) for n in (100, 1_000))  # up to some tens are compared
    assert steps_of(lambda: work_off(many, messages)) < 1.25 * steps_of(lambda: work_off(few, messages))


def test_a_worker_that_leaves_looks_only_at_what_was_its_own() -> None:
    state = network(10)
    for i in range(1_000):
        state.handle_client("client", PutFunctions([b"%016d" % i], [b"g"]), 0.0)
    assert steps_of(lambda: state.remove_worker("tcp://10.0.0.1:3", 0.0)) < 100
    state.validate()
