"""What was fired runs to its end, whatever becomes of who fired it, and is let go then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from system_bench import Bench, wait_until

from distributed import Client, fire_and_forget

PROGRAM = """
import os, signal, sys, time
from pathlib import Path

import dask
from distributed import Client, fire_and_forget

def note(folder, name, *needs):
    while not Path(folder, "go").exists():
        time.sleep(0.01)
    Path(folder, f"{name}.ran").touch()
    return name

def fail(folder, name):
    note(folder, name)
    raise ValueError("on purpose")

if __name__ == "__main__":
    address, folder, what, how = sys.argv[1:]
    client = Client(address)
    if what == "tasks":
        fired = [client.submit(note, folder, str(i), pure=False) for i in range(6)]
    elif what == "many":
        fired = client.map(abs, range(-100_000, 0)) + client.map(note, [folder] * 6, range(6))
    elif what == "graph":
        first = [dask.delayed(note)(folder, str(i)) for i in range(4)]
        middle = dask.delayed(note)(folder, "4", first)
        fired = client.compute(dask.delayed(note)(folder, "5", middle))
    elif what == "collection":
        fired = dask.persist(*[dask.delayed(note)(folder, str(i)) for i in range(6)])
    elif what == "errors":
        fired = [client.submit(fail, folder, str(i)) for i in range(6)]
        fired.append(client.submit(note, folder, "never", fired[0]))
    fire_and_forget(fired)
    fire_and_forget(fired)
    del fired
    if how == "close":
        client.close()
    elif how == "kill":
        client.nthreads()  # what came before this has reached the scheduler
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def address(module_bench: Bench) -> str:
    _, address = module_bench.scheduler()
    module_bench.worker(address, "--nworkers", "2")
    return address


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    with Client(address) as client:
        client.wait_for_workers(2)
        yield client


def run(address: str, folder: Path, what: str, how: str) -> int:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, address, str(folder), what, how], timeout=120
    ).returncode


def ran(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.ran"))


def nothing_is_left(client: Client) -> None:
    def nothing(dask_scheduler: object) -> bool:
        state = dask_scheduler.state  # type: ignore[attr-defined]
        # those of a client that was killed wait for it to come back
        if any(cs.disconnected_at is None for ts in state.tasks.values() for cs in ts.who_wants):
            return False
        return "fire-and-forget" not in state.clients

    wait_until(lambda: client.run_on_scheduler(nothing), "the scheduler has forgotten all")


@pytest.mark.parametrize("how", ["close", "kill", "exit"])
@pytest.mark.parametrize("what", ["tasks", "many", "graph", "collection", "errors"])
def test_it_runs_when_its_client_is_gone(
    client: Client, address: str, tmp_path: Path, what: str, how: str
) -> None:
    status = run(address, tmp_path, what, how)
    assert status == (-signal.SIGKILL if how == "kill" else 0)
    assert ran(tmp_path) == []
    (tmp_path / "go").touch()
    wait_until(lambda: ran(tmp_path) == [str(i) for i in range(6)], "all six have run")
    nothing_is_left(client)


def test_one_that_is_fired_in_a_task_outlives_its_worker(client: Client, tmp_path: Path) -> None:
    folder = str(tmp_path)

    def task() -> None:
        from distributed import get_client, get_worker

        inner = get_client()
        here = get_worker().address
        others = [address for address in inner.scheduler_info()["workers"] if address != here]
        names = [f"{i}" for i in range(3)]
        fire_and_forget([inner.submit(wait_and_note, folder, name, workers=others) for name in names])
        inner.nthreads()
        os.kill(os.getpid(), signal.SIGKILL)

    def wait_and_note(folder: str, name: str) -> None:
        import time

        while not Path(folder, "go").exists():
            time.sleep(0.01)
        Path(folder, f"{name}.ran").touch()

    future = client.submit(task, retries=0)
    with pytest.raises(Exception, match="task"):
        future.result(timeout=60)
    del future
    (tmp_path / "go").touch()
    wait_until(lambda: ran(tmp_path) == ["0", "1", "2"], "all have run")
    nothing_is_left(client)


def test_a_restarted_scheduler_is_told_again(bench: Bench, tmp_path: Path) -> None:
    scheduler, address = bench.scheduler()
    bench.worker(address)
    folder = tmp_path / "notes"
    folder.mkdir()
    with Client(address) as client:
        client.wait_for_workers(1)

        def wait_and_note(folder: str, name: str) -> None:
            import time

            while not Path(folder, "go").exists():
                time.sleep(0.01)
            Path(folder, f"{name}.ran").touch()

        fire_and_forget(client.map(wait_and_note, [str(folder)] * 4, list("0123")))
        client.nthreads()
        os.kill(scheduler.process.pid, signal.SIGKILL)
        scheduler.process.wait()
        host, _, port = address.rpartition(":")
        bench.start("dscheduler", "--host", host, "--port", port).line(0)
        wait_until(lambda: client.scheduler_info()["workers"], "the worker is back")
        client.nthreads()
    with Client(address) as other:
        (folder / "go").touch()
        wait_until(lambda: ran(folder) == list("0123"), "all have run")
        nothing_is_left(other)


def test_a_client_that_is_closed_says_so(address: str) -> None:
    client = Client(address, set_as_default=False)
    future = client.submit(abs, -1)
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        fire_and_forget(future)
