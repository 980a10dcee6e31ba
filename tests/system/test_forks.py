"""Forks: the child of a task, or of a program that has a client, is a stranger to everything of ours."""

from __future__ import annotations

import asyncio
import gc
import glob
import multiprocessing
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import dask
import pytest
from system_tasks import inc

from distributed import Client, LocalCluster, as_completed, fire_and_forget, get_client, get_worker, wait

SECONDS = 30


@pytest.fixture(scope="module", params=["processes", "threads"])
def cluster(request: pytest.FixtureRequest) -> Iterator[LocalCluster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTRIBUTED_KEY", secrets.token_hex(32))
        patch.setenv("PYTHONPATH", os.path.dirname(__file__))
        with LocalCluster(
            n_workers=1,
            threads_per_worker=2,
            processes=request.param == "processes",
            dashboard_address=None,
        ) as cluster:
            yield cluster


@pytest.fixture(scope="module")
def module_client(cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster) as client:
        yield client


@pytest.fixture
def client(module_client: Client) -> Iterator[Client]:
    """A client of a network that must be as well after the test as before."""
    worker = module_client.run(os.getpid)
    yield module_client
    assert module_client.submit(inc, 1, pure=False).result(timeout=SECONDS) == 2
    assert module_client.run(os.getpid) == worker


def status_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# ---------------------------------------------------------------- tasks that fork


def pool(n: int) -> int:
    with multiprocessing.get_context("fork").Pool(2) as pool:  # which ends its processes by SIGTERM
        return sum(pool.map(abs, range(n)))


def terminate_at_once(n: int) -> int:
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    process.start()
    process.terminate()
    process.join()
    assert process.exitcode == -signal.SIGTERM
    return n


def signal_by(signum: int) -> int:
    pid = os.fork()
    if pid == 0:
        os.kill(os.getpid(), signum)
        os._exit(1)
    return status_of(pid)


def interrupt(n: int) -> int:
    process = multiprocessing.get_context("fork").Process(target=signal.raise_signal, args=(signal.SIGINT,))
    process.start()
    process.join()
    assert process.exitcode == 1  # KeyboardInterrupt, as without us
    return n


def with_preexec(n: int) -> int:
    return n + subprocess.run([sys.executable, "-c", ""], preexec_fn=lambda: None, check=True).returncode


def other_start_methods(n: int) -> int:
    for method in ("spawn", "forkserver"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            assert pool.map(abs, [-n]) == [n]
    with ProcessPoolExecutor(1) as executor:
        return executor.submit(abs, -n).result()


@pytest.mark.parametrize(
    ("task", "result"),
    [(pool, 6), (terminate_at_once, 4), (interrupt, 4), (with_preexec, 4), (other_start_methods, 4)],
)
def test_what_a_task_does_to_its_children_is_not_done_to_its_worker(client: Client, task: Any, result: int):
    assert client.submit(task, 4, pure=False).result(timeout=SECONDS) == result


def test_children_die_of_signals_as_without_us(client: Client):
    assert client.submit(signal_by, signal.SIGTERM).result(timeout=SECONDS) == -signal.SIGTERM
    assert client.submit(signal_by, signal.SIGHUP).result(timeout=SECONDS) == -signal.SIGHUP


def leave(n: int) -> int:
    pid = os.fork()
    if pid == 0:
        sys.exit(n)
    return status_of(pid)


def come_back(n: int) -> int:
    pid = os.fork()
    return 1_000 if pid == 0 else status_of(pid)


def fail(n: int) -> int:
    pid = os.fork()
    if pid == 0:
        raise ValueError("in the child")
    return status_of(pid)


async def come_back_to_the_loop(n: int) -> int:
    pid = os.fork()
    return 1_000 if pid == 0 else status_of(pid)


@pytest.mark.parametrize(
    ("task", "status"), [(leave, 5), (come_back, 0), (fail, 1), (come_back_to_the_loop, 0)]
)
def test_a_child_that_comes_back_from_its_task_ends(client: Client, task: Any, status: int):
    assert client.submit(task, 5, pure=False).result(timeout=SECONDS) == status


class Forking:
    def fork(self) -> int:
        return come_back(1)


def test_a_child_that_comes_back_from_elsewhere_ends(client: Client):
    assert client.submit(Forking, actor=True).result(timeout=SECONDS).fork().result(timeout=SECONDS) == 0
    assert list(client.run(come_back, 1).values()) == [0]


def ask_in_child(questions: list[Callable[[], Any]]) -> list[str]:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, "\n".join(said(question) for question in questions).encode())
        os._exit(0)
    os.close(write)
    with open(read) as answers:
        text = answers.read()
    assert status_of(pid) == 0
    return text.split("\n")


def said(question: Callable[[], Any]) -> str:
    try:
        return repr(question())
    except Exception as error:
        return repr(error)


def strangers() -> list[str]:
    client = get_client()
    future = client.submit(time.sleep, 1, pure=False)
    return ask_in_child(
        [
            get_worker,
            get_client,
            future.result,
            lambda: client.submit(inc, 1),
            lambda: signal.getsignal(signal.SIGTERM) is signal.SIG_DFL,
            lambda: signal.set_wakeup_fd(-1),
        ]
    )


def test_the_child_has_no_worker_and_no_client(client: Client):
    worker, own_client, result, submit, handler, wakeup = client.submit(strangers).result(timeout=SECONDS)
    assert "No worker found" in worker
    assert "no client" in own_client
    assert "make a new Client here" in result
    assert "make a new Client here" in submit
    assert (handler, wakeup) == ("True", "-1")


# ---------------------------------------------------------------- programs that fork


def in_child(question: Callable[[], Any]) -> str:
    """What it says in a child of this process, which then leaves as programs do."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        # as in a program: atexit and all, only not what pytest has there
        code = 1
        try:
            os.write(write, said(question).encode())
            import atexit

            atexit._run_exitfuncs()
            code = 0
        finally:
            os._exit(code)
    os.close(write)
    with open(read) as answers:
        text = answers.read()
    assert status_of(pid) == 0
    return text


def test_the_parents_client_in_the_child_is_a_clear_error(client: Client, cluster: LocalCluster):
    slow = client.submit(time.sleep, 1.0, pure=False)
    ways: list[Callable[[], Any]] = [
        *(slow.result, slow.exception, slow.cancel, client.ncores, client.restart, client.shutdown),
        *(lambda: client.submit(inc, 1), lambda: client.map(inc, [1]), lambda: client.gather([slow])),
        *(lambda: wait([slow]), lambda: list(as_completed([slow])), lambda: client.scatter(1)),
        *(lambda: client.compute(dask.delayed(inc)(1)), lambda: client.run(os.getpid)),
        *(lambda: slow.add_done_callback(print), lambda: fire_and_forget(slow)),
        lambda: client.get_executor().submit(inc, 1).result(),
    ]
    for way in ways:
        text = in_child(way)
        assert "was made by process" in text
        assert "make a new Client here" in text
    assert slow.result(timeout=SECONDS) is None


def test_what_the_child_closes_is_not_closed(client: Client, cluster: LocalCluster):
    assert in_child(lambda: (client.close(), cluster.close())) == "(None, None)"


def test_what_is_there_can_be_read_in_the_child(client: Client):
    done = client.submit(inc, 1)
    done.result(timeout=SECONDS)
    assert in_child(done.result) == "2"
    futures = client.map(inc, range(3))
    assert sorted(in_child(future.result) for future in as_completed(futures)) == ["1", "2", "3"]


def test_futures_that_the_child_drops_are_kept(client: Client):
    futures = client.map(inc, range(100, 110))
    client.gather(futures)

    def drop() -> int:
        futures.clear()
        return gc.collect() and 0

    assert in_child(drop) == "0"
    assert client.gather(futures) == list(range(101, 111))


def test_dask_computes_in_the_child_without_the_parents_client(client: Client):
    assert in_child(lambda: dask.delayed(inc)(1).compute()) == "2"


def test_a_new_client_in_the_child_works(client: Client, cluster: LocalCluster):
    def use() -> Any:
        with Client(cluster) as client:
            return client.submit(inc, 41, pure=False).result(timeout=SECONDS)

    expected = "is an address inside process" if cluster.scheduler_address.startswith("inproc") else "42"
    assert expected in in_child(use)


def test_a_new_cluster_in_the_child_works(client: Client):
    def use() -> Any:
        with (
            LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as own,
            Client(own) as mine,
        ):
            return mine.submit(inc, 41, pure=False).result(timeout=SECONDS)

    assert in_child(use) == "42"


def test_an_asynchronous_client_in_the_child():
    async def main() -> None:
        async with (
            LocalCluster(n_workers=1, processes=False, asynchronous=True, dashboard_address=None) as cluster,
            Client(cluster, asynchronous=True) as client,
        ):
            assert await client.submit(inc, 1) == 2
            pid = os.fork()
            if pid == 0:
                try:
                    client.submit(inc, 2)
                except RuntimeError as error:
                    os._exit(7 if "make a new Client" in str(error) else 1)
                os._exit(2)
            assert status_of(pid) == 7
            assert await client.submit(inc, 2) == 3

    asyncio.run(main())


PROGRAM = """
import os, sys
from distributed import Client, LocalCluster
if __name__ == "__main__":
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        inside = os.fork()
        if inside == 0:
            sys.exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(inside, 0)[1]), flush=True)
    client = Client(LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None))
    child = os.fork()
    if child == 0:
        sys.exit(3)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), client.submit(abs, -1).result(timeout=30), flush=True)
"""


def test_a_child_that_leaves_leaves_at_once_and_alone(key: str, tmp_path: Any):
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["0", "3", "1"], "")


def test_files_of_the_parent_outlive_the_child(client: Client, cluster: LocalCluster, tmp_path: Any):
    """A scheduler in this process has a directory of what was uploaded, until this process ends."""
    module = tmp_path / f"uploaded_{secrets.token_hex(4)}.py"
    module.write_text("answer = 42\n")
    client.upload_file(str(module))
    everywhere = os.path.join(tempfile.gettempdir(), "distributed-scheduler-*", module.name)
    there = glob.glob(everywhere)
    assert there
    pid = os.fork()
    if pid == 0:
        import weakref

        weakref.finalize._exitfunc()  # type: ignore[attr-defined]  # as at the end of every program
        os._exit(0)
    assert status_of(pid) == 0
    assert glob.glob(everywhere) == there
