"""Connections that are told of the scheduler as time goes on."""

from __future__ import annotations

import asyncio

import pytest

from distributed import Worker
from distributed.comm import connect
from distributed.core import Connection
from distributed.protocol.payload import pack, unpack
from distributed.utils_test import async_poll_for, gen_cluster


async def listener(s):
    """A connection to the scheduler, and the stream messages that come over it."""
    connection = Connection(await connect(s.address, security=s.security))
    heard = []
    connection.on_stream = heard.extend
    return connection, heard


def count_tasks(scheduler, counts, first=0):
    counts.append(first + len(scheduler.tasks))
    return list(counts)


def start_counts(scheduler):
    return [-1]


async def stop_counts(scheduler, counts):
    scheduler.counted = counts


def n_workers(scheduler):
    return len(scheduler.workers)


@gen_cluster(nthreads=[("", 1)])
async def test_feed(s, a):
    connection, heard = await listener(s)
    answer = await connection.call(
        "feed",
        function=pack(count_tasks),
        setup=pack(start_counts),
        teardown=pack(stop_counts),
        interval=0.01,
        first=10,
    )
    assert answer == "OK"
    await async_poll_for(lambda: len(heard) >= 3)
    assert {message.topic for message in heard} == {"feed"}
    assert [unpack(message.data) for message in heard[:2]] == [[-1, 10], [-1, 10, 10]]
    await connection.close()
    await async_poll_for(lambda: hasattr(s, "counted"))
    assert s.counted[:3] == [-1, 10, 10]


@gen_cluster(nthreads=[("", 1)])
async def test_feed_of_a_function_alone(s, a):
    connection, heard = await listener(s)
    with pytest.raises(TypeError, match="needs a function"):
        await connection.call("feed")
    await connection.call("feed", function=pack(n_workers), interval="1 hour")
    await async_poll_for(lambda: heard)
    assert unpack(heard[0].data) == 1
    await connection.close()  # it does not wait for the hour
    await async_poll_for(lambda: not [t for t in asyncio.all_tasks() if t.get_name() == "feed"])


@gen_cluster(nthreads=[("", 1)])
async def test_subscribe_worker_status(s, a):
    one, heard = await listener(s)
    two, also = await listener(s)
    assert list((await one.call("subscribe_worker_status"))["workers"]) == [a.address]
    assert (await two.call("subscribe_worker_status"))["id"] == s.id
    async with Worker(s.address, security=s.security) as b:
        await async_poll_for(lambda: heard and also)
        address = b.address
        assert heard[0].topic == "worker-status"
        assert heard[0].data["action"] == "add"
        assert heard[0].data["identity"]["nthreads"] == b.nthreads
    await async_poll_for(lambda: len(heard) == 2)
    assert heard[1].data == {"action": "remove", "worker": address}
    await one.close()
    await async_poll_for(lambda: len(s.connections) == 2)
    assert s.plugins
    await two.close()
    await async_poll_for(lambda: not s.plugins)
