"""Variables."""

from __future__ import annotations

import pickle
import threading

import pytest
from coordination_helpers import network, run, wait_until

from distributed import Client, LocalCluster, Variable
from distributed.coordination.variable import Cells


def test_cells() -> None:
    cells = Cells()
    cells.waiting.add("v", 1)
    cells.waiting.add("v", 2)
    cells.waiting.withdraw("v", 1)
    assert cells.set("v", b"1", ["k"]) == ([], [2])
    assert cells.set("v", b"2", []) == (["k"], [])
    assert cells.delete("v") == []
    assert cells.delete("v") == []


def test_variable(client: Client) -> None:
    variable = Variable("v")
    with pytest.raises(TimeoutError, match="not set within"):
        variable.get(timeout="20ms")
    variable.set({"x": (1, 2)})
    assert Variable("v").get() == {"x": (1, 2)}
    variable.set(None)
    assert variable.get() is None
    variable.delete()
    with pytest.raises(TimeoutError):
        variable.get(timeout=0.02)
    assert pickle.loads(pickle.dumps(variable)).name == "v"


def test_who_reads_waits_for_the_first_value(client: Client) -> None:
    got: list[int] = []
    thread = threading.Thread(target=lambda: got.append(Variable("v", client).get(timeout=10)))
    thread.start()
    parking = client.cluster.scheduler.extensions["variables"].parking
    wait_until(lambda: len(parking), "it waits")
    Variable("v", client).set(5)
    thread.join(10)
    assert got == [5]


def test_the_future_in_a_variable_lives(cluster: LocalCluster, client: Client) -> None:
    scheduler = cluster.scheduler
    variable = Variable("v")
    variable.set(client.submit(lambda: 1, key="one"))
    client.submit(lambda: 0).result()
    future = variable.get()
    variable.set(client.submit(lambda: 2, key="two"))
    assert future.result() == 1  # the handle keeps it
    assert variable.get().result() == 2
    del future
    wait_until(lambda: "one" not in scheduler.tasks, "nobody wants it any more")
    assert "two" in scheduler.tasks
    variable.delete()
    wait_until(lambda: "two" not in scheduler.tasks, "nobody wants it any more")


def test_in_tasks_and_asynchronously() -> None:
    async def test() -> None:
        async with network() as (_, _, client):
            variable = Variable("v", client)
            future = client.submit(lambda v: v.get(timeout=10), variable)
            await variable.set(7)
            assert await future == 7

            async def task() -> int:
                v = Variable("v")
                await v.set(8)
                return await v.get()

            assert await client.submit(task) == 8

    run(test)
