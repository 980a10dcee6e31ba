"""The scheduler is killed and started again at its address: nothing is lost, nothing is done twice."""

from __future__ import annotations

import secrets
import tempfile
import time
from collections import Counter
from typing import Any

import dask
import pytest
from fault_bench import FaultBench
from fault_tasks import noted, notes, try_lock
from system_bench import Command, wait_until

from distributed import Client, Event, Lock, Queue, Variable

N = 20_000
WIDTH = 2_000
NWORKERS = 2
KEY_ID = "[0-9a-f]{16}"


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


# ---------------------------------------------------------------- who answers at the address


def test_a_scheduler_with_another_key_is_not_ours(bench: FaultBench) -> None:
    """Workers and clients wait for theirs, as if nobody was there; then they stop, and say whose key they met."""
    bench.configure(worker__reconnect_timeout="3s")
    scheduler, address = bench.scheduler()
    worker = bench.worker(address)
    with dask.config.set({"distributed.client.reconnect-timeout": "3s"}), Client(address) as client:
        client.wait_for_workers(1)
        future = client.submit(noted, "x", tempfile.gettempdir(), delay=30)
        bench.kill(scheduler)
        ours, bench.env["DISTRIBUTED_KEY"] = bench.env["DISTRIBUTED_KEY"], secrets.token_hex(32)
        stranger = bench.scheduler_again(address)
        bench.env["DISTRIBUTED_KEY"] = ours
        with pytest.raises(Exception, match=f"stayed away for 3 s.*{KEY_ID}.*{KEY_ID}"):
            future.result(timeout=30)
        assert worker.process.wait(30) is not None
        assert worker.errors(f"gives up: no scheduler answers at .*{KEY_ID}.*{KEY_ID}"), worker.text
        assert not stranger.errors("registered")


def test_ours_is_found_again_behind_a_stranger(bench: FaultBench) -> None:
    scheduler, address = bench.scheduler()
    worker = bench.worker(address)
    with Client(address) as client:
        [data] = client.scatter([5], hash=False)
        bench.kill(scheduler)
        ours, bench.env["DISTRIBUTED_KEY"] = bench.env["DISTRIBUTED_KEY"], secrets.token_hex(32)
        stranger = bench.scheduler_again(address)
        wait_until(
            lambda: len(stranger.errors("refused a connection")) >= 2, "both have come to the wrong one"
        )
        bench.kill(stranger)
        bench.env["DISTRIBUTED_KEY"] = ours
        bench.scheduler_again(address)
        assert data.result(timeout=30) == 5
        assert worker.process.poll() is None


# ---------------------------------------------------------------- what else a scheduler knows


def test_what_comes_back_of_what_is_coordinated_through_the_scheduler(bench: FaultBench) -> None:
    """Futures and locks are their client's, and come back; what lay in the scheduler alone does not: it is an error."""
    scheduler, address = bench.scheduler()
    bench.worker(address)
    with Client(address) as client:
        future = client.submit(noted, "x", tempfile.gettempdir())
        variable, queue, lock, event = Variable("v"), Queue("q"), Lock("l"), Event("e")
        variable.set(future)
        queue.put(1)
        assert lock.acquire()
        event.set()
        client.publish_dataset(data=future)
        client.set_metadata("m", 3)
        bench.kill(scheduler)
        bench.scheduler_again(address)
        assert future.result(timeout=30) == 1, "a future is its client's"
        with pytest.raises(TimeoutError, match=r"'v' was not set within 0\.5 s"):
            variable.get(timeout=0.5)
        with pytest.raises(TimeoutError, match=r"'q' was empty for 0\.5 s"):
            queue.get(timeout=0.5)
        assert lock.locked(), "a lock is its holder's"
        assert not client.submit(try_lock, "l", pure=False).result(timeout=30)
        lock.release()
        assert client.submit(try_lock, "l", pure=False).result(timeout=30)
        assert not event.is_set()
        with pytest.raises(KeyError, match="'data' not found"):
            client.get_dataset("data")
        with pytest.raises(KeyError, match="m"):
            client.get_metadata("m")
        # Every one of them can be used again at once.
        variable.set(2)
        assert variable.get(timeout=5) == 2
        event.set()
        assert event.is_set()
        client.publish_dataset(data=future)
        assert client.get_dataset("data").result(timeout=30) == 1
