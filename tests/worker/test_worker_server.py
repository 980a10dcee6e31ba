"""The worker's shell against a scheduler that the test plays, over real sockets."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import dask.config
import pytest

from distributed.core import Server, Status, rpc
from distributed.core.connection import Connection
from distributed.exceptions import AuthenticationError
from distributed.protocol.messages import (
    CloseWorker,
    FreeKeys,
    Message,
    PutFunctions,
    ResultsImmovable,
    RunTasks,
    SetWorkerStatus,
    StealTasks,
    TasksErred,
    TasksFinished,
    TasksReturned,
    WorkerClosing,
    WorkerHeartbeat,
    WorkerStatusChanged,
)
from distributed.protocol.payload import pack, unpack
from distributed.protocol.refs import Ref
from distributed.worker import Worker, get_worker


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTRIBUTED_KEY", "cd" * 32)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    before = {thread for thread in threading.enumerate() if thread.daemon}
    asyncio.run(test())
    deadline = time.monotonic() + 5
    while any(t.name.startswith("Dask-Worker") for t in set(threading.enumerate()) - before):
        assert time.monotonic() < deadline, f"threads are left: {threading.enumerate()}"
        time.sleep(0.001)


async def until(condition: Callable[[], Any], timeout: float = 10) -> Any:
    async with asyncio.timeout(timeout):
        while not (found := condition()):  # noqa: ASYNC110 - no event tells what is waited for
            await asyncio.sleep(0.001)
        return found


class Played(Server):
    """A scheduler that registers workers, notes what they say, and orders what the test wants."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            {"register_worker": self.register_worker, "retire_workers": self.retire_workers}, **kwargs
        )
        self.registered: list[dict[str, Any]] = []
        self.streams: dict[str, Connection] = {}
        self.said: list[Message] = []
        self.retired: list[str] = []
        self.answer = {"status": "OK", "name": "w", "scheduler_id": "s", "heartbeat_interval": 0.5}
        self.seq = 0

    async def on_start(self) -> None:
        await self.listen("tcp://127.0.0.1:0")

    def register_worker(self, comm: Connection, **kwargs: Any) -> dict[str, Any]:
        self.registered.append(kwargs)
        if self.answer["status"] == "OK":
            self.streams[kwargs["address"]] = comm
            comm.on_stream = self.said.extend
        return self.answer

    def retire_workers(self, workers: list[str], **kwargs: Any) -> dict[str, Any]:
        self.retired += workers
        return {}

    def order(self, worker: Worker, *messages: Message) -> None:
        self.streams[worker.address].send_all(list(messages))

    def run(
        self, worker: Worker, func: Any, calls: dict[Any, Any], deps: Any = (), holders: Any = ()
    ) -> None:
        """Order ``func(*args)`` for each key: args."""
        fn = repr(func).encode()
        seqs = [self.next_seq() for _ in calls]
        self.order(
            worker,
            PutFunctions([fn], [pack(func)]),
            RunTasks(
                *(fn, "f", list(calls), [pack((args, {})) for args in calls.values()], seqs),
                deps=[list(deps) for _ in calls],
                holders=list(holders),
            ),
        )

    def next_seq(self) -> int:
        self.seq += 1
        return self.seq

    def heard(self, kind: type) -> list[Any]:
        return [message for message in self.said if type(message) is kind]

    def finished(self) -> dict[Any, Any]:
        return {
            key: None if value is None else unpack(value)
            for message in self.heard(TasksFinished)
            for key, value in zip(message.keys, message.values, strict=True)
        }


def inc(x: int) -> int:
    return x + 1


go = threading.Event()


def block() -> str:
    assert go.wait(10)
    return "done"


# ---------------------------------------------------------------- life


