"""The scheduler's machine after a restart, at the moments that real processes only meet by chance."""

from __future__ import annotations

from distributed.protocol.messages import (
    FreeKeys,
    PutFunctions,
    RunTasks,
    SubmitTasks,
    TaskOptions,
    TasksFinished,
)
from distributed.scheduler.state import SchedulerState, Settings

A = "tcp://10.0.0.1:1"


def submit(s: SchedulerState, now: float, key: str, *deps: str, wanted: bool) -> None:
    message = SubmitTasks(b"f", "f", [key], [b"args"], [list(deps)], TaskOptions(), wanted)
    s.handle_client("c", message, now)


def said(s: SchedulerState, now: float) -> list[object]:
    messages = [message for peer, batch in s.drain(now) if peer == A for message in batch]
    s.validate(drained=True)
    return messages


def restarted() -> SchedulerState:
    """A new scheduler; the client and a worker come back that holds ``x`` and runs ``y``."""
    s = SchedulerState(Settings(muster=10.0), first_seq=1_000)
    s.add_client("c", 0.0)
    s.expect_workers([A], 0.0)
    s.add_worker(A, now=0.1, holding=[("x", 10, "int")], running=[("y", 7)])
    s.handle_client("c", PutFunctions([b"f"], [b"blob"]), 0.2)
    return s


def test_a_result_is_kept_for_dependents_that_are_still_to_be_told() -> None:
    """Else it is computed again, and with it all that it stood on: dozens of finished tasks were run twice."""
    s = restarted()
    submit(s, 0.2, "x", wanted=False)
    submit(s, 0.2, "y", "x", wanted=True)
    assert s.tasks["x"].state == "memory"
    assert s.tasks["y"].state == "processing"
    s.handle_worker(A, TasksFinished(["y"], [7], [10], [0.1], ["int"], [None]), 0.3)
    assert said(s, 0.3) == [], "x is not let go"
    submit(s, 0.4, "z", "x", wanted=True)  # in a later message of the same client
    [functions, run] = said(s, 0.4)
    assert isinstance(functions, PutFunctions)
    assert isinstance(run, RunTasks)
    assert run.keys == ["z"], "x is not run again"


def test_who_does_not_come_back_is_waited_for_by_nobody() -> None:
    """He may be frozen, and others have asked him for results before the restart."""
    s = SchedulerState(Settings(muster=10.0), first_seq=1_000)
    s.add_client("c", 0.0)
    s.expect_workers([A, "tcp://10.0.0.2:1"], 0.0)
    s.add_worker(A, now=0.1)
    s.tick(9.0)
    assert s.vanished == []
    s.tick(11.0)
    assert s.vanished == ["tcp://10.0.0.2:1"]


def test_but_not_longer_than_the_network_gathers() -> None:
    s = restarted()
    submit(s, 0.2, "x", wanted=False)
    submit(s, 0.2, "y", "x", wanted=True)
    s.handle_worker(A, TasksFinished(["y"], [7], [10], [0.1], ["int"], [None]), 0.3)
    assert said(s, 0.3) == []
    s.tick(9.9)
    assert said(s, 9.9) == []
    s.tick(10.1)
    [free] = said(s, 10.1)
    assert isinstance(free, FreeKeys)
    assert free.keys == ["x"]


def test_a_vouched_worker_is_waited_for_up_to_the_hang_limit() -> None:
    s = SchedulerState(Settings(worker_ttl=10.0, worker_hang_limit=35.0))
    s.add_worker(A, now=0.0)
    assert s.tick(9.0) == []
    assert s.tick(11.0) == [A]
    s.vouch_for(A, 11.0)
    assert s.tick(20.0) == []
    assert s.tick(22.0) == [A]
    s.vouch_for(A, 34.0)
    assert s.tick(34.5) == []
    assert s.tick(35.5) == [A], "whatever its nanny says"
    s.vouch_for("tcp://10.0.0.9:1", 36.0)  # gone meanwhile: nothing to do
