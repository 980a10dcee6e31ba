"""Semaphores and locks: the book alone, then in networks."""

from __future__ import annotations

import asyncio
import os
import pickle
import tempfile
import threading
import time

import dask
import pytest
from coordination_helpers import network, run, until, wait_until
from hypothesis import given
from hypothesis import strategies as st

from distributed import (
    Client,
    LocalCluster,
    Lock,
    MultiLock,
    Scheduler,
    Semaphore,
    get_client,
    get_worker,
)
from distributed.coordination.parking import Owner
from distributed.coordination.semaphore import Leases

A, B = Owner("a"), Owner("b", "tcp://w")


def test_leases_go_to_those_who_wait_in_their_order() -> None:
    book = Leases(1)
    assert book.acquire(1, "x", A)
    assert not book.acquire(2, "y", B)
    assert not book.acquire(3, "z", A)
    assert book.release("x") == [2]
    assert book.held == {"y": B}
    assert book.release("y") == [3]


def test_asking_again_for_a_lease_takes_no_second_one() -> None:
    book = Leases(2)
    assert book.acquire(1, "x", A)
    assert book.acquire(2, "x", A)
    assert len(book.held) == 1
    book = Leases(1)
    book.acquire(1, "x", A)
    book.acquire(2, "y", B)
    book.acquire(3, "y", B)
    assert book.release("x") == [2, 3]
    assert book.held == {"y": B}


def test_who_gives_up_is_passed_over() -> None:
    book = Leases(1)
    book.acquire(1, "x", A)
    book.acquire(2, "y", A)
    book.acquire(3, "z", A)
    book.withdraw(2)
    assert book.release("x") == [3]


def test_who_is_gone_holds_and_waits_for_nothing() -> None:
    book = Leases(1)
    book.acquire(1, "x", B)
    book.acquire(2, "y", B)
    book.acquire(3, "z", A)
    assert book.drop(lambda owner: owner.worker == "tcp://w") == [3]
    assert book.held == {"z": A}
    assert not book.waiting


@given(st.lists(st.tuples(st.sampled_from(["acquire", "release", "withdraw", "drop"]), st.integers(0, 9))))
def test_never_more_leases_than_allowed_and_nobody_waits_in_vain(events: list[tuple[str, int]]) -> None:
    book = Leases(3)
    tickets = 0
    for kind, i in events:
        if kind == "acquire":
            tickets += 1
            book.acquire(tickets, str(i), Owner(str(i % 3)))
        elif kind == "release":
            book.release(str(i))
        elif kind == "withdraw":
            book.withdraw(i)
        else:
            book.drop(lambda owner, who=str(i % 3): owner.client == who)
        assert len(book.held) <= 3
        assert not book.waiting or len(book.held) == 3


# ---------------------------------------------------------------- in networks


def test_a_lock_is_held_by_one_handle(client: Client) -> None:
    first, second = Lock("x"), Lock("x")
    assert first.acquire() is True
    assert second.acquire(timeout=0.05) is False
    assert second.acquire(timeout="50ms") is False
    assert second.acquire(blocking=False) is False
    assert first.locked()
    assert second.locked()
    with pytest.raises(RuntimeError, match="Released too often"):
        second.release()
    with pytest.raises(ValueError, match="timeout"):
        second.acquire(blocking=False, timeout=1)
    assert first.release() is True
    assert not first.locked()
    with second:
        assert first.locked()
    assert not first.locked()


def test_locks_of_other_names_are_others(client: Client) -> None:
    assert Lock("x").acquire()
    assert Lock("y").acquire(timeout=1)
    assert Lock().acquire(timeout=1)
    assert Semaphore(1, "x").acquire(timeout=1)


def test_who_waits_is_woken(client: Client) -> None:
    lock = Lock("x", client)
    lock.acquire()
    got = threading.Event()

    def wait() -> None:
        with Lock("x", client):
            got.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert not got.wait(0.05)
    lock.release()
    assert got.wait(5)
    thread.join()


def test_handles_can_be_pickled(client: Client) -> None:
    lock = Lock("x")
    lock.acquire()
    other = pickle.loads(pickle.dumps(lock))
    assert type(other) is Lock
    assert other.name == "x"
    assert not other.acquire(timeout=0)
    semaphore = pickle.loads(pickle.dumps(Semaphore(5, "s")))
    assert (semaphore.max_leases, semaphore.name) == (5, "s")


def test_tasks_exclude_each_other(client: Client) -> None:
    def add(lock: Lock) -> int:
        with lock:
            worker = get_worker()
            client = get_client()
            n = client.get_metadata("n", 0)
            time.sleep(0.001)
            client.set_metadata("n", n + 1)
            return len(worker.address)

    client.gather(client.map(lambda i, lock: add(lock), range(20), lock=Lock("n")))
    assert client.get_metadata("n") == 20


def test_in_coroutine_tasks(client: Client) -> None:
    async def task() -> bool:
        async with Lock("a"):
            return await Lock("a").acquire(timeout=0.01)

    assert client.submit(task).result(timeout=10) is False


