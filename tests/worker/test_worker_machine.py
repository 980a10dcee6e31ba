"""The worker's machine: what it says and asks for, message by message."""

from __future__ import annotations

import pytest
from worker_bench import ERROR, ME, A, B, Bench, C

from distributed.protocol.messages import (
    AcquireReplicas,
    CloseWorker,
    DropFunctions,
    FreeKeys,
    LongRunning,
    PeersGone,
    ReplicasAdded,
    ReplicasMissing,
    RunTasks,
    SetWorkerStatus,
    StealTasks,
    SubmitTasks,
    TasksErred,
    TasksFinished,
    TasksReturned,
    WorkerStatusChanged,
)
from distributed.protocol.payload import unpack
from distributed.worker.state import Close, Gather, WorkerState, diagram

# ---------------------------------------------------------------- running


def test_tasks_without_dependencies_go_straight_to_the_executor_and_come_back_as_columns():
    bench = Bench()
    assert bench.run("x", "y") == []
    assert list(bench.queued) == ["x", "y"]
    assert bench.states == {"x": "executing", "y": "executing"}

    assert bench.finish("x", "y") == [
        TasksFinished(["x", "y"], [1, 2], [28, 28], [0.5, 0.5], ["int", "int"], [b"v", b"v"])
    ]
    assert bench.state.data == {"x": 1, "y": 1}
    assert bench.state.nbytes == 56
    assert bench.state.executing_count == 0


def test_completions_of_one_turn_are_one_message():
    bench = Bench()
    bench.run("x", "y")
    for key in ("x", "y"):
        bench.state.tasks_completed([(bench.start(key), 1, 28, "int", None, 0.5)])
    [message] = bench.turn()
    assert message.keys == ["x", "y"]


def test_an_error_is_reported_and_the_task_forgotten():
    bench = Bench()
    bench.run("x")
    [message] = bench.fail("x")
    assert isinstance(message, TasksErred)
    assert (message.keys, message.seqs) == (["x"], [1])
    assert message.errors[0].erred_on == [ME]
    assert message.errors[0].blamed_key == "x"
    assert bench.states == {}


def test_a_task_that_wants_to_run_elsewhere_is_returned():
    bench = Bench()
    bench.run("x")
    bench.state.tasks_rescheduled([bench.start("x")])
    assert bench.turn() == [TasksReturned(["x"], [1], "rescheduled", [], [])]
    assert bench.states == {}


def test_run_of_a_key_in_memory_is_answered_at_once():
    bench = Bench()
    bench.run("x")
    bench.finish("x")
    assert bench.run("x") == [TasksFinished(["x"], [2], [28], [0.5], ["int"], [None])]
    assert not bench.queued


def test_run_of_a_key_that_runs_changes_only_the_number_of_the_answer():
    bench = Bench()
    bench.run("x")
    bench.run("x", "y")
    assert list(bench.queued) == ["x", "y"]
    [message] = bench.finish("x")
    assert message.seqs == [2]


def test_an_unknown_function_is_an_error_of_its_tasks():
    bench = Bench()
    bench.handle(DropFunctions([b"f"]))
    [message] = bench.run("x", "y")
    assert message.keys == ["x", "y"]
    assert "without sending it first" in message.errors[0].exception_text
    assert isinstance(unpack(message.errors[0].exception), RuntimeError)
    assert bench.states == {}


def test_tuple_keys():
    bench = Bench()
    bench.run(("x", 0, 1))
    bench.finish(("x", 0, 1))
    assert bench.state.data == {("x", 0, 1): 1}


def test_seceded_tasks_are_long_running():
    bench = Bench()
    bench.run("x")
    ts = bench.start("x")
    bench.state.tasks_seceded([ts])
    assert bench.turn() == [LongRunning(["x"], [1])]
    assert bench.states == {"x": "long-running"}
    bench.finish("x")
    bench.state.tasks_seceded([ts])  # noticed only after the end
    assert bench.turn() == []


