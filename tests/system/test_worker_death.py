"""Workers that die in the middle of a computation."""

from __future__ import annotations

import os
import signal

import psutil
import pytest
from system_bench import Bench, Command, wait_until
from system_tasks import add, inc, total

from distributed import Client, as_completed

N = 5_000


def worker_process(command: Command) -> int:
    """The process below the nanny that runs tasks."""
    (child,) = psutil.Process(command.process.pid).children()
    return child.pid


@pytest.mark.parametrize("victim", ["worker", "nanny and worker"])
def test_ten_thousand_tasks_with_dependencies(bench: Bench, victim: str) -> None:
    _, address = bench.scheduler()
    commands = [bench.worker(address) for _ in range(3)]
    with Client(address) as client:
        client.wait_for_workers(3)
        first = client.map(inc, range(N))
        second = client.map(add, first, first[1:] + first[:1])
        sums = [client.submit(total, second[i : i + 100]) for i in range(0, N, 100)]
        result = client.submit(total, sums)

        done = as_completed(first)
        for _ in range(N // 10):  # in the middle: results are there that later tasks need
            next(done)
        os.kill(worker_process(commands[0]), signal.SIGKILL)
        if victim != "worker":
            os.kill(commands[0].process.pid, signal.SIGKILL)

        assert result.result(timeout=100) == sum(2 * (x + 1) for x in range(N))
        assert client.gather(second[:3]) == [3, 5, 7]
        if victim == "worker":
            wait_until(lambda: len(client.scheduler_info()["workers"]) == 3, "the nanny has started another")
