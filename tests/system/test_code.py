"""The user's code on workers: imports in several threads, a worker with another Python."""

from __future__ import annotations

import functools
import importlib
import operator
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from system_bench import Bench

from distributed import Client, LocalCluster, SubprocessCluster, WorkerPlugin
from distributed.exceptions import PythonMismatchError

SOURCE = Path(__file__).parents[2] / "src"


def call(function: Any) -> str:
    return str(function.__name__)


@pytest.mark.parametrize("threads", [4, 8])
def test_fresh_workers_with_several_threads(key: str, threads: int) -> None:
    """What a worker's first tasks need is imported in all its threads at once; arguments refer to modules, too."""
    array = pytest.importorskip("dask.array")
    expression = array.concatenate([array.ones(10, chunks=5), array.arange(10, chunks=3)])[::3].topk(2)
    names = [array.core.concatenate_axes, array.chunk.topk, array.reductions.reduction, array.linalg.qr]
    names += [array.creation.arange, array.routines.where, array.slicing.getitem, array.ufunc.ufunc]
    for _ in range(2):
        with (
            LocalCluster(n_workers=1, threads_per_worker=threads, dashboard_address=None) as cluster,
            Client(cluster) as client,
        ):
            assert list(expression.compute()) == [8, 5]
            client.restart()
            assert client.gather(client.map(call, names)) == [f.__name__ for f in names]


# ---------------------------------------------------------------- hashes


def hashes(client: Client) -> set[Any]:
    """What workers make of texts, by ``run`` and in tasks."""
    found = set(client.run(lambda: hash("abc")).values())
    return found | set(client.gather(client.map(hash, ["abc"] * 8, pure=False)))


