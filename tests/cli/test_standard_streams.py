"""Commands whose standard streams are closed, or whose output nobody reads, work as others do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from system_bench import Bench, wait_until

from distributed import Client
from distributed.scheduler_file import read_scheduler_address

#: Closes descriptors, then becomes the command.
CLOSE = """
import os, sys
for descriptor in sys.argv[1].split():
    os.close(int(descriptor))
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""

#: More than a buffer holds, on both streams.
PRINT_MUCH = """
import sys
for stream in (sys.stdout, sys.stderr):
    print("x" * 100_000, file=stream, flush=True)
"""


@pytest.fixture
def begun() -> Iterator[list[subprocess.Popen[bytes]]]:
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def command(module: str, *words: str) -> list[str]:
    return ["-m", f"distributed.cli.{module}", *words]


@pytest.mark.parametrize("closed", ["0", "1", "2", "0 1 2"])
def test_closed_descriptors(
    bench: Bench, begun: list[subprocess.Popen[bytes]], tmp_path: Path, closed: str
) -> None:
    file = str(tmp_path / "network.json")
    for words in (
        command("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", file),
        command("dask_worker", "--scheduler-file", file, "--nthreads", "1"),
    ):
        begun.append(subprocess.Popen([sys.executable, "-c", CLOSE, closed, *words], env=bench.env))
    with Client(read_scheduler_address(file, 30)) as client:
        client.wait_for_workers(1, timeout=30)
        assert client.submit(abs, -1).result(timeout=30) == 1
    for process in reversed(begun):
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


def test_readers_that_are_gone(bench: Bench, begun: list[subprocess.Popen[bytes]], tmp_path: Path) -> None:
    file = str(tmp_path / "network.json")
    reader, writer = os.pipe()
    os.close(reader)
    for words in (
        command("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", file),
        command("dask_worker", "--scheduler-file", file, "--nthreads", "1"),
    ):
        begun.append(subprocess.Popen([sys.executable, *words], env=bench.env, stdout=writer, stderr=writer))
    os.close(writer)
    with Client(read_scheduler_address(file, 30)) as client:
        client.wait_for_workers(1, timeout=30)
        assert client.submit(abs, -1).result(timeout=30) == 1
    for process in reversed(begun):
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no such device here")
@pytest.mark.parametrize("full", ["stdout", "stderr", "stdout stderr"])
def test_output_on_a_full_disk(
    bench: Bench, begun: list[subprocess.Popen[bytes]], tmp_path: Path, full: str
) -> None:
    """It is lost; tasks that print, and an ordered end, are none the worse for it."""
    file = str(tmp_path / "network.json")
    for words in (
        command("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", file),
        command("dask_worker", "--scheduler-file", file, "--nthreads", "1"),
        command("dask_worker", "--scheduler-file", file, "--nthreads", "1", "--no-nanny"),
    ):
        with open("/dev/full", "wb") as device:
            streams = dict.fromkeys(full.split(), device)
            begun.append(subprocess.Popen([sys.executable, *words], env=bench.env, **streams))  # type: ignore[call-overload]
    with Client(read_scheduler_address(file, 30)) as client:
        client.wait_for_workers(2, timeout=30)
        for address in client.scheduler_info()["workers"]:
            client.submit(exec, PRINT_MUCH, workers=address, pure=False).result(timeout=30)
    for process in reversed(begun):
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


@pytest.mark.parametrize("closed", ["0", "1", "0 1 2"])
def test_dcluster_says_what_is_wrong_where_it_can(begun: list[subprocess.Popen[bytes]], closed: str) -> None:
    words = command("dcluster", "no-such-host.invalid", "--insecure")
    begun.append(subprocess.Popen([sys.executable, "-c", CLOSE, closed, *words], stderr=subprocess.DEVNULL))
    wait_until(lambda: begun[0].poll() is not None, "it has ended")
    assert begun[0].returncode == 1
