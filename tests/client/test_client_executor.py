"""``client.get_executor()`` keeps the contract of ``concurrent.futures``."""

from __future__ import annotations

import asyncio
import concurrent.futures as cf
import secrets
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from distributed import Client, Future, LocalCluster
from distributed.client.executor import ClientExecutor

#: Seconds within which everything here happens, or never.
LIMIT = 30

_go_on = threading.Event()
_ran: list[int] = []


def held(x: int = 0) -> int:
    _go_on.wait(LIMIT)
    return x


def note(x: int) -> int:
    _ran.append(x)
    return x


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTRIBUTED_KEY", secrets.token_hex(32))
        with LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
        ) as cluster:
            yield cluster


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    _go_on.clear()
    _ran.clear()
    with Client(cluster) as client:
        yield client
    _go_on.set()


@pytest.fixture
def executor(client: Client) -> ClientExecutor:
    return client.get_executor()


def states(futures: list[cf.Future[Any]]) -> list[str]:
    return [future._state for future in futures]


def test_who_waits_hears_of_a_cancellation(executor: ClientExecutor) -> None:
    futures = [executor.submit(held, i) for i in range(3)]
    assert futures[2].cancel()
    assert cf.wait(futures, LIMIT, cf.FIRST_COMPLETED).done == {futures[2]}
    _go_on.set()
    assert not cf.wait(futures, LIMIT).not_done
    assert states(futures) == ["FINISHED", "FINISHED", "CANCELLED_AND_NOTIFIED"]
    assert set(cf.as_completed(futures, LIMIT)) == set(futures)


def test_who_waits_already_hears_of_it(executor: ClientExecutor) -> None:
    futures = [executor.submit(held, i) for i in range(2)]
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(cf.wait(futures, LIMIT, cf.FIRST_COMPLETED)))
    thread.start()
    while not futures[1]._waiters:
        time.sleep(0.001)
    futures[1].cancel()
    thread.join(LIMIT)
    assert found[0].done == {futures[1]}


def test_one_cancelled_by_the_client_is_cancelled(client: Client, executor: ClientExecutor) -> None:
    future = executor.submit(held)
    client._session.settle()
    client.cancel([Future(key, client) for key in client.futures])
    assert cf.wait([future], LIMIT).done == {future}
    assert states([future]) == ["CANCELLED_AND_NOTIFIED"]


def test_cancellations_and_results_that_cross(executor: ClientExecutor) -> None:
    futures = [executor.submit(note, i) for i in range(300)]
    cancelled = {future for future in futures if future.cancel()}
    assert not cf.wait(futures, LIMIT).not_done
    for future in futures:
        assert future.cancelled() == (future in cancelled)
        assert future._state == ("CANCELLED_AND_NOTIFIED" if future in cancelled else "FINISHED")


@pytest.mark.parametrize("wait", [True, False])
def test_shutdown_cancels(executor: ClientExecutor, wait: bool) -> None:
    futures = [executor.submit(held, i) for i in range(3)]
    executor.shutdown(wait=wait, cancel_futures=True)
    assert not cf.wait(futures, LIMIT).not_done
    assert set(states(futures)) == {"CANCELLED_AND_NOTIFIED"}


def test_shutdown_waits_for_all(executor: ClientExecutor) -> None:
    futures = [executor.submit(note, i) for i in range(3)]
    executor.map(note, range(3, 6))  # whose results nobody asks for
    executor.shutdown()
    assert set(states(futures)) == {"FINISHED"}
    assert sorted(_ran) == list(range(6))


def test_an_iterator_that_is_left_gives_up_the_rest(client: Client, executor: ClientExecutor) -> None:
    found = executor.map(held, range(3))
    _go_on.set()
    assert next(found) == 0
    _go_on.clear()
    found.close()
    executor.shutdown()  # else it would wait for them


def test_it_says_so_when_its_client_is_closed(cluster: LocalCluster, client: Client) -> None:
    with Client(cluster, set_as_default=False) as short:
        executor = short.get_executor()
        done, pending = executor.submit(note, 1), executor.submit(held)
        assert done.result(LIMIT) == 1
    assert not cf.wait([done, pending], LIMIT).not_done
    assert done.result() == 1
    with pytest.raises(cf.CancelledError, match="the client was closed"):
        pending.result()
    executor.shutdown()
    with pytest.raises(RuntimeError, match="shut down"):
        executor.submit(note, 1)
    with pytest.raises(RuntimeError, match="closed"):
        short.get_executor().submit(note, 1)


def test_a_large_result_that_is_on_its_way_as_the_client_is_closed(
    cluster: LocalCluster, client: Client
) -> None:
    short = Client(cluster, set_as_default=False)
    future = short.get_executor().submit(bytes, 50_000_000)
    short.close()
    assert not cf.wait([future], LIMIT).not_done


def test_on_an_event_loop(client: Client, executor: ClientExecutor) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(executor, note, 3) == 3
        future = loop.run_in_executor(executor, held)
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await future

    asyncio.run(main())
    executor.shutdown()
