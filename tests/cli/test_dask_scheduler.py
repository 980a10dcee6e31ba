from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import pytest
from system_bench import Bench, Command, wait_until

from distributed import rpc
from distributed.security import ClusterKey


def ended(command: Command, seconds: float = 30) -> int:
    """Its exit status, when all it printed has been read."""
    status = command.process.wait(seconds)
    for reader in command.readers:
        reader.join(10)
    return status


def test_files_are_there_as_long_as_it_runs(bench: Bench, tmp_path: Path) -> None:
    pid, file = tmp_path / "pid", tmp_path / "scheduler.json"
    command, address = bench.scheduler("--pid-file", str(pid), "--scheduler-file", str(file))
    assert pid.read_text() == f"{command.process.pid}\n"
    assert json.loads(file.read_text())["address"] == f"tcp://{address}"
    command.process.terminate()
    assert ended(command) == 0
    assert not pid.exists()
    assert not file.exists()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it(bench: Bench, signum: signal.Signals) -> None:
    command, _ = bench.scheduler()
    command.process.send_signal(signum)
    assert ended(command) == 0
    assert "Traceback" not in command.text


def test_terminate_ends_the_process(bench: Bench) -> None:
    command, address = bench.scheduler()

    async def terminate() -> None:
        async with rpc(address) as scheduler:
            await scheduler.terminate()

    asyncio.run(terminate())
    assert ended(command) == 0
    assert "Traceback" not in command.text


def test_says_which_key_but_not_the_key(bench: Bench, key: str) -> None:
    command, _ = bench.scheduler()
    wait_until(lambda: command.err, "it says which key")
    assert ClusterKey.parse(key).id in command.text
    assert key not in command.text


def test_insecure_is_said_aloud(bench: Bench) -> None:
    command, _ = bench.scheduler("--insecure")
    wait_until(lambda: command.errors("INSECURE"), "it warns")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--host", "no.such.host.invalid"], r"no\.such\.host\.invalid"),
        (["--interface", "nope0"], r"no network interface named 'nope0'"),
        (["--key-file", "-"], "what was read from standard input is not a cluster key"),
        (
            ["--key-file", "/no/such/key"],
            r"no cluster key at /no/such/key: there is no such file; look at its name",
        ),
        (["--tls-cert", "cert.pem"], "does not encrypt"),
        (["--pid-file", "/no/such/folder/pid"], r"cannot write the pid file /no/such/folder/pid"),
        (["--scheduler-file", "/no/such/folder/file"], r"/no/such/folder"),
        (["--preload", "no_such_module"], "no_such_module"),
    ],
)
def test_complains_in_one_line(bench: Bench, arguments: list[str], complaint: str) -> None:
    command = bench.start("dscheduler", "--port", "0", *arguments)
    assert ended(command) == 1
    assert len(command.err) == 1, command.text
    assert command.errors(complaint), command.text


def test_preload_is_set_up_and_torn_down(bench: Bench, tmp_path: Path) -> None:
    preload = tmp_path / "a_preload.py"
    preload.write_text(
        "def dask_setup(scheduler): print('set up', type(scheduler).__name__, flush=True)\n"
        "def dask_teardown(scheduler): print('torn down', flush=True)\n"
    )
    command = bench.start("dscheduler", "--host", "127.0.0.1", "--port", "0", "--preload", str(preload))
    wait_until(lambda: len(command.out) == 2, "both lines")
    assert "set up Scheduler" in command.out
    command.process.terminate()
    assert ended(command) == 0
    assert command.out[-1] == "torn down"
