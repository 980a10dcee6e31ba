"""Plugins of scheduler, workers and nannies."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

import pytest

from distributed import (
    Client,
    Environ,
    InstallPlugin,
    LocalCluster,
    Nanny,
    NannyPlugin,
    PipInstall,
    Scheduler,
    SchedulerPlugin,
    UploadDirectory,
    Worker,
    WorkerPlugin,
)
from distributed.diagnostics.plugin import CondaInstall


async def until(condition: Any, what: str, timeout: float = 10) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout} s for: {what}"
        await asyncio.sleep(0.005)


class Recorder(SchedulerPlugin):
    name = "recorder"

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []

    async def start(self, scheduler: Any) -> None:
        self.seen.append(("start",))

    async def before_close(self) -> None:
        self.seen.append(("before_close",))

    async def close(self) -> None:
        self.seen.append(("close",))

    def transition(self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any) -> None:
        self.seen.append(("transition", key, start, finish, kwargs))

    def update_graph(self, scheduler: Any, *, client: str, keys: Any, tasks: Any, **kwargs: Any) -> None:
        self.seen.append(("update_graph", client, set(keys), list(tasks)))

    def add_worker(self, scheduler: Any, worker: str) -> None:
        assert worker in scheduler.workers
        self.seen.append(("add_worker", worker))

    def remove_worker(self, scheduler: Any, worker: str, **kwargs: Any) -> None:
        assert worker not in scheduler.workers
        self.seen.append(("remove_worker", worker))

    def add_client(self, scheduler: Any, client: str) -> None:
        self.seen.append(("add_client", client))

    def remove_client(self, scheduler: Any, client: str) -> None:
        self.seen.append(("remove_client", client))

    def restart(self, scheduler: Any) -> None:
        self.seen.append(("restart",))

    def log_event(self, topic: str, msg: Any) -> None:
        self.seen.append(("log_event", topic, msg))

    def of(self, kind: str) -> list[tuple[Any, ...]]:
        return [entry[1:] for entry in self.seen if entry[0] == kind]


def test_scheduler_hooks() -> None:
    async def test() -> None:
        plugin = Recorder()
        async with Scheduler(host="127.0.0.1", port=0, plugins=[plugin]) as scheduler:
            assert scheduler.plugins == {"recorder": plugin}
            async with Worker(scheduler.address, nthreads=1) as worker:
                async with Client(scheduler.address, asynchronous=True) as client:
                    assert await client.submit(abs, -1, key="x") == 1
                    with pytest.raises(ZeroDivisionError):
                        await client.submit(lambda: 1 / 0, key="y")
                    await client.log_event("t", 1)
                    await client.restart()
                address = worker.address
            await until(lambda: plugin.of("remove_client"), "the client is gone")
        assert plugin.of("start") == plugin.of("before_close") == plugin.of("close") == [()]
        assert plugin.of("restart") == [()]
        assert plugin.of("add_worker") == plugin.of("remove_worker") == [(address,)]
        assert plugin.of("add_client") == plugin.of("remove_client") == [(client.id,)]
        assert (client.id, {"x"}, ["x"]) in plugin.of("update_graph")
        assert ("t", 1) in plugin.of("log_event")
        moves = {(key, finish): kwargs for key, _, finish, kwargs in plugin.of("transition")}
        assert moves["x", "processing"]["worker"] == address
        assert moves["x", "memory"]["worker"] == address
        assert moves["x", "memory"]["nbytes"] > 0
        assert moves["x", "memory"]["stimulus_id"].startswith("TasksFinished")
        assert moves["y", "erred"]["worker"] == address
        assert [f for key, _, f, _ in plugin.of("transition") if key == "x"][:2] == ["queued", "processing"]

    asyncio.run(test())


def test_hooks_that_nobody_has_cost_nothing() -> None:
    class Quiet(SchedulerPlugin):
        pass

    async def test() -> None:
        async with Scheduler(host="127.0.0.1", port=0) as scheduler:
            assert type(scheduler.state.log) is deque
            scheduler.add_plugin(Quiet(), name="quiet")
            assert type(scheduler.state.log) is deque
            assert not scheduler.wants_graphs
            scheduler.add_plugin(Recorder())
            assert type(scheduler.state.log) is not deque
            scheduler.remove_plugin("recorder")
            assert type(scheduler.state.log) is deque
            with pytest.raises(ValueError, match="no scheduler plugin is named 'recorder'"):
                scheduler.remove_plugin("recorder")

    asyncio.run(test())


def test_names_and_idempotence() -> None:
    async def test() -> None:
        async with Scheduler(host="127.0.0.1", port=0) as scheduler:
            first = Recorder()
            scheduler.add_plugin(first)
            scheduler.add_plugin(Recorder(), idempotent=True)
            assert scheduler.plugins["recorder"] is first
            with pytest.warns(UserWarning, match="recorder"):
                scheduler.add_plugin(Recorder())
            assert scheduler.plugins["recorder"] is not first

    asyncio.run(test())


@pytest.mark.parametrize("error", [RuntimeError, SystemExit, KeyboardInterrupt])
def test_a_failing_hook_harms_nothing(caplog: pytest.LogCaptureFixture, error: type[BaseException]) -> None:
    class Bad(SchedulerPlugin):
        def transition(self, *args: Any, **kwargs: Any) -> None:
            raise error("bad plugin")

        async def add_client(self, scheduler: Any, client: str) -> None:  # type: ignore[override]
            raise error("bad coroutine")

        async def before_close(self) -> None:
            raise error("bad end")

    async def test() -> None:
        async with Scheduler(host="127.0.0.1", port=0, plugins=[Bad()]) as scheduler:
            async with Worker(scheduler.address, nthreads=1):
                async with Client(scheduler.address, asynchronous=True) as client:
                    assert await client.submit(abs, -1) == 1
                    await client.run(_raise, error, wait=False)
                    await client.run_on_scheduler(_raise, error, wait=False)
                    assert await client.submit(abs, -2) == 2

    asyncio.run(test())
    for words in ("bad plugin", "bad coroutine", "bad end"):
        assert words in caplog.text


async def _raise(error: type[BaseException]) -> None:
    raise error("asked to")


class Marks(WorkerPlugin):
    """Sets an attribute of the worker."""

    def __init__(self, value: Any = 1) -> None:
        self.value = value
        self.transitions: list[tuple[Any, str, str]] = []

    async def setup(self, worker: Any) -> None:
        await asyncio.sleep(0)
        worker.mark = self.value

    def teardown(self, worker: Any) -> None:
        worker.mark = None

    def transition(self, key: Any, start: str, finish: str, **kwargs: Any) -> None:
        self.transitions.append((key, start, finish))


def test_worker_plugins_also_for_later_workers() -> None:
    async def test() -> None:
        async with Scheduler(host="127.0.0.1", port=0) as scheduler:
            async with (
                Worker(scheduler.address, nthreads=1) as a,
                Client(scheduler.address, asynchronous=True) as client,
            ):
                answer = await client.register_plugin(Marks(), name="marks")
                assert answer == {a.address: {"status": "OK"}}
                assert a.mark == 1
                async with Worker(scheduler.address, nthreads=1) as b:
                    assert b.mark == 1
                    assert await client.submit(lambda: 5, key="x", workers=[b.address]) == 5
                    assert ("x", "executing", "memory") in b.plugins["marks"].transitions
                    await client.register_plugin(Marks(2), name="marks", idempotent=True)
                    assert (a.mark, b.mark) == (1, 1)
                    await client.register_plugin(Marks(2), name="marks")
                    assert (a.mark, b.mark) == (2, 2)
                    await client.unregister_worker_plugin("marks")
                    assert (a.mark, b.mark) == (None, None)
                    assert type(a.state.history) is deque
                    with pytest.raises(ValueError, match="no worker plugin is named 'marks'"):
                        await client.unregister_worker_plugin("marks")
                async with Worker(scheduler.address, nthreads=1) as c:
                    assert not hasattr(c, "mark")

    asyncio.run(test())


def test_only_plugins_are_registered() -> None:
    async def test() -> None:
        async with Scheduler(host="127.0.0.1", port=0) as scheduler:
            async with Client(scheduler.address, asynchronous=True) as client:
                with pytest.raises(TypeError, match="SchedulerPlugin, WorkerPlugin or NannyPlugin"):
                    await client.register_plugin(object())

    asyncio.run(test())


def test_scheduler_plugin_of_a_client() -> None:
    async def test() -> None:
        async with Scheduler(host="127.0.0.1", port=0) as scheduler:
            async with Client(scheduler.address, asynchronous=True) as client:
                await client.register_plugin(Recorder())
                plugin = scheduler.plugins["recorder"]
                assert plugin.of("start") == [()]
                await client.unregister_scheduler_plugin("recorder")
                assert plugin.of("close") == [()]
                assert not scheduler.plugins

    asyncio.run(test())


def test_as_dask_expr_analyzes() -> None:
    """A plugin in the scheduler that installs one in the workers, adds operations and asks all workers."""

    class OnWorkers(WorkerPlugin):
        name = "analyze"

        def setup(self, worker: Any) -> None:
            worker.handlers["get_statistics"] = lambda id: {"n": 1}

    class Analyze(SchedulerPlugin):
        name = "analyze"

        async def start(self, scheduler: Any) -> None:
            from distributed.protocol.pickle import dumps

            self.scheduler = scheduler
            scheduler.handlers["sum_statistics"] = self.sum
            await scheduler.register_worker_plugin(None, dumps(OnWorkers()), name="analyze", idempotent=True)

        async def sum(self, id: str) -> int:
            answers = await self.scheduler.broadcast(msg={"op": "get_statistics", "id": id})
            return sum(answer["n"] for answer in answers.values())

    async def test() -> None:
        async with Scheduler(host="127.0.0.1", port=0) as scheduler:
            async with (
                Worker(scheduler.address, nthreads=1),
                Worker(scheduler.address, nthreads=1) as b,
                Client(scheduler.address, asynchronous=True) as client,
            ):
                await client.register_plugin(Analyze())
                assert "analyze" in b.plugins
                assert await client.scheduler.sum_statistics(id="x") == 2

    asyncio.run(test())


# ---------------------------------------------------------------- in processes


class OnNanny(NannyPlugin):
    def setup(self, nanny: Any) -> None:
        nanny.mark = 1

    def teardown(self, nanny: Any) -> None:
        nanny.mark = None


def test_nanny_plugins_also_for_later_nannies() -> None:
    async def test() -> None:
        async with Scheduler(host="127.0.0.1", port=0) as scheduler:
            async with (
                Nanny(scheduler.address, nthreads=1) as a,
                Client(scheduler.address, asynchronous=True) as client,
            ):
                await client.register_plugin(OnNanny(), name="marks")
                await client.register_plugin(Environ({"OF_THE_PLUGIN": 5}), name="environ")
                await client.wait_for_workers(1)
                assert a.mark == 1
                async with Nanny(scheduler.address, nthreads=1) as b:
                    assert b.mark == 1
                    await client.wait_for_workers(2)
                    found = await client.run(lambda: os.environ.get("OF_THE_PLUGIN"))
                    assert list(found.values()) == ["5", "5"]
                    await client.unregister_worker_plugin("marks", nanny=True)
                    assert (a.mark, b.mark) == (None, None)

    asyncio.run(test())


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTRIBUTED_KEY", "ab" * 32)
        with LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address=None,
            local_directory=str(tmp_path_factory.mktemp("workers")),
        ) as cluster:
            with Client(cluster) as client:
                yield client


def test_uploaded_files(processes: Client, tmp_path: Path) -> None:
    (tmp_path / "uploaded_here.py").write_text("def f():\n    return 1\n")
    answer = processes.upload_file(str(tmp_path / "uploaded_here.py"))
    assert len(answer) == 2

    def task() -> int:
        import uploaded_here  # type: ignore[import-not-found]

        return uploaded_here.f()  # type: ignore[no-any-return]

    assert processes.submit(task, pure=False).result() == 1
    (tmp_path / "uploaded_here.py").write_text("def f():\n    return 2\n")
    processes.upload_file(str(tmp_path / "uploaded_here.py"))
    assert processes.submit(task, pure=False).result() == 2
    sys.modules.pop("uploaded_here", None)  # the scheduler is in this process


def test_uploaded_directories(processes: Client, tmp_path: Path) -> None:
    package = tmp_path / "package_here"
    (package / "tests").mkdir(parents=True)
    (package / "__init__.py").write_text("X = 5\n")
    (package / "tests" / "no.py").write_text("")
    processes.register_plugin(UploadDirectory(str(package), update_path=True))

    def task() -> tuple[int, list[str]]:
        import package_here  # type: ignore[import-not-found]

        return package_here.X, os.listdir(os.path.dirname(package_here.__file__))

    for address in processes.nthreads():
        value, files = processes.submit(task, workers=[address], pure=False).result()
        assert value == 5
        assert "tests" not in files
    with pytest.raises(NotADirectoryError):
        UploadDirectory(str(tmp_path / "nothing"))


def test_installing_once_a_host(processes: Client, tmp_path: Path) -> None:
    path = tmp_path / "installed"

    def install() -> None:
        with open(path, "a") as file:
            file.write("x")

    processes.register_plugin(InstallPlugin(install, restart_workers=False))
    assert path.read_text() == "x"


def test_packages_that_cannot_be_installed(processes: Client) -> None:
    plugin = PipInstall(["./no-such-package-here"], pip_options=["--no-index"])
    assert plugin.command()[1:4] == ["-m", "pip", "install"]
    with pytest.raises(RuntimeError, match="pip could not install"):
        processes.register_plugin(plugin)
    with pytest.raises(TypeError, match="list of names"):
        PipInstall("pandas")  # type: ignore[arg-type]
    assert CondaInstall(["x"]).command()[:3] == ["conda", "install", "-y"]


def test_plugins_have_a_say_in_which_workers_are_closed() -> None:
    class Keep(SchedulerPlugin):
        def valid_workers_downscaling(self, scheduler: Any, workers: list[Any]) -> list[Any]:
            return [ws for ws in workers if ws.name != "precious"]

    async def test() -> None:
        async with Scheduler(host="127.0.0.1", port=0) as scheduler:
            async with (
                Worker(scheduler.address, nthreads=1, name="precious"),
                Worker(scheduler.address, nthreads=1, name="other"),
            ):
                scheduler.add_plugin(Keep())
                assert scheduler.workers_to_close(n=2, attribute="name") == ["other"]

    asyncio.run(test())
