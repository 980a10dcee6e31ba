"""The number of workers follows the work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from distributed import Adaptive, Client, LocalCluster, SpecCluster
from distributed.deploy.process_interface import ProcessInterface


class FakeScheduler:
    """Answers what it is told to."""

    def __init__(self) -> None:
        self.wanted = 0
        self.spared: list[str] = []
        self.busy: set[str] = set()

    async def adaptive_target(self, target_duration: float) -> int:
        return self.wanted

    async def workers_to_close(self, target: int, attribute: str) -> list[str]:
        return self.spared

    async def identity(self) -> dict[str, Any]:
        return {"workers": {f"tcp://{name}": {"name": name} for name in "abcd"}}

    async def processing(self) -> list[Any]:
        return [[f"tcp://{name}", ["task"]] for name in self.busy]


class FakeCluster:
    """Notes what it is asked for."""

    class loop:
        @staticmethod
        def add_callback(function: Callable[[], None]) -> None:
            pass

        @staticmethod
        def is_running() -> bool:
            return False

    def __init__(self, names: str = "abcd") -> None:
        self.plan = self.requested = self.observed = set(names)
        self.scheduler_comm = FakeScheduler()


def adaptive(cluster: Any, **kwargs: Any) -> Adaptive:
    return Adaptive(cluster, **{"minimum": 0, "maximum": 10, "wait_count": 2, **kwargs})


def look(a: Adaptive) -> dict[str, Any]:
    async def once() -> dict[str, Any]:
        return await a.recommendations(await a.safe_target())

    return asyncio.run(once())


def test_up_at_once_within_bounds() -> None:
    cluster = FakeCluster()
    cluster.scheduler_comm.wanted = 100
    assert look(adaptive(cluster)) == {"status": "up", "n": 10}
    assert look(adaptive(cluster, maximum=4)) == {"status": "same"}
    cluster.scheduler_comm.wanted = 0
    assert look(adaptive(cluster, minimum=6)) == {"status": "up", "n": 6}


def test_down_after_several_looks_in_a_row() -> None:
    cluster = FakeCluster()
    a = adaptive(cluster)
    cluster.scheduler_comm.wanted = 2
    cluster.scheduler_comm.spared = ["a", "b"]
    assert look(a) == {"status": "same"}
    cluster.scheduler_comm.wanted = 4  # there is work again
    assert look(a) == {"status": "same"}
    cluster.scheduler_comm.wanted = 2
    assert look(a) == {"status": "same"}
    assert look(a) == {"status": "down", "workers": ["a", "b"]}


def test_a_worker_with_tasks_stays() -> None:
    cluster = FakeCluster()
    cluster.scheduler_comm.spared = ["a", "b", "c", "d"]
    cluster.scheduler_comm.busy = {"b", "c"}
    assert look(adaptive(cluster, wait_count=1)) == {"status": "down", "workers": ["a", "d"]}


def test_workers_that_have_not_come_yet_go_first() -> None:
    cluster = FakeCluster()
    cluster.plan = {"a", "b", "x", "y"}
    cluster.observed = {"a", "b"}
    cluster.scheduler_comm.wanted = 2
    assert look(adaptive(cluster, wait_count=1)) == {"status": "down", "workers": ["x", "y"]}


def test_a_job_ends_with_all_its_workers_or_not_at_all() -> None:
    cluster: Any = FakeCluster()
    cluster.worker_spec = {"job1": {}, "job2": {}}
    cluster._names_of = {"job1": ["a", "b"], "job2": ["c", "d"]}.__getitem__
    cluster.scheduler_comm.spared = ["a", "b", "c"]
    assert look(adaptive(cluster, wait_count=1)) == {"status": "down", "workers": ["a", "b"]}


def test_bounds_are_checked() -> None:
    with pytest.raises(ValueError, match="0 <= minimum <= maximum"):
        adaptive(FakeCluster(), minimum=3, maximum=2)
    with pytest.raises(TypeError, match="unknown parameters: speed"):
        adaptive(FakeCluster(), speed=3)


def slowly(x: int) -> int:
    time.sleep(0.1)
    return x


@pytest.mark.parametrize("processes", [False, True])
def test_grows_with_work_and_shrinks_without_losing_results(processes: bool) -> None:
    with LocalCluster(n_workers=0, threads_per_worker=1, processes=processes, protocol="tcp") as cluster:
        a = cluster.adapt(minimum=0, maximum=2, interval="50ms", wait_count=3, target_duration="500ms")
        with Client(cluster) as client:
            futures = client.map(slowly, range(30))
            assert client.gather(futures) == list(range(30))
            assert max(entry["n"] for _, entry in a.log if entry["status"] == "up") == 2
            deadline = time.monotonic() + 30
            while len(cluster.workers) > 1:  # one holds the results
                assert time.monotonic() < deadline
                time.sleep(0.02)
            assert client.gather(futures) == list(range(30))
            assert {status for (status,) in client.run(lambda: [1]).values()} == {1}
            del futures
            while client.scheduler_info()["workers"]:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            assert client.submit(abs, -1).result(timeout=30) == 1  # it starts again from nothing
        a.stop()


class Nothing(ProcessInterface):
    """A worker that never comes."""

    def __init__(self, scheduler: str, name: Any, **kwargs: Any) -> None:
        super().__init__(scheduler, name)


def test_bounds_by_cores_and_memory() -> None:
    worker = {"cls": Nothing, "options": {"nthreads": 4, "memory_limit": "2GiB"}}
    with SpecCluster(worker=worker) as cluster:
        a = cluster.adapt(minimum_cores=5, maximum_memory="7GiB")
        assert (a.minimum, a.maximum) == (2, 3)
        b = cluster.adapt(minimum_memory="4GiB", maximum_cores=9)
        assert (b.minimum, b.maximum) == (2, 2)
        assert a.stop_reason == "replaced"
    assert b.stop_reason == "cluster-close"


def test_scaling_by_hand_ends_it() -> None:
    with LocalCluster(n_workers=0, threads_per_worker=1, processes=False) as cluster:
        a = cluster.adapt(minimum=0, maximum=2, interval="20ms", wait_count=1)
        cluster.scale(1)
        cluster.wait_for_workers(1, timeout=20)
        assert a.stop_reason == "scale"
        time.sleep(0.2)  # longer than it would have waited
        assert len(cluster.worker_spec) == 1
