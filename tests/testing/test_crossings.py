"""Messages that cross each other on two connections, or in two directions of one: planted, one by one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from distributed.protocol.messages import (
    AcquireReplicas,
    CancelKeys,
    FreeKeys,
    Message,
    PutFunctions,
    ReplicasAdded,
    ReplicasMissing,
    RunTasks,
    SubmitTasks,
)
from distributed.scheduler.state import SchedulerState
from distributed.worker.state import WorkerState


def sent(scheduler: SchedulerState, peer: str) -> list[Message]:
    """What the scheduler says to one peer at the end of a turn."""
    messages = dict(scheduler.drain(0.0)).get(peer, [])
    scheduler.validate()
    return messages


def frees(messages: Iterable[Message]) -> list[Any]:
    return [key for message in messages if isinstance(message, FreeKeys) for key in message.keys]


def scattered(scheduler: SchedulerState, key: str, worker: str) -> None:
    scheduler.add_data(worker, "c", [(key, 10, "int")], 0.0)


def two_workers() -> SchedulerState:
    scheduler = SchedulerState()
    for address in ("a", "b"):
        scheduler.add_worker(address, now=0.0, server_id=address)
    scheduler.add_client("c", now=0.0)
    scattered(scheduler, "x", "a")
    sent(scheduler, "c")
    return scheduler


def test_a_copy_that_crosses_free_keys_is_not_believed_in() -> None:
    """b fetches x and says so, while the scheduler, which does not know that yet, tells it to drop x."""
    scheduler, b = two_workers(), WorkerState("b")
    ts = scheduler.tasks["x"]
    scheduler.outbox.free("b", "x")  # about an earlier copy
    [free] = sent(scheduler, "b")
    b.scattered([("x", 1, 10, "int")])
    b._tell(b.tasks["x"])
    [added] = b.outbox.drain()
    assert isinstance(added, ReplicasAdded)
    scheduler.handle_worker("b", added, 0.0)
    assert [ws.address for ws in ts.who_has] == ["a", "b"]
    b.handle(free, 0.0)
    assert not b.data
    [missing] = b.outbox.drain()
    assert isinstance(missing, ReplicasMissing)
    scheduler.handle_worker("b", missing, 0.0)
    assert [ws.address for ws in ts.who_has] == ["a"]
    sent(scheduler, "b")


def test_a_copy_that_the_scheduler_had_heard_of_goes_without_a_word() -> None:
    scheduler, b = two_workers(), WorkerState("b")
    b.scattered([("x", 1, 10, "int")])
    b._tell(b.tasks["x"])
    scheduler.handle_worker("b", b.outbox.drain()[0], 0.0)
    scheduler.outbox.free("b", "x")
    [free] = sent(scheduler, "b")
    b.handle(free, 0.0)
    assert not b.data
    assert not b.outbox.drain()


def test_what_is_scattered_while_free_keys_is_on_its_way_stays() -> None:
    """The client lets x go and scatters the same content, hence the same key, again: on another connection."""
    scheduler, a = two_workers(), WorkerState("a")
    a.scattered([("x", 1, 10, "int")])
    scheduler.remove_client("c", 0.0)
    messages = sent(scheduler, "a")
    assert frees(messages) == ["x"]
    a.scattered([("x", 1, 10, "int")], scheduler.outbox.nfrees)
    scheduler.add_client("c", 0.0)
    scattered(scheduler, "x", "a")
    for message in messages:
        a.handle(message, 0.0)
    assert a.data == {"x": 1}
    scheduler.remove_client("c", 0.0)
    for message in sent(scheduler, "a"):
        a.handle(message, 0.0)
    assert not a.data


def test_what_is_scattered_under_the_key_of_a_task_that_was_taken_back_stays() -> None:
    """The order to run it, or something on it, and its end come after the data, which came on another connection."""
    scheduler, a = SchedulerState(), WorkerState("a")
    scheduler.add_worker("a", now=0.0)
    scheduler.add_client("c", now=0.0)
    scheduler.handle_client("c", PutFunctions([b"f"], [b"f"]), 0.0)
    scheduler.handle_client("c", SubmitTasks(b"f", "f", ["x"], [b""], named=True), 0.0)
    before = sent(scheduler, "a")
    [run] = [message for message in before if isinstance(message, RunTasks)]
    scheduler.handle_client("c", CancelKeys(["x"]), 0.0)
    before += sent(scheduler, "a")
    taken, _ = scheduler.name_data("c", {"x": b"data"}, 0, 0.0)
    assert not taken
    nfrees = scheduler.scatter_begun("a", ["x"], 0.0)
    a.scattered([("x", 1, 10, "int")], nfrees, {"x": b"data"}, scheduler.next_seq)
    on_it = RunTasks(
        *(b"f", "f", ["y"], [b""], run.seqs, [["x"]], [], run.options),
        works=[b"y"],
        dep_works=[("x", run.works[0])],
    )
    for message in [*before[:-1], on_it, FreeKeys(["y"]), before[-1]]:
        a.handle(message, 0.0)
    assert a.data == {"x": 1}
    assert list(a.tasks) == ["x"]
    copy = AcquireReplicas([("x", 1, ["b"])], [("x", run.works[0])], run.seqs[0])
    a.handle(copy, 0.0)
    assert a.data == {"x": 1}
    assert ReplicasMissing([("x", [])], copy.works) in a.outbox.drain()
    later = RunTasks(*(b"f", "f", ["x"], [b""], [scheduler.next_seq], None, [], run.options), works=[b"z"])
    a.handle(later, 0.0)
    assert not a.data


def test_a_new_connection_forgets_what_the_old_one_counted() -> None:
    a = WorkerState("a")
    a.scattered([("x", 1, 10, "int")], 1 << 40)
    a.scheduler_lost()
    a.forget_unsent()
    a.handle(FreeKeys(["x"], 0, 1), 0.0)
    assert not a.data


def test_scattered_data_on_a_worker_that_left_meanwhile_is_dropped_when_it_is_back() -> None:
    """The worker registers anew with a list that it made before the data came."""
    scheduler = two_workers()
    scheduler.remove_worker("b", 0.0)
    scheduler.note_strays("b", ["y"], 0.0)
    scheduler.add_worker("b", now=0.0, server_id="b")
    assert frees(sent(scheduler, "b")) == ["y"]
    assert not scheduler.strays


def test_strays_of_workers_that_never_come_back_are_forgotten() -> None:
    scheduler = two_workers()
    scheduler.remove_worker("b", 0.0)
    scheduler.note_strays("b", ["y"], 0.0)
    scheduler.tick(scheduler.settings.unclaimed_grace + 1)
    assert not scheduler.strays


def test_strays_on_a_worker_that_is_back_already_are_dropped_at_once() -> None:
    scheduler = two_workers()
    scheduler.note_strays("b", ["y"], 0.0)
    assert frees(sent(scheduler, "b")) == ["y"]


def test_a_result_that_two_tasks_miss_is_lost_once() -> None:
    """One message names it twice: for each task that could not run without it."""
    scheduler = two_workers()
    ts = scheduler.tasks["x"]
    scheduler.handle_worker("b", ReplicasMissing([("x", ["a"]), ("x", ["a"])] * 5), 0.0)
    assert ts.state == "erred"  # it was scattered, and its only holder does not have it
    sent(scheduler, "c")
