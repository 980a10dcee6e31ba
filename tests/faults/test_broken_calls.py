"""Calls that fall into the scheduler's death, or into that of their connection: asked again where that is safe.

The scheduler is told by a file at which operation to die: before it is carried out, or when all is done but the answer
is not sent. Or only the connection breaks in between.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import broken_answers
import pytest
from fault_bench import FaultBench
from fault_tasks import inc
from system_bench import wait_until

from distributed import Client, Event, Lock, MultiLock, Queue, Semaphore, Variable, WorkerPlugin
from distributed.exceptions import UnknownOutcomeError

MOMENTS = ("before", "after", "cut")


class Plagued:
    """A network whose scheduler dies at the operation it is told, and is started again."""

    def __init__(self, bench: FaultBench, folder: Path) -> None:
        self.bench = bench
        self.order = folder / "order"
        bench.env[broken_answers.ORDER] = str(self.order)
        bench.configure(scheduler__muster_timeout="5s")
        self.preload = ["--preload", broken_answers.__file__]
        self.scheduler, self.address = bench.scheduler(*self.preload)
        for i in range(2):
            bench.worker(self.address, "--no-nanny", "--name", f"w{i}")
        self.client = Client(self.address)
        self.client.wait_for_workers(2)
        self.ended = threading.Event()
        self.keeper = threading.Thread(target=self.keep_alive, daemon=True)
        self.keeper.start()

    def keep_alive(self) -> None:
        """A scheduler that ends is started again at its address."""
        host, _, port = self.address.rpartition(":")
        while not self.ended.wait(0.05):
            if self.scheduler.process.poll() is not None:
                self.scheduler = self.bench.start("dscheduler", "--host", host, "--port", port, *self.preload)
                self.scheduler.line(0)

    def call(self, op: str, moment: str, function: Callable[[], Any]) -> Any:
        """Call it, and have it broken at its operation."""
        self.order.write_text(f"{op} {moment}")
        try:
            return function()
        finally:
            assert not self.order.exists(), f"{op} was not called"

    def end(self) -> None:
        self.ended.set()
        self.keeper.join(30)
        self.client.close()


@pytest.fixture
def plagued(bench: FaultBench, tmp_path: Path) -> Iterator[Plagued]:
    network = Plagued(bench, tmp_path)
    yield network
    network.end()


class Note(WorkerPlugin):
    """Counts where it was set up."""

    name = "note"

    def setup(self, worker: Any) -> None:
        worker.notes = getattr(worker, "notes", 0) + 1


def notes(dask_worker: Any) -> int:
    return getattr(dask_worker, "notes", 0)


def imported(name: str) -> int:
    import importlib

    return int(importlib.import_module(name).value)


def pid(dask_scheduler: Any) -> int:
    return os.getpid()


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.timeout(240)
def test_what_lies_in_the_scheduler_is_done_once(plagued: Plagued, moment: str) -> None:
    call, client = plagued.call, plagued.client
    queue, variable, event = Queue("q"), Variable("v"), Event("e")

    call("queue_put", moment, lambda: queue.put(1))
    assert queue.qsize() == 1
    if moment == "cut":
        assert call("queue_get", moment, lambda: queue.get(timeout=5)) == 1
    else:  # what lay in it is gone with the scheduler
        with pytest.raises(TimeoutError, match="was empty"):
            call("queue_get", moment, lambda: queue.get(timeout=2))
    assert queue.qsize() == 0
    call("queue_put", moment, lambda: queue.put(client.submit(inc, 1)))
    assert queue.get(timeout=5).result(timeout=30) == 2

    call("variable_set", moment, lambda: variable.set(2))
    assert variable.get(timeout=5) == 2
    call("event_set", moment, event.set)
    assert event.is_set()
    call("publish_put", moment, lambda: client.publish_dataset(3, name="d"))
    assert client.get_dataset("d") == 3
    assert call("publish_list", moment, client.list_datasets) == (["d"] if moment == "cut" else [])
    call("publish_delete", moment, lambda: client.unpublish_dataset("d"))
    assert client.list_datasets() == []

    client.log_event("other", "x")
    call("log_event", moment, lambda: client.log_event("topic", "x"))
    assert len(client.get_events("topic")) == 1
    call("set_metadata", moment, lambda: client.set_metadata("m", 4))
    assert client.get_metadata("m") == 4

    lock = Lock("l")
    assert call("semaphore_acquire", moment, lambda: lock.acquire(timeout=10))
    assert not Lock("l").acquire(blocking=False)
    call("semaphore_release", moment, lock.release)
    assert Lock("l").acquire(timeout=10)
    several = MultiLock(["x", "y"])
    assert call("multi_lock_acquire", moment, lambda: several.acquire(timeout=10))
    call("multi_lock_release", moment, several.release)
    assert MultiLock(["x"]).acquire(timeout=10)
    call("event_clear", moment, event.clear)
    assert not call("event_wait", moment, lambda: event.wait(timeout=0.5))
    call("variable_delete", moment, variable.delete)
    with pytest.raises(TimeoutError):
        call("variable_get", moment, lambda: variable.get(timeout=0.5))
    semaphore = Semaphore(2, "s")
    assert call("semaphore_acquire", moment, lambda: semaphore.acquire(timeout=10))
    assert semaphore.get_value() == 1


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.timeout(240)
def test_what_workers_do_is_asked_for_again(plagued: Plagued, moment: str, tmp_path: Path) -> None:
    call, client = plagued.call, plagued.client

    future = call("scatter", moment, lambda: client.scatter([1, 2, 3]))
    assert client.gather(future) == [1, 2, 3]
    assert client.submit(sum, future).result(timeout=30) == 6
    data = client.scatter(b"x" * 1000)
    call("replicate", moment, lambda: client.replicate(data))
    assert len(client.who_has([data])[data.key]) == 2
    call("rebalance", moment, lambda: client.rebalance([data]))
    call("register_plugin", moment, lambda: client.register_plugin(Note()))
    assert set(client.run(notes).values()) <= {1, 2}
    assert len(client.run(notes)) == 2
    assert len(call("who_has", moment, lambda: client.who_has([data]))[data.key]) >= 1
    assert len(call("broadcast", moment, lambda: client.get_versions())["workers"]) == 2
    module = tmp_path / "uploaded_here.py"
    module.write_text("value = 5")
    call("register_plugin", moment, lambda: client.upload_file(str(module)))
    assert client.submit(imported, "uploaded_here").result(timeout=30) == 5
    call("restart", moment, client.restart)
    assert client.submit(inc, 1).result(timeout=30) == 2


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.timeout(120)
def test_what_may_have_left_traces_is_not_done_twice(plagued: Plagued, moment: str) -> None:
    call, client = plagued.call, plagued.client
    with pytest.raises(UnknownOutcomeError, match=r"'broadcast' of 'run'.* may or may not have been done"):
        call("broadcast", moment, lambda: client.run(os.getpid))
    with pytest.raises(UnknownOutcomeError, match=r"'run_function'.* may or may not have been done"):
        call("run_function", moment, lambda: client.run_on_scheduler(pid))
    with pytest.raises(UnknownOutcomeError, match=r"'retire_workers'.* may or may not have been done"):
        call("retire_workers", moment, lambda: client.retire_workers(["w1"]))
    assert len(client.run(os.getpid)) >= 1


@pytest.mark.timeout(120)
def test_where_only_the_connection_broke_the_answer_is_told(plagued: Plagued) -> None:
    call, client = plagued.call, plagued.client
    number = client.run_on_scheduler(pid)
    assert call("run_function", "cut", lambda: client.run_on_scheduler(_count)) == 1
    assert client.run_on_scheduler(_count) == 2
    assert client.run_on_scheduler(pid) == number
    assert len(call("broadcast", "cut", lambda: client.run(os.getpid))) == 2
    assert len(call("retire_workers", "cut", lambda: client.retire_workers(["w1"]))) == 1


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_client_that_registers_as_the_scheduler_dies(plagued: Plagued, moment: str) -> None:
    other = plagued.call("register_client", moment, lambda: Client(plagued.address, set_as_default=False))
    with other:
        assert other.submit(inc, 1).result(timeout=30) == 2


@pytest.fixture
def fragile(bench: FaultBench, tmp_path: Path) -> Iterator[tuple[Client, Path]]:
    """A client of two workers, of which the first dies at the operation that a file names; and that file."""
    order = tmp_path / "order"
    bench.env[broken_answers.ORDER] = str(order)
    _, address = bench.scheduler()
    bench.worker(address, "--no-nanny", "--name", "fragile", "--preload", broken_answers.__file__)
    bench.worker(address, "--no-nanny", "--name", "sound")
    with Client(address) as client:
        client.wait_for_workers(2)
        yield client, order


@pytest.mark.parametrize("moment", ["before", "after"])
def test_data_of_a_worker_that_dies_goes_to_another(fragile: tuple[Client, Path], moment: str) -> None:
    client, order = fragile
    order.write_text(f"update_data {moment}")
    futures = client.scatter([1, 2, 3, 4])
    assert not order.exists()
    assert client.gather(futures) == [1, 2, 3, 4]
    everywhere = client.scatter(7, broadcast=True)
    assert client.submit(inc, everywhere).result(timeout=30) == 8


def _nordered(dask_scheduler: Any) -> int:
    return len(dask_scheduler.state.ordered)


def test_copies_are_not_waited_for_from_a_worker_that_died(fragile: tuple[Client, Path]) -> None:
    client, _ = fragile
    worker = {w["name"]: address for address, w in client.scheduler_info()["workers"].items()}
    process = client.run(os.getpid, workers=[worker["fragile"]])[worker["fragile"]]
    future = client.submit(inc, 1, workers=[worker["sound"]])
    assert future.result(timeout=30) == 2
    os.kill(process, signal.SIGSTOP)
    copying = threading.Thread(target=client.replicate, args=[[future]])
    copying.start()
    wait_until(lambda: client.run_on_scheduler(_nordered), "the copy is ordered")
    os.kill(process, signal.SIGKILL)
    copying.join(30)
    assert not copying.is_alive()
    assert list(client.who_has([future])[future.key]) == [worker["sound"]]


def test_a_worker_that_dies_while_it_runs_a_function(fragile: tuple[Client, Path]) -> None:
    client, order = fragile
    names = {worker["name"]: address for address, worker in client.scheduler_info()["workers"].items()}
    one, other = names["fragile"], names["sound"]
    order.write_text("run before")
    with pytest.raises(UnknownOutcomeError, match=f"{one} was lost while it carried out 'run'"):
        client.run(os.getpid, workers=[one])
    assert list(client.run(os.getpid, on_error="ignore")) == [other]


def test_a_plugin_is_registered_though_a_worker_dies(fragile: tuple[Client, Path]) -> None:
    client, order = fragile
    client.run(os.getpid)  # the scheduler is connected to both
    order.write_text("plugin_add before")
    client.register_plugin(Note())
    assert set(client.run(notes, on_error="ignore").values()) == {1}


def _count(dask_scheduler: Any) -> int:
    dask_scheduler.counted = getattr(dask_scheduler, "counted", 0) + 1
    return int(dask_scheduler.counted)
