"""Tasks that wait for others, on a network of one thread: what they wait for runs in their place."""

from __future__ import annotations

import operator
import secrets
import threading
from collections.abc import Callable, Iterator
from typing import Any

import dask
import dask.bag
import pytest

from distributed import (
    Client,
    Event,
    LocalCluster,
    Lock,
    Queue,
    Semaphore,
    Variable,
    as_completed,
    get_client,
    wait,
    worker_client,
)

SECONDS = 60


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTRIBUTED_KEY", secrets.token_hex(32))
        with (
            LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
            Client(cluster) as client,
        ):
            yield client


def calls() -> int:
    """How many threads of the pool there are."""
    return sum(thread.name.startswith("Dask-Worker-Threads") for thread in threading.enumerate())


def compute(n: int) -> Any:
    return dask.delayed(operator.add)(n, 1).compute()


def dask_compute(n: int) -> Any:
    return dask.compute(dask.delayed(operator.add)(n, 1))[0]


def get(n: int) -> Any:
    return get_client().get({f"get-{n}": (operator.add, 1, n)}, f"get-{n}")


def persist(n: int) -> Any:
    return dask.delayed(operator.add)(n, 1).persist().compute()


def bag(n: int) -> Any:
    return dask.bag.from_sequence([n, 1], npartitions=2).sum().compute()


def compute_sync(n: int) -> Any:
    return get_client().compute(dask.delayed(operator.add)(n, 1), sync=True)


def result(n: int) -> Any:
    return get_client().submit(operator.add, n, 1).result()


def exception(n: int) -> Any:
    future = get_client().submit(operator.add, n, 1)
    assert future.exception() is None
    return future.result()


def gather(n: int) -> Any:
    client = get_client()
    return sum(client.gather(client.map(operator.add, [n], [1])))


def wait_for_all(n: int) -> Any:
    futures = get_client().map(operator.add, [n, n], [1, 2])
    wait(futures)
    return futures[0].result()


def in_the_order_of_completion(n: int) -> Any:
    futures = get_client().map(operator.add, [n, n], [1, 2])
    return min(future.result() for future in as_completed(futures))


def executor(n: int) -> Any:
    with get_client().get_executor() as executor:
        return executor.submit(operator.add, n, 1).result()


def under_a_lock(n: int) -> Any:
    with Lock("nested"), Semaphore(1, "nested"):
        return result(n)


def in_a_block(n: int) -> Any:
    with worker_client() as client:
        return client.submit(worker_client_again, n).result()


def worker_client_again(n: int) -> Any:
    with worker_client() as client:
        return client.submit(operator.add, n, 1).result()


async def coroutine(n: int) -> Any:
    client = get_client()
    return await client.submit(operator.add, n, 1)


async def coroutine_waits(n: int) -> Any:
    client = get_client()
    return sum(await client.gather(client.map(operator.add, [n], [1])))


async def coroutine_in_the_order_of_completion(n: int) -> Any:
    futures = get_client().map(operator.add, [n, n], [1, 2])
    return min([await future async for future in as_completed(futures)])


EVERY_WAY = [
    *(compute, dask_compute, get, persist, bag, compute_sync, result, exception, gather, wait_for_all),
    *(in_the_order_of_completion, executor, under_a_lock, in_a_block, coroutine, coroutine_waits),
    coroutine_in_the_order_of_completion,
]


@pytest.mark.parametrize("way", EVERY_WAY, ids=lambda way: way.__name__)
def test_tasks_wait_for_tasks(client: Client, way: Callable[[int], Any]):
    futures = client.map(way, range(5), pure=False)
    assert [future.result(timeout=SECONDS) for future in futures] == [1, 2, 3, 4, 5]


def fibonacci(n: int) -> int:
    if n < 2:
        return n
    client = get_client()
    one, other = client.submit(fibonacci, n - 1), client.submit(fibonacci, n - 2)
    return int(one.result()) + int(other.result())


def depth(n: int) -> int:
    return 0 if n == 0 else 1 + int(get_client().submit(depth, n - 1).result())


def test_recursion(client: Client):
    assert client.submit(fibonacci, 9).result(timeout=SECONDS) == 34
    assert client.submit(depth, 50).result(timeout=SECONDS) == 50


def test_what_was_begun_goes_first_so_few_tasks_wait_at_a_time(client: Client):
    most = max(client.gather([client.submit(threads_while_waiting, n, pure=False) for n in range(200)]))
    assert most < 20


def threads_while_waiting(n: int) -> int:
    get_client().submit(operator.add, n, 1, pure=False).result()
    return calls()


def threads_afterwards() -> int:
    return calls()


def test_the_threads_come_down_again(client: Client):
    futures = client.map(wait_for_event, range(20), pure=False)
    client.submit(set_event).result(timeout=SECONDS)
    client.gather(futures)
    while client.submit(threads_afterwards, pure=False).result(timeout=SECONDS) > 1:
        pass


def wait_for_event(n: int) -> int:
    Event("nested").wait()
    return n


def set_event() -> None:
    Event("nested").set()


def take(n: int) -> Any:
    return Queue("nested").get()


def put(n: int) -> None:
    Queue("nested").put(n)


def read(n: int) -> Any:
    return Variable("nested").get()


def write() -> None:
    Variable("nested").set("written")


def test_tasks_wait_for_what_other_tasks_bring(client: Client):
    taken = client.map(take, range(5), pure=False)
    given = client.map(put, range(5), pure=False)
    assert sorted(future.result(timeout=SECONDS) for future in taken) == [0, 1, 2, 3, 4]
    client.gather(given)
    read_by = client.map(read, range(5), pure=False)
    client.submit(write).result(timeout=SECONDS)
    assert {future.result(timeout=SECONDS) for future in read_by} == {"written"}


class Slow:
    """An actor with a method that waits for a task of this worker."""

    def add(self, n: int) -> Any:
        return result(n)


def call_an_actor(actor: Any, n: int) -> Any:
    return actor.add(n).result()


async def call_an_actor_in_a_coroutine(actor: Any, n: int) -> Any:
    return await actor.add(n)


@pytest.mark.parametrize("call", [call_an_actor, call_an_actor_in_a_coroutine])
def test_tasks_wait_for_actors(client: Client, call: Any):
    actor = client.submit(Slow, actor=True).result(timeout=SECONDS)
    futures = [client.submit(call, actor, n, pure=False) for n in range(3)]
    assert [future.result(timeout=SECONDS) for future in futures] == [1, 2, 3]


def compute_while_another_directs_dask(_: Any) -> int:
    """As beside a task that has ``worker_client()``: dask's configuration belongs to the whole process."""
    with dask.config.set(scheduler="dask.distributed"):
        return int(dask.delayed(operator.add)(1, 2).compute())


def test_a_task_has_a_client_whatever_another_told_dask(client: Client):
    assert client.submit(compute_while_another_directs_dask, None).result(timeout=SECONDS) == 3


def look_at_what_is_there(future: Any) -> int:
    future = get_client().submit(operator.add, 1, 1)
    wait([future])
    before = calls()
    for _ in range(100):
        wait([future])
        future.result()
    return calls() - before


def test_who_finds_all_there_keeps_its_place(client: Client):
    assert client.submit(look_at_what_is_there, None).result(timeout=SECONDS) <= 0
