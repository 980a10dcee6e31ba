"""Clusters that close while their parts start or end, and parts that end by themselves."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import dask
import psutil
import pytest

from distributed import Client, LocalCluster, Nanny, Scheduler, Worker
from distributed.core import Status
from distributed.deploy.process_interface import ProcessInterface
from distributed.deploy.spec import SpecCluster
from distributed.security import ClusterKey, Security


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTRIBUTED_KEY", ClusterKey.generate().text())
    Gate.made = []


class Gate(ProcessInterface):
    """A job that starts and ends when it is let."""

    made: list[Gate] = []  # noqa: RUF012 - shared on purpose

    def __init__(self, scheduler: str, name: Any, start_open: bool = True, fail: bool = False) -> None:
        super().__init__(scheduler=scheduler, name=name)
        if fail:
            raise RuntimeError("no such queue")
        Gate.made.append(self)
        self.may_start, self.may_end = asyncio.Event(), asyncio.Event()
        self.may_end.set()
        if start_open:
            self.may_start.set()

    async def start(self) -> None:
        await self.may_start.wait()
        await super().start()

    async def close(self) -> None:
        self.status = Status.closing
        await self.may_end.wait()
        await super().close()


def specification(cls: Any = Gate, **options: Any) -> dict[str, Any]:
    security = Security.temporary()
    common = {"host": "127.0.0.1", "security": security}
    options = options if issubclass(cls, ProcessInterface) else {**common, "nthreads": 1}
    return {
        "scheduler": {"cls": Scheduler, "options": {**common, "port": 0}},
        "worker": {"cls": cls, "options": options},
        "security": security,
        "asynchronous": True,
        "scheduler_sync_interval": "20ms",
    }


async def until(condition: Any, what: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, f"still not: {what}"
        await asyncio.sleep(0.01)


def processes() -> set[int]:
    return {child.pid for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE}


# ---------------------------------------------------------------- closing while something starts or ends


def test_what_starts_is_closed_with_the_cluster() -> None:
    async def main() -> None:
        async with SpecCluster(**specification(start_open=False)) as cluster:
            cluster.scale(2)
            await until(lambda: len(Gate.made) == 2, "both start")
        assert [job.status for job in Gate.made] == [Status.closed] * 2

    asyncio.run(main())


def test_nothing_is_started_once_closing_has_begun() -> None:
    async def main() -> None:
        async with SpecCluster(**specification(start_open=False)) as cluster:
            cluster.scale(1)
            await until(lambda: Gate.made, "the first starts")
            asking = [asyncio.create_task(cluster.scale_up(3)) for _ in range(2)]  # they wait for it
            await asyncio.sleep(0)
        await asyncio.wait(asking)
        assert len(Gate.made) == 1
        await cluster.scale_up(4)
        assert len(Gate.made) == 1

    asyncio.run(main())


def test_closing_waits_for_what_ends() -> None:
    async def main() -> None:
        async with SpecCluster(**specification()) as cluster:
            await cluster.scale_up(2)
            for job in Gate.made:
                job.may_end.clear()
            cluster.scale(0)
            await until(lambda: all(job.status is Status.closing for job in Gate.made), "both end")
            closing = asyncio.create_task(cluster._close())
            await until(lambda: cluster.status is Status.closing, "it closes")
            for job in Gate.made:
                job.may_end.set()
            await closing
        assert [job.status for job in Gate.made] == [Status.closed] * 2

    asyncio.run(main())


@pytest.mark.parametrize("begin", ["adapt", "scale"])
def test_no_process_outlives_a_cluster_that_closes_while_workers_start(begin: str) -> None:
    async def main() -> None:
        async with LocalCluster(n_workers=0, threads_per_worker=1, asynchronous=True) as cluster:
            if begin == "adapt":
                cluster.adapt(minimum=2, maximum=3, interval="10ms")
            else:
                cluster.scale(3)
            await until(lambda: len(processes() - before) >= 2, "workers start")
        assert processes() == before

    before = processes()
    asyncio.run(main())


def test_a_start_that_is_cancelled_leaves_nothing() -> None:
    async def main() -> None:
        async def use() -> None:
            async with LocalCluster(n_workers=2, threads_per_worker=1, asynchronous=True):
                pytest.fail("it was cancelled before")

        using = asyncio.create_task(use())
        await until(lambda: len(processes() - before) == 2, "workers start")
        using.cancel()
        await asyncio.wait([using])
        assert using.cancelled()
        assert processes() == before

    before = processes()
    asyncio.run(main())


def test_closed_by_several_threads_while_it_scales() -> None:
    before = processes()
    cluster = LocalCluster(n_workers=1, threads_per_worker=1)
    cluster.adapt(minimum=3, maximum=4, interval="10ms")
    threads = [threading.Thread(target=cluster.close) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert cluster.status is Status.closed
    assert processes() == before


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # tasks that nobody can end any more
def test_a_cluster_whose_loop_is_closed_ends_its_workers() -> None:
    async def start() -> LocalCluster:
        return await LocalCluster(n_workers=2, threads_per_worker=1, asynchronous=True)

    before = processes()
    loop = asyncio.new_event_loop()
    cluster = loop.run_until_complete(start())
    assert len(processes() - before) == 2
    loop.close()
    closing = cluster.close()
    assert cluster.status is Status.closed
    asyncio.run(closing)
    deadline = time.monotonic() + 20
    while processes() != before:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_data_of_a_group_that_is_scaled_away_is_moved_first() -> None:
    async def main() -> None:
        workers = {name: {"cls": Gate, "group": ["-0", "-1"]} for name in ("a", "b")}
        async with SpecCluster(workers, **{**specification(), "worker": None}) as cluster:
            retired: list[Any] = []

            async def retire(names: list[Any], **kwargs: Any) -> None:
                retired.extend(names)

            cluster.scheduler_comm.retire_workers = retire
            cluster.scale(1)
            await until(lambda: set(cluster.workers) == {"a"}, "one is left")
            assert retired == ["b-0", "b-1"]

    asyncio.run(main())


# ---------------------------------------------------------------- parts that fail or end


def test_one_that_cannot_be_made_harms_nobody_and_is_not_specified_any_more() -> None:
    async def main() -> None:
        async with SpecCluster(**specification()) as cluster:
            cluster.worker_spec["bad"] = {"cls": Gate, "options": {"fail": True}}
            cluster.worker_spec["good"] = {"cls": Gate}
            with pytest.raises(RuntimeError, match="no such queue"):
                await cluster
            assert list(cluster.workers) == list(cluster.worker_spec) == ["good"]

    asyncio.run(main())


@pytest.mark.parametrize("cls", [Worker, Nanny])
def test_what_has_ended_and_is_specified_is_started_again(cls: Any) -> None:
    async def main() -> None:
        async with SpecCluster(**specification(cls)) as cluster:
            await cluster.scale_up(2)
            first = cluster.workers[0]
            await first.close()
            await until(lambda: cluster.workers.get(0) not in (None, first), "another")
            assert cluster.plan == {0, 1}

    with dask.config.set({"distributed.deploy.lost-worker-timeout": "50ms"}):
        asyncio.run(main())


def test_at_once_when_the_cluster_is_asked_for_it() -> None:
    async def main() -> None:
        async with SpecCluster(**specification(Worker)) as cluster:
            await cluster.scale_up(2)
            await cluster.workers[0].close()
            await until(lambda: 0 not in cluster.workers, "it is gone")
            assert cluster.plan == {0, 1}
            await cluster
            assert set(cluster.workers) == {0, 1}

    asyncio.run(main())


def test_not_before_it_has_closed() -> None:
    async def main() -> None:
        async with SpecCluster(**specification()) as cluster:
            await cluster.scale_up(1)
            (first,) = Gate.made
            first.may_end.clear()
            closing = asyncio.create_task(first.close())
            await until(lambda: first.status is Status.closing, "it closes")
            await cluster._look_at_workers()
            assert cluster.workers == {0: first}
            first.may_end.set()
            await closing
            await until(lambda: cluster.workers.get(0) not in (None, first), "another")

    asyncio.run(main())


def test_at_once_when_the_cluster_adapts() -> None:
    async def main() -> None:
        async with SpecCluster(**specification(Worker)) as cluster:
            cluster.adapt(minimum=2, maximum=2, interval="20ms")
            await until(lambda: set(cluster.workers) == {0, 1}, "both run")
            first = cluster.workers[0]
            await first.close()
            await until(lambda: cluster.workers.get(0) not in (None, first), "another")

    with dask.config.set({"distributed.deploy.lost-worker-timeout": "1h"}):
        asyncio.run(main())


@pytest.mark.parametrize("cls", [Worker, Nanny])
def test_a_worker_that_somebody_retired_is_not_wanted_any_more(cls: Any) -> None:
    async def main() -> None:
        async with (
            SpecCluster(**specification(cls)) as cluster,
            Client(cluster, asynchronous=True) as client,
        ):
            await cluster.scale_up(2)
            await client.retire_workers(names=[0])
            await until(lambda: cluster.plan == {1}, "it has been taken out")
            assert set(cluster.workers) == {1}

    with dask.config.set({"distributed.deploy.lost-worker-timeout": "50ms"}):
        asyncio.run(main())


@pytest.mark.parametrize("cls", [Worker, Nanny])
def test_whoever_scales_after_a_retirement_gets_as_many(cls: Any) -> None:
    """Also while the one that was retired is still ending."""

    async def main() -> None:
        async with (
            SpecCluster(**specification(cls)) as cluster,
            Client(cluster, asynchronous=True) as client,
        ):
            await cluster.scale_up(2)
            await client.retire_workers(n=1)
            cluster.scale(3)
            await until(lambda: len(cluster.scheduler.workers) == 3, "three run")
            await client.retire_workers(names=[min(cluster.workers)])
            await until(lambda: len(cluster.plan) == 2, "who is retired later counts no more")
            assert len(cluster.scheduler.workers) == 2

    asyncio.run(main())
