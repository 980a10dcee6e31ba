"""Steps of single tasks on a live scheduler: what plugins call."""

from __future__ import annotations

import threading

import pytest

from distributed import SchedulerPlugin, get_task_metadata
from distributed.protocol.errors import pack_error
from distributed.protocol.messages import ClientEvent
from distributed.utils_test import async_poll_for, gen_cluster, inc


def add(x, y):
    return x + y


GATES: dict[str, threading.Event] = {}
BEGUN: set[int] = set()


def wait(i, gate):
    BEGUN.add(i)
    assert GATES[gate].wait(20)
    return i


@pytest.fixture(autouse=True)
def gate():
    """Tasks of ``wait`` run until this is set. For workers of this process."""
    event = GATES["gate"] = threading.Event()
    BEGUN.clear()
    yield event
    event.set()


@gen_cluster(client=True)
async def test_transition_frees_and_computes_again(c, s, a, b):
    x = c.submit(inc, 1, key="x")
    assert await x == 2
    before = s.transition_counter
    assert s.transition("x", "released", "mine") == {}
    await async_poll_for(lambda: s.tasks["x"].state == "memory")
    assert await x == 2
    assert s.transition_counter - before == 4
    assert [step[1:3] for step in s.story("x")][3:] == [
        ("memory", "released"),
        ("released", "queued"),
        ("queued", "processing"),
        ("processing", "memory"),
    ]
    assert s.story("x")[3][3].startswith("mine-")
    s.transitions({"x": "forgotten", "unknown": "released"}, "mine")
    await async_poll_for(lambda: x.status == "cancelled")
    assert "x" not in s.tasks
    with pytest.raises(KeyError):
        s.transition("x", "released", "mine")


@gen_cluster(client=True)
async def test_transition_to_an_error(c, s, a, b):
    gate = GATES["gate"]
    x = c.submit(wait, 1, "gate", key="x")
    y = c.submit(inc, x)
    await async_poll_for(lambda: 1 in BEGUN)
    s.transition("x", "erred", "mine", exception=ZeroDivisionError("told"), worker=a.address)
    with pytest.raises(ZeroDivisionError, match="told"):
        await y
    assert x.status == "error"
    assert s.tasks["x"].erred_on == {a.address}
    gate.set()
    with pytest.raises(ValueError, match="decided by the scheduler"):
        s.transition("x", "queued", "mine")
    with pytest.raises(ValueError, match="exception="):
        s.transition("x", "erred", "mine")
    with pytest.raises(ValueError, match="without worker="):
        s.transition("x", "memory", "mine")
    with pytest.raises(KeyError):
        s.transition("x", "processing", "mine", worker="tcp://nobody:1")
    assert s.tasks["x"].state == "erred"


@gen_cluster(client=True)
async def test_a_plugin_may_give_tasks_back_from_its_hook(c, s, a, b):
    class Twice(SchedulerPlugin):
        seen = 0

        def transition(self, key, start, finish, *args, **kwargs):
            if finish == "memory" and not self.seen:
                self.seen += 1
                s.transition(key, "released", "twice")

    s.add_plugin(Twice(), name="twice")
    x = c.submit(inc, 1, key="x")
    await async_poll_for(lambda: len(s.story("x")) == 7)
    assert await x == 2


@gen_cluster(client=True)
async def test_send_task_to_worker(c, s, a, b):
    gate = GATES["gate"]
    futures = c.map(wait, range(20), gate="gate")
    await async_poll_for(lambda: s.queued)
    ts = s.queued[-1]
    s.send_task_to_worker(b.address, ts)
    assert ts.processing_on is s.workers[b.address]
    await async_poll_for(lambda: ts.key in b.state.tasks)
    with pytest.raises(KeyError):
        s.send_task_to_worker("tcp://nobody:1", ts)
    gate.set()
    assert await c.gather(futures) == list(range(20))
    with pytest.raises(ValueError, match="it is memory"):
        s.send_task_to_worker(a.address, ts)


@gen_cluster(client=True, nthreads=[("", 1)] * 2)
async def test_set_restrictions(c, s, a, b):
    """What waits is placed anew, what has not begun comes back."""
    gate = GATES["gate"]
    futures = c.map(wait, range(8), gate="gate", key=[f"t{i}" for i in range(8)])
    await async_poll_for(lambda: len(BEGUN) == 2 and len(s.queued) == 4)
    begun = {f"t{i}" for i in BEGUN}
    [spare] = [ts for ts in s.workers[a.address].processing if ts.key not in begun]
    queued = s.queued[-1]
    s.set_restrictions({spare.key: [b.address], queued.key: b.address})
    assert s.valid_workers(spare) == s.valid_workers(queued) == {s.workers[b.address]}
    await async_poll_for(lambda: spare.processing_on is not s.workers[a.address])
    gate.set()
    assert await c.gather(futures) == list(range(8))
    for ts in (spare, queued):
        assert [ws.address for ws in ts.who_has] == [b.address]
    s.set_restrictions({spare.key: None})
    assert s.valid_workers(spare) is None
    [data] = await c.scatter([1])
    with pytest.raises(ValueError, match="is data"):
        s.set_restrictions({data.key: [a.address]})
    with pytest.raises(KeyError):
        s.set_restrictions({"nothing": [a.address]})


