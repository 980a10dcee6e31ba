from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from system_bench import Bench, Command, alive, wait_until
from test_dask_scheduler import ended

from distributed import Client, rpc
from distributed.host import open_port
from distributed.security import ClusterKey
from distributed.system import memory_limit

LINES = r"Start worker at:            127\.0\.0\.1:\d+\nRegistered with center at:  127\.0\.0\.1:\d+\n"


def worker_pid(command: Command) -> int:
    (child,) = psutil.Process(command.process.pid).children()
    return child.pid


def gone(pids: list[int]) -> None:
    wait_until(lambda: not any(map(alive, pids)), "all processes are gone")


@pytest.mark.parametrize("nanny", ["--nanny", "--no-nanny"])
def test_lines_to_the_letter(bench: Bench, nanny: str) -> None:
    _, address = bench.scheduler()
    command = bench.worker(address, nanny)
    assert re.fullmatch(LINES, "\n".join(command.out) + "\n")
    assert command.out[1] == f"Registered with center at:  {address}"
    assert len(command.children) == (1 if nanny == "--nanny" else 0)


def test_two_workers(bench: Bench) -> None:
    _, address = bench.scheduler()
    command = bench.start(
        "dworker", address, "--nworkers", "2", "--nthreads", "1", "--name", "w", "--resources", "A=3"
    )
    wait_until(lambda: len(command.out) == 4, "all lines")
    assert len(command.children) == 2
    with Client(address) as client:
        workers = client.scheduler_info()["workers"].values()
    assert sorted(worker["name"] for worker in workers) == ["w-0", "w-1"]
    assert {worker["nthreads"] for worker in workers} == {1}
    assert [worker["resources"] for worker in workers] == [{"A": 3}, {"A": 3}]


def test_workers_of_one_command_share_the_memory(bench: Bench) -> None:
    _, address = bench.scheduler()
    command = bench.start("dworker", address, "--nworkers", "3", "--nthreads", "64", "--memory-limit", "auto")
    wait_until(lambda: len(command.out) == 6, "all lines")
    with Client(address) as client:
        limits = [worker["memory_limit"] for worker in client.scheduler_info()["workers"].values()]
    assert limits == [int(memory_limit() / 3)] * 3


@pytest.mark.parametrize("nanny", ["--nanny", "--no-nanny"])
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it(bench: Bench, nanny: str, signum: signal.Signals) -> None:
    _, address = bench.scheduler()
    command = bench.worker(address, nanny, "--pid-file", "pid")
    pids = [command.process.pid, *command.children]
    assert (bench.folders["cwd"] / "pid").read_text() == f"{command.process.pid}\n"
    command.process.send_signal(signum)
    assert ended(command) == 0
    gone(pids)
    assert "Traceback" not in command.text
    assert not (bench.folders["cwd"] / "pid").exists()
    with Client(address) as client:
        wait_until(lambda: not client.scheduler_info()["workers"], "the scheduler knows")


def test_a_second_signal_ends_it_at_once(bench: Bench) -> None:
    _, address = bench.scheduler()
    command = bench.worker(address)
    worker = worker_pid(command)
    os.kill(worker, signal.SIGSTOP)  # so that it cannot close in order
    command.process.send_signal(signal.SIGINT)
    while command.process.poll() is None:  # the first may not have arrived yet when the second is sent
        command.process.send_signal(signal.SIGINT)
        time.sleep(0.1)
    assert ended(command, 3) == 130
    gone([worker])


def test_a_killed_worker_is_started_again(bench: Bench) -> None:
    _, address = bench.scheduler()
    command = bench.worker(address)
    first = worker_pid(command)
    os.kill(first, signal.SIGKILL)
    command.line(3)
    assert worker_pid(command) != first
    assert command.errors(f"process {first}\\) was killed by SIGKILL; starting it again")
    with Client(address) as client:
        wait_until(lambda: len(client.scheduler_info()["workers"]) == 1, "one worker")


@pytest.mark.parametrize("arguments", [["--nanny"], ["--no-nanny"], ["--nworkers", "2"]])
def test_kill_leaves_no_orphan(bench: Bench, arguments: list[str]) -> None:
    _, address = bench.scheduler()
    command = bench.worker(address, *arguments)
    pids = [command.process.pid, *command.children]
    command.process.kill()
    gone(pids)


@pytest.mark.parametrize("nanny", ["--nanny", "--no-nanny"])
def test_terminate_ends_all(bench: Bench, nanny: str) -> None:
    _, address = bench.scheduler()
    command = bench.worker(address, nanny)
    pids = [command.process.pid, *command.children]

    async def terminate() -> None:
        async with rpc(command.out[0].rpartition(" ")[2]) as worker:
            await worker.terminate()

    asyncio.run(terminate())
    assert ended(command) == 0
    gone(pids)
    assert "Traceback" not in command.text