def test_registers_and_says_what_it_is():
    async def test() -> None:
        async with Played() as scheduler:
            async with Worker(
                *(scheduler.address.removeprefix("tcp://"),),
                nthreads=3,
                name="alice",
                resources={"GPU": 2},
                memory_limit="1GB",
                nanny="tcp://127.0.0.1:1",
            ) as worker:
                [said] = scheduler.registered
                assert said["address"] == worker.address == worker.worker_address
                assert worker.address.startswith("tcp://127.0.0.1:")
                assert worker.listen_address == worker.address  # not reachable from elsewhere
                assert (said["name"], said["nthreads"], said["resources"]) == ("alice", 3, {"GPU": 2.0})
                assert said["memory_limit"] == 10**9
                assert (said["pid"], said["nanny"]) == (os.getpid(), "tcp://127.0.0.1:1")
                assert (said["holding"], said["running"], said["status"]) == ([], [], "running")
                assert said["versions"]["packages"]["python"]
                assert worker.status is Status.running
                assert worker.state.nthreads == 3
                assert get_worker() is worker
                assert (await worker.scheduler.ping(), worker.scheduler.address) == (
                    "pong",
                    scheduler.address,
                )
            assert worker.status is Status.closed
            await until(lambda: scheduler.heard(WorkerClosing))

    run(test)


@pytest.mark.parametrize("how", ["two arguments", "object", "file"])
def test_ways_to_name_the_scheduler(how: str, tmp_path: Any):
    async def test() -> None:
        async with Played() as scheduler:
            if how == "two arguments":
                worker = Worker("127.0.0.1", scheduler.port)
            elif how == "object":
                worker = Worker(scheduler)
            else:
                path = tmp_path / "scheduler.json"
                path.write_text(json.dumps({"address": scheduler.address}))
                worker = Worker(scheduler_file=str(path))
            async with worker:
                assert worker.scheduler_address == scheduler.address
                assert worker.name == worker.address

    run(test)


def test_without_a_scheduler():
    with pytest.raises(ValueError, match="no scheduler: give its address"):
        Worker()
    with pytest.raises(TypeError, match="unknown parameters: colour"):
        Worker("127.0.0.1:1", colour="red")


def test_nobody_listens():
    async def test() -> None:
        start = time.monotonic()
        async with Played() as gone:
            address = gone.address
        with pytest.raises(TimeoutError, match=r"no scheduler answers at tcp://127.0.0.1:\d+ for 0.3 s"):
            await Worker(address, death_timeout=0.3)
        assert time.monotonic() - start < 5

    run(test)


def test_a_scheduler_that_comes_later_is_found():
    async def test() -> None:
        async with Played() as first:
            address = first.address
        starting = asyncio.ensure_future(Worker(address, death_timeout="10s").start())
        await asyncio.sleep(0.1)
        second = Played()
        second.on_start = lambda: second.listen(address)  # type: ignore[method-assign,return-value,assignment]
        async with second:
            async with await starting:
                assert len(second.registered) == 1

    run(test)


def test_another_key_is_refused_at_once():
    from distributed.security import Security

    async def test() -> None:
        async with Played() as scheduler:
            start = time.monotonic()
            with pytest.raises(AuthenticationError):
                await Worker(scheduler.address, security=Security(key="ef" * 32), death_timeout=30)
            assert time.monotonic() - start < 5
            assert scheduler.registered == []

    run(test)


def test_a_refused_registration():
    async def test() -> None:
        async with Played() as scheduler:
            scheduler.answer = {"status": "error", "message": "the name 'w' is taken"}
            with pytest.raises(ValueError, match="refuses this worker: the name 'w' is taken"):
                await Worker(scheduler.address, name="w")

    run(test)


def test_contact_address():
    async def test() -> None:
        async with Played() as scheduler:
            async with Worker(scheduler.address, contact_address="tcp://localhost") as worker:
                assert worker.address == f"tcp://localhost:{worker.listeners[0].address.rpartition(':')[2]}"
                assert scheduler.registered[0]["address"] == worker.address

    run(test)


@pytest.mark.parametrize("how", ["message", "restart", "call", "lifetime"])
def test_ways_to_end(how: str):
    async def test() -> None:
        async with Played() as scheduler:
            worker = await Worker(
                scheduler.address, lifetime="50ms" if how == "lifetime" else None, lifetime_restart=True
            )
            if how in ("message", "restart"):
                scheduler.order(worker, CloseWorker("enough", nanny=how == "message"))
            elif how == "call":
                async with rpc(worker.address) as peer:
                    assert await peer.terminate() == "OK"
            async with asyncio.timeout(10):
                await worker.finished()
            assert worker.status is Status.closed
            assert worker.wants_restart == (how in ("restart", "lifetime"))
            await until(lambda: scheduler.heard(WorkerClosing))
            assert scheduler.retired == ([worker.address] if how == "lifetime" else [])

    run(test)


