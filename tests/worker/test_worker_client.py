"""Tasks that use a client themselves: a real scheduler, workers and a client in one process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from distributed.client import Client, get_client
from distributed.scheduler import Scheduler
from distributed.worker import Worker, get_worker, rejoin, secede


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTRIBUTED_KEY", "cd" * 32)


def run(test: Callable[[Client], Coroutine[Any, Any, None]], nworkers: int = 1) -> None:
    async def main() -> None:
        async with asyncio.timeout(60), Scheduler(host="127.0.0.1", port=0) as scheduler:
            workers = [await Worker(scheduler, nthreads=1, validate=True) for _ in range(nworkers)]
            async with Client(scheduler.address, asynchronous=True) as client:
                await test(client)
            for worker in workers:
                await worker.close()

    asyncio.run(main())


def inc(x: int) -> int:
    return x + 1


def nested(n: int) -> int:
    client = get_client()
    futures = client.map(inc, range(n))
    secede()
    total = sum(client.gather(futures))
    rejoin()
    return total


async def nested_async(n: int) -> int:
    client = get_client()
    futures = client.map(inc, range(n))
    secede()
    return sum(await client.gather(futures))


@pytest.mark.parametrize("func", [nested, nested_async])
def test_tasks_may_submit_tasks(func: Any):
    async def test(client: Client) -> None:
        futures = client.map(func, [10, 20, 30])
        assert await client.gather(futures) == [55, 210, 465]

    run(test)


def same_client() -> bool:
    return get_client() is get_client() is get_worker().client


def test_a_worker_has_one_client():
    async def test(client: Client) -> None:
        assert await client.submit(same_client)

    run(test)


def test_results_of_one_worker_reach_the_other():
    async def test(client: Client) -> None:
        first = client.map(inc, range(200))
        second = client.map(lambda x, y: x + y, first, first[::-1])
        assert await client.submit(sum, second) == 200 * 201
        held = (await client.has_what()).values()
        assert len(held) == 2
        assert all(held)  # both took part

    run(test, nworkers=2)
