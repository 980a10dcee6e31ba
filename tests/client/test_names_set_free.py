"""A name is free for other work, of any client, as soon as nobody holds a future on it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import Any

import dask
import pytest

from distributed import Client, LocalCluster, get_client, worker_client

ROUNDS = 30


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTRIBUTED_KEY", secrets.token_hex(32))
        with LocalCluster(n_workers=3, threads_per_worker=2, dashboard_address=None) as cluster:
            yield cluster


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster) as client:
        yield client


@pytest.fixture
def other(client: Client, cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster, set_as_default=False) as other:
        yield other


def plus(i: int) -> Callable[[int], int]:
    return lambda x: x + i


def submit(client: Client, i: int) -> int:
    return client.submit(plus(i), 0, key="named").result(timeout=30)  # type: ignore[no-any-return]


def submit_and_release(client: Client, i: int) -> int:
    future = client.submit(plus(i), 0, key="released")
    value: int = future.result(timeout=30)
    future.release()
    return value


def stand_on(client: Client, i: int) -> int:
    first = client.submit(plus(i), 0, key="stood-on")
    second = client.submit(abs, first)
    return second.result(timeout=30)  # type: ignore[no-any-return]


def map_keys(client: Client, i: int) -> int:
    return client.gather(client.map(plus(i), [0, 0], key=["first", "second"]))[1]  # type: ignore[no-any-return]


def get(client: Client, i: int) -> int:
    return client.get({"x": (plus(i), 0), "y": (plus(0), "x")}, "y")  # type: ignore[no-any-return]


def scatter(client: Client, i: int) -> int:
    return client.scatter({"data": i})["data"].result(timeout=30)  # type: ignore[no-any-return]


WAYS = [submit, submit_and_release, stand_on, map_keys, get, scatter]


@pytest.mark.parametrize("way", WAYS)
def test_of_clients_that_take_turns(client: Client, other: Client, way: Callable[[Client, int], int]) -> None:
    assert [way((client, other)[i % 2], i) for i in range(ROUNDS)] == list(range(ROUNDS))


def delayed(client: Client, i: int) -> int:
    with client.as_current():
        return dask.delayed(plus(i))(0, dask_key_name="delayed").compute()  # type: ignore[no-any-return]


def in_task(way: Callable[[Client, int], int], i: int) -> int:
    return way(get_client(), i)


def in_worker_client(way: Callable[[Client, int], int], i: int) -> int:
    with worker_client() as client:
        return way(client, i)


async def in_coroutine(way: Callable[[Client, int], int], i: int) -> int:
    return await get_client().submit(plus(i), 0, key="of a coroutine")  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("task", "way"),
    [*((in_task, way) for way in [*WAYS, delayed]), (in_worker_client, submit), (in_coroutine, submit)],
)
def test_of_tasks_one_after_another(client: Client, task: Any, way: Callable[[Client, int], int]) -> None:
    """Each on another worker, so of another client; what it let go of is free before it is known to be done."""
    workers = list(client.scheduler_info()["workers"])
    values = [
        client.submit(task, way, i, pure=False, workers=workers[i % 3]).result(timeout=30)
        for i in range(ROUNDS)
    ]
    assert values == list(range(ROUNDS))
