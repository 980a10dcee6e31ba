"""dask-jobqueue's job class that needs no queue: it writes job scripts and starts our worker command by them."""

from __future__ import annotations

import tempfile

from dask_jobqueue.local import LocalCluster

from distributed import Client


def main() -> None:
    """Scale up, compute, scale down."""
    with tempfile.TemporaryDirectory() as directory:
        with LocalCluster(
            cores=1, memory="1GB", local_directory=directory, log_directory=directory
        ) as cluster:
            assert "distributed.cli.dask_worker" in cluster.job_script()
            cluster.scale(2)
            with Client(cluster) as client:
                client.wait_for_workers(2, timeout=60)
                assert client.gather(client.map(abs, range(-10, 0))) == list(range(10, 0, -1))
                cluster.scale(1)
                assert client.submit(sum, [1, 2]).result(timeout=60) == 3
                print(f"workers: {len(client.scheduler_info()['workers'])}")


if __name__ == "__main__":
    main()
