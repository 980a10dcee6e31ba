"""Several locks at once."""

from __future__ import annotations

import asyncio
import pickle

import pytest
from coordination_helpers import network, run
from hypothesis import given
from hypothesis import strategies as st

from distributed import Client, LocalCluster, MultiLock
from distributed.coordination.multi_lock import LockTable
from distributed.coordination.parking import Owner

A = Owner("a")


def test_overlapping_requests_wait_for_each_other() -> None:
    table = LockTable()
    assert table.acquire(1, "r1", A, ["x", "y"], 2)
    assert not table.acquire(2, "r2", A, ["y", "z"], 2)
    assert table.acquire(3, "r3", A, ["v"], 1)
    assert table.release("r1") == [2]
    assert table.release("r2") == []
    assert table.release("r3") == []
    assert not table.queues


def test_a_part_is_enough_if_said_so() -> None:
    table = LockTable()
    assert table.acquire(1, "r1", A, ["x", "y"], 2)
    assert table.acquire(2, "r2", A, ["y", "z"], 1)
    assert table.requests["r2"].names == ["z"]
    assert table.release("r1") == []
    assert table.acquire(3, "r3", A, ["x", "y"], 2)


def test_leaving_a_queue_lets_the_next_in() -> None:
    table = LockTable()
    assert table.acquire(1, "r1", A, ["x"], 1)
    assert not table.acquire(2, "r2", A, ["x", "y"], 2)  # first in y, second in x
    assert not table.acquire(3, "r3", A, ["y"], 1)
    assert table.release("r2") == [3]  # gives up


def test_who_is_gone_holds_nothing() -> None:
    table = LockTable()
    table.acquire(1, "r1", Owner("b"), ["x"], 1)
    table.acquire(2, "r2", A, ["x"], 1)
    assert table.drop(lambda owner: owner.client == "b") == [2]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 7),
            st.lists(st.sampled_from("abcd"), min_size=1, max_size=4, unique=True),
            st.integers(1, 4),
        )
    )
)
def test_nobody_waits_for_ever(events: list[tuple[int, list[str], int]]) -> None:
    """Random requests and releases; in the end everything held is released until nobody waits."""
    table = LockTable()
    for ticket, (i, names, nlocks) in enumerate(events):
        ident = str(i)
        if ident in table.requests:
            table.release(ident)
        else:
            table.acquire(ticket, ident, A, names, min(nlocks, len(names)))
        held = [name for r in table.requests.values() if r.granted for name in r.names]
        assert len(held) == len(set(held)), "a lock is held twice"
    while table.requests:
        holders = [ident for ident, request in table.requests.items() if request.granted]
        assert holders, "all wait for each other"
        for ident in holders:
            table.release(ident)
    assert not table.queues


# ---------------------------------------------------------------- in networks


def test_multi_lock(client: Client) -> None:
    first, second = MultiLock(["x", "y"]), MultiLock(["y", "z"])
    assert first.acquire() is True
    assert first.locked()
    assert second.acquire(timeout="50ms") is False
    assert second.acquire(blocking=False) is False
    assert second.acquire(num_locks=1) is True
    first.release()
    second.release()
    with pytest.raises(ValueError, match="not yet acquired"):
        second.release()
    with pytest.raises(ValueError, match="num_locks"):
        second.acquire(num_locks=3)
    with second:
        assert not first.acquire(timeout=0)
    assert pickle.loads(pickle.dumps(first)).names == ["x", "y"]


def test_as_xgboost_does() -> None:
    async def test() -> None:
        async with network(2) as (_, workers, client):
            addresses = [worker.address for worker in workers]
            order: list[str] = []

            async def train(name: str) -> None:
                async with MultiLock(addresses, client):
                    order.append(f"{name} in")
                    await asyncio.sleep(0.02)
                    order.append(f"{name} out")

            await asyncio.gather(train("a"), train("b"))
            assert order == ["a in", "a out", "b in", "b out"]

    run(test)


def test_the_locks_of_a_closed_client_are_free(cluster: LocalCluster, client: Client) -> None:
    with Client(cluster, set_as_default=False) as other:
        assert MultiLock(["x"], other).acquire()
        assert not MultiLock(["x"], client).acquire(timeout=0)
    assert MultiLock(["x"], client).acquire(timeout=5)
