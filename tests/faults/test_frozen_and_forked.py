"""Workers that say nothing, for a task holds the interpreter or somebody stopped them; tasks that fork."""

from __future__ import annotations

import ast
import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fault_bench import FaultBench, worker_pid
from fault_tasks import (
    Speaker,
    fork_and_wait,
    hold_gil,
    inc,
    kill_own_process,
    noted,
    notes,
    stop_once,
    wait_for,
)
from system_bench import alive, wait_until

from distributed import Client, KilledWorker
from distributed.exceptions import UnknownOutcomeError


def test_a_task_that_holds_the_interpreter_is_left_alone(bench: FaultBench) -> None:
    """Longer than the worker's time to live: its nanny says that it runs."""
    bench.configure(scheduler__worker_ttl="1s", scheduler__worker_hang_limit="60s")
    scheduler, address = bench.scheduler()
    command = bench.worker(address)
    with Client(address) as client:
        client.wait_for_workers(1)
        pid = worker_pid(command)
        assert client.submit(hold_gil, 6.0).result(timeout=60) >= 5.9
        assert client.submit(inc, 1).result(timeout=30) == 2
        assert worker_pid(command) == pid
        assert scheduler.errors("silent for .* its nanny says that it runs")
        assert not scheduler.errors("counted as dead|is gone")


def test_but_not_for_ever(bench: FaultBench) -> None:
    """It counts as dead, and is replaced: nobody waits for workers that cannot work."""
    bench.configure(
        scheduler__worker_ttl="500ms", scheduler__worker_hang_limit="2s", scheduler__allowed_failures=1
    )
    scheduler, address = bench.scheduler()
    command = bench.worker(address)
    with Client(address) as client:
        client.wait_for_workers(1)
        pid = worker_pid(command)
        future = client.submit(hold_gil, 600.0, key="greedy")
        with pytest.raises(KilledWorker, match=r"greedy.*silent for \d s.*silent for \d s"):
            future.result(timeout=60)
        assert scheduler.errors(r"silent for \d s: counted as dead")
        assert client.submit(inc, 1).result(timeout=30) == 2
        assert not alive(pid)


def test_a_worker_that_a_task_stops_is_replaced(bench: FaultBench, notes_folder: str) -> None:
    bench.configure(scheduler__worker_ttl="1s", scheduler__allowed_failures=1)
    _, address = bench.scheduler()
    commands = [bench.worker(address), bench.worker(address)]
    with Client(address) as client:
        client.wait_for_workers(2)
        pids = {worker_pid(command) for command in commands}
        once = client.map(stop_once, range(2), folder=notes_folder)
        assert client.gather(once) == [0, 1], "it is run again elsewhere, and does not do it again"
        with pytest.raises(KilledWorker, match="silent for"):
            client.submit(kill_own_process, int(signal.SIGSTOP), key="stops").result(timeout=60)
        client.wait_for_workers(2, timeout=30)
        assert client.gather(client.map(inc, range(20))) == list(range(1, 21))
        assert not any(map(alive, pids))


def _connect_to(client: Client, frozen: str, others: list[str]) -> None:
    data = client.submit(inc, 10, workers=[frozen])
    assert client.gather([client.submit(inc, data, workers=[a], key=f"c-{a}") for a in others]) == [12] * 3


def _copies(client: Client, frozen: str, others: list[str]) -> Callable[[], Any]:
    _connect_to(client, frozen, others)
    future = client.submit(inc, 1, workers=[frozen], allow_other_workers=True)
    assert future.result(timeout=30) == 2
    return lambda: client.replicate([future])


def _dependents(client: Client, frozen: str, others: list[str]) -> Callable[[], Any]:
    _connect_to(client, frozen, others)
    future = client.submit(inc, 1, workers=[frozen], allow_other_workers=True)
    assert future.result(timeout=30) == 2
    return lambda: client.gather([client.submit(inc, future, workers=[a], key=f"at-{a}") for a in others])


def _large_result(client: Client, frozen: str, others: list[str]) -> Callable[[], Any]:
    futures = [
        client.submit(bytes, n, workers=[frozen], allow_other_workers=True) for n in (10**6, 10**6 + 1)
    ]
    assert len(futures[0].result(timeout=30)) == 10**6, "the client is connected to the worker now"
    client.gather(client.map(len, futures, workers=[frozen]))
    return lambda: len(futures[1].result())


def _actor(client: Client, frozen: str, others: list[str]) -> Callable[[], Any]:
    proxy = client.submit(list, actor=True, workers=[frozen], allow_other_workers=True).result(timeout=30)
    assert proxy.count(1).result(timeout=30) == 0
    return lambda: proxy.count(1).result()


def _function(client: Client, frozen: str, others: list[str]) -> Callable[[], Any]:
    client.run(os.getpid)
    return lambda: client.run(os.getpid, workers=[frozen])


