"""``blocked_handlers`` is obeyed by whoever takes it, however an operation is reached."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import dask
import pytest

from distributed import Client, LocalCluster, Nanny, Scheduler, Worker, rpc
from distributed.core import Server
from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.protocol.messages import WorkerEvent
from distributed.security import ClusterKey

LOCAL = {"host": "127.0.0.1"}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTRIBUTED_KEY", ClusterKey.generate().text())


def refused(op: str, kind: str) -> Any:
    return pytest.raises(ValueError, match=f"'{op}' has been explicitly disallowed in {kind}")


def one() -> int:
    return 1


@pytest.mark.parametrize("given", [["run_function"], ("run-function",), "run_function"])
@pytest.mark.parametrize("way", ["parameter", "setting"])
def test_by_a_scheduler(given: Any, way: str) -> None:
    async def main() -> None:
        async with Scheduler(port=0, **LOCAL, **parameter) as scheduler:
            async with Client(scheduler.address, asynchronous=True) as client:
                with refused("run_function", "Scheduler"):
                    await client.run_on_scheduler(one)

    parameter = {"blocked_handlers": given} if way == "parameter" else {}
    with dask.config.set({} if parameter else {"distributed.scheduler.blocked-handlers": given}):
        asyncio.run(main())


def test_a_parameter_takes_the_place_of_the_setting() -> None:
    async def main() -> None:
        async with Scheduler(port=0, blocked_handlers=["ping"], **LOCAL) as scheduler:
            async with Client(scheduler.address, asynchronous=True) as client:
                assert await client.run_on_scheduler(one) == 1
            async with rpc(scheduler.address) as remote:
                with refused("ping", "Scheduler"):
                    await remote.ping()

    with dask.config.set({"distributed.scheduler.blocked-handlers": ["run_function"]}):
        asyncio.run(main())


@pytest.mark.parametrize("op", ["run", "run_coroutine"])
def test_by_a_worker_whatever_name_the_operation_is_called_by(op: str) -> None:
    async def main() -> None:
        async with (
            Scheduler(port=0, **LOCAL) as scheduler,
            Worker(scheduler.address, nthreads=1, blocked_handlers=["run"], **LOCAL) as worker,
            Client(scheduler.address, asynchronous=True) as client,
            rpc(worker.address) as remote,
        ):
            with refused(op, "Worker"):
                await getattr(remote, op)(function=b"")
            with refused("run", "Worker"):
                await client.run(one)
            assert await client.submit(one) == 1

    asyncio.run(main())


def test_by_a_nanny_and_its_worker() -> None:
    async def main() -> None:
        async with (
            Scheduler(port=0, **LOCAL) as scheduler,
            Nanny(scheduler.address, nthreads=1, blocked_handlers=["run"], **LOCAL),
            Client(scheduler.address, asynchronous=True) as client,
        ):
            with refused("run", "Nanny"):
                await client.run(one, nanny=True)
            with refused("run", "Worker"):
                await client.run(one)

    asyncio.run(main())


def test_by_a_nanny_as_set() -> None:
    async def main() -> None:
        async with (
            Scheduler(port=0, **LOCAL) as scheduler,
            Nanny(scheduler.address, nthreads=1, **LOCAL),
            Client(scheduler.address, asynchronous=True) as client,
        ):
            with refused("run", "Nanny"):
                await client.run(one, nanny=True)
            assert list((await client.run(one)).values()) == [1]

    with dask.config.set({"distributed.nanny.blocked-handlers": ["run"]}):
        asyncio.run(main())


def test_by_the_scheduler_of_a_local_cluster() -> None:
    with LocalCluster(n_workers=1, processes=False, blocked_handlers=["run_function"]) as cluster:
        with Client(cluster) as client:
            with refused("run_function", "Scheduler"):
                client.run_on_scheduler(one)
            assert list(client.run(one).values()) == [1]


def test_what_is_added_later_is_blocked_too() -> None:
    async def main() -> None:
        server = Server({"early": one}, blocked_handlers=["early", "late"])
        server.add_handlers({"late": one, "other": dict})
        async with server, rpc(server.address) as remote:
            for op in ("early", "late"):
                with refused(op, "Server"):
                    await getattr(remote, op)()
            assert await remote.other() == {}

    asyncio.run(main())


def test_events_on_a_worker_s_stream() -> None:
    async def main() -> None:
        async with Scheduler(port=0, blocked_handlers=["log_event"], **LOCAL) as scheduler:
            scheduler._on_worker_event("tcp://127.0.0.1:1", WorkerEvent("log-event", [["a-topic"], "said"]))
            assert not scheduler.get_events("a-topic")

    asyncio.run(main())


def test_a_name_that_blocks_nothing_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with Scheduler(port=0, blocked_handlers=["run_funktion"], **LOCAL):
            pass

    asyncio.run(main())
    assert "has no operations to block named run_funktion" in caplog.text


class Plugin(SchedulerPlugin):
    """Does nothing."""


@pytest.mark.parametrize(
    "use",
    [
        lambda client, path: client.run_on_scheduler(one),
        lambda client, path: client.register_plugin(Plugin()),
        lambda client, path: client.upload_file(path),
        lambda client, path: client.scheduler.feed(function=b""),
    ],
    ids=["run", "plugin", "upload", "feed"],
)
def test_a_scheduler_that_takes_no_code_takes_it_by_no_way(use: Callable[..., Any], tmp_path: Any) -> None:
    async def main() -> None:
        async with Scheduler(port=0, **LOCAL) as scheduler:
            async with Client(scheduler.address, asynchronous=True) as client:
                with pytest.raises(ValueError, match="runs no code of clients"):
                    await use(client, str(tmp_path / "code.py"))

    (tmp_path / "code.py").write_text("raise SystemExit")
    with dask.config.set({"distributed.scheduler.pickle": False}):
        asyncio.run(main())