def test_messages_that_are_not_for_workers_are_refused():
    with pytest.raises(ValueError, match="cannot take a SubmitTasks"):
        Bench().handle(SubmitTasks(b"f", "f", [], []))


def test_story_names_the_message_that_caused_each_step():
    bench = Bench()
    bench.run("x")
    bench.finish("x")
    bench.handle(FreeKeys(["x"]))
    steps = bench.state.story("x")
    assert [step[1:3] for step in steps] == [
        ("released", "executing"),
        ("executing", "memory"),
        ("memory", "released"),
    ]
    assert [step[3].rpartition("-")[0] for step in steps] == ["RunTasks", "completed", "FreeKeys"]


def test_the_diagram_shows_every_transition():
    assert '"flight" -> "fetch"' in diagram()


# ---------------------------------------------------------------- freeing


def test_free_drops_data():
    bench = Bench()
    bench.run("x", "y")
    bench.finish("x", "y")
    assert bench.handle(FreeKeys(["x", "unknown"])) == []
    assert bench.state.data == {"y": 1}
    assert bench.state.nbytes == 28


def test_free_takes_back_what_has_not_started():
    bench = Bench()
    bench.run("x", "y")
    assert bench.handle(FreeKeys(["x"])) == []
    assert list(bench.queued) == ["y"]
    assert bench.state.discarded == {}


def test_the_result_of_a_freed_running_task_is_discarded():
    bench = Bench()
    bench.run("x")
    bench.start("x")
    bench.handle(FreeKeys(["x"]))
    assert bench.states == {}
    assert bench.finish("x") == []
    assert bench.state.data == {}
    assert bench.state.discarded == {}


@pytest.mark.parametrize("how", ["finish", "fail"])
def test_a_key_freed_while_it_runs_runs_again_only_after_that_run(how: str):
    bench = Bench()
    bench.run("x")
    bench.start("x")
    bench.handle(FreeKeys(["x"]))
    bench.run("x")
    assert bench.states == {"x": "waiting"}
    assert not bench.queued
    assert getattr(bench, how)("x") == []
    assert bench.states == {"x": "executing"}
    [message] = bench.finish("x", value=2)
    assert message.seqs == [2]
    assert bench.state.data == {"x": 2}


def test_a_key_freed_twice_while_it_runs_is_only_discarded():
    bench = Bench()
    bench.run("x")
    bench.start("x")
    bench.handle(FreeKeys(["x"]))
    bench.run("x")
    bench.handle(FreeKeys(["x"]))
    assert bench.finish("x") == []
    assert (bench.states, bench.queued) == ({}, {})


def test_run_and_free_in_one_turn_leave_nothing():
    bench = Bench()
    bench.state.handle(RunTasks(b"f", "f", ["x"], [b""], [1]), 0.0)
    bench.state.handle(FreeKeys(["x"]), 0.0)
    assert bench.turn() == []
    assert (bench.states, bench.queued, bench.state.discarded) == ({}, {}, {})


# ---------------------------------------------------------------- stealing


def test_steal_gives_back_what_has_not_started_and_refuses_the_rest():
    bench = Bench()
    bench.run("x", "y")
    bench.start("x")
    bench.run("z", deps=["d"], holders=[("d", 10, [A])])
    [message] = bench.handle(StealTasks(["x", "y", "z", "unknown"]))
    assert (message.reason, message.missing) == ("stolen", [])
    assert dict(zip(message.keys, message.seqs, strict=True)) == {"y": 2, "z": 3}
    assert sorted(message.refused) == ["unknown", "x"]
    assert bench.states["x"] == "executing"


def test_an_empty_answer_to_steal_is_an_answer():
    assert Bench().handle(StealTasks(["x"])) == [TasksReturned([], [], "stolen", ["x"], [])]


