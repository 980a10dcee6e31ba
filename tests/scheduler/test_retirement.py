"""Several workers leave at once: nothing is lost, whoever asks, and whatever happens meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from distributed import Client, LocalCluster
from distributed.core import Status
from distributed.utils_test import async_poll_for, gen_cluster, inc

TEN = [("", 1)] * 10


async def scattered(c: Any, workers: Any) -> list[Any]:
    """A hundred pieces of data, one copy each, on all workers."""
    return [await c.scatter(i, workers=[workers[i % len(workers)].address], hash=False) for i in range(100)]


async def become(s: Any, status: str, *workers: Any) -> None:
    for worker in workers:
        worker.state.set_status(status)
        worker.turn()
    await async_poll_for(lambda: all(s.workers[w.address].status == status for w in workers))


@gen_cluster(client=True, nthreads=TEN)
async def test_client_retires_seven_of_ten(c, s, *workers):
    futures = await scattered(c, workers)
    await c.retire_workers([w.address for w in workers[:7]])
    assert await c.gather(futures) == list(range(100))
    assert len(s.workers) == 3


@gen_cluster(client=True, nthreads=TEN)
async def test_orders_that_overlap(c, s, *workers):
    futures = await scattered(c, workers)
    addresses = [w.address for w in workers]
    await asyncio.gather(
        *(s.retire_workers(workers=addresses[i : i + 4], close_workers=True) for i in (0, 2, 4)),
        *(w.close_gracefully() for w in workers[7:9]),
    )
    assert list(s.workers) == addresses[9:]
    assert await c.gather(futures) == list(range(100))


@gen_cluster(client=True, nthreads=[("", 1)] * 4)
async def test_a_receiver_that_is_lost_meanwhile(c, s, a, b, d, e):
    """The copies that it was to have go to another before anybody leaves."""
    futures = await scattered(c, [a, b])
    retiring = asyncio.ensure_future(c.retire_workers([a.address, b.address]))
    await async_poll_for(lambda: s.state.leaving)
    await d.close()
    await retiring
    assert list(s.workers) == [e.address]
    assert await c.gather(futures) == list(range(100))


@gen_cluster(client=True, nthreads=[("", 1)] * 2)
async def test_a_paused_receiver_is_waited_for(c, s, a, b):
    x = await c.scatter(1, workers=[a.address])
    await become(s, "paused", b)
    with pytest.raises(TimeoutError, match=f"retire_workers: {a.address} still ran tasks, or held what"):
        await s.retire_workers(workers=[a.address], timeout=0.1)
    await async_poll_for(lambda: a.status is Status.running)
    retiring = asyncio.ensure_future(c.retire_workers([a.address]))
    await async_poll_for(lambda: s.state.leaving)
    await become(s, "running", b)
    await retiring
    assert await x == 1


@gen_cluster(client=True, nthreads=[("", 1)] * 2)
async def test_all_retire(c, s, a, b):
    await c.scatter(1)
    await c.retire_workers([a.address, b.address])
    assert not s.workers


@gen_cluster(client=True, nthreads=[("", 1)] * 3)
async def test_a_worker_that_registers_anew_while_it_leaves(c, s, a, b, d):
    """Its new registration knows nothing of the order; the order knows it."""
    futures = c.map(inc, range(100), workers=[a.address], allow_other_workers=True)
    await c.gather(futures)
    await become(s, "paused", b, d)
    retiring = asyncio.ensure_future(c.retire_workers([a.address]))
    await async_poll_for(lambda: s.state.leaving)
    before, stream = s.workers[a.address], a.stream
    await a._register(await a._connect(10))
    assert s.workers[a.address] is not before
    await stream.close()
    await become(s, "running", b, d)
    await retiring
    assert a.address not in s.workers
    assert await c.gather(futures) == list(range(1, 101))


def test_scale_down_loses_nothing() -> None:
    with LocalCluster(n_workers=6, threads_per_worker=1, processes=False, dashboard_address=None) as cluster:
        with Client(cluster) as client:
            addresses = list(client.scheduler_info()["workers"])
            futures = [client.scatter(i, workers=[addresses[i % 6]], hash=False) for i in range(60)]
            results = client.map(inc, range(60))
            assert client.gather(results) == list(range(1, 61))
            cluster.scale(1)
            cluster.sync(cluster._correct_state)
            assert len(client.scheduler_info()["workers"]) == 1
            assert client.gather(futures) == list(range(60))
            assert client.gather(results) == list(range(1, 61))
