"""What nobody refers to any more is let go at once, by reference counts alone: no cycle through our own objects."""

from __future__ import annotations

import asyncio
import gc
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import dask
import dask.array as da
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
    fire_and_forget,
    wait,
    worker_client,
)
from distributed.core import Connection

LIMIT = 30


class Counter:
    n = 0

    def increment(self) -> int:
        self.n += 1
        return self.n

    def boom(self, kept: Any) -> None:
        raise ValueError("boom")


class Kept:
    """Something of a user's."""


def slow(x: int = 0) -> int:
    time.sleep(0.05)
    return x


def boom() -> None:
    raise ValueError("boom")


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTRIBUTED_KEY", secrets.token_hex(32))
        with LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
        ) as cluster:
            yield cluster


@pytest.fixture(scope="module")
def client(cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster) as client:
        yield client


def submit(client: Client) -> None:
    assert client.submit(slow, 1, pure=False).result() == 1


def gather(client: Client) -> None:
    client.gather(client.map(slow, range(4), pure=False))
    client.gather(client.submit(bytes, 1_000_000))


def completed(client: Client) -> None:
    for _ in as_completed(client.map(slow, range(3), pure=False)):
        pass


def left_early(client: Client) -> None:
    for _ in as_completed(client.map(slow, range(500), pure=False)):
        break
    for _ in as_completed(client.map(slow, range(20), pure=False), with_results=True).batches():
        break
    for part in (as_completed(client.map(slow, range(20), pure=False)),):
        part.next_batch()
        part.add(client.submit(slow, pure=False))
    with pytest.raises(TimeoutError):
        list(as_completed(client.map(slow, range(20), pure=False), timeout=0.01))


def errors(client: Client) -> None:
    future = client.submit(boom, pure=False)
    for ask in (
        future.result,
        lambda: client.gather([future, future]),
        lambda: client.gather({"x": [future]}),
    ):
        with pytest.raises(ValueError, match="boom"):
            ask()
    error = future.exception()
    assert isinstance(error, ValueError)
    assert future.traceback() is not None
    for _, (_, error, _) in as_completed([future], with_results=True, raise_errors=False):
        assert isinstance(error, ValueError)


def errors_of_iterators(client: Client) -> None:
    with pytest.raises(ValueError, match="boom"):
        list(as_completed([client.submit(boom, pure=False)], with_results=True))
    with pytest.raises(ValueError, match="boom"):
        list(client.get_executor().map(boom_of, [1]))


def boom_of(x: int) -> None:
    raise ValueError("boom")


def timeouts(client: Client) -> None:
    with pytest.raises(TimeoutError):
        client.submit(slow, pure=False).result(timeout=0.001)
    with pytest.raises(TimeoutError):
        wait(client.submit(slow, pure=False), timeout=0.001)
    with pytest.raises(TimeoutError):
        Variable(client=client).get(timeout=0.01)


def cancelled(client: Client) -> None:
    future = client.submit(slow, pure=False)
    future.cancel()
    with pytest.raises(Exception, match="cancelled"):
        future.result()


def callbacks(client: Client) -> None:
    called = threading.Event()
    future = client.submit(slow, pure=False)
    future.add_done_callback(lambda _: called.set())
    assert called.wait(LIMIT)


def executor(client: Client) -> None:
    with client.get_executor() as pool:
        assert pool.submit(slow, 1).result() == 1
        assert isinstance(pool.submit(boom).exception(), ValueError)
        pool.submit(slow).cancel()
        assert list(pool.map(slow, range(3))) == [0, 1, 2]
        next(pool.map(slow, range(3)))


def actors(client: Client) -> None:
    counter: Any = client.submit(Counter, actor=True).result()
    with pytest.raises(ValueError, match="boom"):
        counter.boom(Kept()).result()
    assert counter.increment().result() == 1
    assert counter.n == 1
    counter.increment()


def collections(client: Client) -> None:
    x = da.ones(20, chunks=5).persist()
    assert x.sum().compute() == 20.0
    assert dask.delayed(slow)(3).compute() == 3
    fire_and_forget(client.submit(slow, pure=False))


def coordination(client: Client) -> None:
    queue, variable = Queue(client=client), Variable(client=client)
    queue.put(client.submit(abs, -2))
    queue.get()
    queue.close()
    variable.set(client.submit(abs, -2))
    variable.get()
    variable.delete()
    with Lock("let-go"), Semaphore(2, "let-go"):
        pass
    event = Event(client=client)
    event.set()
    event.wait()
    client.publish_dataset(client.submit(abs, -1), name="let-go")
    client.get_dataset("let-go")
    client.unpublish_dataset("let-go")


def inside(client: Client) -> None:
    def task() -> int:
        with worker_client() as inner:
            return int(inner.submit(abs, -7).result())

    assert client.submit(task, pure=False).result() == 7


