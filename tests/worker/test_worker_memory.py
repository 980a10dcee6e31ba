"""Workers whose memory is full: they pause, and nobody waits for ever. Real processes, which really take it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import dask
import pytest

from distributed import Client, LocalCluster, as_completed, wait
from distributed.exceptions import WorkersFullError
from distributed.security import ClusterKey

NBYTES = 30_000_000
COUNT = 20  # twice of what there is room for


def make(i: int) -> bytes:
    return os.urandom(1) * NBYTES


def text() -> str:
    return "a" * 130_000_000  # the pickler copies it, whatever we do


def size(x: bytes) -> int:
    return len(x)


def total(xs: list[bytes]) -> int:
    return sum(map(len, xs))


@pytest.fixture(params=[1, 4], ids=["one-thread", "four-threads"])
def client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setenv("DISTRIBUTED_KEY", ClusterKey.generate().text())
    with (
        dask.config.set({"distributed.scheduler.shortage-patience": "3s"}),
        LocalCluster(
            n_workers=1, threads_per_worker=request.param, memory_limit="300MB", dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def many(client: Client) -> list[Any]:
    return client.map(make, range(COUNT), pure=False)


def test_taken_one_by_one_they_fit(client: Client) -> None:
    taken = 0
    for future in as_completed(many(client)):
        taken += len(future.result())
        future.release()
    assert taken == COUNT * NBYTES


def test_inner_results_of_a_graph_make_room(client: Client) -> None:
    sizes = [dask.delayed(size)(dask.delayed(make)(i)) for i in range(COUNT)]
    assert sum(dask.compute(*sizes)) == COUNT * NBYTES


def test_all_at_once_is_one_clear_error(client: Client) -> None:
    made = many(client)
    summed = client.submit(total, made)
    with pytest.raises(
        WorkersFullError, match=r"finds no worker with memory: tcp://\S+ is paused at \d+ MiB of"
    ):
        summed.result(timeout=60)
    wait(made, timeout=60)
    finished = [future for future in made if future.status == "finished"]
    assert len(finished) >= 4
    with pytest.raises(TimeoutError, match=r"no worker takes data: tcp://.* is paused at"):
        client.scatter(1, timeout=0.1)
    for future in (*made, summed):
        future.release()
    assert client.submit(len, b"x").result(timeout=60) == 1  # and with room there is work again


def test_a_result_is_not_copied_as_it_is_sent(client: Client) -> None:
    for nbytes in (130_000_000, 200_000_000):
        assert len(client.submit(os.urandom, nbytes, pure=False).result(timeout=60)) == nbytes


def test_results_that_are_nothing_yet_are_not_made_real_as_they_are_sent(client: Client) -> None:
    pids = client.run(os.getpid)
    zeros = client.map(bytes, [NBYTES] * COUNT, pure=False)
    assert sum(map(len, client.gather(zeros))) == COUNT * NBYTES
    assert client.run(os.getpid) == pids


def test_a_result_that_cannot_be_handed_out_is_one_clear_error(client: Client) -> None:
    future = client.submit(text)
    says = r"the result of .* \(124 MiB\) cannot be handed out: 4 workers .* of its limit of 286 MiB.*memory_limit="
    with pytest.raises(WorkersFullError, match=says):
        future.result(timeout=60)
    assert client.submit(size, future).exception(timeout=60) is not None
    assert client.submit(size, b"x").result(timeout=60) == 1


def test_data_that_does_not_fit_is_refused_and_what_fits_is_taken(client: Client) -> None:
    pids = client.run(os.getpid)
    with pytest.raises(TimeoutError, match=r"no worker takes data: tcp://\S+ is paused at \d+ MiB of"):
        client.scatter([bytes([i]) * NBYTES for i in range(15)], timeout=3)
    assert len(client.scatter([bytes([i]) * NBYTES for i in range(3)], timeout=30)) == 3
    assert client.run(os.getpid) == pids


def test_data_larger_than_its_worker_is_one_clear_error(client: Client) -> None:
    with pytest.raises(
        WorkersFullError, match=r"next of 1 items, 381 MiB in all; their memory limit: 286 MiB"
    ):
        client.scatter(b"x" * 400_000_000, timeout=60)