def test_a_key_freed_in_the_turn_in_which_it_is_stolen_is_refused():
    bench = Bench()
    bench.run("x")
    bench.state.handle(StealTasks(["x"]), 0.0)
    bench.state.handle(FreeKeys(["x"]), 0.0)
    assert bench.turn() == [TasksReturned([], [], "stolen", ["x"], [])]
    assert (bench.states, bench.state.discarded) == ({}, {})


# ---------------------------------------------------------------- dependencies


def test_a_dependency_is_fetched_then_the_task_runs():
    bench = Bench()
    bench.run("x", deps=["d"], holders=[("d", 10, [A])])
    assert bench.states == {"x": "waiting", "d": "flight"}
    assert bench.gathers == [Gather(A, ["d"], 10)]
    assert bench.deliver(("d", 5)) == [ReplicasAdded(["d"], [100])]
    assert bench.states == {"x": "executing", "d": "memory"}
    assert bench.state.data == {"d": 5}


def test_a_dependency_that_is_here_is_not_fetched():
    bench = Bench()
    bench.run("d")
    bench.finish("d")
    bench.run("x", deps=["d"], holders=[("d", 28, [ME, A])])
    assert (list(bench.queued), bench.gathers) == (["x"], [])


def test_a_dependency_that_runs_here_is_waited_for():
    bench = Bench()
    bench.run("d")
    bench.run("x", deps=["d"])
    assert bench.states["x"] == "waiting"
    bench.finish("d")
    assert bench.states["x"] == "executing"


def test_dependencies_of_one_peer_are_asked_for_together():
    bench = Bench()
    bench.run("x", "y", deps=[["d1", "d2"], ["d2", "d3"]], holders=[(f"d{i}", 10, [A]) for i in (1, 2, 3)])
    assert bench.gathers == [Gather(A, ["d1", "d2", "d3"], 30)]
    bench.deliver(("d1", 1), ("d2", 2), ("d3", 3))
    assert list(bench.queued) == ["x", "y"]


def test_a_peer_is_asked_once_at_a_time():
    bench = Bench()
    bench.run("x", deps=["d1"], holders=[("d1", 10, [A])])
    bench.run("y", deps=["d2"], holders=[("d2", 10, [A])])
    assert len(bench.gathers) == 1
    bench.deliver(("d1", 1))
    assert bench.gathers == [Gather(A, ["d2"], 10)]


def test_requests_are_limited_in_bytes():
    bench = Bench()
    bench.state.fetching.max_nbytes = 25
    bench.run("x", deps=["d1", "d2", "d3"], holders=[(f"d{i}", 10, [A]) for i in (1, 2, 3)])
    assert bench.gathers == [Gather(A, ["d1", "d2"], 20)]
    bench.deliver(("d1", 1), ("d2", 1))
    assert bench.gathers == [Gather(A, ["d3"], 10)]


def test_requests_are_limited_in_number():
    bench = Bench()
    bench.state.fetching.max_connections = 2
    bench.run("x", deps=["a", "b", "c"], holders=[("a", 1, [A]), ("b", 1, [B]), ("c", 1, [C])])
    assert len(bench.gathers) == 2


@pytest.mark.parametrize("how", ["broken", "absent"])
def test_another_holder_is_tried(how: str):
    bench = Bench()
    bench.run("x", deps=["d"], holders=[("d", 10, [A, B])])
    first = bench.gathers[0].worker
    assert (bench.break_off(first) if how == "broken" else bench.deliver()) == []
    [gather] = bench.gathers
    assert {first, gather.worker} == {A, B}
    bench.deliver(("d", 5))
    assert bench.states == {"x": "executing", "d": "memory"}


