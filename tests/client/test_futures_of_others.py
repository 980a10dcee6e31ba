"""Futures of one client in the hands of another: in tasks, unpickled, given as arguments."""

from __future__ import annotations

import pickle
import secrets
from collections.abc import Iterator
from typing import Any

import dask
import dask.array as da
import pytest

from distributed import Client, LocalCluster, Queue, Variable, get_client, wait
from distributed.client.future import Future


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTRIBUTED_KEY", secrets.token_hex(32))
        with LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=None) as cluster:
            yield cluster


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster) as client:
        yield client


@pytest.fixture
def other(client: Client, cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster, set_as_default=False) as other:
        yield other


class Box:
    """Something with a future in it that nobody looks into."""

    def __init__(self, inside: Any) -> None:
        self.inside = inside


def ones() -> Any:
    return da.ones(45, chunks=5)


def test_a_persisted_collection_is_computed_in_a_task(client: Client) -> None:
    x = ones().persist()
    assert client.submit(lambda x: float(x.sum().compute()), x).result(timeout=30) == 45.0
    d = dask.delayed(lambda: 5)().persist()
    assert client.submit(lambda d: dask.compute(d, d), d).result(timeout=30) == (5, 5)


def test_what_a_task_asks_for_lives_until_it_is_done(client: Client) -> None:
    """Nobody else holds a future on what stands inside of its arguments."""
    started, go_on = Variable("started"), Variable("go-on")

    def task(x: Any, y: Box) -> float:
        Variable("started").set(True)
        Variable("go-on").get(timeout=30)
        return float(x.sum().compute()) + float(y.inside.result())

    x = (ones() + 1).persist()
    y = client.submit(lambda: 7, key="inside")
    futures = [client.submit(task, x, Box(y)), *client.map(task, [x], [Box(y)], pure=False)]
    del x, y
    started.get(timeout=30)
    go_on.set(True)
    assert client.gather(futures) == [97.0, 97.0]
    del futures
    client._session.settle()
    assert "inside" not in client._session.state.tasks


def test_it_is_unpickled_for_another_client(client: Client, other: Client) -> None:
    x = ones().persist()
    with other.as_current():
        y, future = pickle.loads(pickle.dumps((x, x.__dask_graph__()[x.__dask_keys__()[0]])))
        assert y.sum().compute() == 45.0
        assert future.client is other
        assert future.result(timeout=30).sum() == 5.0


def test_every_way_takes_them(client: Client, other: Client) -> None:
    g, data = client.submit(lambda: 8, pure=False), client.scatter(11)
    x = ones().persist()
    assert other.gather([g, {"data": data}]) == [8, {"data": 11}]
    assert other.submit(lambda v: v + 1, g).result(timeout=30) == 9
    assert other.gather(other.map(lambda v, w: v + w, [1, 2], w=g)) == [9, 10]
    assert other.compute(x.sum()).result(timeout=30) == 45.0
    assert other.compute(dask.delayed(lambda v: v + 1)(g)).result(timeout=30) == 9
    assert other.compute(dask.delayed(lambda v: sum(v))([g, data])).result(timeout=30) == 19
    assert other.get({"a": (lambda v: v + 1, g)}, "a") == 9
    assert all(future.client is other for future in other.futures_of(other.persist(x)))
    queue, variable = Queue(client=other), Variable(client=other)
    queue.put(g)
    variable.set(Box(g))
    assert queue.get().result(timeout=30) == 8
    assert variable.get().inside.client is other
    other.publish_dataset(g, name="g")
    assert client.get_dataset("g").result(timeout=30) == 8


def test_what_is_not_done_yet_is_computed_once(client: Client, other: Client) -> None:
    """The other client's tasks may come to the scheduler before those that they stand on."""
    for i in range(30):
        futures = client.map(lambda v, i=i: v + i, range(100))
        assert other.submit(sum, futures).result(timeout=30) == 4950 + 100 * i
    started, go_on = Queue("started"), Variable("go-on-once")

    def once() -> int:
        Queue("started").put(1)
        Variable("go-on-once").get(timeout=30)
        return 12

    future = client.submit(once)
    mine = other.submit(lambda v: v + 1, future)
    del future
    go_on.set(True)
    assert mine.result(timeout=30) == 13
    assert started.qsize() == 1


def test_they_outlive_the_client_that_made_them(client: Client, cluster: LocalCluster) -> None:
    with Client(cluster, set_as_default=False) as short:
        finished, pending = short.submit(lambda: 13, pure=False), short.submit(lambda: 14, pure=False)
        finished.result(timeout=30)
        sums = [client.submit(lambda v: v + 1, finished), client.submit(lambda v: v + 1, pending)]
    assert client.gather(sums) == [14, 15]


def test_wait_for_futures_of_several(client: Client, other: Client) -> None:
    mine, theirs = client.submit(lambda: 1, pure=False), other.submit(lambda: 2, pure=False)
    assert wait([mine, theirs], timeout=30).done == {mine, theirs}
    slow = client.submit(lambda: Variable("slow").get(timeout=30), pure=False)
    try:
        assert wait([slow, theirs], timeout=30, return_when="FIRST_COMPLETED").done == {theirs}
        with pytest.raises(TimeoutError):
            wait([slow, theirs], timeout=0.05)
    finally:
        Variable("slow", client=client).set(0)
    assert slow.result(timeout=30) == 0


def test_failures_are_told_to_both(client: Client, other: Client) -> None:
    bad = client.submit(lambda: 1 / 0, pure=False)
    with pytest.raises(ZeroDivisionError):
        other.submit(lambda v: v, bad).result(timeout=30)
    with pytest.raises(ZeroDivisionError):
        other.gather([bad])
    assert other.gather([bad], errors="skip") == []
    gone = client.submit(lambda: 1, pure=False)
    gone.cancel()
    with pytest.raises(Exception, match="cancelled"):
        other.submit(lambda v: v, gone)


def test_cancelling_and_retrying_is_said_to_their_client(client: Client, other: Client) -> None:
    future = client.submit(lambda: Variable("never").get(timeout=30), pure=False)
    other.cancel(future)
    assert future.cancelled()
    queue = Queue("how", client=client)

    def as_told() -> int:
        return 1 // int(Queue("how").get(timeout=30))

    queue.put(0)
    bad = client.submit(as_told, pure=False)
    assert isinstance(bad.exception(), ZeroDivisionError)
    queue.put(1)
    other.retry(bad)
    assert bad.result(timeout=30) == 1


def test_those_of_another_network_are_refused(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    with Client(n_workers=1, processes=False, dashboard_address=None, set_as_default=False) as stranger:
        theirs = stranger.submit(lambda: 1)
        for use in (
            lambda: client.gather(theirs),
            lambda: client.submit(abs, theirs),
            lambda: client.map(abs, [theirs]),
            lambda: client.compute(dask.delayed(abs)(theirs)),
            lambda: Variable(client=client).set(theirs),
        ):
            with pytest.raises(ValueError, match="another scheduler"):
                use()
        assert wait([theirs, client.submit(abs, -1)], timeout=30).not_done == set()


def test_a_task_gets_the_workers_client(client: Client) -> None:
    inside = Box(client.submit(lambda: 7))

    def task(box: Box) -> tuple[int, bool]:
        future: Future = box.inside
        return get_client().submit(lambda v: v + 1, future).result(), future.client is get_client()

    assert client.submit(task, inside).result(timeout=30) == (8, True)
