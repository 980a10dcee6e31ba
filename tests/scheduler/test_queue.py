"""The queue against a sorted list."""

from __future__ import annotations

import random

import pytest

from distributed.protocol.messages import TaskOptions
from distributed.scheduler.state.queue import SWEPT, TaskQueue
from distributed.scheduler.state.records import TaskPrefix, TaskSpec, TaskState

SPECS = {
    priority: TaskSpec(b"f", "f", TaskOptions(priority=priority), TaskPrefix("f")) for priority in (-1, 0, 7)
}


def task(seq: int, priority: int = 0) -> TaskState:
    return TaskState(f"t-{seq}", seq, SPECS[priority], b"", ())


def entries(queue: TaskQueue) -> int:
    """How many entries there are, the dead among them."""
    return sum(len(list(line)) for line in queue._lines.values())


@pytest.mark.parametrize("seed", range(20))
def test_order_after_any_history(seed: int) -> None:
    rng = random.Random(seed)
    queue = TaskQueue()
    inside: list[TaskState] = []
    outside = [task(seq, rng.choice((0, 0, 0, -1, 7))) for seq in range(300)]
    if seed % 2:
        rng.shuffle(outside)
    outside.reverse()
    for _ in range(3_000):
        what = rng.random()
        if what < 0.5 and outside:
            ts = outside.pop(-1 if rng.random() < 0.8 else rng.randrange(len(outside)))
            if rng.random() < 0.2:
                ts.seq += 300  # it was with a worker, and what that says of it comes too late
            queue.push(ts)
            inside.append(ts)
        elif what < 0.8 and inside:
            ts = inside.pop(rng.randrange(len(inside)))
            queue.discard(ts)
            outside.append(ts)
        elif inside:
            first = queue.peek()
            assert first is not None
            best = min(-ts.spec.options.priority for ts in inside)  # type: ignore[union-attr]
            assert first.spec is not None
            assert -first.spec.options.priority == best
            assert queue.pop() is first
            inside.remove(first)
            outside.append(first)
        assert len(queue) == len(inside)
        assert set(queue) == set(inside)
        assert all(ts.queue is None for ts in outside)
    popped = [queue.pop() for _ in inside]
    assert {id(ts) for ts in popped} == {id(ts) for ts in inside}
    assert queue.pop() is None
    assert queue.peek() is None
    assert entries(queue) == 0


@pytest.mark.parametrize("shuffled", [False, True])
def test_first_come_first_served(shuffled: bool) -> None:
    queue = TaskQueue()
    tasks = [task(seq, priority) for seq in range(200) for priority in (-1, 0, 7)]
    if shuffled:
        random.Random(1).shuffle(tasks)
    for ts in tasks:
        queue.push(ts)
    for ts in tasks[::3]:
        queue.discard(ts)
    left = [ts for i, ts in enumerate(tasks) if i % 3]
    left.sort(key=lambda ts: (-ts.spec.options.priority, ts.seq))  # type: ignore[union-attr]
    assert [queue.pop() for _ in left] == left


def test_what_is_taken_back_is_dropped_a_few_at_a_time() -> None:
    queue = TaskQueue()
    tasks = [task(seq) for seq in range(10_000)]
    for ts in tasks:
        queue.push(ts)
    before = entries(queue)
    for ts in reversed(tasks[1:]):
        queue.discard(ts)
        now = entries(queue) if ts.seq % 100 == 0 else None
        if now is not None:
            assert before - now <= 100 * SWEPT
            before = now
    assert entries(queue) < 10_000 / SWEPT
    assert queue.pop() is tasks[0]