def test_tasks_whose_dependency_nobody_delivers_are_returned():
    bench = Bench()
    bench.run("x", "y", deps=["d"], holders=[("d", 10, [A, B])])
    bench.run("z", deps=["d", "e"], holders=[("d", 10, [A, B]), ("e", 10, [C])])
    first = bench.gathers[0].worker
    second = B if first == A else A
    bench.break_off(first)
    [message] = bench.break_off(second)
    assert (message.reason, sorted(message.keys)) == ("missing", ["x", "y", "z"])
    assert {key: set(addresses) for key, addresses in message.missing} == {"d": {first, second, ME}}
    assert bench.states == {"e": "flight"}
    assert bench.deliver(("e", 1)) == []  # nobody waits for it any more
    assert bench.state.data == {}


def test_a_dependency_without_holders_returns_the_task_at_once():
    bench = Bench()
    [message] = bench.run("x", deps=["here", "d"], holders=[("here", 1, [A]), ("d", 10, [ME])])
    assert message == TasksReturned(["x"], [1], "missing", [], [("d", [ME])])
    assert bench.states == {}
    assert bench.gathers == []


def test_a_peer_that_breaks_off_is_not_asked_for_anything_else():
    bench = Bench()
    bench.run("x", deps=["d1"], holders=[("d1", 10, [A])])
    bench.run("y", deps=["d2"], holders=[("d2", 10, [A])])
    [message] = bench.break_off(A)
    assert sorted(message.keys) == ["x", "y"]
    assert bench.gathers == []


def test_a_busy_peer_is_asked_again_later():
    bench = Bench()
    bench.run("x", deps=["d"], holders=[("d", 10, [A])])
    assert bench.break_off(A, busy=True) == []
    assert bench.gathers == []
    wake_at = bench.state.wake_at()
    assert wake_at is not None
    assert wake_at > bench.now
    bench.now = wake_at
    bench.turn()
    assert bench.gathers == [Gather(A, ["d"], 10)]
    assert bench.state.wake_at() is None


def test_freeing_the_waiting_task_stops_the_fetching():
    bench = Bench()
    bench.run("w", deps=["e"], holders=[("e", 10, [A])])
    bench.run("x", deps=["d"], holders=[("d", 10, [A])])
    bench.handle(FreeKeys(["x"]))
    assert bench.states == {"w": "waiting", "e": "flight"}


def test_a_freed_dependency_returns_its_tasks():
    bench = Bench()
    bench.run("x", deps=["d"], holders=[("d", 10, [A])])
    [message] = bench.handle(FreeKeys(["d"]))
    assert message == TasksReturned(["x"], [1], "missing", [], [("d", [ME])])
    assert bench.deliver(("d", 1)) == []
    assert bench.states == {}


def test_a_dependency_freed_while_the_task_waits_for_another_returns_it():
    bench = Bench()
    bench.run("d")
    bench.finish("d")
    bench.run("x", deps=["d", "e"], holders=[("e", 10, [A])])
    bench.handle(FreeKeys(["d"]))
    messages = bench.deliver(("e", 1))
    assert TasksReturned(["x"], [2], "missing", [], [("d", [ME])]) in messages


def test_a_dependency_freed_before_a_thread_starts_the_task_returns_it():
    bench = Bench()
    bench.run("d")
    bench.finish("d")
    bench.run("x", deps=["d"])
    bench.handle(FreeKeys(["d"]))
    bench.state.tasks_missing([(bench.start("x"), ["d"])])
    assert bench.turn() == [TasksReturned(["x"], [2], "missing", [], [("d", [ME])])]
    assert bench.states == {}


def test_a_failing_dependency_that_runs_here_returns_what_waits_for_it():
    bench = Bench()
    bench.run("d")
    bench.run("x", deps=["d"])
    erred, returned = bench.fail("d")
    assert erred.keys == ["d"]
    assert returned == TasksReturned(["x"], [2], "missing", [], [("d", [ME])])
    assert bench.states == {}


