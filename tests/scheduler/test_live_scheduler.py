"""What programs read on, and do to, a live scheduler."""

from __future__ import annotations

import asyncio
import time

import pytest

from distributed import Future, Nanny, NannyPlugin
from distributed.cluster_dump import load_dump
from distributed.comm import connect
from distributed.core import Connection
from distributed.protocol.messages import SetWorkerStatus, WorkerHeartbeat
from distributed.protocol.payload import unpack
from distributed.utils_test import async_poll_for, gen_cluster, inc, slowinc, throws


@gen_cluster(client=True)
async def test_workers_from_many_sides(c, s, a, b):
    assert s.running == set(s.workers.values())
    assert set(s.idle) == {a.address, b.address}
    assert s.saturated == set()
    assert s.aliases == {0: a.address, 1: b.address}
    assert s.host_info == {"127.0.0.1": {"addresses": {a.address, b.address}, "nthreads": 3}}
    assert s.total_memory == a.memory_limit + b.memory_limit
    assert [n for _, n in s.total_nthreads_history][-1] == 3
    assert s.workers_list(None) == [a.address, b.address] or set(s.workers_list(None)) == {
        a.address,
        b.address,
    }
    assert s.workers_list([a.name]) == [a.address]
    assert set(s.workers_list(["127.0.0.1"])) == {a.address, b.address}
    assert s.coerce_address(b.name) == b.address
    assert s.coerce_address(b.address.removeprefix("tcp://")) == b.address
    assert s.coerce_hostname(a.name) == "127.0.0.1"
    assert s.get_worker_service_addr(a.address, "nothing") is None
    assert s.is_idle
    assert s.check_idle() <= time.time()
    future = c.submit(slowinc, 1, delay=0.3, workers=[a.address])
    await async_poll_for(lambda: s.workers[a.address].processing)
    assert set(s.idle) == {b.address}
    assert s.idle_task_count == {s.workers[b.address]}
    assert s.check_idle() is None
    assert s.valid_workers(s.tasks[future.key]) == {s.workers[a.address]}
    assert s.validate_processing(future.key) is None
    await future


@gen_cluster(client=True)
async def test_tasks_from_many_sides(c, s, a, b):
    futures = c.map(inc, range(10))
    bad = c.submit(throws, 1)
    results = await c.gather(futures)
    assert results == list(range(1, 11))
    await async_poll_for(lambda: bad.status == "error")
    assert s.n_tasks == 11
    assert [ts.key for ts in s.erred_tasks] == [bad.key]
    group = s.task_groups["inc"]
    assert len(group) == group.states["memory"] == 10
    assert group.done
    assert group.types == {"int"}
    assert s.get_task_prefix_states() == {"inc": {"memory": 10}, "throws": {"erred": 1}}
    assert s.transition_log[0][1:3] == ("released", "queued")
    s.validate_state()
    s.validate_memory(futures[0].key)
    s.validate_erred(bad.key)
    with pytest.raises(AssertionError, match="not waiting"):
        s.validate_waiting(bad.key)
    with pytest.raises(KeyError):
        s.validate_key("unknown")
    ts = s.tasks[futures[0].key]
    assert s.valid_workers(ts) is None
    assert s.get_comm_cost(ts, s.workers[a.address]) == 0
    assert s.queued == []


@gen_cluster(client=True, nthreads=[("", 1)] * 4)
async def test_replicate(c, s, *workers):
    x, y = await c.scatter([b"x" * 1000, b"y" * 1000])
    keys = [x.key, y.key]
    await s.replicate(keys)
    assert all(len(s.tasks[key].who_has) == 4 for key in keys)
    assert all(key in w.data for w in workers for key in keys)
    assert s.replicated_tasks == {s.tasks[key] for key in keys}
    await s.replicate(keys, n=2)
    assert all(len(s.tasks[key].who_has) == 2 for key in keys)
    await async_poll_for(lambda: sum(key in w.data for w in workers for key in keys) == 4)
    s.validate_state()
    with pytest.raises(ValueError, match="n must be at least 1"):
        await s.replicate(keys, n=0)
    with pytest.raises(ValueError, match="none of the workers"):
        await s.replicate(keys, workers=["nobody"])


