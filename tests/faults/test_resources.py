"""A clock that jumps, a disk that is full, no file descriptor left."""

from __future__ import annotations

import asyncio
import re
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_bench import FaultBench
from fault_tasks import fill, inc
from system_bench import wait_until

from distributed import Client, Scheduler, Worker

SOURCES = Path(__file__).parents[2] / "src" / "distributed"

#: Where the time of day is read, and what for. Whatever waits, expires or measures reads the monotonic clock.
WALL_CLOCKS = {
    "coordination/topics.py": "when an event was logged",
    "deploy/adaptive.py": "when something was decided, in a log",
    "deploy/cluster.py": "when a line was logged",
    "diagnostics/": "when tasks ran, in pictures",
    "logs.py": "when a line was logged",
    "metrics.py": "a public name",
    "core/logs.py": "when a line was logged",
    "scheduler/base.py": "when it started",
    "scheduler/extending.py": "when tasks ended, in pictures",
    "scheduler/introspection.py": "when it became idle, and history",
    "scheduler/replicas.py": "told to the caller",
    "worker/server.py": "a heartbeat's stamp",
    "worker/executor.py": "when a task began, for those who ask",
    "utils.py": "a deadline's date, beside its monotonic time",
    "utils_test/": "tests",
}


def test_nothing_is_decided_by_the_time_of_day() -> None:
    """New uses have to be looked at, and named above."""
    found = {
        str(path.relative_to(SOURCES))
        for path in SOURCES.rglob("*.py")
        if re.search(
            r"\btime\.time\(|\bfrom time import .*\btime\b|datetime\.(now|today|utcnow)\(", path.read_text()
        )
    }
    unknown = {name for name in found if not name.startswith(tuple(WALL_CLOCKS))}
    assert unknown == set()


@pytest.mark.parametrize("jump", [-10 * 86_400.0, 10 * 86_400.0])
def test_a_clock_that_jumps(key: str, monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    """Nobody counts as dead, nothing is late or runs out."""
    real = time.time

    async def run() -> None:
        async with (
            Scheduler(port=0, host="127.0.0.1", worker_ttl=2.0, idle_timeout=3600.0) as scheduler,
            Worker(scheduler.address, nthreads=1, heartbeat_interval=0.1, lifetime=3600.0) as worker,
            Client(scheduler.address, asynchronous=True) as client,
        ):
            before = client.map(inc, range(100))
            await client.gather(before)
            monkeypatch.setattr(time, "time", lambda: real() + jump)
            heartbeat = scheduler.workers[worker.address].metrics["time"]
            async with asyncio.timeout(20):
                while abs(scheduler.workers[worker.address].metrics["time"] - heartbeat) < abs(jump) / 2:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            begin = time.monotonic()
            assert await client.gather(client.map(inc, range(1000))) == list(range(1, 1001))
            assert await client.gather(before) == list(range(1, 101))
            with pytest.raises(TimeoutError):
                await client.submit(time.sleep, 5).result(timeout=0.2)
            assert time.monotonic() - begin < 10
            assert list(scheduler.workers) == [worker.address]
            assert scheduler.workers[worker.address].last_seen > begin

    asyncio.run(run())


# ---------------------------------------------------------------- a full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"no file system can be mounted: {error}")
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_an_error_of_the_task_or_call(
    bench: FaultBench, small_disk: Path, tmp_path: Path
) -> None:
    _, address = bench.scheduler()
    worker = bench.worker(address, "--local-directory", str(small_disk))
    big = tmp_path / "big.txt"
    big.write_bytes(bytes(2_000_000))
    with Client(address) as client:
        client.wait_for_workers(1)
        with pytest.raises(OSError, match="No space left on device"):
            client.submit(fill, str(small_disk / "own"), 2_000_000).result(timeout=30)
        with pytest.raises(Exception, match="No space left on device"):
            client.upload_file(str(big))
        assert client.submit(inc, 1).result(timeout=30) == 2, "the worker goes on"
    assert worker.process.poll() is None


# ---------------------------------------------------------------- no file descriptor left


@pytest.mark.skipif(sys.platform == "win32", reason="no limits there")
def test_a_scheduler_without_file_descriptors_goes_on(bench: FaultBench) -> None:
    """It serves those who are there, says once what is wrong, and takes others again when it can."""
    scheduler, address = bench.scheduler()
    bench.worker(address)
    with Client(address) as client:
        client.wait_for_workers(1)
        assert client.submit(inc, 1).result(timeout=30) == 2
        host, _, port = address.rpartition(":")
        soft, hard = resource.prlimit(scheduler.process.pid, resource.RLIMIT_NOFILE)
        used = len(list(Path(f"/proc/{scheduler.process.pid}/fd").iterdir()))
        resource.prlimit(scheduler.process.pid, resource.RLIMIT_NOFILE, (used + 2, hard))
        strangers = [socket.create_connection((host, int(port)), timeout=5) for _ in range(20)]
        try:
            wait_until(lambda: scheduler.errors("file descriptors"), "it says what is wrong", 20)
            assert client.gather(client.map(inc, range(500))) == list(range(1, 501)), "those who are there"
        finally:
            for stranger in strangers:
                stranger.close()
        resource.prlimit(scheduler.process.pid, resource.RLIMIT_NOFILE, (soft, hard))
        with Client(address) as another:
            assert another.submit(inc, 5).result(timeout=30) == 6
        cpu = process_time(scheduler.process.pid)
        time.sleep(0.5)  # a busy loop would show
        assert process_time(scheduler.process.pid) - cpu < 0.3
        assert len(scheduler.errors("file descriptors")) <= 2, scheduler.text


def process_time(pid: int) -> float:
    import psutil

    times = psutil.Process(pid).cpu_times()
    return times.user + times.system
