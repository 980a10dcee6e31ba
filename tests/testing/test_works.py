"""Other work under a key that is known, message by message: what is about the old work does not touch the new."""

from __future__ import annotations

from typing import Any

import pytest

from distributed.client.state import Call, ClientState, ClientTask, Function, Waiter
from distributed.protocol.messages import (
    CancelAnswered,
    FreeKeys,
    KeysTaken,
    Message,
    PutFunctions,
    ReleaseKeys,
    ReplicasAdded,
    ReplicasMissing,
    RunTasks,
    SubmitTasks,
    TaskError,
    TasksCancelled,
    TasksErredForClient,
    TasksFinished,
    TasksInMemory,
    TasksLost,
    TasksRefused,
    WantKeys,
)
from distributed.scheduler.state import SchedulerState, Settings
from distributed.testing.simulation.outcomes import Outcomes
from distributed.testing.simulation.workloads import RAISED
from distributed.worker.state import WorkerState

FN = b"f" * 16


class Net:
    """A scheduler's machine with two workers and two clients."""

    def __init__(self) -> None:
        self.s = SchedulerState(Settings(muster=1.0))
        self.numbers = 0
        for address in ("a", "b"):
            self.s.add_worker(address, now=0.0, server_id=address, nthreads=2)
        for client in ("c", "d"):
            self.s.add_client(client, now=0.0)
            self.s.handle_client(client, PutFunctions([FN], [b"pickled"]), 0.0)
        self.said: dict[str, list[Message]] = {}

    def submit(self, client: str, key: str, args: bytes, *deps: str, again: bool = False) -> None:
        self.numbers += 1
        message = SubmitTasks(
            FN, "f", [key], [args], [list(deps)], named=True, again=again, number=self.numbers
        )
        self.s.handle_client(client, message, 0.0)
        self.turn()

    def release(self, client: str, *keys: str) -> None:
        self.s.handle_client(client, ReleaseKeys(list(keys)), 0.0)
        self.turn()

    def turn(self) -> None:
        self.s.validate()
        self.said = dict(self.s.drain(0.0))
        self.s.validate(drained=True)

    def told(self, peer: str, kind: Any) -> Any:
        """The last message of a kind to a peer in the last turn."""
        return next((m for m in reversed(self.said.get(peer, [])) if isinstance(m, kind)), None)

    def finish(self, key: str) -> None:
        ts = self.s.tasks[key]
        assert ts.processing_on is not None
        message = TasksFinished([key], [ts.seq], [10], [0.1], ["int"], [None])
        self.s.handle_worker(ts.processing_on.address, message, 0.0)
        self.turn()


def test_the_same_work_is_found_and_other_work_takes_the_key_when_nobody_needs_it() -> None:
    net = Net()
    net.submit("c", "k", b"one")
    net.submit("d", "k", b"one")
    first = net.s.tasks["k"]
    assert [cs.name for cs in first.who_wants] == ["c", "d"]
    net.finish("k")
    net.submit("d", "k", b"two")
    assert net.told("d", KeysTaken) == KeysTaken(["k"], [first.work], net.numbers)
    assert net.told("d", TasksInMemory).works == [first.work]
    net.release("c", "k")
    net.release("d", "k")
    net.submit("d", "k", b"two")
    assert net.s.tasks["k"] is not first
    assert net.s.tasks["k"].work != first.work
    assert net.told("d", KeysTaken) is None


def test_who_is_not_there_keeps_no_key_from_who_is() -> None:
    net = Net()
    net.submit("c", "k", b"one")
    net.submit("c", "of-k", b"same", "k")
    net.finish("k")
    first = net.s.tasks["k"]
    net.s.client_disconnected("c", 0.0)  # killed, as far as anybody knows
    net.turn()
    net.submit("d", "k", b"two")
    assert net.told("d", KeysTaken) is None
    assert net.s.tasks["k"] is not first
    assert "of-k" not in net.s.tasks
    net.s.add_client("c", now=0.0)
    net.submit("c", "k", b"one", again=True)
    assert [m.keys for m in net.said["c"]] == [["k"]]  # refused
    assert [cs.name for cs in net.s.tasks["k"].who_wants] == ["d"]


