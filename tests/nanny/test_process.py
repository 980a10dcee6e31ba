from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from nanny_fakes import FakeWorker

from distributed import config
from distributed.nanny.channel import EXIT_RESTART, ChildSpec
from distributed.nanny.process import WorkerProcess, WorkerStartError


def make(behaviour: str = "live", **kwargs: Any) -> WorkerProcess:
    return WorkerProcess(
        ChildSpec(FakeWorker, "tcp://127.0.0.1:2", {"behaviour": behaviour, **kwargs}, config.snapshot())
    )


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def until(condition: Any, what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, f"still not: {what}"
        await asyncio.sleep(0.01)


def test_starts_and_stops(tmp_path: Path) -> None:
    async def main() -> None:
        process = make(path=str(tmp_path / "log"), nthreads=3)
        assert not process.is_alive()
        await process.start(20)
        assert process.is_alive()
        assert process.address == "tcp://127.0.0.1:1"
        assert (tmp_path / "log").read_text().split(" ", 1)[0] == str(process.pid)
        assert "['nthreads', 'scheduler']" in (tmp_path / "log").read_text()
        await process.stop(10)
        assert process.returncode == 0
        assert process.describe_exit() == "ended with exit status 0"
        assert not alive(process.pid or 0)

    asyncio.run(main())


def test_the_command_line_has_no_secret() -> None:
    async def main() -> None:
        process = make(secret="open sesame")
        await process.start(20)
        assert process.pid is not None
        inside = psutil.Process(process.pid)
        assert "sesame" not in " ".join(inside.cmdline()) + " ".join(inside.environ().values())
        await process.kill()

    asyncio.run(main())


def test_says_why_it_could_not_start() -> None:
    async def main() -> None:
        process = make("cannot start")
        with pytest.raises(WorkerStartError, match=r"^no such thing as a worker$") as caught:
            await process.start(20)
        assert caught.value.error == "ValueError"
        assert "nanny_fakes" in caught.value.remote_traceback
        assert not process.is_alive()

    asyncio.run(main())


def test_death_without_a_word() -> None:
    async def main() -> None:
        with pytest.raises(WorkerStartError, match="ended with exit status 3 before it ran"):
            await make("dies at the start").start(20)

    asyncio.run(main())


def test_start_that_takes_too_long() -> None:
    async def main() -> None:
        process = make("never starts")
        with pytest.raises(TimeoutError, match="did not start within 1 s"):
            await process.start(1)
        assert not process.is_alive()

    asyncio.run(main())


def test_killed_when_it_does_not_close() -> None:
    async def main() -> None:
        process = make("does not close")
        await process.start(20)
        await process.stop(0.2)
        assert process.returncode == -signal.SIGKILL
        assert process.describe_exit() == "was killed by SIGKILL"

    asyncio.run(main())


def test_exit_is_told(tmp_path: Path) -> None:
    async def main() -> None:
        ended: list[WorkerProcess] = []
        process = make("wants restart")
        process.on_exit = ended.append
        await process.start(20)
        await until(lambda: ended, "told of the end")
        assert ended == [process]
        assert process.returncode == EXIT_RESTART

    asyncio.run(main())


def test_sigterm_closes_the_worker() -> None:
    async def main() -> None:
        process = make()
        await process.start(20)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGTERM)
        assert await process.wait() == 128 + signal.SIGTERM

    asyncio.run(main())


def test_what_tasks_started_ends_with_the_worker(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "log"
        process = make("has a child", path=str(path))
        await process.start(20)
        await until(lambda: len(path.read_text().splitlines()) == 2, "the child is there")
        child = int(path.read_text().splitlines()[1])
        assert alive(child)
        await process.kill()
        await until(lambda: not alive(child), "the child is gone")

    asyncio.run(main())


PARENT = """
import asyncio, sys
from test_process import make

async def main():
    process = make(sys.argv[1])
    await process.start(20)
    print(process.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("behaviour", ["live", "does not close", "holds the interpreter"])
def test_dies_with_its_nanny(behaviour: str) -> None:
    """Even with kill -9, and when no other Python thread of the worker gets to run."""
    if behaviour == "holds the interpreter" and sys.platform != "linux":
        pytest.skip("only Linux kills children with their parent")
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, behaviour],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": path},
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert alive(child)
        parent.kill()
        parent.wait()
    asyncio.run(until(lambda: not alive(child), "the worker process is gone"))
