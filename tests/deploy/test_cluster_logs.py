"""What a cluster's processes have logged, in one place."""

from __future__ import annotations

import logging

import pytest

from distributed import Client, LocalCluster, SubprocessCluster


def warn(text: str) -> None:
    logging.getLogger("distributed.worker").warning(text)


@pytest.mark.parametrize("make", [LocalCluster, SubprocessCluster])
def test_logs_by_name(make: type) -> None:
    with make(n_workers=2, threads_per_worker=1) as cluster, Client(cluster) as client:
        client.wait_for_workers(2, timeout=30)
        first, second = client.scheduler_info()["workers"]
        client.run(warn, "careful", workers=[first])
        logs = cluster.get_logs()
        assert set(logs) == {"Cluster", "Scheduler", first, second}
        assert "careful" in logs[first]
        assert "careful" not in logs[second]
        assert "started worker 0" in logs["Cluster"]
        assert set(cluster.get_logs(cluster=False, scheduler=False, workers=[second])) == {second}
