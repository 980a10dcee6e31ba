"""Whatever is raised inside a worker for somebody ends what that somebody asked for, and nothing else."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from system_tasks import inc

from distributed import Client, LocalCluster, SchedulerPlugin, WorkerPlugin, get_client

SECONDS = 30
KINDS = [SystemExit, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit, BaseException]


@pytest.fixture(scope="module", params=["processes", "threads"])
def module_client(request: pytest.FixtureRequest) -> Iterator[Client]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTRIBUTED_KEY", secrets.token_hex(32))
        patch.setenv("PYTHONPATH", os.path.dirname(__file__))
        with (
            LocalCluster(
                n_workers=1,
                threads_per_worker=2,
                processes=request.param == "processes",
                dashboard_address=None,
            ) as cluster,
            Client(cluster) as client,
        ):
            yield client


@pytest.fixture
def client(module_client: Client) -> Iterator[Client]:
    """A client of a network that must be as well after the test as before."""
    worker = module_client.run(os.getpid)
    yield module_client
    assert module_client.submit(inc, 1, pure=False).result(timeout=SECONDS) == 2
    assert module_client.run(os.getpid) == worker


def leave(kind: type[BaseException]) -> None:
    raise kind("bye")


async def leave_loop(kind: type[BaseException]) -> None:
    raise kind("bye")


async def leave_loop_later(kind: type[BaseException]) -> None:
    await asyncio.sleep(0.001)
    raise kind("bye")


async def leave_loop_in_a_task_of_its_own(kind: type[BaseException]) -> None:
    await asyncio.create_task(leave_loop_later(kind))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("task", [leave, leave_loop, leave_loop_later, leave_loop_in_a_task_of_its_own])
def test_tasks_that_leave(client: Client, task: Any, kind: type[BaseException]):
    with pytest.raises(RuntimeError, match=f"the task raised {kind.__name__}"):
        client.submit(task, kind, pure=False).result(timeout=SECONDS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("function", [leave, leave_loop])
def test_functions_that_leave(client: Client, function: Any, kind: type[BaseException]):
    for run in (client.run, client.run_on_scheduler):
        with pytest.raises(Exception, match=kind.__name__):
            run(function, kind)


class Leaving:
    def leave(self, kind: type[BaseException]) -> None:
        raise kind("bye")

    async def leave_loop(self, kind: type[BaseException]) -> None:
        raise kind("bye")

    @property
    def leaving(self) -> None:
        raise SystemExit("bye")


def call(actor: Any, method: str, kind: type[BaseException]) -> Any:
    return getattr(actor, method)(kind).result()


@pytest.mark.parametrize("method", ["leave", "leave_loop"])
@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_actors_that_leave(client: Client, method: str, kind: type[BaseException]):
    future = client.submit(Leaving, actor=True)
    with pytest.raises(RuntimeError, match=f"the actor raised {kind.__name__}"):
        getattr(future.result(timeout=SECONDS), method)(kind).result(timeout=SECONDS)
    with pytest.raises(RuntimeError, match=f"the actor raised {kind.__name__}"):
        client.submit(call, future, method, kind).result(timeout=SECONDS)
    with pytest.raises(RuntimeError, match="the actor raised SystemExit"):
        _ = future.result(timeout=SECONDS).leaving


async def leave_a_callback(kind: type[BaseException]) -> str:
    asyncio.get_running_loop().call_soon(leave, kind)
    await asyncio.sleep(0.001)
    return "stays"


def leave_a_done_callback(kind: type[BaseException]) -> str:
    future = get_client().submit(inc, 1, pure=False)
    future.add_done_callback(lambda _: leave(kind))
    future.result()
    return "stays"


class Finalized:
    def __init__(self, kind: type[BaseException]) -> None:
        self.kind = kind

    def __del__(self) -> None:
        raise self.kind("bye")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def leave_a_finalizer(kind: type[BaseException]) -> str:
    Finalized(kind)
    return "stays"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
@pytest.mark.parametrize("task", [leave_a_callback, leave_a_done_callback, leave_a_finalizer])
def test_what_leaves_beside_a_task(client: Client, task: Any, kind: type[BaseException]):
    assert client.submit(task, kind, pure=False).result(timeout=SECONDS) == "stays"


class Plugin(WorkerPlugin):
    def __init__(self, moment: str, kind: type[BaseException]) -> None:
        self.name = f"leaves at {moment}"
        self.moment = moment
        self.kind = kind

    def setup(self, worker: Any) -> None:
        if self.moment == "setup":
            raise self.kind("bye")

    def transition(self, key: Any, start: str, finish: str, **kwargs: Any) -> None:
        if self.moment == "transition":
            raise self.kind("bye")


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_plugins_that_leave(client: Client, kind: type[BaseException]):
    with pytest.raises(Exception, match=kind.__name__):
        client.register_plugin(Plugin("setup", kind))
    plugin = Plugin("transition", kind)
    client.register_plugin(plugin)
    assert client.gather(client.map(inc, range(5), pure=False)) == [1, 2, 3, 4, 5]
    client.unregister_worker_plugin(plugin.name)


class LeavesLater(WorkerPlugin):
    name = "leaves later"

    def __init__(self, file: str) -> None:
        self.file = file

    def setup(self, worker: Any) -> None:
        if os.path.exists(self.file):
            raise SystemExit("bye")


def test_a_plugin_that_leaves_only_later_workers(module_key: str, tmp_path: Path):
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        file = tmp_path / "now"
        client.register_plugin(LeavesLater(str(file)))
        file.touch()
        client.restart(timeout=SECONDS)
        assert client.submit(abs, -1).result(timeout=SECONDS) == 1


class LeavingScheduler(SchedulerPlugin):
    name = "leaves"

    def transition(self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt("bye")

    async def add_client(self, scheduler: Any, client: str) -> None:  # type: ignore[override]
        raise SystemExit("bye")


def test_a_scheduler_plugin_that_leaves(client: Client):
    client.register_plugin(LeavingScheduler())
    try:
        with Client(client.scheduler.address, set_as_default=False) as other:
            assert other.gather(other.map(inc, range(5), pure=False)) == [1, 2, 3, 4, 5]
    finally:
        client.unregister_scheduler_plugin("leaves")


class Unpicklable:
    def __getstate__(self) -> None:
        raise KeyboardInterrupt("bye")


class Departing:
    def __reduce__(self) -> tuple[Any, ...]:
        return leave, (SystemExit,)


def test_data_that_leaves(client: Client):
    with pytest.raises(TypeError, match="KeyboardInterrupt"):
        client.submit(Unpicklable).result(timeout=SECONDS)
    with pytest.raises(RuntimeError, match="SystemExit"):
        client.submit(id, Departing()).result(timeout=SECONDS)


def test_a_loop_that_something_left_goes_on_and_stops_when_told():
    """The client's own loop, on which what is called back for others runs, too."""
    with (
        LocalCluster(n_workers=1, processes=False, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        for kind in (SystemExit, KeyboardInterrupt):
            client.loop.add_callback(leave, kind)
        assert client.submit(inc, 1).result(timeout=SECONDS) == 2
        client.loop.add_callback(leave, SystemExit)
        start = time.monotonic()
    assert time.monotonic() - start < 5
