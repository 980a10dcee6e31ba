"""What is compared, each behind the same four methods; runs inside the contender's own environment.

``Distributed`` drives this package and the existing one by the same lines, as both have the same interface.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from workloads import inc, number_of_tasks, wait_for

HERE = Path(__file__).parent


class Contender:
    """A network of ``workers`` workers of one thread."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.stack = ExitStack()

    def __enter__(self) -> Contender:
        try:
            self.start()
        except BaseException:
            self.stack.close()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stack.close()

    def start(self) -> None:
        """Bring everything up; what must be undone goes to ``self.stack``."""
        raise NotImplementedError

    def run(self, start: int, stop: int) -> list[int]:
        """``inc`` of every number, all submitted, then all gathered."""
        raise NotImplementedError

    def round_trip(self, i: int) -> int:
        """``inc(i)``, one task alone."""
        raise NotImplementedError

    def roots(self) -> dict[str, int]:
        """Process ids by role, each standing for itself and its descendants."""
        return {}


class Distributed(Contender):
    """Scheduler, worker (with its nanny) and client in processes apart, by the packages' own commands."""

    def start(self) -> None:
        from distributed import Client

        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        file = folder / "scheduler.json"
        python_path = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
        self.environment = os.environ | {"PYTHONPATH": python_path}
        self.scheduler = self.spawn(
            "dask_scheduler", "--host=127.0.0.1", "--port=0", f"--scheduler-file={file}"
        )
        wait_until(file.exists, "the scheduler did not write its file", self.scheduler)
        self.address = json.loads(file.read_text())["address"]
        options = ["--nthreads=1", f"--nworkers={self.workers}", f"--local-directory={folder}"]
        self.worker = self.spawn("dask_worker", self.address, *options)
        self.client = self.stack.enter_context(Client(self.address, timeout=30))
        self.client.wait_for_workers(self.workers)

    def spawn(self, module: str, *options: str) -> subprocess.Popen[bytes]:
        """Start a command of the package; ended with the stack."""
        command = [sys.executable, "-m", f"distributed.cli.{module}", "--no-dashboard", *options]
        process = subprocess.Popen(command, env=self.environment, stdout=sys.stderr, stderr=sys.stderr)
        self.stack.callback(end, process)
        return process

    def run(self, start: int, stop: int) -> list[int]:
        return self.client.gather(self.client.map(inc, range(start, stop)))

    def round_trip(self, i: int) -> int:
        return self.client.submit(inc, i).result()

    def roots(self) -> dict[str, int]:
        return {"scheduler": self.scheduler.pid, "worker": self.worker.pid}

    def pend(self, number: int) -> Callable[[], None]:
        """Let ``number`` tasks stand behind one that runs; returns what ends it."""
        self.file = Path(self.stack.enter_context(tempfile.TemporaryDirectory()), "go")
        before = self.client.run_on_scheduler(number_of_tasks)
        running = self.client.submit(wait_for, str(self.file))
        pending = self.client.map(inc, range(-number, 0))
        wait_until(
            lambda: self.client.run_on_scheduler(number_of_tasks) >= before + 1 + number,
            "the scheduler does not know all tasks",
            patience=300,
        )

        def end_it() -> None:
            self.file.touch()
            running.result()
            pending.clear()

        return end_it


class DistributedLocal(Distributed):
    """``LocalCluster``: the scheduler lives in the client's process."""

    def start(self) -> None:
        from distributed import Client, LocalCluster

        python_path = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
        os.environ["PYTHONPATH"] = python_path
        cluster = LocalCluster(
            n_workers=self.workers, threads_per_worker=1, processes=True, dashboard_address=None
        )
        self.stack.enter_context(cluster)
        self.client = self.stack.enter_context(Client(cluster))
        self.client.wait_for_workers(self.workers)

    def roots(self) -> dict[str, int]:
        return {}


class Ray(Contender):
    """Ray on this machine."""

    def start(self) -> None:
        import ray

        environment = {"env_vars": {"PYTHONPATH": str(HERE)}}
        ray.init(num_cpus=self.workers, include_dashboard=False, log_to_driver=False, runtime_env=environment)
        self.stack.callback(ray.shutdown)
        self.ray = ray
        self.inc = ray.remote(inc)

    def run(self, start: int, stop: int) -> list[int]:
        return self.ray.get([self.inc.remote(i) for i in range(start, stop)])

    def round_trip(self, i: int) -> int:
        return self.ray.get(self.inc.remote(i))


class Pool(Contender):
    """``concurrent.futures.ProcessPoolExecutor``: no network, no graph, no failure handling."""

    def start(self) -> None:
        from concurrent.futures import ProcessPoolExecutor

        self.pool = self.stack.enter_context(ProcessPoolExecutor(self.workers))

    def run(self, start: int, stop: int) -> list[int]:
        return [future.result() for future in [self.pool.submit(inc, i) for i in range(start, stop)]]

    def round_trip(self, i: int) -> int:
        return self.pool.submit(inc, i).result()


KINDS: dict[str, type[Contender]] = {
    "distributed": Distributed,
    "distributed-local": DistributedLocal,
    "ray": Ray,
    "pool": Pool,
}


def wait_until(
    condition: Callable[[], bool], complaint: str, process: Any = None, patience: float = 60.0
) -> None:
    """Wait for a condition; raise TimeoutError after ``patience`` seconds, or once ``process`` has ended."""
    deadline = time.monotonic() + patience
    while not condition():
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"{complaint}: it ended with status {process.returncode}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"{complaint} within {patience:.0f} s")
        time.sleep(0.05)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, then make it."""
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
