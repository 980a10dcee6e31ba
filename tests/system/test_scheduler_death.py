"""A scheduler that dies and is started again at its address: the network goes on."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import dask
import pytest
from system_bench import Bench, wait_until
from system_tasks import add, noted_inc, slow_inc, total

from distributed import Client, as_completed

N = 300


def test_the_network_goes_on(bench: Bench, tmp_path: Path) -> None:
    scheduler, address = bench.scheduler()
    for _ in range(2):
        bench.worker(address)
    notes = tmp_path / "notes"
    notes.mkdir()
    with Client(address) as client:
        client.wait_for_workers(2)
        first = client.map(noted_inc, range(N), folder=str(notes))
        second = client.map(add, first, first[1:] + first[:1])
        result = client.submit(total, second)

        done = as_completed(first)
        for _ in range(N // 3):
            next(done)
        os.kill(scheduler.process.pid, signal.SIGKILL)
        scheduler.process.wait()
        host, _, port = address.rpartition(":")
        bench.start("dscheduler", "--host", host, "--port", port).line(0)

        assert result.result(timeout=60) == sum(2 * (x + 1) for x in range(N))
        wait_until(lambda: len(client.scheduler_info()["workers"]) == 2, "both workers are back")
        # What was finished before is not run again: each task notes each of its runs.
        runs = [len(list(notes.glob(f"{x}-*"))) for x in range(N)]
        assert min(runs) == 1
        assert sum(runs) - N <= 4, "more was run again than was running as the scheduler died"


def test_a_scheduler_that_stays_away_is_an_error(bench: Bench) -> None:
    scheduler, address = bench.scheduler()
    bench.worker(address)
    with dask.config.set({"distributed.client.reconnect-timeout": "2s"}), Client(address) as client:
        client.wait_for_workers(1)
        future = client.submit(slow_inc, 1, delay=60)
        os.kill(scheduler.process.pid, signal.SIGKILL)
        with pytest.raises(Exception, match=re.escape(address)) as caught:
            future.result(timeout=30)
        assert not isinstance(caught.value, TimeoutError)
