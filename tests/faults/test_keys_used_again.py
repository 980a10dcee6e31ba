"""Keys used again for other work while schedulers die and workers are given up and come back."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fault_bench import FaultBench
from fault_tasks import holds_a_name, inc, note, notes, one, plus, two
from system_bench import Command, wait_until

from distributed import Client, Future, wait


@pytest.mark.parametrize("when", ["before the client is back", "when it is back"])
@pytest.mark.parametrize("give_up", ["release", "cancel"])
def test_after_a_restart_of_the_scheduler(
    bench: FaultBench, notes_folder: str, give_up: str, when: str
) -> None:
    """Workers come back with results of ``one``; the key stands for ``two`` now."""
    scheduler, address = bench.scheduler()
    bench.worker(address)
    with Client(address) as client:
        client.wait_for_workers(1)
        keys = [f"k{i}" for i in range(20)]
        futures = client.map(one, [notes_folder] * 20, key=keys)
        dependents = client.map(plus, futures)
        assert client.gather(dependents) == ["one+"] * 20
        kept = client.map(inc, range(20))
        client.gather(kept)
        bench.kill(scheduler)
        if when == "when it is back":
            bench.scheduler_again(address)
            wait_until(lambda: client.scheduler_info()["workers"], "the worker is back")
        held = list(futures)
        if give_up == "cancel":
            client.cancel(dependents)
            client.cancel(futures)
        else:
            held.clear()
        for future in [*dependents, *futures]:
            if give_up == "release":
                future.release()
        del futures, dependents
        again = client.map(two, [notes_folder] * 20, key=keys)
        dependents = client.map(plus, again)
        if when != "when it is back":
            bench.scheduler_again(address)
        assert client.gather(dependents) == ["two+"] * 20
        assert client.gather(again) == ["two"] * 20
        assert client.gather(kept) == list(range(1, 21))
        assert all(future.cancelled() for future in held)
        assert notes(notes_folder).count("one") == 20


@pytest.mark.parametrize("what", ["holds", "runs", "has fetched"])
def test_a_worker_that_was_given_up_comes_back_with_other_work(
    bench: FaultBench, notes_folder: str, what: str
) -> None:
    bench.configure(scheduler__worker_ttl="1s", worker__reconnect_timeout="30s")
    scheduler, address = bench.scheduler()
    command = bench.worker(address, "--name", "frozen", "--no-nanny")
    with Client(address) as client:
        client.wait_for_workers(1)
        delay = 5.0 if what == "runs" else 0.0
        if what == "has fetched":
            [data] = client.scatter({"k": "one"}, broadcast=True).values()
            dependents = client.map(plus, [data] * 1, key=["of-k"])
        else:
            data = client.submit(one, notes_folder, delay=delay, key="k")
            dependents = client.map(plus, [data], key=["of-k"])
        if what == "runs":
            wait_until(lambda: "one begins" in notes(notes_folder), "it runs")
        else:
            assert client.gather(dependents) == ["one+"]
        with stopped(command, scheduler):
            bench.worker(address, "--name", "other")
            client.cancel(dependents)
            client.cancel(data)
            future = client.submit(two, notes_folder, key="k")
            dependent = client.submit(plus, future, key="of-k")
            more = [client.submit(plus, future, key=f"more-{i}") for i in range(20)]
            if what != "runs":
                assert dependent.result(timeout=30) == "two+"
        wait_until(lambda: len(client.scheduler_info()["workers"]) == 2, "it is back")
        assert future.result(timeout=30) == "two"
        assert dependent.result(timeout=30) == "two+"
        assert client.gather(more) == ["two+"] * 20
        # wherever it is by now, also as a copy on the worker that came back
        addresses = list(client.scheduler_info()["workers"])
        there = [client.submit(plus, future, workers=[w], key=f"on-{w}") for w in addresses]
        assert client.gather(there) == ["two+"] * 2
        client.replicate([future])
        assert client.gather(future) == client.gather(future, direct=False) == "two"
        assert data.cancelled()


@contextmanager
def stopped(command: Command, scheduler: Command) -> Iterator[None]:
    """While a worker is stopped and counts as dead."""
    pid = command.process.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: scheduler.errors("counted as dead"), "it counts as dead")
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_worker_that_was_given_up_holds_no_names_in_its_tasks(bench: FaultBench, notes_folder: str) -> None:
    """The client of its tasks is as silent as it is, though its connection is open; it comes back with the worker."""
    bench.configure(scheduler__worker_ttl="1s", worker__reconnect_timeout="30s")
    scheduler, address = bench.scheduler()
    command = bench.worker(address, "--name", "frozen", "--no-nanny")
    with Client(address) as client:
        client.wait_for_workers(1)
        holder = client.submit(holds_a_name, notes_folder, "k", workers=["frozen"])
        wait_until(lambda: "holds" in notes(notes_folder), "the task holds the name")
        with stopped(command, scheduler):
            bench.worker(address, "--name", "other")
            future = client.submit(two, notes_folder, key="k")
            assert future.result(timeout=30) == "two"
        wait_until(lambda: len(client.scheduler_info()["workers"]) == 2, "it is back")
        assert future.result(timeout=30) == "two"
        note(notes_folder, "let go")
        assert holder.result(timeout=30) in ("one", "two", "cancelled")  # run again it shares


def test_two_clients_across_a_restart(bench: FaultBench, notes_folder: str) -> None:
    """Who shares another client's work shares it after a restart, too, whoever comes back first."""
    scheduler, address = bench.scheduler()
    bench.worker(address)
    with Client(address) as first, Client(address, set_as_default=False) as second:
        first.wait_for_workers(1)
        theirs = first.submit(one, notes_folder, key="k")
        assert theirs.result(timeout=30) == "one"
        mine = second.submit(two, notes_folder, key="k")
        dependent = second.submit(plus, mine, key="of-k")
        assert dependent.result(timeout=30) == "one+"
        for _ in range(3):
            bench.kill(scheduler)
            scheduler = bench.scheduler_again(address)
            wait_until(lambda: second.scheduler_info()["workers"], "the worker is back")
            more = second.submit(plus, mine)
            assert more.result(timeout=30) == "one+"
            assert second.gather([mine, dependent], direct=False) == ["one", "one+"]
            assert first.gather(theirs, direct=False) == "one"
            more.release()
        assert notes(notes_folder).count("one") == 1