@gen_cluster(client=True, nthreads=[("", 1)] * 2)
async def test_rebalance(c, s, a, b):
    futures = await c.scatter([bytes(10_000 + i) for i in range(20)], workers=[a.address])
    assert not b.data
    assert await s.rebalance() == {"status": "OK"}
    await async_poll_for(lambda: len(a.data) == len(b.data) == 10)
    assert [len(value) for value in await c.gather(futures)] == [10_000 + i for i in range(20)]
    s.validate_state()


@gen_cluster(client=True, nthreads=[("", 1)] * 2)
async def test_last_copies_are_kept(c, s, a, b):
    x = await c.scatter(1, workers=[a.address])
    s.request_acquire_replicas(b.address, [x.key])
    await async_poll_for(lambda: len(s.tasks[x.key].who_has) == 2)
    s.request_remove_replicas(a.address, [x.key])
    s.request_remove_replicas(b.address, [x.key])
    assert [ws.address for ws in s.tasks[x.key].who_has] == [b.address]
    await async_poll_for(lambda: x.key not in a.data)
    assert await s.gather_on_worker(a.address, {x.key: [b.address]}) == set()
    assert x.key in a.data


@gen_cluster(client=True, nthreads=[("", 1)] * 3)
async def test_a_copy_that_nobody_delivers_is_not_waited_for(c, s, a, b, other):
    x = await c.scatter(1, workers=[a.address])
    failed = s.gather_on_worker(b.address, {x.key: [other.address]})
    assert await asyncio.wait_for(failed, 20) == {x.key}
    assert not s.state.ordered
    assert await s.gather_on_worker(b.address, {x.key: [a.address]}) == set()
    assert b.data[x.key] == 1


@gen_cluster(client=True, nthreads=[("", 1)] * 2)
async def test_removed_worker_loses_its_results(c, s, a, b):
    x = c.submit(inc, 1, workers=[a.address], allow_other_workers=True)
    await x
    assert await s.remove_worker(a.address) == "OK"
    assert await s.remove_worker(a.address) == "already-removed"
    assert await x == 2
    await async_poll_for(lambda: [ws.address for ws in s.tasks[x.key].who_has] == [b.address])
    await a.finished()


@gen_cluster(client=True, nthreads=[("", 1)])
async def test_what_peers_say_as_calls(c, s, w):
    x = c.submit(inc, 1)
    await x
    s.client_desires_keys([x.key], c.id)
    s.report_on_key(x.key)
    s.client_heartbeat(c.id)
    assert s.heartbeat_worker(address=w.address, metrics={"memory": 123, "mine": 5})["status"] == "OK"
    assert s.heartbeat_worker(address="tcp://x:1", metrics={})["status"] == "missing"
    assert s.memory.process == 123
    s.handle_worker_status_change("paused", w.address)
    assert s.running == set()
    s.handle_worker_status_change("running", w.address)
    bad = c.submit(throws, 1)
    await async_poll_for(lambda: bad.status == "error")
    assert s.stimulus_retry([bad.key, x.key]) == (bad.key,)
    waiting = c.submit(inc, 10, resources={"GPU": 1})
    await async_poll_for(lambda: waiting.key in s.tasks and s.tasks[waiting.key].state == "no-worker")
    await w.set_resources(GPU=1)
    assert s.resources == {"GPU": {w.address: 1}}
    assert await waiting == 11
    s.remove_resources(w.address)
    assert s.resources == {}


@gen_cluster(client=True, nthreads=[("", 1)], Worker=Nanny)
async def test_restart_workers(c, s, nanny):
    pid = nanny.pid
    assert set((await s.restart_workers()).values()) == {"OK"}
    assert nanny.pid != pid
    assert await c.submit(inc, 1) == 2


@gen_cluster(client=True, nthreads=[("", 1)])
async def test_workers_without_nanny_cannot_be_restarted(c, s, w):
    with pytest.raises(ValueError, match="no nanny"):
        await s.restart_workers()