@gen_cluster(client=True)
async def test_new_task(c, s, a, b):
    ts = s.new_task("sum", (add, 1, 2), "released")
    assert (ts.state, ts.key) == ("released", "sum")
    s.new_task("called", dict)
    s.new_task("data", None)
    future = c.submit(inc, 1)
    await future
    s.new_task("inc-without-arguments", s.tasks[future.key].spec)
    with pytest.raises(ValueError, match="already"):
        s.new_task("sum", None)
    with pytest.raises(ValueError, match="'released'"):
        s.new_task("other", None, "queued")
    for key, value in {"sum": 3, "called": {}}.items():
        got = c.submit(_same, _future(c, key))
        assert await got == value
    s.transition("data", "memory", "mine", worker=a.address)
    assert "data" not in s.tasks  # nobody wanted it


def _same(x):
    return x


def _future(client, key):
    from distributed import Future

    return Future(key, client)


@gen_cluster(client=True)
async def test_what_a_worker_would_say(c, s, a, b):
    gate = GATES["gate"]
    async with get_task_metadata() as noted:
        x, y = c.submit(wait, 1, "gate", key="x"), c.submit(wait, 2, "gate", key="y", retries=1)
        await async_poll_for(lambda: s.tasks and {ts.state for ts in s.tasks.values()} == {"processing"})
        tx, ty = s.tasks["x"], s.tasks["y"]
        worker = tx.processing_on.address
        s.stimulus_task_finished(worker, "mine", "x", run_id=tx.seq - 1, metadata=None)
        assert tx.state == "processing"  # that was another run
        s.stimulus_task_finished(
            worker,
            "mine",
            "x",
            run_id=tx.seq,
            metadata={"about": "x"},
            nbytes=100,
            typename="int",
            startstops=[{"action": "compute", "start": 1.0, "stop": 3.5}],
        )
        assert (tx.state, tx.nbytes, tx.type) == ("memory", 100, "int")
        assert tx.prefix.duration_average == 2.5
        await async_poll_for(lambda: x.status == "finished")
        s.handle_task_erred("y", "mine", exception=pack_error(ValueError("first"))[0])
        assert (ty.state, ty.retries) == ("queued", 0)
        await async_poll_for(lambda: ty.state == "processing")
        on = ty.processing_on.address
        s.stimulus_task_erred(on, "mine", "y", run_id=ty.seq, exception=ValueError("second"))
        with pytest.raises(ValueError, match="second"):
            await y
        assert ty.erred_on == {on}
        s.handle_task_finished("nothing", worker, "mine")
        s.handle_task_finished("x", "tcp://nobody:1", "mine")
        s.handle_task_erred("x", "mine", exception=ValueError())
        gate.set()
        assert await x == 1  # computed, or fetched once it is there
    assert noted.metadata == {"x": {"about": "x"}}


@gen_cluster(client=True)
async def test_report(c, s, a, b):
    x = c.submit(inc, 1, key="x")
    await x
    heard = []
    c._session.state.handle_message, told = heard.append, c._session.state.handle_message
    try:
        message = ClientEvent("mine", 1)
        s.report(message)
        s.report(message, ts=s.tasks["x"])
        s.report(message, client=c.id)
        s.report(message, client="nobody")
        await async_poll_for(lambda: heard.count(message) == 3)
        for send in (
            s.report,
            lambda msg: s.client_send(c.id, msg),
            lambda msg: s.worker_send(a.address, msg),
        ):
            with pytest.raises(TypeError, match="not a dict"):
                send({"op": "something"})
    finally:
        c._session.state.handle_message = told


@gen_cluster(client=True, scheduler_kwargs={"transition_counter_max": 100})
async def test_too_many_transitions(c, s, a, b):
    assert await c.submit(inc, 1) == 2
    assert s.transition_counter_max == 100
    s.transition_counter_max = 2
    with pytest.raises(AssertionError, match="more than 2 transitions"):
        s.flush()
    s.transition_counter_max = False
    s.flush()
