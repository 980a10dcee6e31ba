"""Queues."""

from __future__ import annotations

import asyncio
import pickle
from collections import deque

import pytest
from coordination_helpers import network, run, until, wait_until
from hypothesis import given
from hypothesis import strategies as st

from distributed import Client, LocalCluster, Queue, get_client
from distributed.coordination.queues import Item, Line


def item(i: int) -> Item:
    return Item(b"%d" % i, [])


def test_values_come_out_in_their_order() -> None:
    line = Line(0)
    assert line.put(1, item(1)) == []
    assert line.put(2, item(2)) == []
    assert line.get(3, 1) == [3]
    assert line.got.pop(3) == [item(1)]
    assert line.get(4, 1) == [4]
    assert line.get(5, 1) == []
    assert line.put(6, item(3)) == [5]


def test_a_full_queue_makes_wait() -> None:
    line = Line(1)
    assert line.put(1, item(1)) == []
    assert line.put(2, item(2)) is None
    assert line.put(3, item(3)) is None
    assert set(line.get(4, 1)) == {4, 2}
    line.withdraw(3)
    assert line.get_all() == ([item(2)], [])


def test_more_than_fits_can_be_asked_for() -> None:
    line = Line(1)
    assert line.get(1, 3) == []
    for ticket in (2, 3):
        line.put(ticket, item(ticket))
    assert 1 in (line.put(4, item(4)) or ())
    assert line.got.pop(1) == [item(2), item(3), item(4)]


def test_what_a_lost_getter_was_given_is_not_lost() -> None:
    line = Line(0)
    line.get(1, 2)
    line.put(2, item(2))
    line.put(3, item(3))
    assert 1 in line.got
    line.withdraw(1)
    assert line.get_all()[0] == [item(2), item(3)]


@given(
    st.integers(0, 3),
    st.lists(st.tuples(st.sampled_from(["put", "get", "all", "withdraw"]), st.integers(1, 3))),
)
def test_against_a_plain_deque(maxsize: int, events: list[tuple[str, int]]) -> None:
    """Whatever happens, what comes out is what went in, in order, and nobody waits who need not."""
    line = Line(maxsize)
    put: deque[Item] = deque()
    taken: list[Item] = []
    gone: set[int] = set()
    for ticket, (kind, n) in enumerate(events):
        if kind == "put":
            line.put(ticket, item(ticket))
            put.append(item(ticket))
        elif kind == "get":
            line.get(ticket, n)
        elif kind == "all":
            taken += line.get_all()[0]
        elif line.putters:
            waiting = next(iter(line.putters))
            gone.add(waiting)
            line.withdraw(waiting)
        for getter in list(line.got):
            taken += line.got.pop(getter)
        assert maxsize == 0 or len(line.items) <= maxsize
        assert not line.putters or (maxsize and len(line.items) == maxsize)
        if line.getters:
            assert len(line.items) + len(line.putters) < next(iter(line.getters.values()))
    expected = [each for each in put if int(each.payload) not in gone]
    assert taken == expected[: len(taken)]
    assert taken + list(line.items) + list(line.putters.values()) == expected


# ---------------------------------------------------------------- in networks


def test_queue(client: Client) -> None:
    queue = Queue("q", maxsize=2)
    queue.put(1)
    queue.put({"a": [1, (2, 3)]})
    assert queue.qsize() == 2
    with pytest.raises(TimeoutError, match="full"):
        queue.put(3, timeout="20ms")
    assert queue.get() == 1
    assert queue.get(timeout=1) == {"a": [1, (2, 3)]}
    with pytest.raises(TimeoutError, match="empty"):
        queue.get(timeout=0.02)
    assert queue.get(batch=True) == []
    queue.put(1)
    queue.put(2)
    assert queue.get(batch=True) == [1, 2]
    queue.put(1)
    queue.put(2)
    assert queue.get(batch=2) == [1, 2]
    assert pickle.loads(pickle.dumps(queue)).maxsize == 2


def test_what_cannot_be_pickled_is_refused(client: Client) -> None:
    import threading

    with pytest.raises(TypeError, match="cannot be pickled"):
        Queue("q").put(threading.Lock())
    assert Queue("q").qsize() == 0


def test_futures_in_a_queue_live(cluster: LocalCluster, client: Client) -> None:
    scheduler = cluster.scheduler
    queue = Queue("q")
    future = client.submit(lambda: 42, key="answer")
    queue.put([future, 1])
    del future
    assert client.submit(lambda: 1).result() == 1  # the release has gone through
    with Client(cluster, set_as_default=False) as other:
        inside, one = Queue("q", other).get()
        assert one == 1
        assert inside.client is other
        assert inside.result() == 42
        assert inside.key == "answer"
        assert "queues" not in scheduler.clients
        del inside
        wait_until(lambda: "answer" not in scheduler.tasks, "nobody wants it any more")


def test_tasks_produce_and_consume(client: Client) -> None:
    def produce(n: int) -> None:
        client = get_client()
        queue = Queue("work")
        for i in range(n):
            queue.put(client.submit(lambda x: x + 1, i))

    client.submit(produce, 5).result(timeout=10)
    queue = Queue("work")
    assert [queue.get(timeout=5).result() for _ in range(5)] == [1, 2, 3, 4, 5]


def test_a_closed_queue_forgets(cluster: LocalCluster, client: Client) -> None:
    queue = Queue("q")
    queue.put(client.submit(lambda: 1, key="k"))
    other = Queue("q")
    other.put(2)
    other.close()
    assert queue.qsize() == 2
    queue.close()
    assert Queue("q").qsize() == 0
    wait_until(lambda: "k" not in cluster.scheduler.tasks, "nobody wants it any more")


def test_getters_that_are_gone_lose_nothing() -> None:
    async def test() -> None:
        async with network() as (scheduler, _, client):
            other = await Client(scheduler.address, asynchronous=True, set_as_default=False)
            getting = asyncio.create_task(Queue("q", other).get())
            extension = scheduler.extensions["queues"]
            await until(lambda: len(extension.parking), "it waits")
            await other.close()
            with pytest.raises(OSError, match="closed"):
                await getting
            await until(lambda: not len(extension.parking), "it is forgotten")
            await Queue("q", client).put(1)
            assert await Queue("q", client).get(timeout=5) == 1

    run(test)
