"""Data on its way to a worker, on a connection of its own, and FreeKeys on the stream: which hits which."""

from __future__ import annotations

from typing import Any

from distributed.protocol.messages import FreeKeys, ReleaseKeys
from distributed.scheduler.state import SchedulerState

W = "tcp://10.0.0.1:1"


def network() -> SchedulerState:
    """A worker that holds ``x`` for one client, while another scatters the same."""
    state = SchedulerState()
    state.add_worker(W, nthreads=1, now=0.0)
    for client in ("alice", "bob"):
        state.add_client(client, now=0.0)
    state.add_data(W, "alice", [("x", 28, "int")], now=0.0)
    said(state)
    return state


def said(state: SchedulerState) -> list[Any]:
    """The keys that the worker is told to free."""
    told = [message for peer, messages in state.drain(0.0) for message in messages if peer == W]
    return [message.keys for message in told if isinstance(message, FreeKeys)]


def test_what_arrives_is_not_freed_with_what_was_there() -> None:
    state = network()
    state.scatter_begun(W, ["x"], now=0.0)
    state.handle_client("alice", ReleaseKeys(["x"]), now=0.0)
    assert said(state) == []
    state.add_data(W, "bob", [("x", 28, "int")], now=0.0)
    state.scatter_ended(W, ["x"], now=0.0)
    assert said(state) == []
    state.handle_client("bob", ReleaseKeys(["x"]), now=0.0)
    assert said(state) == [["x"]]


def test_what_was_there_is_freed_when_nothing_arrived() -> None:
    state = network()
    nfrees = state.scatter_begun(W, ["x"], now=0.0)
    assert nfrees == state.scatter_begun(W, ["x"], now=0.0)  # two at once
    state.handle_client("alice", ReleaseKeys(["x"]), now=0.0)
    state.scatter_ended(W, ["x"], now=0.0)
    assert said(state) == []
    state.note_strays(W, ["x"], now=0.0)
    state.scatter_ended(W, ["x"], now=0.0)
    assert said(state) == [["x"]]


def test_a_worker_that_left_meanwhile() -> None:
    state = network()
    state.scatter_begun(W, ["x"], now=0.0)
    state.handle_client("alice", ReleaseKeys(["x"]), now=0.0)
    state.remove_worker(W, now=0.0)
    state.scatter_ended(W, ["x"], now=0.0)
    assert said(state) == []
    state.validate()
