"""Events."""

from __future__ import annotations

import pickle

import dask
import pytest
from coordination_helpers import network, run, wait_until

from distributed import Client, Event, rpc
from distributed.coordination.event import Flags


def test_flags() -> None:
    flags = Flags()
    assert not flags.wait("e", 1)
    assert not flags.wait("e", 2)
    flags.waiting.withdraw("e", 1)
    assert flags.set("e") == [2]
    assert flags.wait("e", 3)
    flags.clear("e")
    assert not flags.wait("e", 4)
    flags.waiting.withdraw("e", 4)
    assert not flags.waiting


def test_event(client: Client) -> None:
    event = Event("e")
    assert event.is_set() is False
    assert event.wait(timeout=0.02) is False
    assert event.wait(timeout="20ms") is False
    event.set()
    assert event.wait() is True
    assert Event("e").is_set() is True
    event.clear()
    assert event.is_set() is False
    assert pickle.loads(pickle.dumps(event)).name == "e"
    assert not Event().is_set()


def test_tasks_wait_for_it(client: Client) -> None:
    futures = client.map(lambda i: Event("go").wait(), range(3))
    parking = client.cluster.scheduler.extensions["events"].parking
    wait_until(lambda: len(parking) == 3, "three tasks wait")
    Event("go").set()
    assert client.gather(futures) == [True] * 3
    assert not len(parking)


def test_asynchronous() -> None:
    async def test() -> None:
        async with network() as (_, _, client):
            event = Event("e", client)
            future = client.submit(lambda e: e.wait(), event)
            await event.set()
            assert await future is True
            await event.clear()
            assert await event.wait(timeout=0.01) is False

    run(test)


@pytest.mark.parametrize("op", ["run_function", "event_set"])
def test_blocked_operations_stay_blocked(op: str) -> None:
    async def test() -> None:
        with dask.config.set({"distributed.scheduler.blocked-handlers": [op]}):
            async with network(0) as (_, _, client):
                with pytest.raises(ValueError, match="blocked"):
                    await getattr(client.scheduler, op)()
                assert await Event("e", client).is_set() is False

    run(test)


def test_blocked_operations_of_workers_stay_blocked() -> None:
    async def test() -> None:
        with dask.config.set({"distributed.worker.blocked-handlers": ["actor_execute"]}):
            async with network(1) as (_, (worker,), _):
                async with rpc(worker.address) as there:
                    with pytest.raises(ValueError, match="blocked"):
                        await there.actor_execute(actor="x", function="f")
                    assert await there.actor_attribute(actor="x", attribute="a") == {"status": "missing"}

    run(test)