def test_a_worker_that_cannot_start_after_all_takes_its_registration_back():
    """Tasks that it was given meanwhile are not to blame for its end."""

    async def test() -> None:
        async with Played() as scheduler:
            worker = Worker(scheduler.address)
            worker.on_ready = lambda: 1 / 0  # type: ignore[assignment,return-value]
            with pytest.raises(ZeroDivisionError):
                await worker
            await until(lambda: scheduler.heard(WorkerClosing))

    run(test)


def test_heartbeats():
    async def test() -> None:
        async with Played() as scheduler:
            metrics = {"answer": lambda worker: 42, "broken": lambda worker: 1 / 0}
            async with Worker(scheduler.address, heartbeat_interval="20ms", metrics=metrics):
                await until(lambda: len(scheduler.heard(WorkerHeartbeat)) >= 3)
                said = scheduler.heard(WorkerHeartbeat)[-1].metrics
                assert said["memory"] > 1e6
                assert said["cpu"] >= 0
                assert (said["executing"], said["answer"]) == (0, 42)
                assert "broken" not in said

    run(test)


# ---------------------------------------------------------------- tasks


def test_tasks_run():
    async def test() -> None:
        async with Played() as scheduler, Worker(scheduler.address, nthreads=2, validate=True) as worker:
            scheduler.run(worker, inc, {f"x{i}": (i,) for i in range(1000)})
            await until(lambda: len(scheduler.finished()) == 1000)
            assert scheduler.finished() == {f"x{i}": i + 1 for i in range(1000)}
            assert worker.data["x5"] == 6
            assert worker.tasks["x5"].state == "memory"
            scheduler.order(worker, FreeKeys([f"x{i}" for i in range(1000)]))
            await until(lambda: not worker.data)

    run(test)


def test_errors_travel():
    async def test() -> None:
        async with Played() as scheduler, Worker(scheduler.address, nthreads=1) as worker:
            scheduler.run(worker, inc, {"x": ("a",)})
            [message] = await until(lambda: scheduler.heard(TasksErred))
            assert isinstance(unpack(message.errors[0].exception), TypeError)
            assert message.errors[0].erred_on == [worker.address]

    run(test)


async def where() -> Any:
    await asyncio.sleep(0)
    return get_worker().name, threading.current_thread() is threading.main_thread()


def test_coroutine_functions_run_on_the_loop():
    async def test() -> None:
        async with Played() as scheduler, Worker(scheduler, name="a") as a, Worker(scheduler, name="b") as b:
            scheduler.run(a, where, {"x": ()})
            scheduler.run(b, where, {"y": ()})
            await until(lambda: len(scheduler.finished()) == 2)
            assert scheduler.finished() == {"x": ("a", True), "y": ("b", True)}

    run(test)


def test_steal_and_pause():
    async def test() -> None:
        go.clear()
        async with Played() as scheduler, Worker(scheduler, nthreads=1) as worker:
            scheduler.run(worker, block, {"long": ()})
            await until(worker.executing)
            scheduler.run(worker, inc, {"x": (1,), "y": (2,)})
            scheduler.order(worker, StealTasks(["long", "x"]))
            [answer] = await until(lambda: scheduler.heard(TasksReturned))
            assert (answer.keys, answer.refused) == (["x"], ["long"])
            scheduler.order(worker, SetWorkerStatus("paused"))
            await until(lambda: worker.status is Status.paused)
            go.set()
            await until(lambda: "long" in scheduler.finished())
            assert worker.state.tasks["y"].state == "ready"
            scheduler.order(worker, SetWorkerStatus("running"))
            await until(lambda: "y" in scheduler.finished())
            assert worker.status is Status.running
            worker.state.set_status("paused")
            worker.turn()
            await until(lambda: scheduler.heard(WorkerStatusChanged))

    run(test)


# ---------------------------------------------------------------- data


def large(n: int) -> bytearray:
    return bytearray(n)


