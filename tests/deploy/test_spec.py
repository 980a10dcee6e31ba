from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from distributed.core import Status
from distributed.deploy.process_interface import ProcessInterface
from distributed.deploy.spec import SpecCluster
from distributed.exceptions import WorkerStartTimeoutError
from distributed.scheduler import Scheduler
from distributed.security import Security


class Job(ProcessInterface):
    """A job that holds no worker."""

    alive: set[Any] = set()  # noqa: RUF012 - shared on purpose

    def __init__(
        self, scheduler: str, name: Any, fail: bool = False, nthreads: int = 2, memory_limit: str = "1GB"
    ):
        super().__init__(scheduler=scheduler, name=name)
        self.fail = fail

    async def start(self) -> None:
        if self.fail:
            raise RuntimeError("the queue is closed")
        Job.alive.add(self.name)
        await super().start()

    async def close(self) -> None:
        Job.alive.discard(self.name)
        await super().close()


@pytest.fixture(autouse=True)
def _no_jobs() -> None:
    Job.alive = set()


def specification(**kwargs: Any) -> dict[str, Any]:
    security = Security.temporary()
    return {
        "scheduler": {"cls": Scheduler, "options": {"host": "127.0.0.1", "port": 0, "security": security}},
        "worker": {"cls": Job, "options": {"nthreads": 2, "memory_limit": "1GB"}},
        "security": security,
        **kwargs,
    }


async def until(condition: Any, what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, f"still not: {what}"
        await asyncio.sleep(0.01)


def test_runs_what_is_specified() -> None:
    async def main() -> None:
        workers = {"a": {"cls": Job}, "b": {"cls": f"{__name__}.Job", "options": {"nthreads": 1}}}
        async with SpecCluster(workers=workers, asynchronous=True, **specification()) as cluster:
            assert Job.alive == {"a", "b"} == set(cluster.workers) == cluster.plan == cluster.requested
            assert cluster.status is Status.running
            assert cluster.workers["a"].scheduler == cluster.scheduler_address
            assert cluster.observed == set()
        assert Job.alive == set()
        assert cluster.status is Status.closed

    asyncio.run(main())


def test_scales_up_and_down() -> None:
    async def main() -> None:
        async with SpecCluster(asynchronous=True, **specification()) as cluster:
            await cluster.scale(3)
            await until(lambda: Job.alive == {0, 1, 2}, "three jobs")
            await cluster.scale(1)
            await until(lambda: Job.alive == {0}, "one job")
            await cluster.scale_up(2)
            assert len(Job.alive) == 2
            await cluster.scale_down([0])
            assert len(Job.alive) == 1
            assert 0 not in Job.alive
            cluster.scale(cores=8)
            await until(lambda: len(Job.alive) == 4, "8 cores")
            cluster.scale(memory="5GB")
            await until(lambda: len(Job.alive) == 5, "5 GB")
            cluster.scale(0)
            await until(lambda: not Job.alive, "none")

    asyncio.run(main())


def test_names_of_groups() -> None:
    async def main() -> None:
        spec = specification()
        spec["worker"]["group"] = ["-0", "-1"]
        async with SpecCluster(asynchronous=True, **spec) as cluster:
            await cluster.scale_up(2)
            assert cluster.plan == {"0-0", "0-1", "1-0", "1-1"}
            await cluster.scale_down(["1-1"])
            assert cluster.plan == {"0-0", "0-1"}

    asyncio.run(main())


def test_a_worker_that_cannot_start() -> None:
    async def main() -> None:
        workers = {"a": {"cls": Job}, "b": {"cls": Job, "options": {"fail": True}}}
        with pytest.raises(RuntimeError, match="the queue is closed"):
            async with SpecCluster(workers=workers, asynchronous=True, **specification()):
                pass
        assert Job.alive == set()

    asyncio.run(main())


def test_synchronously() -> None:
    with SpecCluster(workers={"a": {"cls": Job}}, **specification()) as cluster:
        assert Job.alive == {"a"}
        cluster.scale(2)
        with pytest.raises(WorkerStartTimeoutError, match=r"Only 0/1 workers arrived after 0\.1"):
            cluster.wait_for_workers(1, timeout=0.1)
        assert "workers=0" in repr(cluster)
        assert "Status" in cluster._repr_html_()
        loop = cluster.loop
        assert not cluster.asynchronous
    assert Job.alive == set()
    assert cluster.status is Status.closed
    assert not loop.is_running()
    cluster.close()


def test_asynchronous_clusters_want_async_with() -> None:
    async def main() -> None:
        cluster = SpecCluster(asynchronous=True, **specification())
        with pytest.raises(TypeError, match="async with"), cluster:
            pass
        await cluster.close()

    asyncio.run(main())


def test_bad_numbers() -> None:
    async def main() -> None:
        async with SpecCluster(asynchronous=True, **specification()) as cluster:
            with pytest.raises(ValueError, match="cannot have -1 workers"):
                cluster.scale(-1)
            with pytest.raises(ValueError, match="positive number"):
                await cluster.wait_for_workers(0)
            cluster.new_spec = None
            with pytest.raises(ValueError, match="no specification for further workers"):
                cluster.scale(1)

    asyncio.run(main())


def test_a_lost_job_is_started_again() -> None:
    async def main() -> None:
        spec = specification(scheduler_sync_interval="20ms")
        async with SpecCluster(workers={"a": {"cls": Job}}, asynchronous=True, **spec) as cluster:
            first = cluster.workers["a"]
            await first.close()
            await until(lambda: cluster.workers.get("a") not in (None, first), "a new job")
            await until(lambda: Job.alive == {"a"}, "it runs")

    asyncio.run(main())


def test_two_clusters_are_different() -> None:
    async def main() -> None:
        async with SpecCluster(asynchronous=True, **specification()) as one:
            async with SpecCluster(asynchronous=True, **specification()) as two:
                assert one != two
                assert len({one, two}) == 2

    asyncio.run(main())
