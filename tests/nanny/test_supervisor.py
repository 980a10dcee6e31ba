from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from nanny_fakes import FakeWorker
from test_process import until

from distributed import config
from distributed.nanny.channel import ChildSpec
from distributed.nanny.environment import worker_environment
from distributed.nanny.memory import NannyMemoryManager
from distributed.nanny.process import WorkerProcess, WorkerStartError
from distributed.nanny.supervisor import Supervisor, restart_delay


class Events:
    """What a supervisor told, and the supervisor."""

    def __init__(self, behaviour: str, path: Path | None = None, **kwargs: Any) -> None:
        self.starts: list[int | None] = []
        self.ends: list[Exception | None] = []
        options = {"behaviour": behaviour, "path": str(path or "")}

        self.nprocesses = 0

        def make() -> WorkerProcess:
            self.nprocesses += 1
            return WorkerProcess(ChildSpec(FakeWorker, "tcp://127.0.0.1:2", options, config.snapshot()))

        arguments: dict[str, Any] = {
            "start_timeout": 20,
            "quick_failure": 60,
            "max_quick_failures": 3,
        } | kwargs
        self.supervisor = Supervisor(
            make,
            on_start=lambda process: self.starts.append(process.pid),
            on_end=self.ends.append,
            **arguments,
        )


def test_a_killed_worker_is_started_again() -> None:
    async def main() -> None:
        events = Events("live")
        await events.supervisor.start()
        (first,) = events.starts
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until(lambda: len(events.starts) == 2, "started again")
        assert events.supervisor.last_exit == "was killed by SIGKILL"
        assert events.supervisor.process is not None
        assert events.supervisor.process.pid == events.starts[1] != first
        await events.supervisor.stop(10, "test")
        assert not events.supervisor.is_alive()
        assert events.ends == []
        assert len(events.starts) == 2

    asyncio.run(main())


def test_a_worker_that_ends_by_itself_is_not() -> None:
    async def main() -> None:
        events = Events("ends")
        await events.supervisor.start()
        await until(lambda: events.ends, "told of the end")
        assert events.ends == [None]

    asyncio.run(main())


def test_a_worker_that_dies_after_its_start_is_never_given_up() -> None:
    """Tasks do that, or somebody who kills it: the nanny is there to bring it back."""

    async def main() -> None:
        events = Events("dies")
        await events.supervisor.start()
        await until(lambda: events.nprocesses > 6, "started twice as often as a start may fail")
        assert events.ends == []
        assert events.supervisor.last_exit == "ended with exit status 5"
        await events.supervisor.stop(10, "test")

    asyncio.run(main())


def test_a_worker_that_cannot_start_again_is_given_up(tmp_path: Path) -> None:
    async def main() -> None:
        events = Events("starts once", tmp_path / "log")
        await events.supervisor.start()
        await until(lambda: events.ends, "given up")
        assert "could not start 3 times in a row" in str(events.ends[0])
        assert "once is enough" in str(events.ends[0])
        assert len(events.starts) <= 1

    asyncio.run(main())


def test_wanted_restarts_are_not_failures() -> None:
    async def main() -> None:
        events = Events("wants restart")
        await events.supervisor.start()
        await until(lambda: events.nprocesses > 5, "restarted again and again")
        assert events.ends == []
        await events.supervisor.stop(10, "test")

    asyncio.run(main())


def test_first_start_raises() -> None:
    async def main() -> None:
        events = Events("cannot start")
        with pytest.raises(WorkerStartError, match="no such thing"):
            await events.supervisor.start()
        assert events.ends == []
        assert not events.supervisor.is_alive()

    asyncio.run(main())


def test_restart() -> None:
    async def main() -> None:
        events = Events("live")
        await events.supervisor.start()
        await events.supervisor.restart(10, "test")
        assert events.nprocesses == 2
        assert events.supervisor.is_alive()
        await events.supervisor.stop(10, "test")

    asyncio.run(main())


def test_a_restart_goes_on_when_nobody_waits_for_it_any_more() -> None:
    async def main() -> None:
        events = Events("does not close")
        await events.supervisor.start()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await events.supervisor.restart(0.5, "test")
        await until(lambda: len(events.starts) == 2, "another worker runs")
        await events.supervisor.stop(0.1, "test")

    asyncio.run(main())


def test_a_process_is_replaced_once() -> None:
    async def main() -> None:
        events = Events("live")
        supervisor = events.supervisor
        await supervisor.start()
        (first,) = events.starts
        assert first is not None
        os.kill(first, signal.SIGSTOP)
        await asyncio.gather(supervisor.replace(first, 0, "test"), supervisor.replace(first, 0, "test"))
        await supervisor.replace(first, 0, "a late order")
        assert events.nprocesses == 2
        assert supervisor.is_alive()
        await supervisor.stop(10, "test")

    asyncio.run(main())


def test_a_restart_that_cannot_start_is_told(tmp_path: Path) -> None:
    async def main() -> None:
        events = Events("starts once", tmp_path / "log", quick_failure=0)
        (tmp_path / "log").touch()
        events.supervisor._wanted = True
        with pytest.raises(RuntimeError, match="could not start 3 times"):
            await events.supervisor.restart(1, "test")
        assert len(events.ends) == 1

    asyncio.run(main())


def test_stop_while_it_waits_to_start_again() -> None:
    async def main() -> None:
        events = Events("dies", max_quick_failures=1000)
        await events.supervisor.start()
        await until(lambda: events.nprocesses >= 3, "some restarts")
        await events.supervisor.stop(10, "test")
        count = events.nprocesses
        await asyncio.sleep(restart_delay(5))
        assert events.nprocesses == count
        assert not events.supervisor.is_alive()

    asyncio.run(main())


def test_too_much_memory() -> None:
    async def main() -> None:
        events = Events("takes memory")
        manager = NannyMemoryManager(200_000_000, 0.95, 0.02)
        await events.supervisor.start()
        manager.start(lambda: events.supervisor.process)
        await until(lambda: manager.nkills >= 1 and len(events.starts) == 2, "killed and started again")
        manager.stop()
        await events.supervisor.stop(10, "test")

    asyncio.run(main())


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import dask.config

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert worker_environment()["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert worker_environment()["OMP_NUM_THREADS"] == "7"
    with dask.config.set({"distributed.nanny.environ": {"OMP_NUM_THREADS": 2, "A": 1}}):
        assert worker_environment()["OMP_NUM_THREADS"] == "2"
        assert worker_environment({"OMP_NUM_THREADS": 3, "A": None}).get("A") is None
        assert worker_environment({"OMP_NUM_THREADS": 3})["OMP_NUM_THREADS"] == "3"
