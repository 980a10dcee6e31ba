"""The client looks into the network and moves data about in it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading

import pytest

from distributed import Client, Nanny, Worker
from distributed.client import FutureState
from distributed.cluster_dump import load_dump
from distributed.utils_test import async_poll_for, cluster, gen_cluster, inc, slowinc, throws


@gen_cluster(client=True, nthreads=[("", 1)] * 3)
async def test_replicate_waits_and_copies(c, s, *workers):
    x = c.submit(slowinc, 1, delay=0.05)
    await c.replicate([x])
    assert all(x.key in w.data for w in workers)
    await c.replicate(x, n=1)
    assert len(s.tasks[x.key].who_has) == 1


@gen_cluster(client=True, nthreads=[("", 1)] * 2)
async def test_rebalance(c, s, a, b):
    futures = await c.scatter([bytes(1000 + i) for i in range(10)], workers=[a.address])
    await c.rebalance(futures)
    assert len((await c.has_what())[b.address]) == 5
    await c.rebalance()


@gen_cluster(client=True)
async def test_call_stack_and_story(c, s, a, b):
    x = c.submit(slowinc, 1, delay=0.4, key="x")
    await async_poll_for(lambda: a.get_call_stack() + b.get_call_stack())
    [stacks] = (await c.call_stack(x)).values()
    assert any("slowinc" in line for line in stacks["x"])
    assert await c.call_stack(keys=["y"]) == {}
    await x
    await async_poll_for(lambda: s.tasks["x"].state == "memory")
    story = await c.story(x)
    assert {entry[0] for entry in story} >= {"scheduler"} | (
        {a.address, b.address} & set(s.tasks["x"].who_has)
    )
    assert ("x", "processing", "memory") in [entry[1:4] for entry in story if entry[0] == "scheduler"]
    with pytest.raises(ValueError, match="on_error="):
        c.story("x", on_error="return")


@gen_cluster(client=True)
async def test_dump_cluster_state(c, s, a, b, tmp_path):
    await c.submit(inc, 1, key="x")
    await c.dump_cluster_state(str(tmp_path / "one"), exclude=["logs"])
    await c.dump_cluster_state(str(tmp_path / "two"), write_from_scheduler=True, format="yaml")
    one, two = load_dump(str(tmp_path / "one.msgpack.gz")), load_dump(str(tmp_path / "two.yaml"))
    assert set(one["workers"]) == set(two["workers"]) == {a.address, b.address}
    assert "logs" not in one["workers"][a.address]


@gen_cluster(client=True, nthreads=[("", 1)], Worker=Nanny)
async def test_restart_workers(c, s, nanny):
    before, pid = nanny.worker_address, nanny.pid
    assert await c.restart_workers([before]) == {before: "OK"}
    assert nanny.pid != pid
    assert await c.submit(inc, 1) == 2


@gen_cluster(client=True, nthreads=[("", 1)])
async def test_restart_workers_needs_nannies(c, s, w):
    with pytest.raises(ValueError, match="no nanny"):
        await c.restart_workers([w.address])


def test_scheduler_file_and_executor(tmp_path):
    with cluster(nworkers=1) as (scheduler, _), Client(scheduler["address"]) as c:
        path = tmp_path / "scheduler.json"
        c.write_scheduler_file(str(path))
        with Client(scheduler_file=str(path)) as other:
            assert other.submit(inc, 1).result() == 2
            with pytest.raises(ValueError, match="already"):
                other.write_scheduler_file(str(tmp_path / "again.json"))
        _try_executor(c)


def _try_executor(c: Client) -> None:
    with c.get_executor(retries=1) as executor:
        future = executor.submit(inc, 1)
        assert isinstance(future, concurrent.futures.Future)
        assert future.result(timeout=10) == 2
        assert concurrent.futures.wait([future]).done == {future}
        assert list(executor.map(inc, range(5))) == [1, 2, 3, 4, 5]
        with pytest.raises(RuntimeError, match="hello"):
            executor.submit(throws, 1).result(timeout=10)
        assert executor.submit(threading.get_ident) is not executor.submit(threading.get_ident)
        with pytest.raises(concurrent.futures.TimeoutError):
            list(executor.map(slowinc, [1], delay=5, timeout=0.1))
    with pytest.raises(RuntimeError, match="shut down"):
        executor.submit(inc, 1)
    with pytest.raises(TypeError, match="unknown parameters"):
        c.get_executor(nonsense=1)


@gen_cluster(client=True)
async def test_futures_by_key(c, s, a, b):
    x = c.submit(inc, 1, key="x")
    assert set(c.futures) == {"x"}
    await x
    assert c.futures["x"].status == "finished"
    del x
    await async_poll_for(lambda: not c.futures)


@gen_cluster(client=True)
async def test_future_states(c, s, a, b):
    x, y = c.submit(inc, 1, key="x"), c.submit(throws, 1, key="y")
    states = c.futures
    await states["x"].wait(timeout=10)
    await states["y"].wait(timeout=10)
    assert (states["x"].status, states["y"].status) == ("finished", "error")
    assert states["x"].done()
    assert states["x"].exception is None
    assert isinstance(states["y"].exception, RuntimeError)
    assert states["y"].traceback is not None
    await states["x"].cancel()
    await async_poll_for(lambda: x.status == "cancelled")
    del y
    await async_poll_for(lambda: FutureState("y").status == "cancelled")


@gen_cluster(client=True)
async def test_future_states_can_be_told_what_a_scheduler_would_say(c, s, a, b):
    x = c.submit(inc, 1, key="x")
    assert await x == 2
    state = c.futures["x"]
    state.lose()
    assert (x.status, state.status) == ("lost", "lost")
    with pytest.raises(concurrent.futures.CancelledError, match="given up"):
        await x
    y = c.submit(inc, 2, key="y", workers=["nobody"])
    waiting = asyncio.create_task(c.futures["y"].wait(timeout=10))
    c.futures["y"].set_error(ZeroDivisionError("told"))
    await waiting
    assert y.status == "error"
    with pytest.raises(ZeroDivisionError, match="told"):
        await y
    c.futures["y"].reset()
    assert (y.status, c.futures["y"].exception) == ("pending", None)
    c.futures["y"].finish(int)
    assert (y.status, y.type) == ("finished", "int")
    await c.cancel([y])
    state = c.futures["y"]
    state.finish()
    assert state.status == "cancelled"
    assert s.tasks["x"].state == "memory"  # nobody else was told


@gen_cluster(client=True)
async def test_a_result_that_was_told_of_is_fetched(c, s, a, b):
    x = c.submit(inc, 1, key="x")
    await x
    c.futures["x"].reset()
    assert x.status == "pending"
    c.futures["x"].finish("int")
    assert await x == 2


def test_future_states_told_from_another_thread():
    with cluster() as (s, _), Client(s["address"]) as c:
        x = c.submit(inc, 1, workers=["nobody"])
        c.futures[x.key].set_error(ValueError("from this thread"))
        with pytest.raises(ValueError, match="from this thread"):
            x.result(timeout=10)


@gen_cluster(client=True)
async def test_scheduler_info_needs_no_await(c, s, a, b):
    assert c.scheduler_info()["address"] == s.address
    async with Worker(s.address) as worker:
        await async_poll_for(lambda: worker.address in c.scheduler_info()["workers"])
        assert len((await c.scheduler_info())["workers"]) == 3
        assert len(c.scheduler_info(n_workers=1)["workers"]) == 1
        assert worker.address in c.scheduler_info()._repr_html_()


@gen_cluster(client=True)
async def test_no_active_memory_manager(c, s, a, b):
    await c.amm.stop()
    assert await c.amm.running() is False
    with pytest.raises(NotImplementedError, match="no active memory manager"):
        c.amm.start()


@gen_cluster(client=True)
async def test_operations_of_the_scheduler_answer_dicts(c, s, a, b):
    x = c.submit(inc, 1, key=("x", 0))
    await x
    await async_poll_for(lambda: s.tasks["x", 0].state == "memory")
    holder = s.tasks["x", 0].who_has[0].address
    assert await c.scheduler.who_has(keys=[x.key]) == {("x", 0): [holder]}
    assert (await c.scheduler.has_what())[holder] == [("x", 0)]
    assert await c.scheduler.get_task_status(keys=[x.key]) == {("x", 0): "memory"}
    graph = {"y": (inc, 1)}
    assert await c.get(graph, "y", allow_other_workers=True, sync=False) == 2
