"""Clients of a scheduler that is started again and knows nothing: a future keeps the work that it had, errors too."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from fake_scheduler import FakeScheduler, network

from distributed import Future, wait
from distributed.client import FutureCancelledError
from distributed.client.state import Call, ClientState, ClientTask, Function
from distributed.client.state.graphs import GraphPiece
from distributed.protocol.messages import (
    KeysTaken,
    SubmitTasks,
    TaskError,
    TaskOptions,
    TasksCancelled,
    TasksErred,
    TasksErredForClient,
    TasksFinished,
    TasksInMemory,
    WantKeys,
)
from distributed.scheduler.state import SchedulerState, Settings

CALL = Call(Function(b"f" * 16, b"pickled", 7), "f", TaskOptions())
DATA = b"data" * 4


def work(args: bytes, *deps: str, key: str = "k") -> ClientTask:
    return ClientTask(key, CALL, args, deps, named=True)


class Net:
    """Two clients and a scheduler, machines only: every message arrives at once."""

    def __init__(self) -> None:
        self.clients = {"c": ClientState(), "d": ClientState()}
        self.connect()

    def connect(self) -> None:
        self.s = SchedulerState(Settings(muster=0.0))
        self.s.add_worker("w", now=0.0, server_id="w", nthreads=8)
        for name in self.clients:
            self.s.add_client(name, now=0.0)

    def restart(self) -> None:
        self.connect()
        for state in self.clients.values():
            state.reconnected()
        self.turn()

    def turn(self) -> None:
        talking = True
        while talking:
            talking = False
            for name, state in self.clients.items():
                for message in state.drain():
                    self.s.handle_client(name, message, 0.0)
            for peer, messages in self.s.drain(0.0):
                talking = True
                for message in messages if peer in self.clients else ():
                    self.clients[peer].handle_message(message)
        self.s.validate(drained=True)
        for state in self.clients.values():
            state.validate()

    def submit(self, client: str, task: ClientTask) -> ClientTask:
        self.clients[client].handle_submit([task])
        self.turn()
        return task

    def run(self, key: str = "k") -> None:
        """The worker runs what it was given: arguments that begin with b"bad" raise."""
        ts = self.s.tasks[key]
        if ts.state != "processing":
            return
        args = bytes(ts.args)  # type: ignore[arg-type]
        if args.startswith(b"bad"):
            self.s.handle_worker("w", TasksErred([key], [ts.seq], [TaskError(args)]), 0.0)
        else:
            self.s.handle_worker("w", TasksFinished([key], [ts.seq], [1], [0.1], ["str"], [args]), 0.0)
        self.turn()

    def submit_in_a_graph(self, client: str, task: ClientTask) -> None:
        state = self.clients[client]
        piece = GraphPiece(1, state.nconnections)
        piece.add(task, 0, True)
        piece.message.last = True
        state.handle_graph(piece.tasks, piece)
        self.turn()
        self.run(task.key)

    def submit_and_run(self, client: str, task: ClientTask) -> None:
        self.submit(client, task)
        if task.key in self.s.tasks:
            self.run(task.key)

    def scatter(self, client: str, task: ClientTask) -> None:
        """Data of another work under the key, as ``Client.scatter`` and the scheduler do it."""
        data = ClientTask(task.key, named=True, work=DATA)
        state = self.clients[client]
        state.handle_scatter([data])
        for message in state.drain():
            self.s.handle_client(client, message, 0.0)
        taken, named = self.s.name_data(client, {task.key: DATA}, state.numbered, 0.0)
        if task.key not in taken:
            self.s.add_data("w", client, [(task.key, 1, "str", DATA)], 0.0)
        self.s.data_named(named, 0.0)
        self.turn()
        if task.key in self.s.tasks:
            self.run(task.key)


def outcome(task: ClientTask) -> bytes | str | None:
    if task.status == "error":
        assert task.error is not None
        return bytes(task.error.exception)  # type: ignore[arg-type]
    return bytes(task.value) if task.status == "finished" and task.value is not None else task.status


WAYS: Iterable[Callable[[Net, str, ClientTask], None]] = (
    Net.submit_and_run,
    Net.submit_in_a_graph,
    Net.scatter,
)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("taken_by_other", [False, True])
def test_an_error_stays_when_its_client_uses_the_key_again(
    way: Callable[[Net, str, ClientTask], None], taken_by_other: bool
) -> None:
    net = Net()
    held = net.submit("c", work(b"bad one"))
    net.run()
    assert outcome(held) == b"bad one"
    net.restart()
    if taken_by_other:
        net.submit("d", work(b"three"))
        net.run()
    way(net, "c", work(b"two"))
    assert outcome(held) in (b"bad one", "cancelled")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("args", [b"two", b"three"])
def test_the_error_of_another_client_stays_when_the_key_is_used_again(
    way: Callable[[Net, str, ClientTask], None], args: bytes
) -> None:
    net = Net()
    net.submit("d", work(b"bad one"))
    net.run()
    shared = net.submit("c", work(b"two"))
    assert outcome(shared) == b"bad one"
    assert shared.shared
    net.restart()
    way(net, "c", work(args))
    assert outcome(shared) not in (b"two", b"three", "finished")


def test_what_is_shared_is_told_by_key_and_work() -> None:
    net = Net()
    net.submit("d", work(b"bad one"))
    net.run()
    meant = net.s.tasks["k"].work
    net.submit("c", work(b"two"))
    c = net.clients["c"]
    c.reconnected()
    c.drain()
    later = work(b"two")
    c.handle_submit([later])
    assert not c.drain()  # the error is all there is to know
    assert outcome(later) == b"bad one"
    c.handle_submit([ClientTask("of-k", CALL, b"", ("k",))])
    assert [m.keys for m in c.drain() if isinstance(m, WantKeys | SubmitTasks)] == [["k"], ["of-k"]]
    c.reconnected()
    c.handle_retry(["k"])
    assert [(m.keys, m.works) for m in c.drain() if isinstance(m, WantKeys)] == [(["k"], [meant])]


def test_lost_data_can_be_scattered_again_after_a_restart() -> None:
    net = Net()
    data = ClientTask("k", named=True)
    net.scatter("c", data)
    held = net.clients["c"].tasks["k"]
    net.s.remove_worker("w", 0.0, reason="it died")
    net.turn()
    assert held.status == "error"
    net.restart()
    net.scatter("c", data)
    assert held.status == "finished"


def test_no_message_gives_a_future_the_outcome_of_other_work() -> None:
    error = TaskError(b"two")
    for message in (
        TasksInMemory(["k"], [b"two"], ["str"], ["w"], [b"2" * 16], heard=9),
        TasksErredForClient(["k"], [error], 9, [b"2" * 16]),
        KeysTaken(["k"], [b"2" * 16], 9),
    ):
        for first in (
            TasksInMemory(["k"], [b"one"], ["str"], ["w"], [b"1" * 16], heard=9),
            TasksErredForClient(["k"], [TaskError(b"one")], 9, [b"1" * 16]),
        ):
            state = ClientState()
            held = work(b"one")
            state.handle_submit([held])
            state.handle_message(first)
            assert outcome(held) == b"one"
            state.handle_message(first)
            assert outcome(held) == b"one"
            state.handle_message(message)
            assert outcome(held) == "cancelled", message
            assert held.reason
            state.validate()


class GivenAway(dict[str, bytes]):
    """Results of a scheduler whose every key is given away just as its result is asked for."""

    def __init__(self, scheduler: FakeScheduler) -> None:
        super().__init__(scheduler.data)
        self.scheduler = scheduler

    def __contains__(self, key: object) -> bool:
        self.scheduler.streams[-1].send(TasksCancelled([key], "the key stands for other work by now"))
        return False


@pytest.mark.parametrize("how", [Future.result, lambda future: future.client.gather(future)])
def test_a_future_that_ends_while_its_result_is_fetched_says_why(how: Callable[[Future], str]) -> None:
    with network() as net:
        net.scheduler.inline = -1
        future = net.client.submit(str, 1, key="k")
        wait(future)
        net.scheduler.refuse_get_data = True
        net.scheduler.data = GivenAway(net.scheduler)
        with pytest.raises(FutureCancelledError, match="other work by now"):
            how(future)


def test_a_cancelled_future_does_not_get_the_value_of_the_next_under_its_key() -> None:
    with network() as net:
        first = net.client.submit(str, 1, key="k")
        first.cancel()
        second = net.client.submit(str, 2, key="k")
        assert second.result()
        for futures in (
            [first, second],
            [second, first],
            {"a": first, "b": second},
            {"b": second, "a": first},
        ):
            with pytest.raises(FutureCancelledError):
                net.client.gather(futures)
