"""Processes started with closed descriptors, and those whose output nobody reads any more, live and work."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from system_bench import Bench, alive, wait_until
from system_tasks import inc

from distributed import Client

SECONDS = 30
#: Some ways to close some of the three.
CLOSED = [(0,), (1,), (2,), (1, 2), (0, 1, 2)]


def shell(arguments: list[str], closed: tuple[int, ...]) -> list[str]:
    """A command line that runs this one with descriptors closed."""
    redirections = " ".join(f"{fd}>&-" for fd in closed)
    return ["/bin/sh", "-c", f'exec "$@" {redirections}', "sh", *arguments]


def command(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"distributed.cli.{module}", *arguments]


@contextlib.contextmanager
def running(bench: Bench, arguments: list[str], **kwargs: Any) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(arguments, env=bench.env, cwd=bench.folders["cwd"], **kwargs)
    try:
        yield process
    finally:
        process.terminate()
        try:
            assert process.wait(timeout=SECONDS) == 0
        finally:
            process.kill()
            process.wait()


def print_and_start_a_program(n: int) -> int:
    print("out", flush=True)
    print("error", file=sys.stderr, flush=True)
    return n + subprocess.run([sys.executable, "-c", "print('program')"], check=True).returncode


def check(address: str) -> None:
    with Client(address) as client:
        client.wait_for_workers(1, timeout=SECONDS)
        assert client.submit(print_and_start_a_program, 1, pure=False).result(timeout=SECONDS) == 1
        assert client.gather(client.map(inc, range(10), pure=False)) == list(range(1, 11))


@pytest.mark.parametrize("closed", CLOSED, ids=str)
@pytest.mark.parametrize("options", [(), ("--no-nanny",)], ids=["nanny", "no nanny"])
def test_a_worker(
    module_bench: Bench, scheduler_address: str, closed: tuple[int, ...], options: tuple[str, ...]
):
    arguments = command("dask_worker", scheduler_address, "--nthreads", "1", *options)
    with running(module_bench, shell(arguments, closed), stderr=subprocess.DEVNULL):
        check(scheduler_address)


@pytest.fixture(scope="module")
def scheduler_address(module_bench: Bench) -> str:
    return module_bench.scheduler()[1]


@pytest.mark.parametrize("closed", [(0,), (1,), (1, 2), (0, 1, 2)], ids=str)
def test_a_scheduler(bench: Bench, tmp_path: Path, closed: tuple[int, ...]):
    file = tmp_path / "scheduler.json"
    arguments = command("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file))
    with running(bench, shell(arguments, closed), stderr=subprocess.DEVNULL):
        wait_until(file.exists, "the scheduler runs")
        worker = command("dask_worker", "--scheduler-file", str(file), "--nthreads", "1")
        with running(bench, worker, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL):
            with Client(scheduler_file=str(file)) as client:
                client.wait_for_workers(1, timeout=SECONDS)
                assert client.submit(inc, 1).result(timeout=SECONDS) == 2


PROGRAM = """
import os, sys
from distributed import Client, LocalCluster
if __name__ == "__main__":
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        result = client.submit(abs, -7).result(timeout=30)
    with open(sys.argv[1], "w") as file:
        file.write(str(result))
"""


@pytest.mark.parametrize("closed", [(0,), (1,), (0, 1, 2)], ids=str)
def test_a_program_with_a_cluster(bench: Bench, tmp_path: Path, closed: tuple[int, ...]):
    script, file = tmp_path / "program.py", tmp_path / "result"
    script.write_text(PROGRAM)
    done = subprocess.run(shell([sys.executable, str(script), str(file)], closed), env=bench.env, timeout=60)
    assert (done.returncode, file.read_text()) == (0, "7")


@pytest.mark.parametrize("options", [(), ("--no-nanny",)], ids=["nanny", "no nanny"])
def test_nobody_reads_any_more(bench: Bench, options: tuple[str, ...]):
    """As after ``dworker … | head -1``, and when the terminal or batch system that took the output has gone."""
    read, write = os.pipe()
    os.close(read)
    try:
        _, address = bench.scheduler()
        arguments = command("dask_worker", address, "--nthreads", "1", *options)
        with running(bench, arguments, stdout=write, stderr=write) as process:
            check(address)
            if not options:  # its nanny logs that, and starts another
                with Client(address) as client:
                    (pid,) = client.run(os.getpid).values()
                    os.kill(pid, signal.SIGKILL)
                    wait_until(lambda: not alive(pid), "it is gone")
                    check(address)
            assert process.poll() is None
    finally:
        os.close(write)


def test_nobody_reads_any_more_what_a_scheduler_says(bench: Bench, tmp_path: Path):
    file = tmp_path / "scheduler.json"
    arguments = command("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file))
    read, write = os.pipe()
    os.close(read)
    try:
        with running(bench, arguments, stdout=write, stderr=write):
            wait_until(file.exists, "the scheduler runs")
            worker = command("dask_worker", "--scheduler-file", str(file), "--nthreads", "1")
            with running(bench, worker, stdout=write, stderr=write):
                with Client(scheduler_file=str(file)) as client:
                    client.wait_for_workers(1, timeout=SECONDS)
                    assert client.submit(inc, 1).result(timeout=SECONDS) == 2
                    client.run_on_scheduler(print, "nobody reads this", flush=True)
    finally:
        os.close(write)
