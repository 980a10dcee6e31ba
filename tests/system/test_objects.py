"""Networks as objects of a session: several in one process, in a running loop, and gone without a trace."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator

import psutil
import pytest
from system_bench import wait_until
from system_tasks import inc, slow_inc

from distributed import Client, LocalCluster, Nanny, Scheduler, Worker, rpc


def connections() -> set[tuple[object, ...]]:
    """Sockets of this process that listen or are connected."""
    return {(c.laddr, c.raddr) for c in psutil.Process().net_connections("inet") if c.status != "NONE"}


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.is_alive()}


@pytest.fixture(autouse=True)
def nothing_is_left(key: str) -> Iterator[None]:
    before = connections(), threads(), {child.pid for child in psutil.Process().children(recursive=True)}
    yield
    gc.collect()
    wait_until(lambda: connections() <= before[0], f"closed: {connections() - before[0]}", 10)
    wait_until(lambda: threads() <= before[1], f"threads have ended: {threads() - before[1]}", 10)
    left = {child.pid for child in psutil.Process().children(recursive=True)} - before[2]
    assert not left


async def tasks_have_ended() -> None:
    """No task but this one runs in the loop."""
    async with asyncio.timeout(5):
        while len(left := asyncio.all_tasks()) > 1:
            await asyncio.wait(left - {asyncio.current_task()}, timeout=0.1)


def test_two_networks_in_one_process() -> None:
    async def main() -> None:
        async with Scheduler(host="127.0.0.1", port=0) as s1, Scheduler(host="127.0.0.1", port=0) as s2:
            async with Worker(s1.address, nthreads=1) as w1, Worker(s2.address, nthreads=1) as w2:
                async with (
                    Client(s1.address, asynchronous=True) as c1,
                    Client(s2.address, asynchronous=True) as c2,
                ):
                    futures1, futures2 = c1.map(inc, range(100)), c2.map(inc, range(100, 200))
                    assert await c1.gather(futures1) == list(range(1, 101))
                    assert await c2.gather(futures2) == list(range(101, 201))
                    assert set(s1.workers) == {w1.address}
                    assert set(s2.workers) == {w2.address}
                    await s1.close()
                    assert await c2.submit(inc, 1_000) == 1_001
        await tasks_have_ended()

    asyncio.run(main())


def test_address_in_two_arguments() -> None:
    async def main() -> None:
        async with Scheduler(host="127.0.0.1", port=0) as scheduler:
            async with Worker("127.0.0.1", scheduler.port) as worker:
                assert set(scheduler.workers) == {worker.address}
        await tasks_have_ended()

    asyncio.run(main())


def test_nanny_in_place_of_worker() -> None:
    async def main() -> None:
        async with Scheduler(host="127.0.0.1", port=0) as scheduler:
            async with (
                Nanny(scheduler.address, nthreads=1),
                Client(scheduler.address, asynchronous=True) as client,
            ):
                assert await client.submit(sum, [1, 2, 3]) == 6
        await tasks_have_ended()

    asyncio.run(main())


def test_rpc_terminates_both() -> None:
    async def main() -> None:
        scheduler = await Scheduler(host="127.0.0.1", port=0)
        worker = await Worker(scheduler.address)
        async with rpc(worker.address) as remote:
            assert (await remote.identity())["type"] == "Worker"
            await remote.terminate()
        await asyncio.wait_for(worker.finished(), 10)
        async with rpc(ip="127.0.0.1", port=scheduler.port) as remote:
            identity = await remote.identity()
            assert identity["type"] == "Scheduler"
            assert not identity["workers"]
            await remote.terminate()
        await asyncio.wait_for(scheduler.finished(), 10)
        await tasks_have_ended()

    asyncio.run(main())


def test_sync_client_inside_a_running_loop() -> None:
    """As in a notebook: the loop runs, the cell is plain code."""

    async def cell() -> None:
        cluster = LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None)
        with cluster, Client(cluster) as client:
            assert client.submit(inc, 1).result(timeout=20) == 2
            assert client.gather(client.map(inc, range(10))) == list(range(1, 11))

    asyncio.run(cell())


def test_local_cluster_of_processes() -> None:
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        with Client(cluster) as client:
            assert client.gather(client.map(inc, range(1_000))) == list(range(1, 1_001))
            assert len(client.ncores()) == 2


def test_embedded_cluster_of_a_client() -> None:
    with Client(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as client:
        assert client.submit(slow_inc, 1).result(timeout=20) == 2