def test_results_are_fetched_from_peers():
    async def test() -> None:
        async with Played() as scheduler, Worker(scheduler, name="a") as a, Worker(scheduler, name="b") as b:
            scheduler.run(a, large, {"big": (3_000_000,)})
            scheduler.run(a, inc, {"small": (1,)})
            await until(lambda: len(scheduler.finished()) == 2)
            scheduler.run(
                b,
                lambda x, y: len(x) + y,
                {"sum": (Ref("big"), Ref("small"))},
                deps=["big", "small"],
                holders=[("big", 3_000_000, [a.address]), ("small", 28, [a.address])],
            )
            await until(lambda: "sum" in scheduler.finished())
            assert scheduler.finished()["sum"] == 3_000_002
            assert set(b.data) == {"big", "small", "sum"}

    run(test)


def test_a_dead_peer_returns_the_task(caplog: pytest.LogCaptureFixture):
    async def test() -> None:
        async with Played() as scheduler, Worker(scheduler, name="b") as b:
            async with Worker(scheduler, name="a") as a:
                dead = a.address
            scheduler.run(b, inc, {"x": (Ref("d"),)}, deps=["d"], holders=[("d", 28, [dead])])
            [answer] = await until(lambda: scheduler.heard(TasksReturned))
            assert (answer.keys, answer.reason) == (["x"], "missing")
            assert answer.missing[0][0] == "d"
            assert dead in answer.missing[0][1]

    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        run(test)


def test_a_busy_peer_is_asked_again():
    async def test() -> None:
        async with Played() as scheduler, Worker(scheduler, name="a") as a, Worker(scheduler, name="b") as b:
            scheduler.run(a, large, {"big": (3_000_000,)})
            await until(lambda: "big" in scheduler.finished())
            a._transfers = a.max_transfers
            async with rpc(a.address) as peer:
                assert await peer.get_data(keys=["big"]) == {"status": "busy", "data": []}
            scheduler.run(
                b, len, {"n": (Ref("big"),)}, deps=["big"], holders=[("big", 3_000_000, [a.address])]
            )
            await until(lambda: b.state.wake_at() is not None)
            a._transfers = 0
            await until(lambda: "n" in scheduler.finished())

    run(test)


def test_a_result_that_cannot_be_pickled():
    async def test() -> None:
        async with Played() as scheduler, Worker(scheduler, name="a") as a, Worker(scheduler, name="b") as b:
            scheduler.run(a, threading.Lock, {"lock": ()})
            scheduler.run(a, inc, {"x": (1,)})
            await until(lambda: len(scheduler.finished()) == 2)
            async with rpc(a.address) as peer:
                answer = await peer.get_data(keys=["lock", "x", "unknown"])
            assert [key for key, _ in answer["data"]] == ["lock", "x"]
            assert unpack(answer["data"][1][1]) == 2
            [[key, holder, reason]] = answer["immovable"]
            assert (key, holder) == ("lock", a.address)
            assert reason == "_thread.lock: TypeError: cannot pickle '_thread.lock' object"
            with pytest.raises(TypeError, match=r"Could not serialize result 'lock' of type _thread.lock"):
                unpack(answer["data"][0][1])
            scheduler.run(a, type, {"here": (Ref("lock"),)}, deps=["lock"])  # fine where it is
            scheduler.run(
                b, type, {"there": (Ref("lock"),)}, deps=["lock"], holders=[("lock", 1, [a.address])]
            )
            [returned] = await until(lambda: scheduler.heard(TasksReturned))
            assert returned.keys == ["there"]
            told = scheduler.heard(ResultsImmovable)  # by a, which was asked twice, and by b
            assert [message.keys for message in told] == [["lock"]] * 3
            assert {*(holder for message in told for holder in message.holders)} == {a.address}
            await until(lambda: "here" in scheduler.finished())

    run(test)


def test_scattered_data():
    async def test() -> None:
        async with Played() as scheduler, Worker(scheduler) as worker, rpc(worker.address) as peer:
            data = [
                ["x", pack([1, 2])],
                ["y", pack("text")],
                [("z", 0), pack(b"0" * 500_000)],
                ["bad", b"no pickle"],
            ]
            answer = await peer.update_data(data=data)
            rows = [(key, typename) for key, _, typename in answer["data"]]
            assert rows == [("x", "list"), ("y", "str"), (("z", 0), "bytes"), ("bad", "")]
            assert all(nbytes > 0 for _, nbytes, _ in answer["data"])
            assert worker.data["x"] == [1, 2]
            assert await peer.keys() == ["x", "y", ("z", 0), "bad"]
            await peer.free_keys(keys=["x", "bad"])
            assert await peer.keys() == ["y", ("z", 0)]

    run(test)