def users_data(client: Client) -> None:
    """In arguments of what raises, and where nobody waits."""
    for _ in range(2):
        future = client.submit(fails, Kept(), pure=False)
        with pytest.raises(KeyError, match="x"):
            future.result()
        with pytest.raises(ZeroDivisionError):
            client.run(lambda kept: 1 / 0, Kept())
    with pytest.raises(TimeoutError):
        client.submit(lambda kept: time.sleep(0.1), Kept(), pure=False).result(timeout=0.001)


def fails(kept: Any) -> None:
    try:
        raise ValueError("first")
    except ValueError as error:
        raise KeyError("x") from error


def questions(client: Client) -> None:
    client.run(lambda: 1)
    client.run_on_scheduler(lambda: 1)
    client.scheduler_info()
    client.who_has()
    client.gather(client.scatter([1, 2, 3]))


def clients(client: Client) -> None:
    with Client(client.cluster, set_as_default=False) as other:
        assert other.submit(abs, -4).result() == 4
        pending = other.submit(slow, pure=False)
        pending.add_done_callback(lambda _: None)
        other.register_worker_callbacks(lambda: None)
        other.scheduler.identity().close()
        Queue(client=other).put(1)
    with Client(client.cluster):
        pass


def asynchronous_clients(client: Client) -> None:
    address, security = client.cluster.scheduler_address, client.cluster.security

    async def main() -> None:
        async with Client(address, security=security, asynchronous=True, set_as_default=False) as other:
            assert await other.submit(abs, -5) == 5
            async for _ in as_completed(other.map(slow, range(6), pure=False)):
                break
            await other.gather(other.map(abs, range(3)))
            with pytest.raises(ValueError, match="boom"):
                await other.submit(boom, pure=False)

    asyncio.run(main())


def several(client: Client) -> None:
    with Client(client.cluster, set_as_default=False) as other:
        mine, theirs = client.submit(slow, pure=False), other.submit(slow, pure=False)
        wait([mine, theirs])
        other.gather(mine)
        other.submit(slow, mine, pure=False).result()


@pytest.mark.parametrize(
    "use",
    [
        submit, gather, completed, left_early, errors, errors_of_iterators, timeouts, cancelled, callbacks, executor,
        actors, users_data, collections, coordination, inside, questions, clients, asynchronous_clients, several,
    ],
    ids=lambda use: use.__name__,
)  # fmt: skip
def test_no_cycle(client: Client, use: Callable[[Client], None]) -> None:
    """What Python's collector finds after it was switched off for a while is none of ours."""
    use(client)  # what is made once and kept
    gc.collect()
    gc.garbage.clear()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        use(client)
        _quiet(client)
        gc.collect()
        found = [
            obj
            for obj in gc.garbage
            if type(obj).__module__.partition(".")[0] == "distributed" or isinstance(obj, Kept)
        ]
        assert [f"{type(obj).__module__}.{type(obj).__qualname__}" for obj in found] == []
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def _quiet(client: Client) -> None:
    """Until the scheduler has let go of all, and other clients' connections are gone."""
    state = client.cluster.scheduler.state
    deadline = time.monotonic() + LIMIT
    while state.tasks or len(state.clients) > 2 or client._session.state.tasks:
        assert time.monotonic() < deadline, (dict(state.tasks), list(state.clients))
        client._session.settle()
        time.sleep(0.01)


def test_who_leaves_early_frees_the_network(client: Client) -> None:
    """Without the collector's help: tasks that have not begun are given up."""
    gc.collect()
    gc.disable()
    try:
        left_early(client)
        _quiet(client)
        assert client.cluster.scheduler.state.prefixes["slow"].nfinished < 500
    finally:
        gc.enable()


def test_a_closed_connection_keeps_nobody(client: Client) -> None:
    gc.collect()
    alive = sum(isinstance(obj, Connection) for obj in gc.get_objects())
    gc.disable()
    try:
        for _ in range(3):
            Client(client.cluster, set_as_default=False).close()
        _quiet(client)
        deadline = time.monotonic() + LIMIT
        while sum(isinstance(obj, Connection) for obj in gc.get_objects()) > alive:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        gc.enable()


@pytest.mark.parametrize("processes", [True, False])
def test_a_closed_cluster_is_let_go_with_the_data_of_its_workers(
    processes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTRIBUTED_KEY", secrets.token_hex(32))
    gc.collect()
    gc.disable()
    try:
        with LocalCluster(n_workers=1, processes=processes, dashboard_address=None) as cluster:
            with Client(cluster) as client:
                counter = Counter()
                client.scatter(counter)
                assert client.submit(slow, 1).result() == 1
        gone = [weakref.ref(cluster), weakref.ref(client), weakref.ref(counter)]
        del cluster, client, counter
        assert [ref() for ref in gone] == [None] * 3
    finally:
        gc.enable()
