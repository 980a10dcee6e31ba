"""The scheduler is killed and started again at its address: nothing is lost, nothing is done twice."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pytest
from fault_bench import FaultBench
from fault_tasks import noted, notes
from system_bench import Command, wait_until

from distributed import Client

N = 20_000
WIDTH = 2_000
NWORKERS = 2


def layers(client: Client, folder: str, n: int) -> tuple[list[Any], list[int]]:
    """Futures of ``n`` tasks in layers, each task on two of the layer before, and what the last layer is."""
    futures: list[Any] = []
    values: list[int] = []
    for start in range(0, n, WIDTH):
        labels = [str(start + i) for i in range(WIDTH)]
        if not futures:
            futures = client.map(noted, labels, folder=folder)
            values = [1] * WIDTH
            continue
        futures = client.map(noted, labels, [folder] * WIDTH, futures, futures[1:] + futures[:1])
        following = values[1:] + values[:1]
        values = [(1 + a + b) % 1_000_003 for a, b in zip(values, following, strict=True)]
    return futures, values


def start(bench: FaultBench) -> tuple[Command, str]:
    scheduler, address = bench.scheduler()
    for _ in range(NWORKERS):
        bench.worker(address)
    return scheduler, address


@pytest.mark.parametrize("nkills", [1, 10])
def test_finished_tasks_are_not_run_again(bench: FaultBench, notes_folder: str, nkills: int) -> None:
    scheduler, address = start(bench)
    with Client(address) as client:
        client.wait_for_workers(NWORKERS)
        begin = time.monotonic()
        futures, values = layers(client, notes_folder, N)
        for kill in range(nkills):
            mark = N * (kill + 1) // (nkills + 2)
            wait_until(lambda mark=mark: len(notes(notes_folder)) >= mark, f"{mark} tasks have run", 60)
            assert not all(future.done() for future in futures)
            bench.kill(scheduler)
            scheduler = bench.scheduler_again(address)
        assert client.gather(futures) == values
        runs = Counter(notes(notes_folder))
        again = sum(runs.values()) - N
        print(f"{nkills} kills, {N} tasks, {again} runs more than tasks, {time.monotonic() - begin:.1f} s")
        assert len(runs) == N
        assert again <= nkills * NWORKERS, "more ran again than was running as the scheduler died"