def test_a_key_that_somebody_wants_who_is_there_is_kept_for_all() -> None:
    net = Net()
    net.submit("c", "k", b"one")
    net.s.add_client("e", now=0.0)
    net.submit("e", "k", b"one")
    net.s.client_disconnected("c", 0.0)
    net.submit("d", "k", b"two")
    assert net.told("d", KeysTaken) is not None
    assert [cs.name for cs in net.s.tasks["k"].who_wants] == ["c", "e", "d"]


def test_what_stands_on_other_work_is_other_work() -> None:
    net = Net()
    works = set()
    for args in (b"one", b"two"):
        net.submit("c", "k", args)
        net.submit("c", "of-k", b"same", "k")
        works |= {net.s.tasks["k"].work, net.s.tasks["of-k"].work}
        net.release("c", "of-k", "k")
        assert not net.s.tasks
    assert len(works) == 4


def test_who_comes_back_to_a_key_that_was_given_away_is_refused_with_what_stands_on_it() -> None:
    net = Net()
    net.submit("d", "k", b"two")
    net.submit("c", "k", b"one", again=True)
    assert [m.keys for m in net.said["c"]] == [["k"]]
    net.submit("c", "of-k", b"", "k", again=True)
    assert [m.keys for m in net.said["c"]] == [["of-k"]]
    assert list(net.s.tasks) == ["k"]
    net.s.handle_client("c", WantKeys(["k"], [b"another work"]), 0.0)
    net.turn()
    assert [cs.name for cs in net.s.tasks["k"].who_wants] == ["d"]


def test_a_worker_that_comes_back_with_other_work_drops_it() -> None:
    net = Net()
    net.submit("c", "k", b"one")
    one = net.s.tasks["k"].work
    net.release("c", "k")
    net.s.remove_worker("b", 0.0)
    net.submit("c", "k", b"two")
    holding = [("k", 10, "int", one)]
    for running in ([], [("k", 1 << 40, one)]):
        net.s.add_worker("b", now=0.0, server_id="b", holding=[] if running else holding, running=running)
        net.turn()
        assert net.told("b", FreeKeys).keys == ["k"]
        assert net.s.tasks["k"].processing_on is net.s.workers["a"]
        net.s.remove_worker("b", 0.0)
    two = net.s.tasks["k"].work
    net.s.remove_worker("a", 0.0)
    net.s.add_worker("b", now=0.0, server_id="b", holding=[("k", 10, "int", two)])
    net.turn()
    assert net.s.tasks["k"].who_has == (net.s.workers["b"],)


def test_a_copy_of_other_work_is_not_believed_in_and_its_loss_is_no_loss() -> None:
    net = Net()
    net.submit("c", "k", b"one")
    one = net.s.tasks["k"].work
    net.release("c", "k")
    net.submit("c", "k", b"two")
    net.finish("k")
    ts = net.s.tasks["k"]
    [holder] = ts.who_has
    other = "b" if holder.address == "a" else "a"
    net.s.handle_worker(other, ReplicasAdded(["k"], [10], [one]), 0.0)
    net.turn()
    assert ts.who_has == (holder,)
    assert net.told(other, FreeKeys).keys == ["k"]
    net.s.handle_worker(other, ReplicasMissing([("k", [holder.address])], [("k", one)]), 0.0)
    net.turn()
    assert ts.who_has == (holder,)


# ---------------------------------------------------------------- a worker


def run(worker: WorkerState, key: str, seq: int, work: bytes, *deps: tuple[str, bytes, str]) -> Any:
    worker.handle(
        RunTasks(
            FN,
            "f",
            [key],
            [b""],
            [seq],
            [[dep for dep, _, _ in deps]],
            [(dep, 10, [holder]) for dep, _, holder in deps],
            works=[work],
            dep_works=[(dep, of) for dep, of, _ in deps],
        ),
        0.0,
    )
    _, instructions = worker.drain(0.0)
    worker.validate()
    return instructions


def a_worker() -> WorkerState:
    worker = WorkerState("me")
    worker.handle(PutFunctions([FN], [b"pickled"]), 0.0)
    return worker


