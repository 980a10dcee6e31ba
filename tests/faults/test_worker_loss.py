"""Workers that die, by tasks of theirs or by others: what is run again, and what the user is told."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from fault_bench import FaultBench, worker_pid
from fault_tasks import (
    add,
    exit_with,
    inc,
    kill_by_child,
    kill_own_process,
    noted,
    notes,
    segfault,
    total,
    wait_for,
)
from system_bench import alive, wait_until

from distributed import Client, wait
from distributed.exceptions import KilledWorker, LostDataError, NoValidWorkerError, NoWorkerError

HOW = {
    "os._exit": (exit_with, (3,), "ended with exit status 3"),
    "os._exit 0": (exit_with, (0,), "ended with exit status 0"),
    "SIGKILL": (kill_own_process, (int(signal.SIGKILL),), "was killed by SIGKILL"),
    "SIGSEGV": (segfault, (), "was killed by SIGSEGV"),
    "SIGTERM": (kill_own_process, (int(signal.SIGTERM),), "was killed by SIGTERM"),
    "SIGTERM of its child": (kill_by_child, ("TERM",), "was killed by SIGTERM"),
}


@pytest.mark.parametrize("how", HOW)
def test_a_task_that_kills_its_workers(bench: FaultBench, how: str) -> None:
    """The error names the task and, of each worker that died with it, address, how it ended, and memory."""
    function, args, ending = HOW[how]
    bench.configure(scheduler__allowed_failures=1, nanny__quick_failure="0s")
    _, address = bench.scheduler()
    commands = [bench.worker(address) for _ in range(2)]
    with Client(address) as client:
        client.wait_for_workers(2)
        innocent = client.map(inc, range(50))
        guilty = client.submit(function, *args, key="guilty", pure=False)
        with pytest.raises(KilledWorker) as caught:
            guilty.result(timeout=60)
        error = caught.value
        assert error.task == "guilty"
        assert error.allowed_failures == 1
        deaths = re.findall(
            r"(tcp://[\d.:]+) \(its process \d+ ([^;]*?), last memory (\d+) MiB\)", str(error)
        )
        assert len(deaths) == 2, str(error)
        assert {ending for _, ending, _ in deaths} == {ending}
        assert all(10 < int(memory) < 2000 for _, _, memory in deaths)
        assert deaths[-1][0] == error.last_worker
        assert client.gather(innocent) == list(range(1, 51)), "tasks beside it are not harmed"
        if how != "os._exit 0":
            wait_until(
                lambda: len(client.scheduler_info()["workers"]) == 2, "the nannies have started others"
            )
    assert all(command.process.poll() is None for command in commands) or how == "os._exit 0"


def test_nannies_live_however_often_tasks_end_their_workers(bench: FaultBench) -> None:
    """Even at the very first moment; and what others have submitted is done."""
    bench.configure(scheduler__allowed_failures=1, nanny__max_quick_failures=2, nanny__quick_failure="60s")
    _, address = bench.scheduler()
    with Client(address) as other, Client(address) as client:
        bad = client.map(exit_with, [1] * 5, pure=False, priority=10)
        good = other.map(inc, range(200))
        commands = [bench.worker(address) for _ in range(2)]
        assert other.gather(good) == list(range(1, 201))
        wait(bad, timeout=120)
        assert {future.status for future in bad} == {"error"}
        client.wait_for_workers(2, timeout=30)
    assert all(command.process.poll() is None for command in commands)


def test_nannies_live_however_often_somebody_kills_their_workers(bench: FaultBench) -> None:
    bench.configure(nanny__max_quick_failures=2, nanny__quick_failure="60s")
    _, address = bench.scheduler()
    command = bench.worker(address)
    with Client(address) as client:
        killed: list[int] = []
        for i in range(5):
            [pid] = wait_until(
                lambda: [pid for pid in command.children if pid not in killed], "a worker runs"
            )
            assert client.submit(inc, i).result(timeout=30) == i + 1
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
            wait_until(lambda pid=pid: not alive(pid), "it is gone")  # type: ignore[misc]
        assert client.submit(inc, 10).result(timeout=30) == 11


def test_who_waits_hears_that_the_last_nanny_has_given_up(bench: FaultBench, tmp_path: Path) -> None:
    bench.configure(nanny__max_quick_failures=2, scheduler__muster_timeout="500ms")
    _, address = bench.scheduler()
    preload = tmp_path / "preload.py"
    preload.touch()
    command = bench.worker(address, "--preload", str(preload))
    with Client(address) as client:
        waiting = client.submit(wait_for, str(tmp_path / "never"))
        wait_until(lambda: any(client.processing().values()), "it runs")
        preload.write_text("raise ValueError('the disk is full')")
        os.kill(worker_pid(command), signal.SIGKILL)
        with pytest.raises(NoWorkerError, match=r"the last nanny has given up: .*the disk is full"):
            waiting.result(timeout=60)
        assert command.process.wait(30) == 1
        bench.worker(address)
        (tmp_path / "never").touch()
        client.retry(waiting)
        assert waiting.result(timeout=30) is None


def test_no_workers_timeout(bench: FaultBench) -> None:
    bench.configure(scheduler__no_workers_timeout="300ms")
    _, address = bench.scheduler()
    with Client(address) as client:
        with pytest.raises(NoWorkerError, match="no-workers-timeout"):
            client.submit(inc, client.submit(inc, 1)).result(timeout=30)
        bench.worker(address)
        client.wait_for_workers(1)
        with pytest.raises(NoValidWorkerError, match="resources="):
            client.submit(inc, 2, resources={"GPU": 1}).result(timeout=30)
        assert client.submit(inc, 3).result(timeout=30) == 4


def test_scattered_data_that_is_lost_is_a_clear_error(bench: FaultBench) -> None:
    _, address = bench.scheduler()
    command = bench.worker(address)
    with Client(address) as client:
        client.wait_for_workers(1)
        [data] = client.scatter([12345], hash=False)
        waiting = client.submit(inc, data)
        assert waiting.result(timeout=30) == 12346
        os.kill(worker_pid(command), signal.SIGKILL)
        with pytest.raises(
            LostDataError, match=r"was scattered .* cannot be\s+computed again. Scatter it again"
        ):
            client.submit(add, data, 5).result(timeout=30)
        with pytest.raises(LostDataError, match=re.escape(repr(data.key))):
            data.result(timeout=30)
        assert client.submit(inc, 1, pure=False).result(timeout=30) == 2


def test_scattered_data_with_copies_survives(bench: FaultBench) -> None:
    _, address = bench.scheduler()
    commands = [bench.worker(address) for _ in range(2)]
    with Client(address) as client:
        client.wait_for_workers(2)
        [data] = client.scatter([12345], broadcast=True, hash=False)
        os.kill(worker_pid(commands[0]), signal.SIGKILL)
        assert client.submit(inc, data).result(timeout=30) == 12346
        assert data.result(timeout=30) == 12345


# ---------------------------------------------------------------- leaving in order


def holders(client: Client, futures: list[Any]) -> dict[Any, tuple[str, ...]]:
    return {key: tuple(addresses) for key, addresses in client.who_has(futures).items()}


@pytest.mark.parametrize("nanny", [True, False])
def test_sigterm_moves_data_and_finishes_what_runs(
    bench: FaultBench, tmp_path: Path, notes_folder: str, nanny: bool
) -> None:
    _, address = bench.scheduler()
    first = bench.worker(address, "--name", "first", *([] if nanny else ["--no-nanny"]))
    with Client(address) as client:
        client.wait_for_workers(1)
        results = client.map(noted, [str(i) for i in range(100)], folder=notes_folder)
        [data] = client.scatter([7], hash=False)
        client.gather(results)
        running = client.submit(wait_for, str(tmp_path / "go"), "done", notes_folder, "running")
        wait_until(lambda: "running" in notes(notes_folder), "the task runs")
        bench.worker(address, "--name", "second")
        client.wait_for_workers(2)
        first.process.send_signal(signal.SIGTERM)
        wait_until(lambda: first.errors("SIGTERM: leaving"), "it says what it does")
        wait_until(
            lambda: all(len(who) == 2 or "first" not in who for who in holders(client, results).values()),
            "results were copied",
        )
        assert first.process.poll() is None, "it waits for the task that runs"
        (tmp_path / "go").touch()
        assert first.process.wait(30) == 0
        assert running.result(timeout=30) == "done"
        assert client.gather(results) == [1] * 100
        assert data.result(timeout=30) == 7, "scattered data was moved too"
        assert len(client.scheduler_info()["workers"]) == 1
    lines = notes(notes_folder)
    assert len(lines) == len(set(lines)) == 101, "nothing was run again"


def test_sigterm_waits_no_longer_than_configured(
    bench: FaultBench, tmp_path: Path, notes_folder: str
) -> None:
    bench.configure(worker__leave_timeout="1s")
    _, address = bench.scheduler()
    first = bench.worker(address)
    with Client(address) as client:
        client.wait_for_workers(1)
        running = client.submit(wait_for, str(tmp_path / "go"), "done", notes_folder, "run")
        wait_until(lambda: notes(notes_folder) == ["run"], "the task runs")
        bench.worker(address)
        begin = time.monotonic()
        first.process.send_signal(signal.SIGTERM)
        assert first.process.wait(30) == 0
        assert 0.9 < time.monotonic() - begin < 10
        assert any("was not done within 1.0 s" in line for line in first.err), first.text
        wait_until(lambda: notes(notes_folder) == ["run", "run"], "it runs elsewhere")
        (tmp_path / "go").touch()
        assert running.result(timeout=30) == "done"


def test_two_lifetimes_end_one_after_the_other(bench: FaultBench, notes_folder: str) -> None:
    """Nobody else is there to take results, so one has to be back before the other leaves. Several times over."""
    _, address = bench.scheduler()
    arguments = ("--lifetime", "1s", "--lifetime-stagger", "300ms", "--lifetime-restart")
    commands = [bench.worker(address, *arguments) for _ in range(2)]
    seen = [{worker_pid(command)} for command in commands]

    def all_replaced_twice() -> bool:
        for pids, command in zip(seen, commands, strict=True):
            pids.update(command.children)
        return all(len(pids) >= 3 for pids in seen)

    with Client(address) as client:
        client.wait_for_workers(2)
        parts = client.map(noted, [str(i) for i in range(14)], folder=notes_folder, delay=0.05)
        assert client.gather(parts) == [1] * 14
        wait_until(all_replaced_twice, "both have been replaced twice", 60)
        assert client.submit(total, parts).result(timeout=60) == 14
    lines = notes(notes_folder)
    assert sorted(lines, key=int) == [str(i) for i in range(14)], "nothing ran again"


def test_a_lone_worker_outlives_its_lifetime_for_its_results(bench: FaultBench, notes_folder: str) -> None:
    _, address = bench.scheduler()
    command = bench.worker(address, "--lifetime", "500ms")
    with Client(address) as client:
        future = client.submit(noted, "once", folder=notes_folder)
        assert future.result(timeout=30) == 1
        other = client.submit(noted, "afterwards", folder=notes_folder, delay=1.0)
        assert client.submit(total, [future, other]).result(timeout=30) == 2
        assert command.process.poll() is None
        del future, other
        assert command.process.wait(30) == 0, "nobody wants anything of it any more"
    assert sorted(notes(notes_folder)) == ["afterwards", "once"]


def test_lifetime_with_stagger_loses_nothing(bench: FaultBench, notes_folder: str) -> None:
    _, address = bench.scheduler()
    arguments = ("--lifetime", "1500ms", "--lifetime-stagger", "500ms", "--lifetime-restart")
    commands = [bench.worker(address, *arguments) for _ in range(2)]
    bench.worker(address)
    with Client(address) as client:
        client.wait_for_workers(3)
        before = {worker_pid(command) for command in commands}
        parts = client.map(noted, [str(i) for i in range(300)], folder=notes_folder, delay=0.01)
        result = client.submit(total, parts)
        wait_until(lambda: not any(map(alive, before)), "both have been replaced")
        assert result.result(timeout=60) == 300
        assert client.gather(parts) == [1] * 300
    lines = notes(notes_folder)
    assert len(lines) == len(set(lines)) == 300, "a worker whose lifetime ends loses nothing"
