"""Nothing is left of clients and workers that came and went, but a bounded memory of what they did."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from distributed import Client, Worker
from distributed.coordination import topics
from distributed.coordination.topics import TopicLog
from distributed.protocol.messages import PutFunctions, SubmitTasks
from distributed.scheduler.state import SchedulerState, index
from distributed.utils_test import async_poll_for, gen_cluster

#: Logs, each with a bound of its own.
LOGS = {"log", "events", "left", "notices"}


def census(scheduler: Any) -> dict[str, int]:
    """How many entries each book of a scheduler has, those of its extensions included."""
    halves = [
        scheduler.extensions[name] for name in ("topics", "semaphores", "queues", "variables", "plugins")
    ]
    owners = [scheduler, scheduler.state, scheduler.pool, *halves]
    owners += [book for half in halves for book in vars(half).values() if hasattr(book, "__dict__")]
    return {
        f"{type(owner).__name__}.{name}": len(book)
        for owner in owners
        for name, book in vars(owner).items()
        if isinstance(book, dict | list | set) and name not in LOGS
    }


def waiting_timers() -> list[Any]:
    things = [thing for thing in gc.get_objects() if type(thing).__name__ == "TimerHandle"]
    return [thing for thing in things if not thing.cancelled()]


async def clients_come_and_go(scheduler: Any, n: int) -> None:
    for i in range(n):
        async with Client(scheduler.address, asynchronous=True, set_as_default=False) as client:
            assert await client.submit(lambda x: x + 1, i) == i + 1
    await async_poll_for(lambda: not scheduler.state.clients and not scheduler.state.tasks)


async def workers_come_and_go(scheduler: Any, n: int) -> None:
    there = len(scheduler.workers)
    for _ in range(n):
        async with Worker(scheduler.address, nthreads=1) as worker:
            await scheduler.broadcast("ping", {}, workers=[worker.address])
    await async_poll_for(lambda: len(scheduler.workers) == there)


@pytest.mark.parametrize("come_and_go", [clients_come_and_go, workers_come_and_go])
def test_books_do_not_grow(come_and_go: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "MAX_LEFT", 4)

    @gen_cluster(nthreads=[("", 1)])
    async def run(s, a):
        await come_and_go(s, 10)
        gc.collect()
        before = census(s)
        timers = len(waiting_timers())
        await come_and_go(s, 10)
        gc.collect()
        await async_poll_for(lambda: census(s) == before)
        assert len(waiting_timers()) < timers + 10
        assert len(s.extensions["topics"].log.events) <= 4 + 3  # "all", the worker that stays, and the rest

    run()


def test_topics_of_those_who_left_are_kept_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "MAX_LEFT", 2)
    log = TopicLog(10, keep=5.0)
    for topic in "abc":
        log.append(topic, 0.0, "came")
        log.party_left(topic, 0.0)
    assert list(log.events) == ["b", "c"]
    log.append("b", 1.0, "came back")
    log.append("d", 7.0, "came")
    log.party_left("d", 7.0)
    assert list(log.events) == ["b", "d"]
    log.party_left("never said anything", 7.0)
    assert list(log.left) == ["d"]


def test_names_of_tasks_are_forgotten_when_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "MAX_PREFIXES", 10)
    state = SchedulerState()
    state.add_client("c", now=0.0)
    state.handle_client("c", PutFunctions([b"f" * 16], [b"f"]), 0.0)
    for i in range(50):
        name = f"name-{i}"
        state.handle_client("c", SubmitTasks(b"f" * 16, name, [name], [b"x"]), 0.0)
        if i >= 5:
            state.cancel("c", [name], 0.0)
    assert len(state.prefixes) <= 10
    assert {f"name-{i}" for i in range(5)} <= set(state.prefixes)
    state.validate()