@pytest.mark.parametrize("how", ["other work", "by name", "in a graph"])
def test_an_error_of_another_client_across_a_restart(bench: FaultBench, notes_folder: str, how: str) -> None:
    """It stays the same error for who has heard it, and for what is computed from it."""
    bench.configure(scheduler__muster_timeout="2s")
    scheduler, address = bench.scheduler()
    bench.worker(address)
    with Client(address) as first, Client(address, set_as_default=False) as second:
        first.wait_for_workers(1)
        theirs = first.submit(int, "no number", key="k")
        wait(theirs)
        mine = Future("k", second) if how == "by name" else second.submit(two, notes_folder, key="k")
        with pytest.raises(ValueError, match="no number"):
            mine.result(timeout=30)
        bench.kill(scheduler)
        bench.scheduler_again(address)
        wait_until(lambda: second.scheduler_info()["workers"], "the worker is back")
        if how == "in a graph":
            dependent = second.get({"d": (plus, mine)}, "d", sync=False)
        else:
            dependent = second.submit(plus, mine)
        for future in (dependent, second.submit(plus, dependent), mine):
            with pytest.raises(ValueError, match="no number"):
                future.result(timeout=30)
        for future in (first.submit(plus, theirs), theirs, mine):  # it can be computed, and is
            with pytest.raises(ValueError, match="no number"):
                future.result(timeout=30)


def test_scattered_data_across_a_restart(bench: FaultBench, tmp_path: Path) -> None:
    scheduler, address = bench.scheduler()
    bench.worker(address)
    with Client(address) as client:
        client.wait_for_workers(1)
        old = client.scatter({"data": "one"})["data"]
        bench.kill(scheduler)
        old.release()
        scheduler = bench.scheduler_again(address)
        wait_until(lambda: client.scheduler_info()["workers"], "the worker is back")
        new = client.scatter({"data": "two"})["data"]
        assert client.submit(plus, new).result(timeout=30) == "two+"
        bench.kill(scheduler)
        bench.scheduler_again(address)
        assert client.submit(plus, new, key="again").result(timeout=30) == "two+"
        assert client.gather(new, direct=False) == "two"