@pytest.mark.parametrize("in_flight", [True, False])
def test_told_to_run_what_was_to_be_fetched(in_flight: bool):
    bench = Bench()
    if not in_flight:
        bench.run("w", deps=["e"], holders=[("e", 10, [A])])
    bench.run("x", deps=["d"], holders=[("d", 10, [A])])
    assert bench.states["d"] == ("flight" if in_flight else "fetch")
    bench.run("d")
    assert bench.states["d"] == "executing"
    bench.deliver(("d", 1) if in_flight else ("e", 1))
    assert bench.states["d"] == "executing"
    bench.finish("d", value=7)
    assert bench.state.data["d"] == 7
    assert bench.states["x"] == "executing"


def test_a_task_cannot_depend_on_itself():
    bench = Bench()
    [message] = bench.run("x", deps=["x"])
    assert message.reason == "missing"
    assert bench.states == {}


# ---------------------------------------------------------------- replicas and scattered data


def test_acquire_replicas():
    bench = Bench()
    bench.run("here")
    bench.finish("here")
    messages = bench.handle(AcquireReplicas([("d", 10, [A]), ("here", 28, [B]), ("lost", 1, [ME])]))
    assert messages == [ReplicasAdded(["here"], [28]), ReplicasMissing([("lost", [ME])])]
    assert bench.deliver(("d", 5)) == [ReplicasAdded(["d"], [100])]
    assert bench.state.data["d"] == 5


def test_a_replica_that_nobody_delivers_is_missing():
    bench = Bench()
    bench.handle(AcquireReplicas([("d", 10, [A])]))
    assert bench.break_off(A) == [ReplicasMissing([("d", [A])])]
    assert bench.states == {}


def test_what_was_to_be_asked_of_a_peer_that_is_gone():
    """The request that is out is broken off by the shell; the rest goes to another holder, or is missing."""
    bench = Bench()
    bench.run("w", deps=["e"], holders=[("e", 10, [A])])
    bench.handle(AcquireReplicas([("lost", 10, [A]), ("more", 10, [A, C])]))
    bench.run("x", deps=["d"], holders=[("d", 10, [A])])
    assert [gather.worker for gather in bench.gathers] == [A, C]
    messages = bench.handle(PeersGone([A]))
    assert bench.peers_gone == [A]
    assert messages == [
        ReplicasMissing([("lost", [A])]),
        TasksReturned(["x"], [2], "missing", [], [("d", [A, ME])]),
    ]
    assert bench.states["e"] == "flight"
    assert bench.break_off(A) == [TasksReturned(["w"], [1], "missing", [], [("e", [A, ME])])]
    assert bench.deliver(("more", 5)) == [ReplicasAdded(["more"], [100])]


@pytest.mark.parametrize("instead", ["run", "free", "scatter", "other work"])
@pytest.mark.parametrize("before", ["fetch", "flight"])
def test_an_order_for_a_copy_is_answered_whatever_comes_in_between(before: str, instead: str):
    """``replicate`` waited for ever where the holder was lost, and the task was run again where its copy was to go."""
    bench = Bench()
    if before == "fetch":
        bench.run("w", deps=["e"], holders=[("e", 10, [A])])
    bench.handle(AcquireReplicas([("d", 10, [A])]))
    assert bench.states["d"] == before
    if instead == "run":
        messages = bench.run("d")
    elif instead == "free":
        messages = bench.handle(FreeKeys(["d"]))
    elif instead == "other work":
        messages = bench.handle(AcquireReplicas([("d", 10, [B])], [("d", b"other")]))
    else:
        bench.state.scattered([("d", 42, 8, "int")])
        messages = bench.turn()
    answer = ReplicasAdded(["d"], [8]) if instead == "scatter" else ReplicasMissing([("d", [])])
    assert messages[:1] == [answer]


