"""A peer that cannot be reached from here is asked through the scheduler before its results count as lost."""

from __future__ import annotations

from worker_bench import ME, A, B, Bench

from distributed.protocol.messages import (
    AcquireReplicas,
    FreeKeys,
    ReplicasAdded,
    ReplicasMissing,
    TasksReturned,
)
from distributed.worker.state import Gather


def unreachable(bench: Bench, worker: str) -> list[object]:
    bench.gathers = [gather for gather in bench.gathers if gather.worker != worker]
    bench.state.gather_failed(worker, bench.now, unreachable=True)
    return bench.turn()


def test_the_only_holder_is_asked_through_the_scheduler():
    bench = Bench()
    bench.run("x", deps=["d"], holders=[("d", 10, [A])])
    assert unreachable(bench, A) == []
    assert bench.gathers == [Gather(A, ["d"], 10, detour=True)]
    assert bench.deliver(("d", 5)) == [ReplicasAdded(["d"], [100])]
    assert bench.states == {"x": "executing", "d": "memory"}


def test_another_holder_comes_first():
    bench = Bench()
    bench.run("x", deps=["d"], holders=[("d", 10, [A, B])])
    [asked] = bench.gathers
    unreachable(bench, asked.worker)
    assert bench.gathers == [Gather(B if asked.worker == A else A, ["d"], 10)]


def test_a_detour_that_fails_too_ends_it():
    """So a peer that nobody reaches does not keep a task here for ever."""
    bench = Bench()
    bench.run("x", deps=["d"], holders=[("d", 10, [A])])
    unreachable(bench, A)
    assert unreachable(bench, A) == [TasksReturned(["x"], [1], "missing", [], [("d", [A, ME])])]
    assert (bench.states, bench.gathers) == ({}, [])


def test_a_copy_that_was_asked_for_takes_the_detour_too():
    bench = Bench()
    bench.handle(AcquireReplicas([("d", 10, [A])]))
    assert unreachable(bench, A) == []
    assert bench.gathers == [Gather(A, ["d"], 10, detour=True)]
    assert unreachable(bench, A) == [ReplicasMissing([("d", [A])])]


def test_the_way_is_remembered_for_a_while_then_tried_again():
    bench = Bench()
    bench.run("x", deps=["d"], holders=[("d", 10, [A])])
    unreachable(bench, A)
    bench.deliver(("d", 5))
    bench.run("y", deps=["e"], holders=[("e", 10, [A])])
    assert bench.gathers == [Gather(A, ["e"], 10, detour=True)]
    bench.deliver(("e", 5))
    bench.now += bench.state.fetching.detour_time + 1
    bench.run("z", deps=["f"], holders=[("f", 10, [A])])
    assert bench.gathers == [Gather(A, ["f"], 10)]


def test_what_nobody_waits_for_any_more_is_not_asked_for_again():
    bench = Bench()
    bench.run("x", deps=["d"], holders=[("d", 10, [A])])
    bench.handle(FreeKeys(["x"]))
    assert unreachable(bench, A) == []
    assert (bench.states, bench.gathers) == ({}, [])