def test_a_worker_runs_other_work_under_a_key_that_it_holds_or_runs() -> None:
    worker = a_worker()
    [execute] = run(worker, "k", 1, b"one")
    [one] = execute.tasks
    *_, execute = run(worker, "k", 2, b"two")  # at once, though the first still runs
    [two] = execute.tasks
    worker.tasks_completed([(one, "one", 10, "str", None, 0.1)])
    assert "k" not in worker.data
    worker.tasks_completed([(two, "two", 10, "str", None, 0.1)])
    assert worker.data == {"k": "two"}
    assert worker.holding() == [["k", 10, "str", b"two"]]
    [finished] = worker.drain(0.0)[0]
    assert finished.seqs == [2]
    run(worker, "k", 3, b"three")
    assert not worker.data
    worker.validate()


def test_a_worker_asks_for_the_work_that_is_meant() -> None:
    worker = a_worker()
    worker.scattered([("k", "one", 10, "str")], works={"k": b"one"})
    [gather] = run(worker, "x", 1, b"", ("k", b"two", "peer"))
    assert (gather.keys, gather.works) == (["k"], {"k": b"two"})
    assert not worker.data
    [gather_again] = run(
        worker, "y", 2, b"", ("k", b"three", "other")
    )  # x is given back: nobody means two any more
    assert gather_again.works == {"k": b"three"}
    worker.gathered("peer", [("k", "two", 10)], 0.0)
    assert not worker.data
    worker.gathered("other", [("k", "three", 10)], 0.0)
    assert worker.data == {"k": "three"}
    worker.validate()


# ---------------------------------------------------------------- a client


def record(args: bytes, key: str = "k", *deps: str) -> ClientTask:
    call = Call(Function(FN, b"pickled", 10), "f", SubmitTasks(b"", "", [], []).options)
    return ClientTask(key, call, args, deps, named=True)


def memory(heard: int, value: bytes) -> TasksInMemory:
    return TasksInMemory(["k"], [value], ["int"], ["a"], heard=heard)


def test_a_client_does_not_take_the_old_result_for_the_new() -> None:
    """It was on its way as the key was released and submitted again."""
    state = ClientState()
    one, two = record(b"one"), record(b"two")
    state.handle_submit([one])
    state.handle_release([one])
    state.handle_submit([two])
    assert [message.number for message in state.drain() if isinstance(message, SubmitTasks)] == [1, 2]
    state.handle_message(memory(1, b"1"))
    assert two.status == "pending"
    state.handle_message(memory(2, b"2"))
    assert (two.status, two.value) == ("finished", b"2")
    state.validate()


def test_cancelled_futures_stay_cancelled_and_do_not_count_for_the_new_work() -> None:
    state = ClientState()
    one, twin, two = record(b"one"), record(b"one"), record(b"two")
    state.handle_submit([one])
    state.handle_submit([twin])
    state.handle_cancel(["k"])
    state.handle_submit([two])
    state.handle_message(CancelAnswered(["k"]))
    state.handle_message(memory(2, b"2"))
    assert [task.status for task in (one, twin, two)] == ["cancelled", "cancelled", "finished"]
    state.handle_release([one, twin])
    assert state.tasks["k"] is two
    state.handle_release([two])
    assert not state.tasks


def test_a_live_future_keeps_its_work_and_the_user_is_told() -> None:
    state = ClientState()
    one, two = record(b"one"), record(b"two")
    state.handle_submit([one])
    state.handle_submit([two])
    state.drain()
    state.handle_message(memory(1, b"1"))
    assert (one.value, two.value) == (b"1", b"1")
    assert state.taken == ["k"]


def test_what_another_client_needs_is_shared_and_wanted_again_as_that() -> None:
    state = ClientState()
    two = record(b"two")
    state.handle_submit([two])
    state.drain()
    state.handle_message(KeysTaken(["k"], [b"w"], 1))
    assert state.taken == ["k"]
    state.reconnected()
    [want] = state.drain()
    assert want == WantKeys(["k"], [b"w"])
    state.validate()


def erred(text: str, *keys: str, blamed: str = "k") -> TasksErredForClient:
    return TasksErredForClient(
        list(keys), [TaskError(b"", exception_text=text, blamed_key=blamed) for _ in keys]
    )