@pytest.mark.parametrize(
    "before", ["nothing", "memory", "fetch", "flight", "waiting", "ready", "executing", "started"]
)
def test_scattered_data_is_there_whatever_the_key_was_before(before: str):
    bench = Bench(resources={"GPU": 1})
    if before in ("memory", "executing", "started"):
        bench.run("d")
        if before == "memory":
            bench.finish("d")
        elif before == "started":
            bench.start("d")
    elif before in ("fetch", "flight"):
        if before == "fetch":
            bench.run("w", deps=["e"], holders=[("e", 10, [A])])
        bench.handle(AcquireReplicas([("d", 10, [A])]))
    elif before == "waiting":
        bench.run("d", deps=["e"], holders=[("e", 10, [A])])
    elif before == "ready":
        bench.run("d", resources=(("GPU", 2.0),))
    bench.run("x", deps=["d"], holders=[("d", 10, [B])])
    bench.state.scattered([("d", 42, 8, "int")])
    bench.turn()
    assert bench.state.data["d"] == 42
    assert bench.states["x"] == "executing"
    if before == "started":
        bench.finish("d", value=0)
        assert bench.state.data["d"] == 42


# ---------------------------------------------------------------- resources, status, priority


def test_tasks_with_resources_start_only_as_they_suffice():
    bench = Bench(resources={"GPU": 2})
    bench.run("a", "b", "c", resources=(("GPU", 1.0),))
    assert list(bench.queued) == ["a", "b"]
    assert bench.states["c"] == "ready"
    assert bench.state.available_resources == {"GPU": 0}
    bench.finish("a")
    assert list(bench.queued) == ["b", "c"]


def test_the_best_queued_task_that_fits_starts_first():
    bench = Bench(resources={"GPU": 2, "DISK": 1})
    bench.run("first", resources=(("GPU", 2.0),))
    bench.run("low", resources=(("GPU", 1.0),), priority=-1)
    bench.run("large", resources=(("GPU", 2.0),))
    bench.run("high", resources=(("GPU", 1.0),), priority=5)
    bench.run("other", resources=(("DISK", 1.0),))
    assert list(bench.queued) == ["first", "other"]
    assert [ts.key for ts in bench.state.ready] == ["high", "large", "low"]
    bench.finish("first")
    assert sorted(bench.queued) == ["high", "low", "other"]


@pytest.mark.parametrize("end", ["fail", "free", "steal"])
def test_resources_are_free_after_any_end(end: str):
    bench = Bench(resources={"GPU": 1})
    bench.run("a", "b", resources=(("GPU", 1.0),))
    if end == "fail":
        bench.fail("a")
    else:
        bench.handle(FreeKeys(["a"]) if end == "free" else StealTasks(["a"]))
    assert list(bench.queued) == ["b"]


def test_a_discarded_run_keeps_its_resources_until_it_ends():
    bench = Bench(resources={"GPU": 1})
    bench.run("a", "b", resources=(("GPU", 1.0),))
    bench.start("a")
    bench.handle(FreeKeys(["a"]))
    assert not bench.queued
    bench.finish("a")
    assert list(bench.queued) == ["b"]


def test_a_stolen_queued_task_does_not_block_the_queue():
    bench = Bench(resources={"GPU": 1})
    bench.run("a", "b", resources=(("GPU", 1.0),))
    bench.handle(StealTasks(["b"]))
    bench.finish("a")
    bench.run("c", resources=(("GPU", 1.0),))
    assert list(bench.queued) == ["c"]


def test_paused_nothing_is_started_and_resumed_all_is():
    bench = Bench()
    bench.run("running", "queued")
    bench.start("running")
    assert bench.handle(SetWorkerStatus("paused")) == []
    bench.run("new")
    assert bench.states == {"running": "executing", "queued": "ready", "new": "ready"}
    assert not bench.queued
    bench.finish("running")
    bench.handle(SetWorkerStatus("running"))
    assert list(bench.queued) == ["queued", "new"]


