"""Graphs that the client's machine gets in pieces."""

from __future__ import annotations

from distributed.client.state import Call, ClientState, ClientTask, Function
from distributed.client.state.graphs import GraphPiece
from distributed.protocol.messages import SubmitTasks, TaskOptions, TasksCancelled

INC = Call(Function(b"inc".ljust(16), b"blob", 4), "inc", TaskOptions())


def task(key: str, *deps: str) -> ClientTask:
    return ClientTask(key, INC, b"", deps)


def pieces(state: ClientState, graph: int) -> tuple[GraphPiece, GraphPiece]:
    """x, then y which depends on it and is wanted."""
    first = GraphPiece(graph, state.nconnections)
    first.add(task("x"), 1, False)
    second = first.next()
    second.add(task("y", "x"), 0, True)
    second.message.last = True
    return first, second


def test_a_release_in_the_middle_of_a_graph_does_not_forget_what_is_to_come() -> None:
    """Found by the simulator, seed 97: another future on y died between two pieces, and x went with it."""
    state = ClientState()
    for key, wanted in (("x", False), ("y", True)):
        state.handle_submit([task(key, *(["x"] if wanted else []))], wanted)
    first, second = pieces(state, 1)
    state.handle_graph(first.tasks, first)
    state.handle_release([state.tasks["y"]])
    state.validate()
    state.handle_graph(second.tasks, second)
    state.validate()
    assert state.tasks["x"].call is INC
    state.drain()
    state.reconnected()
    told = [key for message in state.drain() if isinstance(message, SubmitTasks) for key in message.keys]
    assert told == ["x", "y"]


def test_what_a_graph_wants_anew_is_not_cancelled_by_what_was_said_before() -> None:
    """Found by the simulator, seed 5831: restart() cancelled y as a graph was on its way that brought y back."""
    state = ClientState()
    state.handle_submit([task("x")], False)
    state.handle_submit([y := task("y", "x")])
    state.drain()
    before = state.numbered
    for piece in pieces(state, 1):
        state.handle_graph(piece.tasks, piece)
    state.handle_message(TasksCancelled(["y"], "scheduler-restart", heard=before))
    assert y.status == "pending"
    state.handle_message(TasksCancelled(["y"], "scheduler-restart", heard=state.numbered))
    assert y.status == "cancelled"
    state.validate()


def test_a_graph_that_ends_early_leaves_only_what_others_need() -> None:
    state = ClientState()
    first, _ = pieces(state, 1)
    state.handle_graph(first.tasks, first)
    state.validate()
    assert list(state.tasks) == ["x"]
    state.handle_graph_end(1)
    assert not state.tasks
    assert not state.pinned


def test_a_complete_graph_lives_as_long_as_its_futures() -> None:
    state = ClientState()
    for piece in pieces(state, 1):
        state.handle_graph(piece.tasks, piece)
    state.validate()
    assert list(state.tasks) == ["x", "y"]
    state.handle_release([state.tasks["y"]])
    assert not state.tasks


def test_what_only_an_incomplete_graph_keeps_is_told_again_when_it_is_asked_for() -> None:
    """Found by the simulator, seed 5734: the scheduler forgets with the last future what is complete there."""
    state = ClientState()
    first, second = pieces(state, 1)
    second.message.last = False
    for piece in (first, second):
        state.handle_graph(piece.tasks, piece)
    state.handle_release([state.tasks["y"]])
    state.drain()
    state.handle_submit([task("y", "x")])
    told = [key for message in state.drain() if isinstance(message, SubmitTasks) for key in message.keys]
    assert told == ["x", "y"]
