"""Graphs on their way to the scheduler, in pieces that are ready to be sent when they reach the machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distributed.client.state import works
from distributed.client.state.records import ENDED, Call, ClientTask, mirror
from distributed.protocol.messages import SubmitGraph
from distributed.protocol.payload import nbytes

if TYPE_CHECKING:
    from distributed.client.state.machine import ClientState

#: Tasks of a piece, functions in use in it, and bytes of arguments and functions: bounds how long a piece keeps
#: either side busy.
MAX_TASKS = 1_000
MAX_CALLS = 250
MAX_NBYTES = 4 * 2**20


class GraphPiece:
    """Consecutive tasks of a graph, and the message that says them.

    Parameters
    ----------
    graph : int
        Number of the graph.
    connection : int
        :attr:`ClientState.nconnections` when the graph was begun: a scheduler that comes after that has not heard the
        pieces before this one.
    """

    __slots__ = ("_numbers", "calls", "connection", "message", "nbytes", "tasks")

    def __init__(self, graph: int, connection: int) -> None:
        self.message = SubmitGraph(graph, [], [], [], [], [], [], [])
        self.connection = connection
        self.tasks: list[ClientTask] = []
        self.calls: list[Call] = []
        self.nbytes = 0
        self._numbers: dict[Call, int] = {}

    def add(self, task: ClientTask, ndependents: int, wanted: bool) -> None:
        """Append a task on which ``ndependents`` tasks of the whole graph depend."""
        call = task.call
        assert call is not None
        message = self.message
        message.which.append(self._number(call))
        message.keys.append(task.key)
        message.args.append(task.args)
        message.deps.append(list(task.deps))
        message.ndependents.append(ndependents)
        message.wanted.append(wanted)
        self.tasks.append(task)
        args = task.args
        self.nbytes += len(args) if type(args) is bytes else nbytes(args)

    def _number(self, call: Call) -> int:
        number = self._numbers.get(call)
        if number is None:
            number = self._numbers[call] = len(self.calls)
            self.calls.append(call)
            self.message.calls.append((call.function.id, call.name, call.options))
            self.nbytes += call.function.nbytes
        return number

    def say(self, i: int, task: ClientTask) -> None:
        """What the i-th key stands for is this, not what was appended."""
        assert task.call is not None
        message = self.message
        message.which[i] = self._number(task.call)
        message.args[i] = task.args
        message.deps[i] = list(task.deps)

    @property
    def full(self) -> bool:
        """Whether the next task belongs into another piece."""
        return len(self.tasks) >= MAX_TASKS or self.nbytes >= MAX_NBYTES or len(self.calls) >= MAX_CALLS

    def next(self) -> GraphPiece:
        """An empty piece that follows this one."""
        return GraphPiece(self.message.graph, self.connection)


def handle(state: ClientState, piece: GraphPiece) -> None:
    """The next piece of a graph: every task is told, also those that are known, for others of the graph count on it."""
    known = state.tasks
    message = piece.message
    if state._some_unknown:
        works.tell_held(state, piece.tasks)
    told_before = piece.connection == state.nconnections
    pinned = state.pinned.setdefault(message.graph, [])
    number = state._outbox.number(message)
    for i, (task, wanted) in enumerate(zip(piece.tasks, message.wanted, strict=True)):
        task.named = True
        have = known.setdefault(task.key, task)
        new = have is task
        if not new and (have.status in ENDED or have.is_other(task)):
            have = works.other_work(state, have, task)
            if have.is_other(task):
                piece.say(i, have)
        if have.shared and not have.known:
            state._tell(have)  # before the piece, which says what was turned away
        if have is task or wanted:  # what the scheduler says before it has heard that is said again after it
            have.told = number
        if have is not task:
            if wanted:
                state._join(have, task)
            else:
                state._adopt(have, task)
        elif new and not task.nfutures and not task.ndependents:
            for dep in task.deps:
                state._depend(dep)
        if wanted:
            if (have.nfutures == 0 or have.status in ("cancelled", "lost")) and have.status != "pending":
                state._set(have, "submit")
            have.nfutures += 1
            if have is not task:
                mirror(have, task)
        if have.deps and (state._some_unknown or not told_before):
            state._tell_dependencies(have)
        have.known = True
        have.ndependents += (
            1  # until the graph is complete: releases of other futures must not drop it meanwhile
        )
        pinned.append(have)
    state._outbox.graph(message, [call.function for call in piece.calls])
    if message.last:
        _unpin(state, message.graph)


def handle_end(state: ClientState, graph: int) -> None:
    """The rest of a graph does not come: its maker failed. What nobody needs of it is forgotten."""
    _unpin(state, graph)
    state._outbox.graph(SubmitGraph(graph, [], [], [], [], [], [], [], True), [])


def _unpin(state: ClientState, graph: int) -> None:
    """From now on the tasks of this graph are kept by futures and dependents alone."""
    state.unpinning += state.pinned.pop(graph, ())
    state.drop_parked()


__all__ = ["GraphPiece", "handle", "handle_end"]