def text_of(task: ClientTask) -> str:
    return "" if task.error is None else task.error.exception_text


def test_a_shared_error_stays_what_it_was_after_a_restart() -> None:
    """Submitted anew by name it was told with the work that had been turned away, and became that one's value."""
    state = ClientState()
    two, three = record(b"two"), record(b"three")
    state.handle_submit([two])
    state.drain()
    state.handle_message(KeysTaken(["k"], [b"w"], 1))
    state.handle_message(erred("theirs", "k"))
    state.reconnected()
    state.handle_submit([three])
    assert not [message for message in state.drain() if isinstance(message, SubmitTasks)]
    assert [(task.status, text_of(task)) for task in (two, three)] == [("error", "theirs")] * 2
    state.validate()


def test_what_stands_on_a_shared_error_has_that_after_a_restart() -> None:
    """The new scheduler can only say that nobody knows how to compute it."""
    state = ClientState()
    two, dependent = record(b"two"), record(b"", "of-k", "k")
    state.handle_submit([two])
    state.drain()
    state.handle_message(KeysTaken(["k"], [b"w"], 1))
    state.handle_message(erred("theirs", "k"))
    state.reconnected()
    state.handle_submit([dependent])
    assert WantKeys(["k"], [b"w"], [two.error]) in state.drain()
    state.handle_message(erred("lost", "k", "of-k"))
    assert text_of(two) == "theirs"
    assert text_of(dependent) == "theirs"
    state.validate()


def test_a_shared_error_that_is_run_again_may_fail_otherwise() -> None:
    state = ClientState()
    two = record(b"two")
    state.handle_submit([two])
    state.drain()
    state.handle_message(KeysTaken(["k"], [b"w"], 1))
    state.handle_message(erred("first", "k"))
    state.handle_message(TasksLost(["k"]))
    state.handle_message(erred("second", "k"))
    assert text_of(two) == "second"


def test_dependents_of_a_cancelled_task_are_cancelled_before_its_key_is_used_again() -> None:
    """The scheduler may be away, and never hear of it."""
    state = ClientState()
    one, dependent, two = record(b"one"), record(b"", "of-k", "k"), record(b"two")
    state.handle_submit([one])
    state.handle_submit([dependent])
    woken: list[Any] = []
    state.handle_wait(Waiter("all", lambda: woken.append(1)), [dependent])
    state.handle_cancel(["k"])
    state.handle_submit([two])
    assert dependent.status == "cancelled"
    assert "which it stands on, was cancelled" in dependent.reason
    assert len(state.take_woken()) == 1
    state.validate()


def test_what_stands_on_data_that_is_gone_is_given_up_however_far() -> None:
    """Each refusal was answered by telling it again, for ever."""
    state = ClientState()
    data, inner, wanted = ClientTask("data"), record(b"", "inner", "data"), record(b"", "wanted", "inner")
    state.handle_scatter([data])
    state.handle_submit([inner], wanted=False)
    state.handle_submit([wanted])
    state.handle_release([data])
    state.drain()
    state.handle_message(TasksCancelled(["data"], "unknown"))
    state.handle_message(TasksRefused(["inner", "wanted"], ["data", "inner"]))
    assert wanted.status == "cancelled"
    assert all(isinstance(message, ReleaseKeys) for message in state.drain())
    state.validate()


def test_a_simulated_future_that_changes_its_work_is_found() -> None:
    outcomes = Outcomes()
    future = ClientTask("k", status="error", error=TaskError(b"one", exception_text=RAISED, blamed_key="k"))
    outcomes.look([future])
    future.status = "pending"
    outcomes.look([future])
    future.status, future.error = "error", TaskError(b"one", exception_text=RAISED, blamed_key="k")
    outcomes.look([future])
    for changed in (
        ClientTask("k", status="finished", value=b"2"),
        ClientTask("k", status="error", error=TaskError(b"two", exception_text=RAISED, blamed_key="k")),
    ):
        future.status, future.error, future.value = changed.status, changed.error, changed.value
        with pytest.raises(AssertionError, match="the future on k had"):
            outcomes.look([future])
