"""Which client is meant where none is named, and clients on the loop of their own cluster."""

from __future__ import annotations

import asyncio
import functools
import secrets
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import dask.array as da
import dask.base
import pytest

from distributed import (
    Client,
    Event,
    LocalCluster,
    Lock,
    MultiLock,
    Queue,
    Semaphore,
    Variable,
    default_client,
    get_client,
    get_worker,
    worker_client,
)

LIMIT = 30


def in_a_loop(test: Callable[..., Any]) -> Callable[..., None]:
    """The test is a coroutine function."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - nothing tells us
        await asyncio.sleep(0.01)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTRIBUTED_KEY", secrets.token_hex(32))


@pytest.fixture
def cluster(key: None) -> Iterator[LocalCluster]:
    with LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as cluster:
        yield cluster


def current() -> list[Client | None]:
    """What every way finds: the client, or None."""
    found: list[Client | None] = []
    for ask in (Client.current, default_client, get_client):
        try:
            found.append(ask())
        except ValueError:
            found.append(None)
    scheduler = dask.base.get_scheduler()
    found.append(getattr(scheduler, "__self__", None))
    return found


def test_one_that_is_not_to_be_the_default_is_not(cluster: LocalCluster) -> None:
    with Client(cluster, set_as_default=False) as quiet:
        assert current() == [None] * 4
        with quiet.as_current():
            assert current() == [quiet] * 4
        with Client(cluster) as loud:
            assert current() == [loud] * 4
            with Client(cluster, set_as_default=False):
                assert current() == [loud] * 4
                assert da.ones(3).sum().compute() == 3.0
                assert quiet.scheduler_info()["workers"] != {}
        assert current() == [None] * 4


def test_the_innermost_is_current_and_the_newest_the_default(cluster: LocalCluster) -> None:
    with Client(cluster) as a, Client(cluster) as b:
        assert current() == [b] * 4
        with a.as_current():
            assert current() == [a] * 4
            with b.as_current():
                assert current() == [b] * 4
            found: list[Any] = []
            thread = threading.Thread(target=lambda: found.append(current()))
            thread.start()
            thread.join(LIMIT)
            assert found == [[b] * 4]  # what is current is so in one thread
        b.close()
        assert current() == [a] * 4
        with a.as_current():
            a.close()
            assert current()[:3] == [None] * 3


def test_inside_a_task_it_is_the_workers(cluster: LocalCluster) -> None:
    def task() -> list[bool]:
        with worker_client() as inner:
            return [inner is other for other in (get_client(), Client.current(), get_worker().client)]

    with Client(cluster, set_as_default=False) as client:
        assert client.submit(task).result(timeout=LIMIT) == [True] * 3


@asynccontextmanager
async def own_cluster(**kwargs: Any) -> AsyncIterator[Any]:
    options = {"n_workers": 1, "processes": False, "asynchronous": True, "dashboard_address": None, **kwargs}
    async with asyncio.timeout(LIMIT), LocalCluster(**options) as cluster:
        yield cluster


@pytest.mark.parametrize("processes", [True, False])
@pytest.mark.parametrize(
    "make",
    [
        lambda cluster: cluster.get_client(),
        lambda cluster: Client(cluster),
        lambda cluster: Client(cluster.scheduler),
        lambda cluster: Client(cluster.scheduler_address, security=cluster.security),
        lambda cluster: get_client(cluster.scheduler_address),
    ],
    ids=[
        "cluster.get_client",
        "Client(cluster)",
        "Client(scheduler)",
        "Client(address)",
        "get_client(address)",
    ],
)
@in_a_loop
async def test_a_client_on_the_loop_of_its_cluster(make: Callable[[Any], Any], processes: bool) -> None:
    async with own_cluster(processes=processes) as cluster:
        with pytest.raises(ValueError, match="no client"):
            get_client()
        async with make(cluster) as client:
            assert await client.submit(abs, -1) == 1
            assert get_client() is client
            assert [name for name in cluster.scheduler.state.clients if "worker" not in name] == [client.id]
        client = make(cluster)
        assert await client.submit(abs, -2) == 2  # not awaited itself
        assert get_client() is client
        await client.close()
        assert not [name for name in cluster.scheduler.state.clients if "worker" not in name]


@in_a_loop
async def test_a_cluster_has_one_client_for_all_who_ask(key: None) -> None:
    async with own_cluster() as cluster, cluster.get_client() as client:
        assert cluster.get_client() is client


@in_a_loop
async def test_a_client_whose_start_fails_says_so(key: None) -> None:
    async with own_cluster() as cluster:
        client = Client(cluster, timeout="100ms")
        cluster.scheduler.stop()
        future = client.submit(abs, -1)
        with pytest.raises(OSError, match="nobody"):
            await client
        with pytest.raises(Exception, match="could not be connected"):
            await future
        assert current()[:3] == [None] * 3


@in_a_loop
async def test_the_workers_are_known_to_who_has_waited_for_them(key: None) -> None:
    async with own_cluster(n_workers=0) as cluster, Client(cluster, asynchronous=True) as client:
        assert client.scheduler_info()["workers"] == {}
        cluster.scale(2)
        await client.wait_for_workers(2)
        assert len(client.scheduler_info()["workers"]) == 2
        assert "processes=2" in repr(client)
        (gone, *_) = client.scheduler_info()["workers"]
        await client.retire_workers([gone])
        await until(lambda: gone not in client._session.workers)
        assert gone not in client.scheduler_info()["workers"]


# ---------------------------------------------------------------- orders that are not awaited


@in_a_loop
async def test_orders_that_are_not_awaited_are_carried_out(key: None) -> None:
    async with own_cluster() as cluster, Client(cluster, asynchronous=True) as client:
        queue, variable, event = Queue("q"), Variable("v"), Event("e")
        lock, semaphore, multi = Lock("l"), Semaphore(1, "s"), MultiLock(["m"])
        held = client.submit(abs, -5, key="held")
        await queue.put(held)
        await variable.set(held)
        for one in (lock, semaphore, multi):
            assert await one.acquire()
        future = client.submit(abs, -3, key="cancelled")
        queue.close()
        variable.delete()
        event.set()
        for one in (lock, semaphore, multi):
            one.release()
        future.cancel()
        assert future.status == "cancelled"
        client.publish_dataset(1, name="d")
        client.set_metadata("x", 2)
        assert await Event("e").wait(timeout=LIMIT)
        for other in (Lock("l"), Semaphore(1, "s"), MultiLock(["m"])):
            assert await other.acquire(timeout=LIMIT)
        assert list(await client.list_datasets()) == ["d"]
        assert await client.get_metadata("x") == 2
        assert await Queue("q").qsize() == 0
        del held
        # nobody holds it for the queue and the variable
        await until(lambda: "held" not in cluster.scheduler.state.tasks)


@in_a_loop
async def test_orders_keep_their_order(key: None) -> None:
    async with own_cluster() as cluster, Client(cluster, asynchronous=True) as client:
        variable = Variable("v", client=client)
        variable.set(1)
        variable.set(2)
        assert await variable.get() == 2
        variable.set(3)
        variable.delete()
        variable.set(4)
        assert await variable.get() == 4
        future = client.submit(abs, -1, key="k")
        future.cancel()
        again = client.submit(abs, -1, key="k")
        assert await again == 1


@in_a_loop
async def test_orders_are_coroutines_to_who_wants_some(key: None) -> None:
    async with own_cluster() as cluster, Client(cluster, asynchronous=True) as client:
        event = Event("e", client=client)
        await asyncio.create_task(event.set())
        assert await event.is_set()
        await asyncio.gather(event.clear(), asyncio.wait_for(event.clear(), LIMIT))
        assert not await event.is_set()
        with pytest.raises(KeyError):
            await asyncio.create_task(_publish_twice(client))


async def _publish_twice(client: Client) -> None:
    client.publish_dataset(1, name="twice")
    await client.publish_dataset(2, name="twice")


@in_a_loop
async def test_orders_before_a_close_are_carried_out_and_so_is_the_close(key: None) -> None:
    async with own_cluster() as cluster:
        client = await Client(cluster, asynchronous=True, set_as_default=False)
        Variable("v", client=client).set(7)
        client.close()
        await until(lambda: client.status == "closed")
        async with Client(cluster, asynchronous=True):
            assert await Variable("v").get(timeout=LIMIT) == 7
