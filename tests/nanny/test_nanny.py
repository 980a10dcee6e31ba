from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from test_process import alive, until

from distributed import Nanny, Scheduler, Security, rpc
from distributed.core import Status
from distributed.nanny import WorkerStartError
from distributed.protocol.payload import pack, unpack

SECURITY = Security.temporary()


def scheduler() -> Scheduler:
    return Scheduler(host="127.0.0.1", port=0, security=SECURITY)


def nanny(address: str, **kwargs: Any) -> Nanny:
    return Nanny(address, **{"nthreads": 1, "security": SECURITY, **kwargs})


def files_below(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_life() -> None:
    async def main() -> None:
        async with scheduler() as s:
            async with nanny(s.address, name="a", memory_limit="1GB") as n:
                (record,) = s.workers.values()
                assert record.address == n.worker_address
                assert record.name == "a"
                assert record.memory_limit == 10**9 == n.memory_manager.memory_limit
                assert record.extra["nanny"] == n.address
                assert record.extra["pid"] == n.pid
                assert n.is_alive()
                assert n.status is Status.running
                assert n.address.startswith("tcp://127.0.0.1:")
                pid = n.pid
            assert n.status is Status.closed
            assert not alive(pid or 0)
            await until(lambda: not s.workers, "the scheduler knows")

    asyncio.run(main())


def test_kill_instantiate_restart() -> None:
    async def main() -> None:
        async with scheduler() as s, nanny(s.address) as n:
            first = n.pid
            await n.kill()
            assert not n.is_alive()
            await until(lambda: not s.workers, "it is gone")
            assert await n.instantiate() == "running"
            second = n.pid
            async with rpc(n.address, security=SECURITY) as remote:
                assert await remote.restart(timeout=20) == "OK"
            assert len({first, second, n.pid}) == 3
            await until(lambda: len(s.workers) == 1, "it is back")

    asyncio.run(main())


def test_terminated_worker_takes_its_nanny_along() -> None:
    async def main() -> None:
        async with scheduler() as s:
            n = await nanny(s.address)
            async with rpc(n.worker_address, security=SECURITY) as remote:
                await remote.terminate()
            await asyncio.wait_for(n.finished(), 20)
            assert n.status is Status.closed

    asyncio.run(main())


def test_terminated_nanny_takes_its_worker_along() -> None:
    async def main() -> None:
        async with scheduler() as s:
            n = await nanny(s.address)
            pid = n.pid
            async with rpc(n.address, security=SECURITY) as remote:
                await remote.terminate()
            await asyncio.wait_for(n.finished(), 20)
            assert not alive(pid or 0)

    asyncio.run(main())


def test_killed_worker_is_back_under_its_name() -> None:
    async def main() -> None:
        async with scheduler() as s, nanny(s.address, name="a") as n:
            first = n.pid
            os.kill(first or 0, signal.SIGKILL)
            await until(lambda: n.pid != first and n.worker_address in s.workers, "it is back")
            assert [ws.name for ws in s.workers.values()] == ["a"]
            assert n.last_exit == "was killed by SIGKILL"

    asyncio.run(main())


def test_no_scheduler() -> None:
    async def main() -> None:
        with pytest.raises(
            WorkerStartError, match=r"no scheduler answers at tcp://127\.0\.0\.1:1 for 0\.5 s"
        ):
            await nanny("127.0.0.1:1", death_timeout=0.5)

    asyncio.run(main())
    with pytest.raises(ValueError, match="Nanny needs the address of a scheduler"):
        Nanny()


def test_failed_start_leaves_nothing() -> None:
    async def main() -> None:
        async with scheduler() as s:
            n = nanny(s.address, preload=["no_such_module"])
            with pytest.raises(WorkerStartError, match="no_such_module"):
                await n
            assert not alive(n.pid or 0)
            m = nanny(s.address, preload_nanny=["no_such_module"])
            with pytest.raises(ImportError, match="no_such_module"):
                await m
            assert m.pid is None

    asyncio.run(main())


def test_config_and_env_of_the_worker() -> None:
    def look(dask_worker: Any) -> tuple[Any, ...]:
        from distributed import config

        return (
            config.get("distributed.a-test"),
            os.environ["A_TEST"],
            os.environ["OMP_NUM_THREADS"],
            os.getpid(),
        )

    async def main() -> None:
        async with scheduler() as s:
            async with nanny(s.address, config={"distributed": {"a-test": 5}}, env={"A_TEST": 6}) as n:
                async with rpc(n.worker_address, security=SECURITY) as remote:
                    assert unpack(await remote.run(function=pack(look))) == (5, "6", "1", n.pid)

    asyncio.run(main())


class Plugin:
    name = "a plugin"
    restart = True

    def setup(self, nanny: Nanny) -> None:
        nanny.seen = ["setup"]  # type: ignore[attr-defined]

    async def teardown(self, nanny: Nanny) -> None:
        nanny.seen.append("teardown")  # type: ignore[attr-defined]


def test_runs_plugins_and_functions(tmp_path: Path) -> None:
    async def main() -> None:
        async with scheduler() as s:
            async with nanny(s.address, local_directory=str(tmp_path)) as n:
                pid = n.pid
                assert (await n.plugin_add(pack(Plugin())))["name"] == "a plugin"
                assert n.pid != pid
                async with rpc(n.address, security=SECURITY) as remote:
                    assert (
                        unpack(await remote.run(function=pack(lambda x, dask_worker: x + 1), args=pack((1,))))
                        == 2
                    )
                    await remote.upload_file(filename="uploaded_in_a_test.txt", data=b"abc")
                assert files_below(tmp_path) == ["uploaded_in_a_test.txt"]
            assert n.seen == ["setup", "teardown"]
            assert files_below(tmp_path) == [] == os.listdir(tmp_path)

    asyncio.run(main())


def test_files_of_a_killed_worker_are_removed(tmp_path: Path) -> None:
    async def main() -> None:
        async with scheduler() as s:
            async with nanny(s.address, local_directory=str(tmp_path)) as n:
                assert files_below(tmp_path) == [] == os.listdir(tmp_path)
                async with rpc(n.worker_address, security=SECURITY) as remote:
                    await remote.upload_file(filename="a.txt", data=b"abc")
                assert files_below(tmp_path) == ["a.txt"]
                os.kill(n.pid or 0, signal.SIGKILL)
                await until(lambda: n.last_exit, "it died")
            assert files_below(tmp_path) == [] == os.listdir(tmp_path)

    asyncio.run(main())
