from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from distributed import Client, LocalCluster, Security
from distributed.core import Status
from distributed.exceptions import WorkerStartTimeoutError
from distributed.security import ClusterKey
from distributed.system import memory_limit


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTRIBUTED_KEY", ClusterKey.generate().text())


def inc(x: int) -> int:
    return x + 1


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + 30
    while not (value := condition()):
        assert time.monotonic() < deadline, f"still not: {what}"
        time.sleep(0.02)
    return value


# ---------------------------------------------------------------- kinds


def test_processes() -> None:
    with LocalCluster(n_workers=2, threads_per_worker=1, memory_limit="200MB") as cluster:
        pids = [worker.pid for worker in cluster.workers.values()]
        assert all(map(alive, pids))
        with Client(cluster) as client:
            assert client.gather(client.map(inc, range(100))) == list(range(1, 101))
            assert set(client.run(os.getpid).values()) == set(pids)
        workers = cluster.scheduler_info["workers"].values()
        assert (
            {worker["name"] for worker in workers}
            == {0, 1}
            == cluster.observed
            == cluster.plan
            == cluster.requested
        )
        assert [worker["memory_limit"] for worker in workers] == [200_000_000] * 2
        assert "workers=2, threads=2, memory=" in repr(cluster)
        address = cluster.scheduler_address
        assert address.startswith("tcp://127.0.0.1:")
    until(lambda: not any(map(alive, pids)), "no process is left")
    assert cluster.status is Status.closed
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    with socket.socket() as sock, pytest.raises(ConnectionRefusedError):
        sock.connect((host, int(port)))


def test_threads() -> None:
    with LocalCluster(n_workers=2, processes=False) as cluster:
        assert cluster.scheduler_address.startswith("inproc://")
        with Client(cluster) as client:
            assert client.submit(os.getpid).result(timeout=20) == os.getpid()
            assert client.gather(client.map(inc, range(100))) == list(range(1, 101))


def test_threads_over_tcp() -> None:
    with LocalCluster(n_workers=1, processes=False, protocol="tcp://") as cluster:
        assert cluster.scheduler_address.startswith("tcp://")
        with Client(cluster.scheduler_address) as client:
            assert client.submit(inc, 1).result(timeout=20) == 2


@pytest.mark.parametrize("processes", [True, False])
def test_asynchronous(processes: bool) -> None:
    async def main() -> None:
        async with LocalCluster(n_workers=1, processes=processes, asynchronous=True) as cluster:
            async with Client(cluster, asynchronous=True) as client:
                assert await client.submit(inc, 1) == 2
            await cluster.wait_for_workers(1)
            with pytest.raises(WorkerStartTimeoutError) as told:
                await cluster.wait_for_workers(2, timeout=0.05)
            assert (told.value.available_workers, told.value.expected_workers) == (1, 2)
        assert cluster.status is Status.closed
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        if left:
            await asyncio.wait(left, timeout=10)
        assert all(task.done() for task in left)

    asyncio.run(main())


def test_no_workers_at_first() -> None:
    with LocalCluster(n_workers=0, threads_per_worker=1, processes=False) as cluster:
        assert not cluster.scheduler_info["workers"]
        cluster.scale(1)
        cluster.wait_for_workers(1, timeout=20)


def test_get_client() -> None:
    with LocalCluster(n_workers=1, processes=False) as cluster, cluster.get_client() as client:
        assert client.submit(inc, 1).result(timeout=20) == 2
        assert client.cluster is cluster


def test_share_of_memory() -> None:
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False) as cluster:
        (worker,) = cluster.workers.values()
        assert 0 < worker.memory_limit <= memory_limit()
    with LocalCluster(n_workers=1, processes=False, memory_limit=0) as cluster:
        (worker,) = cluster.workers.values()
        assert worker.memory_limit is None


@pytest.mark.parametrize("limit", [{}, {"memory_limit": "auto"}])
@pytest.mark.parametrize("n_workers", [1, 3, 8])
def test_workers_are_not_promised_more_memory_than_there_is(n_workers: int, limit: dict[str, str]) -> None:
    with LocalCluster(n_workers=n_workers, processes=False, **limit) as cluster:
        limits = [worker.memory_limit for worker in cluster.workers.values()]
    assert sum(limits) <= memory_limit()
    if not limit:
        assert limits == [memory_limit() // n_workers] * n_workers


def test_parameters_reach_the_workers() -> None:
    kwargs = {"resources": {"A": 2}, "env": {"A_TEST": "7"}}
    with (
        LocalCluster(n_workers=1, threads_per_worker=3, name="mine", **kwargs) as cluster,
        Client(cluster) as client,
    ):
        (worker,) = client.scheduler_info()["workers"].values()
        assert worker["resources"] == {"A": 2}
        assert worker["nthreads"] == 3
        assert client.submit(os.getenv, "A_TEST").result(timeout=20) == "7"
        assert client.submit(os.getenv, "OMP_NUM_THREADS").result(timeout=20) == "1"
        assert cluster.name == "mine"


def test_a_port_that_is_taken() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port = sock.getsockname()[1]
        with pytest.raises(OSError, match=f"{port}"):
            LocalCluster(n_workers=0, scheduler_port=port)


def test_unknown_parameters_are_named() -> None:
    with pytest.raises(Exception, match="no_such_parameter"):
        LocalCluster(n_workers=1, processes=False, no_such_parameter=1)


# ---------------------------------------------------------------- its key


def test_a_key_of_its_own() -> None:
    with LocalCluster(n_workers=1, security=True) as cluster, Client(cluster) as client:
        assert client.submit(inc, 1).result(timeout=20) == 2
        with pytest.raises(Exception, match="key"):
            Client(cluster.scheduler_address, security=Security.temporary(), timeout=5)


def test_makes_the_users_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DISTRIBUTED_KEY")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with LocalCluster(n_workers=1) as cluster, Client(cluster.scheduler_address) as client:
        assert client.submit(inc, 1).result(timeout=20) == 2
    assert (tmp_path / "distributed" / "cluster.key").exists()


def test_no_home_to_keep_a_key_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISTRIBUTED_KEY")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/dev/null/nowhere")
    with LocalCluster(n_workers=1) as cluster, Client(cluster) as client:
        assert client.submit(inc, 1).result(timeout=20) == 2


