"""The client on real networks: Scheduler and Worker objects on one loop, and an embedded LocalCluster."""

from __future__ import annotations

import asyncio
import operator
import time
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import dask
import pytest

from distributed import (
    CancelledError,
    Client,
    LocalCluster,
    Scheduler,
    Worker,
    as_completed,
    fire_and_forget,
    get_client,
    wait,
)
from distributed.security import Security


def inc(x: int) -> int:
    return x + 1


def slow_inc(x: int, delay: float = 0.05) -> int:
    time.sleep(delay)
    return x + 1


def fail(x: Any) -> Any:
    raise ValueError(f"no {x}")


async def async_inc(x: int) -> int:
    await asyncio.sleep(0.001)
    return x + 1


@asynccontextmanager
async def network(nworkers: int = 2) -> AsyncIterator[tuple[Client, Scheduler, list[Any]]]:
    security = Security.temporary()
    async with Scheduler(host="127.0.0.1", port=0, security=security) as scheduler:
        workers = [
            await Worker(scheduler.address, nthreads=1, security=security, name=f"w{i}", host="127.0.0.1")
            for i in range(nworkers)
        ]
        try:
            async with Client(
                scheduler.address, security=security, asynchronous=True, set_as_default=False
            ) as client:
                yield client, scheduler, workers
        finally:
            for worker in workers:
                await worker.close()


Test = Callable[[Client, Any, list[Any]], Coroutine[Any, Any, None]]


def on_network(nworkers: int = 2) -> Callable[[Test], Callable[[], None]]:
    def decorate(test: Test) -> Callable[[], None]:
        def run() -> None:
            async def main() -> None:
                async with network(nworkers) as (client, scheduler, workers):
                    await asyncio.wait_for(test(client, scheduler, workers), 60)

            asyncio.run(main())

        run.__name__ = test.__name__
        run.__doc__ = test.__doc__
        return run

    return decorate


async def until(condition: Callable[[], Any], timeout: float = 10) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.005)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with Client(n_workers=2, threads_per_worker=2, processes=False, set_as_default=False) as client:
        yield client


# ---------------------------------------------------------------- objects on one loop


@on_network()
async def test_trees_of_futures(client: Client, scheduler: Any, workers: list[Any]) -> None:
    layer = client.map(inc, range(1_000))
    while len(layer) > 1:
        layer = client.map(sum, [layer[i : i + 10] for i in range(0, len(layer), 10)])
    assert await layer[0] == sum(range(1, 1_001))
    del layer
    await until(lambda: not scheduler.tasks)
    await until(lambda: not any(worker.data for worker in workers))


@on_network()
async def test_results_of_all_sizes(client: Client, scheduler: Any, workers: list[Any]) -> None:
    sizes = [0, 1, 100, 1_000, 10_000, 1_000_000]
    futures = client.map(operator.mul, [b"x"] * len(sizes), sizes)
    for direct in (None, True, False):
        assert await client.gather(futures, direct=direct) == [b"x" * size for size in sizes]


@on_network()
async def test_errors_and_retries(client: Client, scheduler: Any, workers: list[Any]) -> None:
    bad = client.submit(fail, "luck")
    with pytest.raises(ValueError, match="no luck") as info:
        await bad
    assert traceback.extract_tb(info.value.__traceback__)[-1].name == "fail"
    after = client.submit(inc, bad)
    assert isinstance(await after.exception(), ValueError)
    assert await client.gather([client.submit(inc, 1), bad], errors="skip") == [2]
    await client.retry([bad])
    assert isinstance(await bad.exception(), ValueError)


@on_network()
async def test_coroutine_functions(client: Client, scheduler: Any, workers: list[Any]) -> None:
    assert await client.gather(client.map(async_inc, range(10))) == list(range(1, 11))


@on_network()
async def test_workers_named_by_the_user(client: Client, scheduler: Any, workers: list[Any]) -> None:
    futures = client.map(inc, range(10), workers=["w1"])
    await wait(futures)
    assert {tuple(where) for where in (await client.who_has(futures)).values()} == {(workers[1].address,)}
    futures = client.map(inc, range(10, 20), workers=[workers[0].address])
    await wait(futures)
    assert len((await client.has_what())[workers[0].address]) >= 10


@on_network()
async def test_scatter(client: Client, scheduler: Any, workers: list[Any]) -> None:
    single = await client.scatter(b"x" * 10_000)
    assert await client.submit(len, single) == 10_000
    listed = await client.scatter(list(range(10)))
    assert await client.gather(listed) == list(range(10))
    everywhere = await client.scatter("data", broadcast=True)
    assert len((await client.who_has([everywhere]))[everywhere.key]) == 2
    (placed,) = await client.scatter(["here"], workers=[workers[1].address])
    assert (await client.who_has([placed])) == {placed.key: [workers[1].address]}


@on_network()
async def test_cancelling(client: Client, scheduler: Any, workers: list[Any]) -> None:
    blocked = [client.submit(slow_inc, i, 0.2, pure=False) for i in range(4)]
    await client.cancel(blocked)
    for future in blocked:
        with pytest.raises(CancelledError):
            await future
    await until(lambda: not scheduler.tasks)
    assert await client.submit(inc, 1) == 2


