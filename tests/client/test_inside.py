"""Clients inside tasks."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from distributed import (
    Client,
    LocalCluster,
    get_client,
    get_worker,
    local_client,
    rejoin,
    secede,
    worker_client,
)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setenv("DISTRIBUTED_KEY", secrets.token_hex(32))
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster:
        with Client(cluster) as client:
            yield client


def test_tasks_submit_tasks_and_wait(client: Client) -> None:
    """One thread: it works only if a task that waits gives its place to others."""

    def fib(n: int) -> int:
        if n < 2:
            return n
        with worker_client() as client:
            a, b = client.submit(fib, n - 1), client.submit(fib, n - 2)
            return sum(client.gather([a, b]))

    assert client.submit(fib, 7).result(timeout=30) == 13
    worker = next(iter(client.cluster.workers.values()))
    assert client.submit(lambda: 1, pure=False).result(timeout=10) == 1
    assert len(worker.executor.slots) == 1  # all have come back into one place


def test_it_is_the_workers_client(client: Client) -> None:
    def task() -> tuple[bool, bool, bool, str]:
        with worker_client() as inner:
            current = Client.current()
            return current is inner, get_client() is inner, inner is get_worker().client, inner.id

    *same, ident = client.submit(task).result(timeout=10)
    assert same == [True, True, True]
    assert ident != client.id
    assert get_client() is client


def test_without_giving_up_the_place(client: Client) -> None:
    def task() -> bool:
        with worker_client(separate_thread=False) as inner:
            inner.log_event("t", 1)
            worker = get_worker()
            return len(worker.executor.slots) == 1

    assert client.submit(task).result(timeout=10)


def test_the_place_is_free_meanwhile(client: Client) -> None:
    inside, go_on = threading.Event(), threading.Event()
    worker = next(iter(client.cluster.workers.values()))
    worker.events = inside, go_on

    def task() -> int:
        inside, go_on = get_worker().events
        with worker_client():
            inside.set()
            assert go_on.wait(10)
        return 1

    future = client.submit(task)
    assert inside.wait(10)
    assert client.submit(lambda: 2, pure=False).result(timeout=10) == 2
    go_on.set()
    assert future.result(timeout=10) == 1


def test_the_old_name(client: Client) -> None:
    def task() -> int:
        with pytest.warns(UserWarning, match="worker_client"):
            context = local_client()
        with context as inner:
            return int(inner.submit(abs, -5).result())

    assert client.submit(task).result(timeout=10) == 5


def test_what_a_task_raises_inside(client: Client) -> None:
    def task() -> None:
        with worker_client() as inner:
            inner.submit(lambda: 1 / 0).result()

    with pytest.raises(ZeroDivisionError):
        client.submit(task).result(timeout=10)
    assert client.submit(lambda: 1, pure=False).result(timeout=10) == 1


def test_outside_of_tasks_there_is_a_clear_error(client: Client) -> None:
    with pytest.raises(ValueError, match="inside a task"), worker_client():
        pass
    for call in (secede, rejoin):
        with pytest.raises(ValueError, match="task"):
            call()


def test_threads_and_coroutines_ask_at_once(client: Client) -> None:
    """A coroutine must not block the loop while a thread's client is being made: here the scheduler lives on it."""
    worker = next(iter(client.cluster.workers.values()))
    make = worker._make_client
    others: list[asyncio.Future[int]] = []

    async def use_client() -> int:
        return await worker._get_client().submit(pow, 2, 5)  # type: ignore[no-any-return]

    def slow_to_make(asynchronous: bool, timeout: object) -> object:
        if not asynchronous:  # the thread holds its lock now
            others.append(asyncio.run_coroutine_threadsafe(use_client(), worker.loop))
            done = threading.Event()
            worker.loop.call_soon_threadsafe(worker.loop.call_later, 0.01, done.set)
            assert done.wait(10), "the loop is blocked"
        return make(asynchronous, timeout)

    worker._make_client = slow_to_make
    assert client.submit(lambda: get_client().get_metadata("x", 5)).result(timeout=20) == 5
    assert others[0].result(timeout=10) == 32


def fibonacci_in_threads(n: int) -> int:
    if n < 2:
        return n
    client = get_client()
    futures = [client.submit(fibonacci_in_threads, n - k) for k in (1, 2)]
    secede()
    with ThreadPoolExecutor(2) as pool:
        value = sum(pool.map(lambda future: future.result(timeout=60), futures))
    rejoin()
    return value


def test_own_threads_wait_for_tasks_after_secede(client: Client) -> None:
    assert client.submit(fibonacci_in_threads, 7).result(timeout=60) == 13
