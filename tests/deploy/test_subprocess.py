"""A cluster whose scheduler and workers have processes of their own."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from distributed import Client, SubprocessCluster
from distributed.cli.dask_spec import share_memory
from distributed.system import memory_limit


def test_computes_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = set(psutil.Process().children(recursive=True))
    with SubprocessCluster(
        n_workers=2, threads_per_worker=1, worker_kwargs={"memory_limit": "1GiB"}
    ) as cluster:
        with Client(cluster) as client:
            client.wait_for_workers(2, timeout=30)
            assert client.gather(client.map(abs, range(-5, 0))) == [5, 4, 3, 2, 1]
            assert os.getpid() not in {client.run_on_scheduler(os.getpid), *client.run(os.getpid).values()}
            workers = client.scheduler_info()["workers"].values()
            assert [worker["memory_limit"] for worker in workers] == [2**30] * 2
        children = [child for child in psutil.Process().children(recursive=True) if child not in before]
        assert len(children) >= 5  # a scheduler, two workers and their nannies
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not [child for child in alive if child.status() != psutil.STATUS_ZOMBIE]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_scales(tmp_path: Path) -> None:
    with SubprocessCluster(n_workers=1, threads_per_worker=1) as cluster:
        cluster.scale(2)
        cluster.wait_for_workers(2, timeout=30)
        assert cluster.plan == {0, 1}
        cluster.scale(0)
        with Client(cluster) as client:
            deadline = time.monotonic() + 30
            while client.scheduler_info()["workers"]:
                assert time.monotonic() < deadline
                time.sleep(0.02)


def test_workers_are_not_promised_more_memory_than_there_is() -> None:
    with SubprocessCluster(n_workers=2, threads_per_worker=64) as cluster, Client(cluster) as client:
        client.wait_for_workers(2, timeout=30)
        limits = [worker["memory_limit"] for worker in client.scheduler_info()["workers"].values()]
    assert sum(limits) <= memory_limit()


def test_several_workers_of_one_specification_share_the_memory() -> None:
    given: list[dict[str, Any]] = [{"nthreads": 64}, {}, {"memory_limit": 1000}]
    for options in given:
        share_memory(options, 4)
    assert [options["memory_limit"] for options in given][2] == 1000
    assert 3 * given[0]["memory_limit"] <= memory_limit() >= 3 * given[1]["memory_limit"]


def test_an_impossible_parameter_is_one_clear_error() -> None:
    with pytest.raises(RuntimeError, match=r"worker on this machine: .*nonsense"):
        SubprocessCluster(n_workers=1, worker_kwargs={"nonsense": 1, "worker_class": None})


def test_a_parameter_that_cannot_travel_is_one_clear_error() -> None:
    with pytest.raises(TypeError, match="must be texts, numbers, lists"):
        SubprocessCluster(n_workers=1, worker_kwargs={"resources": object()})