@on_network()
async def test_orders_to_all(client: Client, scheduler: Any, workers: list[Any]) -> None:
    addresses = {worker.address for worker in workers}
    assert await client.run(operator.add, 1, 2) == dict.fromkeys(addresses, 3)
    assert await client.run(async_inc, 1) == dict.fromkeys(addresses, 2)
    names = await client.run(lambda dask_worker: dask_worker.name)
    assert set(names.values()) == {"w0", "w1"}
    assert await client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.address) == scheduler.address
    with pytest.raises(ValueError, match="no way"):
        await client.run(fail, "way")
    assert await client.nthreads() == dict.fromkeys(addresses, 1)
    assert set((await client.scheduler_info())["workers"]) == addresses
    await client.wait_for_workers(2, timeout=5)
    versions = await client.get_versions()
    assert set(versions["workers"]) == addresses


@on_network()
async def test_completion_order(client: Client, scheduler: Any, workers: list[Any]) -> None:
    futures = client.map(slow_inc, range(6), [0.1, 0.01, 0.01, 0.01, 0.01, 0.01])
    order = [future async for future in as_completed(futures)]
    assert set(order) == set(futures)
    assert order[-1] is not order[0]
    pending = client.submit(slow_inc, 10, 0.3)
    done = await wait([futures[0], pending], return_when="FIRST_COMPLETED")
    assert (done.done, done.not_done) == ({futures[0]}, {pending})


@on_network()
async def test_lost_results_are_computed_again(client: Client, scheduler: Any, workers: list[Any]) -> None:
    futures = client.map(operator.mul, [b"z"] * 8, [5_000 + i for i in range(8)])
    await wait(futures)
    await workers.pop(0).close()
    assert await client.gather(futures) == [b"z" * (5_000 + i) for i in range(8)]


@on_network()
async def test_two_clients_share_results(client: Client, scheduler: Any, workers: list[Any]) -> None:
    mine = client.submit(inc, 1)
    await mine
    async with Client(
        scheduler.address, security=client.security, asynchronous=True, set_as_default=False
    ) as other:
        theirs = other.submit(inc, 1)
        assert theirs.key == mine.key
        assert await theirs == 2
        mine.release()
        assert await other.submit(inc, theirs) == 3
    await until(lambda: not scheduler.tasks)


@on_network()
async def test_fire_and_forget(client: Client, scheduler: Any, workers: list[Any]) -> None:
    fire_and_forget(client.submit(slow_inc, 1, pure=False))
    await until(lambda: scheduler.tasks)
    await until(lambda: not scheduler.tasks)


# ---------------------------------------------------------------- an embedded cluster


def test_map_and_gather(client: Client) -> None:
    assert client.gather(client.map(inc, range(20_000))) == list(range(1, 20_001))
    assert "threads=4" in repr(client)


def test_main_kinds_of_arguments(client: Client) -> None:
    local = 10
    assert client.submit(lambda x: x + local, 1).result(timeout=10) == 11
    assert client.submit("{} {}".format, 1, 2).result(timeout=10) == "1 2"
    future = client.submit(dict, a=1)
    assert client.submit(lambda d: d["x"][0]["a"], {"x": [future]}).result(timeout=10) == 1


def test_numpy(client: Client) -> None:
    np = pytest.importorskip("numpy")
    array = np.arange(1_000_000)
    back = client.submit(np.add, array, 1).result(timeout=10)
    assert (back == array + 1).all()
    (scattered,) = client.scatter([array])
    assert client.submit(np.sum, scattered).result(timeout=10) == array.sum()


def test_what_cannot_be_pickled_on_the_way_back(client: Client) -> None:
    future = client.submit(lambda: __import__("threading").Lock())
    wait(future, timeout=10)
    with pytest.raises(Exception, match="pickle"):
        future.result(timeout=10)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, asyncio.CancelledError])
def test_what_would_end_this_process_does_not(client: Client, error: type[BaseException]) -> None:
    def leave() -> None:
        raise error("bye")

    with pytest.raises(Exception, match=error.__name__):
        client.submit(leave).result(timeout=10)


def test_dask_collections(client: Client) -> None:
    total = dask.delayed(sum)([dask.delayed(inc)(i) for i in range(10)])
    assert total.compute(scheduler=client) == 55
    assert client.compute(total).result(timeout=10) == 55
    with client.as_current():
        assert dask.compute(total, total) == (55, 55)
    persisted = client.persist(total)
    assert client.compute(persisted, sync=True) == 55


def test_arrays(client: Client) -> None:
    da = pytest.importorskip("dask.array")
    x = da.ones((100, 100), chunks=(25, 25))
    assert x.sum().compute(scheduler=client) == 10_000
    y = client.persist(x + 1)
    assert client.compute((y + y.T).sum(), sync=True) == 40_000


def test_low_level_graphs(client: Client) -> None:
    graph = {"x": 1, ("y", 0): (inc, "x"), "z": (sum, ["x", ("y", 0)])}
    assert client.get(graph, ["z", [("y", 0)]]) == [3, [2]]


def test_a_cluster_object() -> None:
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        assert client.cluster is cluster
        assert client.submit(inc, 1).result(timeout=10) == 2
        assert client.scheduler_address == cluster.scheduler_address


def test_shutdown_of_a_cluster() -> None:
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False) as cluster:
        client = Client(cluster, set_as_default=False)
        assert client.submit(inc, 1).result(timeout=10) == 2
        client.shutdown()
        assert client.status == "closed"
        assert str(cluster.status) in ("Status.closed", "closed")


def test_shutdown_of_a_scheduler() -> None:
    async def main() -> None:
        async with network(1) as (client, scheduler, _):
            await client.shutdown()
            await asyncio.wait_for(scheduler.finished(), 10)

    asyncio.run(main())


def test_get_client_inside_a_task(client: Client) -> None:
    def inside(x: int) -> int:
        mine = get_client()
        return int(mine.submit(inc, x).result(timeout=10))

    assert client.submit(inside, 1).result(timeout=20) == 2
