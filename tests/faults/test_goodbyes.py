"""Ends that somebody wants: all who are there are told, and nobody waits for a scheduler that will not come back."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest
from fault_bench import FaultBench, worker_pid
from fault_tasks import inc, wait_for
from system_bench import Command, alive, wait_until

from distributed import Client, Scheduler, Worker, rpc
from distributed.exceptions import CommClosedError


def shut_down(client: Client, scheduler: Command, address: str) -> None:
    client.shutdown()


def terminate(client: Client, scheduler: Command, address: str) -> None:
    async def call() -> None:
        async with rpc(address) as remote:
            await remote.terminate()

    asyncio.run(call())


def close_inside(client: Client, scheduler: Command, address: str) -> None:
    def close_soon(dask_scheduler: Scheduler) -> None:
        dask_scheduler.ending = asyncio.ensure_future(dask_scheduler.close())  # type: ignore[attr-defined]

    client.run_on_scheduler(close_soon)


def by_signal(signum: int) -> Callable[[Client, Command, str], None]:
    return lambda client, scheduler, address: scheduler.process.send_signal(signum)


ENDS = {
    "Client.shutdown": shut_down,
    "terminate": terminate,
    "Scheduler.close": close_inside,
    "SIGTERM": by_signal(signal.SIGTERM),
    "SIGINT": by_signal(signal.SIGINT),
}


@pytest.mark.parametrize("how", ENDS)
def test_all_who_are_there_are_told(bench: FaultBench, tmp_path: Path, how: str) -> None:
    """They would wait for a minute otherwise; who waits for a result hears at once that it will not come."""
    scheduler, address = bench.scheduler()
    workers = [bench.worker(address), bench.worker(address, "--no-nanny")]
    with Client(address) as client, Client(address, set_as_default=False) as waiting:
        waiting.wait_for_workers(2)
        never = waiting.submit(wait_for, str(tmp_path / "never"))
        wait_until(lambda: any(waiting.processing().values()), "it runs")
        ENDS[how](client, scheduler, address)
        with pytest.raises(CancelledError, match="closed the network"):
            never.result(timeout=10)
        with pytest.raises(CommClosedError, match="closed the network"):
            waiting.submit(inc, 1)
    for command in (scheduler, *workers):
        assert command.process.wait(15) == 0, command.text
        assert not command.errors("ERROR|Traceback"), command.text


@pytest.mark.parametrize("held", ["nothing", "result", "error", "scattered", "dataset", "actor"])
def test_idle(bench: FaultBench, tmp_path: Path, held: str) -> None:
    """What is held is no work."""
    scheduler, address = bench.scheduler("--idle-timeout", "3s")
    done = tmp_path / "done"
    with Client(address) as client:
        busy = client.submit(wait_for, str(done))  # until they are there, lest it is idle before
        workers = [bench.worker(address), bench.worker(address, "--no-nanny")]
        client.wait_for_workers(2)
        kept = HELD[held](client)
        done.touch()
        busy.result()
        del busy
        for command in (scheduler, *workers):
            assert command.process.wait(20) == 0, command.text
            assert not command.errors("ERROR|Traceback"), command.text
        del kept


HELD: dict[str, Callable[[Client], Any]] = {
    "nothing": lambda client: None,
    "result": lambda client: client.submit(inc, 1),
    "error": lambda client: client.submit(divmod, 1, 0),
    "scattered": lambda client: client.scatter(1),
    "dataset": lambda client: client.publish_dataset(one=client.submit(inc, 1)),
    "actor": lambda client: client.submit(Counter, actor=True).result(),
}


def test_tasks_that_cannot_run_and_short_ones_are_work(key: str) -> None:
    """Also where they begin and end between two looks."""

    async def main() -> None:
        async with (
            Scheduler(port=0, host="127.0.0.1", idle_timeout=0.5) as scheduler,
            Client(scheduler.address, asynchronous=True) as client,
        ):
            waiting = client.submit(inc, 1)
            await asyncio.sleep(1)
            assert scheduler.status.name == "running"
            async with Worker(scheduler.address, nthreads=1, host="127.0.0.1"):
                assert await waiting == 2
                before = scheduler._idle_since
                scheduler._tick_handle.cancel()
                scheduler._tick()
                scheduler._tick_handle.cancel()
                began = scheduler._idle_since
                assert began > before
                assert await client.submit(inc, 2) == 3
                scheduler._tick()
                assert scheduler._idle_since > began
                scheduler._tick_handle.cancel()
                again = scheduler._idle_since
                scheduler._tick()
                assert scheduler._idle_since == again

    asyncio.run(main())


def test_a_nanny_without_a_worker_is_told_too(bench: FaultBench) -> None:
    scheduler, address = bench.scheduler()
    command = bench.worker(address)
    pid = worker_pid(command)
    os.kill(pid, signal.SIGSTOP)  # it does not hear the goodbye
    scheduler.process.send_signal(signal.SIGTERM)
    assert scheduler.process.wait(20) == 0
    assert command.process.wait(20) == 0, command.text
    assert not alive(pid)


@pytest.mark.parametrize("nanny", ["--nanny", "--no-nanny"])
def test_giving_up_is_no_success(bench: FaultBench, nanny: str) -> None:
    bench.configure(worker__reconnect_timeout="500ms")
    scheduler, address = bench.scheduler()
    command = bench.worker(address, nanny)
    bench.kill(scheduler)
    assert command.process.wait(30) == 1, command.text
    assert command.errors("dworker: .*no scheduler answers at"), command.text


def test_programs_that_await_their_worker_end() -> None:
    """As dask-mpi has them."""

    async def main() -> None:
        async with Scheduler(port=0, host="127.0.0.1") as scheduler:
            worker = await Worker(scheduler.address, nthreads=1)
            async with Client(scheduler.address, asynchronous=True) as client:
                assert await client.submit(inc, 1) == 2
                await client.shutdown()
            async with asyncio.timeout(10):
                await worker.finished()
                await scheduler.finished()

    asyncio.run(main())


# ---------------------------------------------------------------- nobody runs on unknown


def known(client: Client) -> dict[str, dict[str, object]]:
    return client.sync(client.scheduler.identity)["workers"]


def test_a_restart_with_a_frozen_nanny(bench: FaultBench) -> None:
    """The worker ends by itself; the nanny starts one when it goes on, and one only."""
    _, address = bench.scheduler()
    command = bench.worker(address)
    with Client(address) as client:
        client.wait_for_workers(1)
        pid = worker_pid(command)
        os.kill(command.process.pid, signal.SIGSTOP)
        try:
            with pytest.raises(TimeoutError, match="its nanny does not answer"):
                client.restart(timeout=1)
            wait_until(lambda: not alive(pid), "the worker has ended")
        finally:
            os.kill(command.process.pid, signal.SIGCONT)
        client.wait_for_workers(1, timeout=30)
        assert client.submit(inc, 1).result(timeout=30) == 2
        assert client.submit(os.getpid).result(timeout=30) == worker_pid(command) != pid
        assert len(known(client)) == 1
        client.restart(timeout=30)
        assert client.submit(inc, 2).result(timeout=30) == 3


def test_a_restart_with_a_frozen_worker(bench: FaultBench) -> None:
    _, address = bench.scheduler()
    command = bench.worker(address)
    with Client(address) as client:
        client.wait_for_workers(1)
        pid = worker_pid(command)
        os.kill(pid, signal.SIGSTOP)
        client.restart(timeout=30)
        assert not alive(pid)
        assert client.submit(inc, 1).result(timeout=30) == 2


@pytest.mark.parametrize("nanny", ["--nanny", "--no-nanny"])
def test_who_is_retired_with_the_defaults_ends(bench: FaultBench, nanny: str) -> None:
    """It is out of the books, so it must not run on."""
    _, address = bench.scheduler()
    command = bench.worker(address, nanny)
    with Client(address) as client:
        client.wait_for_workers(1)
        [worker] = known(client)
        client.sync(client.scheduler.retire_workers, workers=[worker])
        assert not known(client)
        assert command.process.wait(20) == 0, command.text


def test_who_is_disconnected_only_comes_back_with_its_results(bench: FaultBench) -> None:
    _, address = bench.scheduler()
    command = bench.worker(address)
    with Client(address) as client:
        client.wait_for_workers(1)
        future = client.submit(os.urandom, 4, pure=False)
        value = future.result(timeout=30)
        [worker] = known(client)
        pid = worker_pid(command)
        client.sync(client.scheduler.remove_worker, address=worker, close=False, expected=True)
        wait_until(lambda: worker in known(client), "it is back")
        assert client.submit(bytes, future).result(timeout=30) == value
        assert worker_pid(command) == pid
