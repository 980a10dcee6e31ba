"""A client that dies with a long queue holds up nobody who is there."""

from __future__ import annotations

from distributed.protocol.messages import PutFunctions, RunTasks, SubmitTasks
from distributed.scheduler.state import SchedulerState, absence
from distributed.scheduler.state.machine import SchedulerState as Machine

FN = b"f" * 16
MANY = 3 * absence.MAX_MOVED


def network() -> Machine:
    """One worker; a client that was killed with many queued tasks, and one that is there."""
    state = SchedulerState()
    state.add_worker("tcp://10.0.0.1:1", nthreads=1, now=0.0)
    for client in ("dead", "alive"):
        state.add_client(client, now=0.0)
        state.handle_client(client, PutFunctions([FN], [b"inc"]), 0.0)
    keys = [f"x{i}" for i in range(MANY)]
    state.handle_client("dead", SubmitTasks(FN, "inc", keys, [b"x"] * MANY), 0.0)
    list(state.drain(0.0))
    state.client_disconnected("dead", 0.0)
    state.remove_worker("tcp://10.0.0.1:1", 0.0, expected=True)
    return state


def given(state: Machine) -> list[str]:
    messages = [message for _, said in state.drain(0.0) for message in said]
    return [str(key) for message in messages if isinstance(message, RunTasks) for key in message.keys]


def test_who_is_there_comes_first_and_no_turn_is_long() -> None:
    state = network()
    state.handle_client("alive", SubmitTasks(FN, "inc", ["y"], [b"x"]), 0.0)
    state.add_worker("tcp://10.0.0.1:2", nthreads=1, now=0.0)
    turns = [given(state)]
    while state.unfinished:
        assert not turns[-1]
        before = len(state.queue)
        turns.append(given(state))
        assert before - len(state.queue) <= absence.MAX_MOVED + 1
    assert len(turns) >= 3
    assert turns[-1][0] == "y"
    state.validate(drained=True)


def test_who_comes_back_has_its_old_place() -> None:
    state = network()
    state.handle_client("alive", SubmitTasks(FN, "inc", ["y"], [b"x"]), 0.0)
    state.add_worker("tcp://10.0.0.1:2", nthreads=1, now=0.0)
    while state.unfinished or not state.asides:
        list(state.drain(0.0))
    state.add_client("dead", 1.0)
    while state.unfinished:
        list(state.drain(1.0))
    assert not state.asides
    state.validate(drained=True)
    assert len(state.queue) >= MANY - 2


def test_who_stays_away_is_forgotten() -> None:
    state = network()
    state.add_worker("tcp://10.0.0.1:2", nthreads=1, now=0.0)
    while state.unfinished or not state.asides:
        list(state.drain(0.0))
    state.tick(1_000.0)
    while state.unfinished:
        list(state.drain(1_000.0))
    assert not state.tasks
    assert not state.asides
    assert not state.absent
    state.validate()


def test_nothing_is_sorted_while_workers_are_waited_for() -> None:
    """The machine asks for another turn only where that turn brings it further."""
    state = network()
    state.handle_client("alive", SubmitTasks(FN, "inc", ["y"], [b"x"]), 0.0)
    state.add_worker("tcp://10.0.0.1:2", nthreads=1, now=0.0)
    assert not given(state)
    assert state.unfinished
    state.expect_workers(["tcp://10.0.0.1:3"], 0.0)
    assert not given(state)
    assert not state.unfinished
    state.add_worker("tcp://10.0.0.1:3", nthreads=1, now=0.0)
    turns = [given(state)]
    while state.unfinished:
        turns.append(given(state))
    assert turns[-1][0] == "y"
