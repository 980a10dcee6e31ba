"""Actors."""

from __future__ import annotations

import asyncio
import pickle
import threading
from typing import Any

import pytest
from coordination_helpers import network, run, until, wait_until

from distributed import Actor, ActorFuture, BaseActorFuture, Client, LocalCluster, get_worker, wait


class Counter:
    """Counts."""

    kind = "counter"

    def __init__(self, n: int = 0) -> None:
        self.n = n

    def increment(self, by: int = 1) -> int:
        """Count on."""
        self.n += by
        return self.n

    async def later(self) -> int:
        await asyncio.sleep(0)
        return self.n

    def fail(self) -> None:
        raise ZeroDivisionError("of the actor")

    def where(self) -> tuple[str, str]:
        return get_worker().address, threading.current_thread().name

    def add(self, other: Counter) -> int:
        return int(other.increment().result(timeout=5))


def test_state_lives_on_one_worker(client: Client) -> None:
    future = client.submit(Counter, 5, actor=True)
    counter = future.result()
    assert type(counter) is Actor
    assert "Counter" in repr(counter)
    result = counter.increment()
    assert isinstance(result, ActorFuture)
    assert isinstance(result, BaseActorFuture)
    assert result.result(timeout=5) == 6
    assert result.done()
    assert counter.increment(by=4).result() == 10
    assert counter.n == 10
    assert counter.kind == "counter"
    assert counter.later().result() == 10
    assert counter.increment.__doc__ == "Count on."
    assert {"increment", "later", "kind"} <= set(dir(counter))
    address, thread = counter.where().result()
    assert address in client.who_has(future)[future.key]
    assert "Actor" in thread
    with pytest.raises(AttributeError):
        counter.nothing  # noqa: B018


def test_what_a_method_raises(client: Client) -> None:
    counter = client.submit(Counter, actor=True).result()
    with pytest.raises(ZeroDivisionError, match="of the actor"):
        counter.fail().result()
    with pytest.raises(TypeError):
        counter.increment(1, 2, 3).result()
    assert counter.increment().result() == 1
    with pytest.raises(ZeroDivisionError):
        client.submit(lambda: 1 / 0, actor=True).result()


def test_calls_come_one_at_a_time_in_their_order(client: Client) -> None:
    class Log:
        def __init__(self) -> None:
            self.entries: list[int] = []
            self.busy = 0

        def append(self, i: int) -> int:
            self.busy += 1
            assert self.busy == 1
            self.entries.append(i)
            self.busy -= 1
            return i

    log = client.submit(Log, actor=True).result()
    futures = [log.append(i) for i in range(200)]
    assert [future.result() for future in futures] == list(range(200))
    assert log.entries == list(range(200))


def test_tasks_use_actors(client: Client) -> None:
    counter = client.submit(Counter, actor=True)

    def use(counter: Any) -> int:
        return int(counter.increment().result(timeout=10))

    addresses = list(client.nthreads())
    results = client.gather(
        [client.submit(use, counter, workers=[addresses[i % 2]], pure=False) for i in range(10)]
    )
    assert sorted(results) == list(range(1, 11))
    assert counter.result().n == 10


def test_actors_use_actors(client: Client) -> None:
    addresses = list(client.nthreads())
    for place in addresses:  # on the same worker and on another
        a = client.submit(Counter, actor=True, workers=[addresses[0]]).result()
        b = client.submit(Counter, 10, actor=True, workers=[place])
        assert a.add(b.result()).result(timeout=10) == 11


def test_map(client: Client) -> None:
    counters = client.gather(client.map(Counter, range(4), actor=True))
    assert [counter.increment().result() for counter in counters] == [1, 2, 3, 4]


def test_it_lives_as_long_as_somebody_holds_it(client: Client, cluster: LocalCluster) -> None:
    future = client.submit(Counter, actor=True)
    counter = future.result()
    key = future.key
    del future
    assert client.submit(lambda: 1).result() == 1
    assert counter.increment().result() == 1
    del counter
    wait_until(lambda: key not in cluster.scheduler.tasks, "nobody holds it any more")
    wait_until(lambda: all(key not in w.data for w in cluster.workers.values()), "it is gone")


def test_proxies_can_be_sent(client: Client) -> None:
    counter = client.submit(Counter, actor=True).result()
    assert client.submit(lambda c: c.increment().result(), counter).result() == 1
    copy = pickle.loads(pickle.dumps(counter))
    assert copy.increment().result() == 2


def test_asynchronous() -> None:
    async def test() -> None:
        async with network(2) as (_, _, client):
            counter = await client.submit(Counter, actor=True)
            assert await counter.increment() == 1
            assert await counter.later() == 1
            assert await counter.n == 1
            with pytest.raises(ZeroDivisionError):
                await counter.fail()
            future = counter.increment()
            with pytest.raises(RuntimeError, match="await"):
                future.result()
            assert await future == 2

            async def task(counter: Any) -> int:
                return int(await counter.increment())

            assert await client.submit(task, counter) == 3

    run(test)


def test_a_lost_actor_is_told() -> None:
    async def test() -> None:
        async with network(2) as (scheduler, workers, client):
            address = workers[0].address
            future = client.submit(Counter, actor=True, workers=[address], allow_other_workers=True)
            counter = await future
            assert counter._address == address
            await workers[0].close()
            await until(lambda: address not in scheduler.workers, "it is gone")
            with pytest.raises(ValueError, match="Worker holding Actor was lost"):
                await counter.increment()
            await wait(future)
            assert future.status == "error"
            with pytest.raises(Exception, match="actor's state"):
                await future
            # who asks for it gets a new one
            await future.retry()
            assert await (await future).increment() == 1

    run(test)
