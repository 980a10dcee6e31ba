"""Scattered data spreads over the workers, however it comes."""

from __future__ import annotations

from collections import Counter
from typing import Any

from distributed import Client, worker_client
from distributed.scheduler.state import WorkerState
from distributed.scheduler.state.spreading import PIECE, Spread
from distributed.utils_test import gen_cluster

FOUR = [("", 1)] * 4


async def counts(c: Any, futures: list[Any]) -> list[int]:
    """How many of these each worker holds."""
    holders = (await c.who_has(futures)).values()
    return sorted(Counter(address for addresses in holders for address in addresses).values())


@gen_cluster(client=True, nthreads=FOUR)
async def test_one_call_each(c, s, *workers):
    assert await counts(c, [await c.scatter(i) for i in range(40)]) == [10] * 4
    assert await counts(c, [await c.scatter(100 + i, direct=True) for i in range(40)]) == [10] * 4
    assert await counts(c, [await c.scatter(200 + i, broadcast=2) for i in range(20)]) == [10] * 4
    assert await counts(c, await c.scatter(list(range(300, 340)))) == [10] * 4


@gen_cluster(client=True, nthreads=FOUR)
async def test_to_some_workers(c, s, a, b, *others):
    where = [a.address, b.address]
    futures = [await c.scatter(i, workers=where) for i in range(20)]
    assert await counts(c, futures) == [10, 10]
    assert {address for addresses in (await c.who_has(futures)).values() for address in addresses} == set(
        where
    )


@gen_cluster(client=True, nthreads=FOUR)
async def test_several_clients_and_tasks(c, s, *workers):
    async with Client(s.address, asynchronous=True) as other:
        futures = [await client.scatter(f"{i} of {client.id}") for i in range(10) for client in (c, other)]
        assert await counts(c, futures) == [5] * 4

    def scatter(i: int) -> Any:
        with worker_client() as client:
            return client.scatter(100 + i)

    assert await counts(c, await c.gather(c.map(scatter, range(20)))) == [5] * 4


def test_by_threads_and_by_size() -> None:
    small, large = WorkerState("small", nthreads=1), WorkerState("large", nthreads=3)
    spread = Spread()
    placed = Counter(ws for [ws] in spread.place([small, large], [1] * 40))
    assert placed == {small: 10, large: 30}
    [[first]] = spread.place([small, large], [10 * PIECE])
    other = large if first is small else small
    assert {ws for [ws] in spread.place([small, large], [1] * 3)} == {other}
    third = WorkerState("third")  # what some workers were given alone does not count against others
    spread.place([small], [100 * PIECE])
    assert len({ws for [ws] in spread.place([small, third], [1] * 2)}) == 2


def test_a_worker_that_joins_is_not_given_all() -> None:
    workers = [WorkerState(name) for name in "abc"]
    spread = Spread()
    spread.place(workers[:2], [1] * 100)
    placed = Counter(ws for [ws] in spread.place(workers, [1] * 30))
    assert placed == dict.fromkeys(workers, 10)
    spread.forget(workers[0])