@gen_cluster(client=True)
async def test_cluster_dump(c, s, a, b, tmp_path):
    x = c.submit(inc, 1, key="x")
    await x
    for form in ("msgpack", "yaml"):
        await s.dump_cluster_state_to_url(str(tmp_path / "dump"), exclude=["clients"], format=form)
    dump = load_dump(str(tmp_path / "dump.msgpack.gz"))
    assert dump["scheduler"]["tasks"][0]["key"] == "x"
    assert "clients" not in dump["scheduler"]
    assert set(dump["workers"]) == {a.address, b.address}
    assert load_dump(str(tmp_path / "dump.yaml"))["scheduler"]["tasks"] == dump["scheduler"]["tasks"]
    with pytest.raises(ValueError, match="format"):
        await s.dump_cluster_state_to_url(str(tmp_path / "dump"), format="xml")


@gen_cluster(client=True)
async def test_call_stack(c, s, a, b):
    future = c.submit(slowinc, 1, delay=0.5, key="x", workers=[a.address])
    await async_poll_for(lambda: a.get_call_stack())
    [[address, pairs]] = await s.get_call_stack()
    assert address == a.address
    assert pairs[0][0] == "x"
    assert any("slowinc" in line for line in pairs[0][1])
    assert await s.get_call_stack(["x"]) != []
    assert await s.get_call_stack(["y"]) == []
    await future


@gen_cluster()
async def test_benchmark_hardware(s, a, b):
    found = await s.benchmark_hardware()
    assert set(found) == {"memory", "disk", "network"}
    assert all(speed > 0 for speeds in found.values() for speed in speeds.values())
    assert all("10 MiB" in speeds for speeds in found.values())


@gen_cluster(worker_kwargs={"heartbeat_interval": 0.02})
async def test_worker_monitor(s, a, b):
    await async_poll_for(lambda: len(a.monitor) > 2)
    found = await s.get_worker_monitor_info()
    assert set(found) == {a.address, b.address}
    columns = found[a.address]["range_query"]
    assert len(columns["time"]) == len(columns["memory"]) == found[a.address]["count"]
    starts = {address: info["count"] for address, info in found.items()}
    await async_poll_for(lambda: len(a.monitor) > starts[a.address])
    again = (await s.get_worker_monitor_info(starts=starts))[a.address]["range_query"]
    assert min(again["time"]) > max(columns["time"])
    assert len((await s.get_worker_monitor_info(recent=True))[b.address]["range_query"]["time"]) == 1


@gen_cluster(client=True)
async def test_scatter_from_inside_of_the_scheduler(c, s, a, b):
    placed = await s.scatter(data={"x": {"any": "object"}, ("y", 1): 2}, client=c.id, workers=[a.address])
    assert placed == [["x", [a.address]], [("y", 1), [a.address]]]
    assert await c.gather([Future("x", c), Future(("y", 1), c)]) == [{"any": "object"}, 2]
    with pytest.raises(TypeError, match="data="):
        await s.scatter()


class Setup(NannyPlugin):
    name = "mine"


@gen_cluster(client=True, nthreads=[])
async def test_add_nanny_says_what_is_to_be_set_up(c, s):
    assert await s.add_nanny(None, "tcp://nobody:1") == []
    await c.register_plugin(Setup())
    [[name, plugin]] = await s.add_nanny(None, "tcp://nobody:1")
    assert name == "mine"
    assert isinstance(unpack(plugin), Setup)


@gen_cluster(nthreads=[])
async def test_handle_worker_makes_a_connection_the_stream_of_a_worker(s):
    heard = []
    mine = Connection(await connect(s.address, security=s.security))
    mine.on_stream = heard.extend
    assert await mine.call("ping") == "pong"
    [theirs] = s.connections
    with pytest.raises(KeyError, match="no worker"):
        await s.handle_worker(theirs, "tcp://nobody:1")
    s.state.add_worker("tcp://fake:1", now=time.monotonic())
    handling = asyncio.create_task(s.handle_worker(theirs, "tcp://fake:1"))
    mine.send(WorkerHeartbeat({"said": 1}))
    await async_poll_for(lambda: s.workers["tcp://fake:1"].metrics == {"said": 1})
    s.worker_send("tcp://fake:1", SetWorkerStatus("running"))
    await async_poll_for(lambda: heard == [SetWorkerStatus("running")])
    await mine.close()
    await handling
    await async_poll_for(lambda: not s.workers)