def test_the_worker_tells_when_it_pauses_itself():
    bench = Bench()
    bench.state.set_status("paused")
    bench.state.set_status("paused")
    assert bench.turn() == [WorkerStatusChanged("paused")]


def test_closing_gracefully_gives_back_what_has_not_started():
    bench = Bench(resources={"GPU": 1})
    bench.run("running", "queued")
    bench.start("running")
    bench.run("waiting", deps=["d"], holders=[("d", 10, [A])])
    bench.run("ready", resources=(("GPU", 2.0),))
    [message] = bench.handle(SetWorkerStatus("closing_gracefully"))
    assert message.reason == "closing"
    assert sorted(message.keys) == ["queued", "ready", "waiting"]
    assert bench.states["running"] == "executing"


def test_an_unknown_status_is_refused():
    with pytest.raises(ValueError, match="cannot be told to be 'asleep'"):
        Bench().handle(SetWorkerStatus("asleep"))


def test_close():
    bench = Bench()
    bench.handle(CloseWorker("enough", nanny=False))
    assert bench.closed == Close("enough", False)


# ---------------------------------------------------------------- another scheduler


def test_what_a_new_scheduler_is_told():
    bench = Bench()
    bench.run("done", "running", "queued", "long")
    bench.finish("done")
    bench.start("running")
    bench.state.tasks_seceded([bench.start("long")])
    bench.run("waiting", deps=["d"], holders=[("d", 10, [A])])
    bench.turn()
    bench.state.tasks_failed([(bench.started.pop("running"), ERROR)])  # not said yet
    bench.state.scheduler_lost()
    while instructions := bench.state.drain_instructions(0.0):
        for instruction in instructions:
            taken = [bench.queued.pop(ts.key) for ts in instruction.tasks if ts.key in bench.queued]
            bench.state.taken_back(instruction, taken)
    bench.state.forget_unsent()
    assert bench.state.holding() == [["done", 28, "int", b""]]
    assert bench.state.running() == [["long", 4, b""]]
    [message] = bench.turn()
    assert isinstance(message, TasksErred)
    assert message.keys == ["running"]
    assert bench.deliver(("d", 1)) == []
    assert bench.states == {"done": "memory", "long": "long-running"}


def test_functions_must_be_sent_again_to_a_worker_that_registered_anew():
    bench = Bench()
    bench.state.scheduler_lost()
    [message] = bench.run("x")
    assert isinstance(message, TasksErred)


def test_what_stands_on_a_task_that_is_returned_as_it_should_start_is_returned_with_it():
    """``y`` waits for ``d`` and ``x``; ``x`` waits for ``d``, and then cannot start: its other dependency was freed."""
    bench = Bench()
    bench.run("e")
    bench.finish("e")
    bench.run("x", deps=["d", "e"], holders=[("d", 10, [A])])
    bench.run("y", deps=["d", "x"], holders=[("d", 10, [A])])
    bench.handle(FreeKeys(["e"]))
    [returned, copied] = bench.deliver(("d", 5))
    assert copied == ReplicasAdded(["d"], [100])
    assert (returned.keys, returned.reason) == (["x", "y"], "missing")
    assert bench.states == {"d": "memory"}


def test_a_pause_outlives_an_order_to_leave() -> None:
    """The order may be called off, and may have crossed the word of the pause."""
    state = WorkerState("tcp://w")
    state.set_status("paused")
    state.drain(0.0)
    state.handle(SetWorkerStatus("closing_gracefully"), 0.0)
    state.handle(SetWorkerStatus("running"), 0.0)
    assert state.status == "paused"
    assert state.drain(0.0)[0] == [WorkerStatusChanged("paused")]
    state.handle(SetWorkerStatus("closing_gracefully"), 0.0)
    state.set_status("running")  # there is room again
    assert state.status == "closing_gracefully"
    assert state.drain(0.0)[0] == []
    state.handle(SetWorkerStatus("running"), 0.0)
    assert state.status == "running"