# ---------------------------------------------------------------- changes


def test_scaling() -> None:
    with LocalCluster(n_workers=1, threads_per_worker=1) as cluster, Client(cluster) as client:
        future = client.scatter({"x": 1})["x"]
        cluster.scale(3)
        cluster.wait_for_workers(3, timeout=30)
        pids = {worker.pid for worker in cluster.workers.values()}
        cluster.scale(1)
        until(lambda: len(client.scheduler_info()["workers"]) == 1, "one worker")
        until(lambda: sum(map(alive, pids)) == 1, "one process")
        assert future.result(timeout=20) == 1


def test_a_killed_worker_comes_back() -> None:
    with LocalCluster(n_workers=1, threads_per_worker=1) as cluster, Client(cluster) as client:
        (nanny,) = cluster.workers.values()
        before = nanny.pid
        os.kill(before, signal.SIGKILL)
        until(
            lambda: nanny.pid != before and nanny.is_alive() and cluster.scheduler_info["workers"],
            "it is back",
        )
        assert client.submit(os.getpid).result(timeout=20) == nanny.pid


def test_restart_by_the_client() -> None:
    with LocalCluster(n_workers=2, threads_per_worker=1) as cluster, Client(cluster) as client:
        before = set(client.run(os.getpid).values())
        client.restart(timeout=30)
        assert not before & set(client.run(os.getpid).values())


def test_a_worker_that_cannot_start_says_why() -> None:
    with pytest.raises(Exception, match="no_such_module"):
        LocalCluster(n_workers=1, preload=["no_such_module"])
    assert [p for p in psutil.Process().children() if "boot.py" in " ".join(p.cmdline())] == []


# ---------------------------------------------------------------- scripts: no guard, and however they end

SCRIPT = """
import os, sys, signal, time
from distributed import Client, LocalCluster

def double(x):
    return 2 * x

{begin}
    print(client.submit(double, 21).result(), *[w.pid for w in client.cluster.workers.values()], flush=True)
    {end}
"""

BEGINS = {
    "closed": "with Client(n_workers=2, threads_per_worker=1, dashboard_address=None) as client:",
    "left open": "client = Client(n_workers=2, threads_per_worker=1, dashboard_address=None)\nif True:",
}
ENDS = {
    "end": "pass",
    "exception": "raise ValueError('on purpose')",
    "exit": "sys.exit(3)",
    "kill": "os.kill(os.getpid(), signal.SIGKILL)",
    "os._exit": "os._exit(4)",
}


@pytest.mark.parametrize("begin", list(BEGINS))
@pytest.mark.parametrize(
    ("end", "status"), [("end", 0), ("exception", 1), ("exit", 3), ("kill", -9), ("os._exit", 4)]
)
def test_scripts_leave_nothing(tmp_path: Path, begin: str, end: str, status: int) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(begin=BEGINS[begin], end=ENDS[end]))
    (tmp_path / "tmp").mkdir()
    result = subprocess.run(
        [sys.executable, str(script)],
        env=os.environ | {"TMPDIR": str(tmp_path / "tmp")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    words = result.stdout.split()
    assert words[:1] == ["42"], result.stderr
    assert result.returncode == status, result.stderr
    until(lambda: not any(alive(int(pid)) for pid in words[1:]), "no process is left")
    assert [path for path in (tmp_path / "tmp").rglob("*") if path.is_file()] == []
    if end == "exception":
        assert "on purpose" in result.stderr
    elif end in ("end", "exit"):
        assert result.stderr == ""


def test_modules_beside_the_script_are_found_by_workers(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("def triple(x): return 3 * x\n")
    (tmp_path / "script.py").write_text(
        "from distributed import Client\nimport beside\n"
        "with Client(n_workers=1, dashboard_address=None) as client:\n"
        "    print(client.submit(beside.triple, 2).result())\n"
    )
    result = subprocess.run(
        [sys.executable, str(tmp_path / "script.py")], capture_output=True, text=True, timeout=60, cwd="/"
    )
    assert result.stdout == "6\n", result.stderr


def test_import_is_quick_and_light() -> None:
    code = "import sys, time; t = time.perf_counter(); import distributed; print(time.perf_counter() - t); "
    code += "print(*(m for m in ('numpy', 'pandas', 'dask.dataframe', 'dask.array') if m in sys.modules))"
    times = []
    for _ in range(3):
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        seconds, _, heavy = result.stdout.partition("\n")
        assert heavy.strip() == ""
        times.append(float(seconds))
    assert min(times) < 0.5
