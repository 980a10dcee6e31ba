"""The task stream and the metadata of tasks."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from distributed import Client, Scheduler, Worker, get_task_metadata, get_task_stream
from distributed.protocol.messages import TasksFinished
from distributed.scheduler.completions import Completions
from distributed.utils_test import async_poll_for


def test_spans_are_laid_out_without_overlap() -> None:
    completions = Completions()
    keys = list(range(6))
    durations = [1.0, 2.0, 3.0, 0.5, 0.5, 1.0]
    message = TasksFinished(keys, keys, keys, durations, [""] * 6, [None] * 6)
    completions.add("w", 2, message, 100.0)
    spans = completions.take()
    assert completions.take() == {}
    for key, duration in zip(keys, durations, strict=True):
        worker, thread, start, stop = spans[key]
        assert worker == "w"
        assert stop - start == pytest.approx(duration)
        assert stop <= 100.0
        for other, (_, other_thread, begin, end) in spans.items():
            assert other == key or other_thread != thread or end <= start or stop <= begin
    ends = [spans[key][3] for key in keys]
    assert ends == sorted(ends)


def slow(i: int) -> int:
    time.sleep(0.02)
    return i


def test_task_stream() -> None:
    async def test() -> None:
        async with (
            Scheduler(host="127.0.0.1", port=0) as scheduler,
            Worker(scheduler.address, nthreads=2) as w,
        ):
            async with Client(scheduler.address, asynchronous=True) as client:
                await client.submit(abs, -1)
                begin = time.time()
                async with get_task_stream(client) as stream:
                    await client.gather(client.map(slow, range(5)))
                    with pytest.raises(ZeroDivisionError):
                        await client.submit(lambda: 1 / 0)
                assert len(stream.data) == 6
                assert {record["worker"] for record in stream.data} == {w.address}
                done = [record for record in stream.data if record["status"] == "OK"]
                assert len(done) == 5
                for record in done:
                    (span,) = record["startstops"]
                    assert 0.015 < span["stop"] - span["start"] < 1
                    assert begin - 0.1 < span["start"]
                    assert record["thread"] in (0, 1)
                    assert record["type"] == "int"
                assert len(await client.get_task_stream(count=2)) == 2
                assert len(await client.get_task_stream(start="1 minute")) == 6
                assert await client.get_task_stream(start=time.time() + 1) == []
                with pytest.raises(NotImplementedError, match="draw"):
                    client.get_task_stream(plot=True)

    asyncio.run(test())


def test_the_stream_is_remembered_as_long_as_somebody_holds_it() -> None:
    async def test() -> None:
        async with Scheduler(host="127.0.0.1", port=0) as scheduler, Worker(scheduler.address):
            async with Client(scheduler.address, asynchronous=True) as client:
                async with get_task_stream(client) as outer:
                    async with get_task_stream(client) as inner:
                        await client.submit(abs, -1)
                    assert scheduler.plugins
                    await client.submit(abs, -2)
                assert (len(inner.data), len(outer.data)) == (1, 2)
                assert not scheduler.plugins
                await client.submit(abs, -3)  # nobody looks
                assert len(await client.get_task_stream()) == 2
                assert scheduler.plugins
                await client.submit(abs, -4)
                assert len(await client.get_task_stream()) == 3
            await async_poll_for(lambda: not scheduler.plugins)
            assert scheduler.get_task_stream() == []  # code of the scheduler has asked: that stays
            async with Client(scheduler.address, asynchronous=True) as client:
                await client.submit(abs, -5)
                async with get_task_stream(client):
                    pass
            assert len(scheduler.get_task_stream()) == scheduler.get_task_stream_index() == 1
            assert scheduler.plugins

    asyncio.run(test())


def test_pages(tmp_path: Path) -> None:
    one, two = tmp_path / "one.html", tmp_path / "two.html"
    nothing = tmp_path / "nothing.html"

    async def test() -> None:
        async with Scheduler(host="127.0.0.1", port=0) as scheduler, Worker(scheduler.address):
            async with Client(scheduler.address, asynchronous=True) as client:
                async with get_task_stream(client, plot="save", filename=str(nothing)):
                    pass
                async with get_task_stream(client, plot="save", filename=str(one)) as stream:
                    await client.submit(abs, -1, key="<mine>")
                assert len(stream.data) == 1
                records = await client.get_task_stream(plot="save", filename=str(two))
                assert records == stream.data

    asyncio.run(test())
    for path in (one, two):
        text = path.read_text()
        assert '"keys":["\\u003cmine>"]' in text
        assert "getElementById" in text
    assert '"start":[0.0]' in two.read_text()  # the first task is the beginning
    assert "no task ran" in nothing.read_text()
    assert "<script" not in nothing.read_text()


def test_task_metadata() -> None:
    async def test() -> None:
        async with Scheduler(host="127.0.0.1", port=0) as scheduler, Worker(scheduler.address, nthreads=2):
            async with Client(scheduler.address, asynchronous=True) as client:
                async with get_task_metadata() as tasks:
                    await client.set_metadata("x", {"a": 1})
                    await client.submit(slow, 1, key="x")
                    with pytest.raises(ZeroDivisionError):
                        await client.submit(lambda: 1 / 0, key="y")
                assert tasks.state == {"x": "memory", "y": "erred"}
                assert tasks.metadata == {"x": {"a": 1}}
                assert not scheduler.plugins

    asyncio.run(test())