def test_all_workers_hash_alike(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under nannies and without, on whatever host, however they are started; unless the user wants a seed."""
    bench.env.pop("PYTHONHASHSEED", None)
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    _, address = bench.scheduler()
    bench.worker(address)
    bench.worker(address, "--nworkers", "2")
    bench.worker(address, "--no-nanny")
    with Client(address) as client:
        client.wait_for_workers(4, timeout=30)
        common = hashes(client)
    assert len(common) == 1
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        assert hashes(client) == common
    for worker_class in ("distributed.Nanny", "distributed.Worker"):
        with SubprocessCluster(n_workers=2, worker_class=worker_class) as cluster, Client(cluster) as client:
            client.wait_for_workers(2, timeout=30)
            assert hashes(client) == common
    bench.env["PYTHONHASHSEED"] = "7"
    _, address = bench.scheduler()
    bench.worker(address)
    bench.worker(address, "--no-nanny")
    with Client(address) as client:
        client.wait_for_workers(2, timeout=30)
        found = hashes(client)
    assert len(found) == 1
    assert found != common


# ---------------------------------------------------------------- another Python


def other_pythons() -> Iterator[tuple[str, str]]:
    """(version, path) of interpreters of other minor versions that have what this package needs."""
    named = os.environ.get("DISTRIBUTED_OTHER_PYTHON", "").split(os.pathsep)
    for path in filter(None, [*named, *(shutil.which(f"python3.{minor}") for minor in range(11, 16))]):
        program = (
            "import sys, msgspec, dask, cloudpickle, psutil, click; print('%d.%d' % sys.version_info[:2])"
        )
        env = {**os.environ, "PYTHONPATH": str(SOURCE)}
        found = subprocess.run([path, "-c", program], capture_output=True, text=True, env=env, timeout=60)
        version = found.stdout.strip()
        if found.returncode == 0 and version != f"{sys.version_info[0]}.{sys.version_info[1]}":
            yield version, path


@pytest.mark.parametrize("supervised", [True, False], ids=["nanny", "no-nanny"])
def test_a_worker_with_another_python(bench: Bench, supervised: bool) -> None:
    """Code that would crash it is refused with both versions named; whatever has a name works."""
    version, python = next(other_pythons(), ("", ""))
    if not python:
        pytest.skip(
            "no Python of another minor version with msgspec and dask; DISTRIBUTED_OTHER_PYTHON may name one"
        )
    _, address = bench.scheduler()
    worker = subprocess.Popen(
        [
            python,
            "-m",
            "distributed.cli.dask_worker",
            address,
            "--nthreads",
            "1",
            *([] if supervised else ["--no-nanny"]),
        ],
        env={**bench.env, "PYTHONPATH": str(SOURCE)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    words = f"made by Python {here} and cannot run in Python {version} here"

    class Actor:
        def method(self) -> int:
            return 1

    class Plugin(WorkerPlugin):
        name = "by-value"

        def setup(self, worker: Any) -> None:
            pass

    try:
        with Client(address) as client:
            client.wait_for_workers(1, timeout=30)
            pid = client.run(os.getpid)
            for attempt in (
                lambda: client.submit(lambda: 5).result(30),
                lambda: client.submit(map, lambda x: x, [1]).result(30),
                lambda: client.gather(client.map(lambda x: x, range(3))),
                lambda: client.submit(callable, client.scatter(lambda: 4)).result(30),
                lambda: client.submit(Actor, actor=True).result(30),
                lambda: client.run(lambda: 1),
                lambda: client.register_plugin(Plugin()),
            ):
                with pytest.raises(PythonMismatchError, match=words):
                    attempt()
            with pytest.raises(
                PythonMismatchError, match=f"made by Python {version} and cannot run in Python {here}"
            ):
                client.submit(eval, "lambda: 5").result(30)
            assert client.submit(operator.add, 1, 2).result(30) == 3
            with pytest.raises(ZeroDivisionError):
                client.submit(operator.truediv, 1, 0).result(30)
            assert client.run(os.getpid) == pid  # it never died
    finally:
        worker.kill()
        worker.wait(10)


# ---------------------------------------------------------------- uploads


def apply(function: Any) -> Any:
    return function()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A module of the client's, and a function that gives its file another content."""
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "uploaded_module.py"

    def write(value: int, more: str = "") -> str:
        path.write_text(f"def f(*args): return {value}\nclass C:\n    def f(self): return {value}\n{more}\n")
        importlib.invalidate_caches()
        return str(path)

    write(1, "def only_once(): pass")
    yield write
    sys.modules.pop("uploaded_module", None)


def found(client: Client, mm: Any) -> set[Any]:
    """What the module's function gives, by whatever way it comes to workers."""
    compute = pytest.importorskip("dask").compute
    delayed = pytest.importorskip("dask").delayed
    f = mm.f
    actor = client.submit(mm.C, actor=True).result()
    return {
        client.submit(mm.f).result(),
        client.submit(functools.partial(mm.f, 1)).result(),
        client.submit(lambda: f()).result(),
        client.submit(lambda: mm.f(), pure=False).result(),
        client.submit(apply, mm.f).result(),
        client.submit(apply, mm.C().f).result(),
        *client.gather(client.map(mm.f, range(3))),
        *client.gather(client.map(apply, [mm.f, mm.C().f])),
        *compute(delayed(mm.f)(), delayed(apply)(mm.f)),
        actor.f().result(),
        *client.run(lambda: __import__("uploaded_module").f()).values(),
    }


@pytest.mark.parametrize("processes", [True, False], ids=["processes", "in-process"])
def test_uploaded_again_the_new_code_runs(key: str, module: Any, processes: bool) -> None:
    """Also with the futures of before still held, on workers that join later, and by way of a zip."""
    mm = importlib.import_module("uploaded_module")
    held = []
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=2, processes=processes, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        client.upload_file(module(1, "def only_once(): pass"))
        held += [client.submit(mm.f), *client.map(mm.f, range(3)), client.submit(apply, mm.f)]
        assert found(client, mm) == {1}
        for value in (2, 3):
            client.upload_file(module(value))
            client.upload_file(module(value))
            assert found(client, mm) == {value}
            assert sys.modules["uploaded_module"] is mm
            cluster.scale(value)
            client.wait_for_workers(value, timeout=30)
            there = client.run(
                lambda: (importlib.import_module("uploaded_module").f(), hasattr(mm, "only_once"))
            )
            assert list(there.values()) == [(value, False)] * value
            assert found(client, mm) == {value}
        assert client.gather(held) == [1] * 5  # results stay what they are


def test_a_scheduler_that_cannot_import_it_needs_not(bench: Bench, tmp_path: Path) -> None:
    """Its environment is its own. Where there is no worker to say better, the upload raises, and is not kept."""
    path = tmp_path / "uploaded_for_workers.py"
    path.write_text("import sys\nif 'scheduler' in ' '.join(sys.orig_argv): raise ImportError('not here')\n")
    _, address = bench.scheduler()
    with Client(address) as client:
        with pytest.raises(ImportError, match="not here"):
            client.upload_file(str(path))
        bench.worker(address, "--no-nanny")
        assert not client.get_events("warn")
        assert list(client.upload_file(str(path)).values()) == [{"status": "OK"}]
        assert client.submit(lambda: importlib.import_module("uploaded_for_workers").__name__).result(30)


def test_helpers_that_come_after_those_who_use_them(key: str, tmp_path: Path) -> None:
    """A worker that joins later finds all files before any is imported; and has the last of each."""
    uses, helper = tmp_path / "uploaded_user.py", tmp_path / "uploaded_helper.py"
    uses.write_text("def f():\n    import uploaded_helper\n    return uploaded_helper.f()\n")
    helper.write_text("def f(): return 1\n")

    def call() -> Any:
        return importlib.import_module("uploaded_user").f()

    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        client.upload_file(str(uses))
        client.upload_file(str(helper))
        uses.write_text("from uploaded_helper import f\n")
        client.upload_file(str(uses))
        helper.write_text("def f(): return 2\n")
        client.upload_file(str(helper))
        cluster.scale(2)
        client.wait_for_workers(2, timeout=30)
        assert list(client.run(call).values()) == [2, 2]
        client.restart()
        assert list(client.run(call).values()) == [2, 2]