@pytest.mark.parametrize(
    ("begin", "outcome"),
    [
        (_copies, None),
        (_dependents, [3, 3, 3]),
        (_large_result, 10**6 + 1),
        (_actor, "ValueError: Worker holding Actor was lost"),
        (_function, "UnknownOutcomeError: .* was lost while it carried out 'run'"),
    ],
)
def test_nobody_waits_for_a_frozen_worker_that_counts_as_dead(
    bench: FaultBench, begin: Callable[[Client, str, list[str]], Callable[[], Any]], outcome: Any
) -> None:
    """What was asked of it straight, before, has an outcome: of clients, of workers and of the scheduler."""
    bench.configure(scheduler__worker_ttl="1s")
    scheduler, address = bench.scheduler()
    command = bench.worker(address, "--name", "frozen", "--no-nanny")
    for _ in range(3):
        bench.worker(address, "--no-nanny")
    with Client(address) as client, ThreadPoolExecutor(1) as waiting:
        client.wait_for_workers(4)
        names = {worker["name"]: a for a, worker in client.scheduler_info()["workers"].items()}
        frozen = names.pop("frozen")
        question = begin(client, frozen, list(names.values()))
        os.kill(command.process.pid, signal.SIGSTOP)
        try:
            answer = waiting.submit(question)
            if isinstance(outcome, str):
                kind, _, words = outcome.partition(": ")
                with pytest.raises((ValueError, UnknownOutcomeError), match=words) as caught:
                    answer.result(25)
                assert caught.type.__name__ == kind
            else:
                assert answer.result(25) == outcome
            assert scheduler.errors("counted as dead")
        finally:
            os.kill(command.process.pid, signal.SIGCONT)


@pytest.mark.parametrize("while_away", ["its work is done elsewhere", "nothing else is there"])
def test_a_stopped_worker_without_a_nanny_is_dead_until_it_goes_on(
    bench: FaultBench, tmp_path: Path, notes_folder: str, while_away: str
) -> None:
    bench.configure(scheduler__worker_ttl="1s", worker__reconnect_timeout="30s")
    scheduler, address = bench.scheduler()
    command = bench.worker(address, "--name", "frozen", "--no-nanny")
    with Client(address) as client:
        client.wait_for_workers(1)
        results = client.map(noted, [str(i) for i in range(50)], folder=notes_folder)
        client.gather(results)
        running = client.submit(wait_for, str(tmp_path / "go"), "done", notes_folder, "running")
        wait_until(lambda: "running" in notes(notes_folder), "the task runs")
        pid = command.process.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            wait_until(lambda: scheduler.errors("counted as dead"), "it counts as dead")
            if while_away == "its work is done elsewhere":
                bench.worker(address, "--name", "other")
                (tmp_path / "go").touch()
                assert running.result(timeout=30) == "done"
                assert client.gather(client.map(inc, results)) == [2] * 50
        finally:
            os.kill(pid, signal.SIGCONT)
        expected = 2 if while_away == "its work is done elsewhere" else 1
        wait_until(lambda: len(client.scheduler_info()["workers"]) == expected, "it is back")
        (tmp_path / "go").touch()
        assert running.result(timeout=30) == "done"
        assert client.gather(results) == [1] * 50
        lines = notes(notes_folder)
        if expected == 1:
            assert len(lines) == 51, "what it holds is taken up again, what it runs goes on"
        del results, running
        wait_until(lambda: not any(client.has_what().values()), "nothing stays behind in either worker")
    assert alive(pid)


def test_calls_of_an_actor_on_a_worker_that_counts_as_dead_are_told(bench: FaultBench) -> None:
    """The process is there, and so is the connection to it: nothing but the scheduler's word ends the call."""
    bench.configure(scheduler__worker_ttl="1s")
    scheduler, address = bench.scheduler()
    pid = bench.worker(address, "--no-nanny").process.pid
    with Client(address) as client:
        speaker = client.submit(Speaker, actor=True).result(timeout=30)
        assert speaker.speak().result(timeout=30) == "here"
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(ValueError, match="Worker holding Actor was lost"):
                speaker.speak().result(timeout=30)
            assert scheduler.errors("counted as dead")
        finally:
            os.kill(pid, signal.SIGCONT)


# ---------------------------------------------------------------- forks


def test_the_child_of_a_task_has_none_of_our_sockets(bench: FaultBench, tmp_path: Path) -> None:
    _, address = bench.scheduler()
    command = bench.worker(address, "--no-nanny")
    with Client(address) as client:
        client.wait_for_workers(1)
        [worker] = client.scheduler_info()["workers"]
        found = client.submit(fork_and_wait, str(tmp_path)).result(timeout=30)
        try:
            assert alive(found["child"])
            assert ast.literal_eval(found["sockets"]) == []
            assert client.submit(inc, 1).result(timeout=30) == 2, "the worker goes on with its own"
            # The worker dies, its child lives: the scheduler hears of it at once, and the port is free.
            bench.kill(command)
            begin = time.monotonic()
            wait_until(lambda: not client.scheduler_info()["workers"], "the scheduler knows that it is gone")
            assert time.monotonic() - begin < 5
            host, _, port = worker.rpartition("//")[2].rpartition(":")
            with socket.socket() as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind((host, int(port)))
                sock.listen()
            assert alive(found["child"])
        finally:
            (tmp_path / "stop").touch()
            with contextlib.suppress(ProcessLookupError):
                wait_until(lambda: not alive(found["child"]), "the child has ended")