def test_semaphore_counts(client: Client) -> None:
    semaphore = Semaphore(2, "s")
    assert semaphore.acquire()
    assert semaphore.get_value() == 1
    assert Semaphore(2, "s").acquire(timeout=1)
    assert not semaphore.acquire(timeout=0.01)
    assert semaphore.get_value() == 2
    with pytest.raises(ValueError, match="Inconsistent max leases: 3, expected: 2"):
        Semaphore(3, "s").acquire()
    with pytest.raises(ValueError, match="Inconsistent max leases"):
        Semaphore(3, "s").register()
    assert semaphore.release()
    assert semaphore.get_value() == 1
    with pytest.raises(ValueError, match="max_leases"):
        Semaphore(0)


def test_closing_a_semaphore_wakes_who_waits(client: Client) -> None:
    semaphore = Semaphore(1, "s")
    semaphore.acquire()
    waiting = client.submit(lambda: Semaphore(1, "s").acquire())
    wait_until(lambda: client.cluster.scheduler.extensions["semaphores"].parking, "it waits")
    semaphore.close()
    with pytest.raises(RuntimeError, match="closed"):
        waiting.result(timeout=5)
    with pytest.raises(RuntimeError, match="closed"):
        semaphore.acquire()


def test_the_lock_of_a_closed_client_is_free(cluster: LocalCluster, client: Client) -> None:
    with Client(cluster, set_as_default=False) as other:
        assert Lock("x", other).acquire()
        assert not Lock("x", client).acquire(timeout=0.05)
    assert Lock("x", client).acquire(timeout=5)


def test_lost_clients_keep_their_lock_for_a_while() -> None:
    async def test() -> None:
        with dask.config.set({"distributed.scheduler.locks.lease-timeout": "0.3s"}):
            async with network() as (scheduler, _, client):
                other = await Client(scheduler.address, asynchronous=True, set_as_default=False)
                lock = Lock("x", other)
                assert await lock.acquire()
                other._session.connection.abort()
                assert not await Lock("x", client).acquire(timeout=0)
                await until(lambda: other.status == "running", "it is back")
                await asyncio.sleep(0.4)  # the time of its lease has passed, but it is there
                assert await Lock("x", client).locked()
                # gone for good, without a word
                other._session._connect = _never
                other._session.connection.abort()
                assert await Lock("x", client).acquire(timeout=5)
                await other.close()

    async def _never(session: object) -> None:
        raise OSError("no network")

    run(test)


def test_waiting_survives_a_broken_connection() -> None:
    async def test() -> None:
        async with network() as (scheduler, _, client):
            other = await Client(scheduler.address, asynchronous=True, set_as_default=False)
            lock = Lock("x", client)
            await lock.acquire()
            waiting = asyncio.create_task(Lock("x", other).acquire())
            parking = scheduler.extensions["semaphores"].parking
            await until(lambda: len(parking) == 1, "it waits")
            first = set(parking.tickets())
            other._session.connection.abort()
            await until(lambda: parking and first.isdisjoint(parking.tickets()), "it waits again")
            await lock.release()
            assert await waiting is True
            await other.close()

    run(test)


def test_locks_survive_a_restart_of_the_scheduler() -> None:
    async def test() -> None:
        async with Scheduler(host="127.0.0.1", port=0) as scheduler:
            address = scheduler.address
            first = await Client(address, asynchronous=True, set_as_default=False)
            second = await Client(address, asynchronous=True, set_as_default=False)
            lock, several = Lock("x", first), MultiLock(["y", "z"], first)
            assert await lock.acquire()
            assert await several.acquire()
            released = Lock("free", first)
            await released.acquire()
            await released.release()
            scheduler.say_goodbye = lambda reason: None  # type: ignore[method-assign]  # as if it were killed
        async with Scheduler(host=address) as scheduler:
            await until(lambda: scheduler.clients.keys() >= {first.id, second.id}, "both are back")
            assert not await Lock("x", second).acquire(timeout=0.05)
            assert not await MultiLock(["z"], second).acquire(timeout=0.05)
            assert await Lock("free", second).acquire(timeout=5)
            assert await lock.release()
            await several.release()
            assert await Lock("x", second).acquire(timeout=5)
            assert await MultiLock(["z"], second).acquire(timeout=5)
            await first.close()
            await second.close()

    run(test)


def test_the_lock_of_a_dead_worker_is_free() -> None:
    def hold_and_die(path: str) -> bool:
        Lock("x").acquire()
        if not os.path.exists(path):
            open(path, "w").close()
            os._exit(1)
        return True

    with tempfile.TemporaryDirectory() as directory:
        with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
            with Client(cluster) as client:
                future = client.submit(hold_and_die, os.path.join(directory, "died"))
                # the task runs again, and gets the lock that its first run died with
                assert future.result(timeout=20) is True


def test_without_a_client_there_is_a_clear_error() -> None:
    with pytest.raises(ValueError, match="no client"):
        Lock("x").acquire()