# ---------------------------------------------------------------- calls


async def describe_later(prefix: str, dask_worker: Any = None) -> str:
    await asyncio.sleep(0)
    return f"{prefix} {dask_worker.name}"


def test_run():
    async def test() -> None:
        async with Played() as scheduler, Worker(scheduler, name="w") as worker, rpc(worker.address) as peer:
            assert unpack(await peer.run(function=pack(inc), args=pack((1,)))) == 2
            assert (
                unpack(await peer.run(function=pack(describe_later), kwargs=pack({"prefix": "I am"})))
                == "I am w"
            )
            with pytest.raises(TypeError):
                await peer.run(function=pack(inc), args=pack(("a",)))
            assert await peer.run(function=pack(worker_flag), wait=False) is None
            await until(lambda: hasattr(worker, "flag"))

    run(test)


def worker_flag(dask_worker: Any) -> None:
    dask_worker.flag = True


class Plugin:
    name = "plugin"
    events: list[str] = []  # noqa: RUF012

    def __reduce__(self) -> Any:
        return Plugin, ()

    async def setup(self, worker: Any) -> None:
        self.events.append(f"setup {worker.name}")

    def teardown(self, worker: Any) -> None:
        self.events.append("teardown")


class Broken:
    def setup(self, worker: Any) -> None:
        raise RuntimeError("cannot be set up")


def test_plugins():
    async def test() -> None:
        Plugin.events.clear()
        async with Played() as scheduler, Worker(scheduler, name="w", plugins=[Plugin()]) as worker:
            assert Plugin.events == ["setup w"]
            async with rpc(worker.address) as peer:
                assert await peer.plugin_add(plugin=pack(Plugin())) == {"status": "OK", "name": "plugin"}
                assert Plugin.events == ["setup w", "teardown", "setup w"]
                with pytest.raises(RuntimeError, match="cannot be set up"):
                    await peer.plugin_add(plugin=pack(Broken()), name="broken")
                assert list(worker.plugins) == ["plugin"]
        assert Plugin.events[-1] == "teardown"

    run(test)


def test_uploaded_files_are_imported_and_removed_at_the_end(tmp_path: Any):
    async def test() -> None:
        async with Played() as scheduler, Worker(scheduler, local_directory=str(tmp_path)) as worker:
            assert list(tmp_path.iterdir()) == []  # nothing is made that is not needed
            async with rpc(worker.address) as peer:
                await peer.upload_file(filename="../uploaded_for_test.py", data=b"x = 41")
                path = os.path.join(worker.ensure_local_directory(), "uploaded_for_test.py")
                assert os.path.exists(path)  # noqa: ASYNC240
            scheduler.run(worker, uploaded, {"x": ()})
            await until(lambda: "x" in scheduler.finished())
            assert scheduler.finished()["x"] == 41
        assert list(tmp_path.iterdir()) == []

    run(test)


def uploaded() -> int:
    import uploaded_for_test  # type: ignore[import-not-found]

    return uploaded_for_test.x  # type: ignore[no-any-return]


def test_looking_inside():
    async def test() -> None:
        go.clear()
        async with (
            Played() as scheduler,
            Worker(scheduler, nthreads=1, name="w") as worker,
            rpc(worker.address) as peer,
        ):
            scheduler.run(worker, block, {"long": ()})
            [[key, seconds]] = await until(worker.executing)
            assert (key, await peer.executing()) == ("long", [["long", pytest.approx(seconds, abs=10)]])
            [[_, lines]] = await peer.call_stack(keys=["long"])
            assert any("in block" in line for line in lines)
            go.set()
            await until(lambda: "long" in scheduler.finished())
            story = await peer.story(keys_or_stimuli=["long"])
            assert [(start, finish) for _, start, finish, _ in story][-1] == ("executing", "memory")
            identity = await peer.identity()
            assert (identity["type"], identity["name"], identity["ndata"]) == ("Worker", "w", 1)
            assert repr(worker).startswith("<Worker 'tcp://127.0.0.1:")

    run(test)


# ---------------------------------------------------------------- the scheduler comes and goes


