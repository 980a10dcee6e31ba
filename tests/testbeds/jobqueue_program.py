"""What a user of dask-jobqueue writes: a cluster by jobs, scaled by hand, then by the work. Prints JSON."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

from bed_tasks import double

from distributed import Client


def jobs(command: str) -> list[str]:
    """Our lines of ``qstat`` or ``squeue``."""
    lines = subprocess.run([command], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in lines if "dask-wor" in line]


def until(condition: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.1)


def main(kind: str, python: str, log_directory: str) -> None:
    import dask_jobqueue

    options: dict[str, Any] = {"resource_spec": "h_vmem=20G"} if kind == "SGECluster" else {}
    command = {"SGECluster": "qstat", "SLURMCluster": "squeue"}[kind]
    cluster_class = getattr(dask_jobqueue, kind)
    seen: dict[str, Any] = {}
    with cluster_class(
        cores=1,
        memory="1GiB",
        processes=1,
        interface="lo",
        python=python,
        log_directory=log_directory,
        **options,
    ) as cluster:
        with Client(cluster) as client:
            cluster.scale(2)
            client.wait_for_workers(2, timeout=60)
            seen["scaled"] = jobs(command)
            seen["total"] = sum(client.gather(client.map(double, range(100))))
            cluster.scale(0)
            until(lambda: not client.scheduler_info()["workers"] and not jobs(command))
            cluster.adapt(minimum=0, maximum=2, interval="200ms", target_duration="500ms")
            futures = client.map(double, range(400, 900))
            seen["adapted_total"] = sum(client.gather(futures))
            seen["adapted"] = jobs(command)
            del futures
            until(lambda: not client.scheduler_info()["workers"] and not jobs(command))
            seen["idle"] = jobs(command)
            cluster.scale(1)
            client.wait_for_workers(1, timeout=60)
    until(lambda: not jobs(command))
    print(json.dumps(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