def test_the_scheduler_retires_it(bench: Bench) -> None:
    _, address = bench.scheduler()
    command = bench.worker(address)
    with Client(address) as client:
        client.retire_workers(list(client.scheduler_info()["workers"]))
    assert ended(command) == 0


def test_scheduler_file_that_comes_later(bench: Bench) -> None:
    file = bench.folders["cwd"] / "scheduler.json"
    command = bench.start("dworker", "--scheduler-file", str(file), "--nthreads", "1")
    wait_until(lambda: command.errors("waiting for the scheduler file"), "it says what it waits for")
    _, address = bench.scheduler("--scheduler-file", str(file))
    assert command.line(1).endswith(address)


def test_address_from_the_environment(bench: Bench) -> None:
    _, address = bench.scheduler()
    bench.env["DASK_SCHEDULER_ADDRESS"] = f"tcp://{address}"
    assert bench.start("dworker", "--nthreads", "1").line(1).endswith(address)


def test_another_key_names_both(bench: Bench, key: str) -> None:
    _, address = bench.scheduler()
    other = ClusterKey.generate()
    bench.env["DISTRIBUTED_KEY"] = other.text()
    command = bench.start("dworker", address, "--death-timeout", "20")
    assert ended(command) == 1
    assert other.id in command.err[-1]
    assert ClusterKey.parse(key).id in command.err[-1]
    assert other.text() not in command.text
    assert "Traceback" not in command.text


def test_no_key_says_what_to_do(bench: Bench) -> None:
    _, address = bench.scheduler()
    del bench.env["DISTRIBUTED_KEY"]
    command = bench.start("dworker", address)
    assert ended(command) == 1
    assert len(command.err) == 1
    assert command.errors("no cluster key: set DISTRIBUTED_KEY, give --key-file, or copy")


def test_key_from_standard_input(bench: Bench, key: str) -> None:
    _, address = bench.scheduler()
    env = {name: value for name, value in bench.env.items() if name != "DISTRIBUTED_KEY"}
    with subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_worker", address, "--key-file", "-", "--nthreads", "1"],
        env=env,
        cwd=bench.folders["cwd"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(key + "\n")
        process.stdin.close()
        assert process.stdout.readline().startswith("Start worker at:            ")
        process.terminate()
        assert process.wait(20) == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "no scheduler: give one"),
        (["no.such.host.invalid:8786", "--death-timeout", "2"], r"no\.such\.host\.invalid"),
        (["127.0.0.1:1", "--death-timeout", "1", "--no-nanny"], r"127\.0\.0\.1:1\b"),
        (["127.0.0.1:1", "--nworkers", "2", "--no-nanny"], "several workers in one process"),
        (
            ["--scheduler-file", "/no/such/file", "--death-timeout", "0.5"],
            "/no/such/file: there is no such file",
        ),
        (["127.0.0.1:1", "--preload-nanny", "no_such_module"], "no_such_module"),
        (["127.0.0.1:1", "--worker-class", "no_such_module.Worker"], "no_such_module"),
        (["127.0.0.1:1", "--listen-address", "tcp://127.0.0.1"], "missing port number"),
        (["127.0.0.1:1", "--listen-address", "tcp://127.0.0.1", "--no-nanny"], "missing port number"),
    ],
)
def test_complains_in_the_last_line(bench: Bench, arguments: list[str], complaint: str) -> None:
    command = bench.start("dworker", *arguments)
    assert ended(command) == 1
    assert re.search(complaint, command.err[-1]), command.text
    assert "Traceback" not in command.text


@pytest.mark.parametrize("nanny", ["--nanny", "--no-nanny"])
def test_listen_and_contact_address(bench: Bench, nanny: str) -> None:
    _, address = bench.scheduler()
    port = open_port("127.0.0.1")
    command = bench.worker(
        address,
        nanny,
        "--listen-address",
        f"tcp://127.0.0.1:{port}",
        "--contact-address",
        f"tcp://localhost:{port}",
    )
    assert command.out[0].endswith(f"localhost:{port}")
    with Client(address) as client:
        assert client.submit(pow, 2, 3).result(timeout=20) == 8


def test_lifetime(bench: Bench) -> None:
    _, address = bench.scheduler()
    command = bench.worker(address, "--lifetime", "500ms")
    assert ended(command) == 0


def test_lifetime_with_restart(bench: Bench) -> None:
    _, address = bench.scheduler()
    command = bench.worker(address, "--lifetime", "500ms", "--lifetime-restart")
    command.line(5)


def test_preload_in_worker_and_nanny(bench: Bench, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text(
            f"def dask_setup(server): print('{name}', type(server).__name__, flush=True)\n"
        )
    _, address = bench.scheduler()
    command = bench.start(
        "dworker", address, "--nthreads", "1", "--preload", str(tmp_path / "one.py"),
        "--preload-nanny", str(tmp_path / "two.py"),
    )  # fmt: skip
    wait_until(lambda: len(command.out) == 4, "all lines")
    assert {"one Worker", "two Nanny"} < set(command.out)