def test_after_a_lost_connection_it_registers_with_what_it_holds_and_runs():
    async def test() -> None:
        go.clear()
        async with Played() as scheduler, Worker(scheduler, nthreads=1) as worker:
            scheduler.run(worker, inc, {"x": (1,)})
            await until(lambda: "x" in scheduler.finished())
            scheduler.run(worker, block, {"long": ()})
            await until(worker.executing)
            scheduler.run(worker, inc, {"queued": (1,)})
            await until(lambda: "queued" in worker.tasks)
            scheduler.said.clear()
            scheduler.streams[worker.address].abort()
            said = (await until(lambda: scheduler.registered[1:]))[0]
            assert [key for key, *_ in said["holding"]] == ["x"]
            assert said["running"] == [["long", 2, b""]]
            go.set()
            await until(lambda: "long" in scheduler.finished())
            assert list(worker.data) == ["x", "long"]
            assert worker.status is Status.running
            scheduler.run(worker, inc, {"new": (2,)})
            await until(lambda: "new" in scheduler.finished())

    run(test)


def test_data_that_comes_while_the_scheduler_is_being_told_what_is_here_waits_for_its_answer():
    """It would not be in what is told, and the scheduler, which had heard of it before, would take it for lost."""

    async def test() -> None:
        async with Played() as scheduler, Worker(scheduler) as worker, rpc(worker.address) as peer:
            answers = asyncio.Event()

            async def register_late(comm: Connection, **kwargs: Any) -> dict[str, Any]:
                answer = scheduler.register_worker(comm, **kwargs)
                await answers.wait()
                return answer

            scheduler.handlers["register_worker"] = register_late
            scheduler.streams[worker.address].abort()
            await until(lambda: scheduler.registered[1:])
            handing_over = asyncio.create_task(peer.update_data(data=[["x", pack(1)]]))
            assert await peer.keys() == []  # asked later, answered at once
            assert not handing_over.done()
            answers.set()
            await handing_over
            assert await peer.keys() == ["x"]

    run(test)


def test_what_finished_meanwhile_is_told_after_the_registration():
    async def test() -> None:
        go.clear()
        first = await Played()
        address = first.address
        worker = await Worker(first, nthreads=1)
        first.run(worker, block, {"long": ()})
        await until(worker.executing)
        await first.close()
        await until(lambda: worker.stream is None)
        go.set()
        await until(lambda: "long" in worker.data)
        second = Played()
        second.on_start = lambda: second.listen(address)  # type: ignore[method-assign,return-value,assignment]
        async with second:
            await until(lambda: "long" in second.finished())
            [said] = second.registered
            assert [key for key, *_ in said["holding"]] == ["long"]
            assert said["running"] == []
            await worker.close()

    run(test)


def test_a_worker_whose_scheduler_stays_away_ends_by_itself(caplog: pytest.LogCaptureFixture):
    async def test() -> None:
        scheduler = await Played()
        worker = await Worker(scheduler)
        await scheduler.close()
        async with asyncio.timeout(10):
            with pytest.raises(TimeoutError, match="no scheduler answers"):
                await worker.finished()
        assert worker.status is Status.closed

    with caplog.at_level(logging.WARNING), dask.config.set({"distributed.worker.reconnect-timeout": "200ms"}):
        run(test)
    assert "gives up: no scheduler answers" in caplog.text


def test_two_networks_in_one_process_do_not_disturb_each_other():
    async def test() -> None:
        async with Played() as one, Played() as two, Worker(one, name="1") as a, Worker(two, name="2") as b:
            for scheduler, worker in ((one, a), (two, b)):
                scheduler.run(worker, where, {"x": ()})
            await until(lambda: one.finished() and two.finished())
            assert (one.finished()["x"][0], two.finished()["x"][0]) == ("1", "2")

    run(test)


class Extension:
    def __init__(self, worker: Worker) -> None:
        self.worker = worker


def test_extensions():
    async def test() -> None:
        async with Played() as scheduler, Worker(scheduler, extensions={"x": Extension}) as worker:
            assert worker.extensions["x"].worker is worker

    run(test)


def test_a_failed_start_leaves_nothing_open():
    async def test() -> None:
        async with Played() as scheduler:
            with pytest.raises(OSError, match="in use"):
                await Worker(scheduler, port=scheduler.port)
            await until(lambda: not scheduler.connections)
            assert scheduler.registered == []

    run(test)
