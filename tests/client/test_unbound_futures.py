"""Futures without a client yet, unpickled or made by their key: they keep what their maker lets go of at once."""

from __future__ import annotations

import asyncio
import copy
import pickle
import secrets
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from distributed import Client, Future, LocalCluster, Queue, Variable

ROUNDS = 20


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTRIBUTED_KEY", secrets.token_hex(32))
        with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
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
    def __init__(self, inside: Any) -> None:
        self.inside = inside


def inc(x: int) -> int:
    return x + 1


def pickled(future: Future) -> Future:
    return pickle.loads(pickle.dumps(future))  # type: ignore[no-any-return]


def in_a_box(future: Future) -> Future:
    return pickle.loads(pickle.dumps([Box({"x": future})]))[0].inside["x"]  # type: ignore[no-any-return]


def by_key(future: Future) -> Future:
    return Future(future.key)


def pickled_twice(future: Future) -> Future:
    return pickled(pickled(future))


def through_a_queue(future: Future) -> Future:
    queue = Queue()
    queue.put(future)
    return queue.get(timeout=30)  # type: ignore[no-any-return]


def through_a_variable(future: Future) -> Future:
    variable = Variable()
    variable.set([future])
    return variable.get(timeout=30)[0]  # type: ignore[no-any-return]


WAYS: list[Callable[[Future], Future]] = [
    pickled,
    in_a_box,
    by_key,
    pickled_twice,
    copy.copy,
    copy.deepcopy,
    through_a_queue,
    through_a_variable,
]


@pytest.mark.parametrize("way", WAYS)
def test_it_is_as_good_as_the_one_it_was_made_from(client: Client, way: Callable[[Future], Future]) -> None:
    for _ in range(ROUNDS):
        future = client.submit(inc, 77, pure=False)
        mine = way(future)
        del future
        assert mine.result(timeout=30) == 78


@pytest.mark.parametrize("way", [pickled, in_a_box, by_key])
def test_after_its_maker_was_heard_to_let_go(client: Client, way: Callable[[Future], Future]) -> None:
    """Also what is done, and what stands on others."""
    first = client.submit(inc, 1, pure=False)
    future = client.submit(inc, first)
    mine = way(future)
    future.result(timeout=30)
    del first, future
    client._session.settle()
    assert mine.key in client._session.state.tasks
    assert client.submit(inc, mine).result(timeout=30) == 4
    assert mine.result(timeout=30) == 3


def test_in_another_thread(client: Client) -> None:
    def use(mine: list[Future], values: list[int]) -> None:
        values.append(mine.pop().result(timeout=30))

    values: list[int] = []
    for _ in range(ROUNDS):
        future = client.submit(inc, 77, pure=False)
        thread = threading.Thread(target=use, args=([pickled(future)], values))
        del future
        thread.start()
        thread.join()
    assert values == [78] * ROUNDS


def test_for_another_client(client: Client, other: Client) -> None:
    for _ in range(ROUNDS):
        future = client.submit(inc, 77, pure=False)
        mine = pickled(future)
        del future
        with other.as_current():
            assert mine.result(timeout=30) == 78
        assert mine.client is other


def test_given_to_another_client(client: Client, other: Client) -> None:
    for _ in range(ROUNDS):
        future = client.submit(inc, 77, pure=False)
        mine = pickled(future)
        del future
        assert other.submit(inc, mine).result(timeout=30) == 79


def test_of_an_asynchronous_client(cluster: LocalCluster) -> None:
    async def use() -> None:
        async with Client(cluster.scheduler_address, asynchronous=True) as client:
            for way in (pickled, in_a_box, by_key):
                for _ in range(ROUNDS):
                    future = client.submit(inc, 77, pure=False)
                    mine = way(future)
                    del future
                    assert await mine == 78

    asyncio.run(use())


@pytest.mark.parametrize("way", [pickled, by_key])
@pytest.mark.parametrize("used", [False, True])
def test_it_lets_go(client: Client, other: Client, way: Callable[[Future], Future], used: bool) -> None:
    future = client.submit(inc, 77, pure=False)
    mine = way(future)
    key = future.key
    del future
    if used:
        assert mine.result(timeout=30) == 78
    del mine
    for one in (client, other):
        one._session.settle()
        assert key not in one._session.state.tasks


def test_what_no_client_knows_is_said_so(client: Client) -> None:
    future = Future("nothing of this name")
    client._session.settle()
    assert future.key not in client._session.state.tasks
    with pytest.raises(Exception, match="does not know"):
        future.result(timeout=30)


def test_cancelled_ones_stay_so(client: Client) -> None:
    future = client.submit(inc, 77, pure=False)
    future.cancel()
    mine = pickled(future)
    assert future.cancelled()
    with pytest.raises(Exception, match=r"cancel|does not know"):
        mine.result(timeout=30)
