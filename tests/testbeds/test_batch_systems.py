"""Workers as jobs of a real SunGrid Engine and a real Slurm, by hand and by dask-jobqueue."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bed_tasks import double
from beds import REPOSITORY, Bed, Bench, wait_until

from distributed import Client

pytestmark = [pytest.mark.testbed, pytest.mark.timeout(400)]

SCRIPTS = REPOSITORY / "docs" / "deploy" / "scripts"


@pytest.fixture(scope="session")
def jobqueue_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder with dask-jobqueue; without what it requires, which would be the other package of our import name."""
    if importlib.util.find_spec("dask_jobqueue") is not None:
        return ""
    folder = tmp_path_factory.mktemp("jobqueue")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    done = subprocess.run([*pip, "dask-jobqueue==0.9.0"], capture_output=True, text=True, timeout=120)
    if done.returncode:
        pytest.skip(f"dask-jobqueue cannot be installed here: {done.stderr.strip()[-200:]}")
    return str(folder)


@pytest.fixture
def commands(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with ``dscheduler`` and ``dworker`` in the PATH of it and of the jobs."""
    folder = bench.temporary.parent
    for name, module in (("dscheduler", "dask_scheduler"), ("dworker", "dask_worker")):
        path = folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\nexec {bench.python} -m distributed.cli.{module} "$@"\n')
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
    monkeypatch.chdir(folder)
    bench.env["PATH"] = os.environ["PATH"]
    return folder


def output(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def compute_by_hand(folder: Path, bench: Bench, submit: list[str], script: str) -> set[str]:
    """Names of the workers that came; a computation on them was right."""
    bench.start(["dscheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", "scheduler.json"])
    shutil.copy(SCRIPTS / script, folder)
    output(*submit, script)
    with Client(scheduler_file=str(folder / "scheduler.json")) as client:
        client.wait_for_workers(2, timeout=60)
        assert client.gather(client.map(double, range(100))) == [2 * i for i in range(100)]
        return {worker["name"] for worker in client.scheduler_info()["workers"].values()}


def test_qsub_by_hand(sge_bed: Bed, commands: Path, bench: Bench) -> None:
    names = compute_by_hand(commands, bench, ["qsub", "-V", "-t", "1-2"], "sge-workers.sh")
    lines = [line for line in output("qstat").splitlines() if re.search(r" dworker .* r .* all\.q@", line)]
    assert len(lines) == 2, output("qstat")
    assert {name.rpartition("-")[2] for name in names} == {"1", "2"}
    output("qdel", lines[0].split()[0])
    wait_until(lambda: "dworker" not in output("qstat"), "the jobs are gone")


def test_sbatch_by_hand(slurm_bed: Bed, commands: Path, bench: Bench) -> None:
    names = compute_by_hand(commands, bench, ["sbatch", "--array=1-2"], "slurm-workers.sh")
    lines = [line for line in output("squeue").splitlines() if re.search(r" dworker .* R ", line)]
    assert len(lines) == 2, output("squeue")
    assert all(name.startswith("slurm-") for name in names)
    output("scancel", lines[0].split()[0].partition("_")[0])
    wait_until(lambda: "dworker" not in output("squeue"), "the jobs are gone")
    assert bench.files_left() == []


@pytest.mark.parametrize(("bed", "kind"), [("sge_bed", "SGECluster"), ("slurm_bed", "SLURMCluster")])
def test_dask_jobqueue(
    bed: str, kind: str, bench: Bench, jobqueue_path: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Unchanged: two jobs by ``scale(2)``, then as many as the work wants by ``adapt(0, 2)``, none in the end."""
    request.getfixturevalue(bed)
    home = tmp_path / "config"  # the jobs find the cluster key where the program has put it
    bench.python.write_text(
        bench.python.read_text().replace(
            "exec ", f"export XDG_CONFIG_HOME={home}\nunset DISTRIBUTED_KEY\nexec ", 1
        )
    )
    env = {name: value for name, value in bench.env.items() if name != "DISTRIBUTED_KEY"}
    env |= {"XDG_CONFIG_HOME": str(home), "PYTHONPATH": f"{bench.env['PYTHONPATH']}:{jobqueue_path}"}
    program = str(Path(__file__).with_name("jobqueue_program.py"))
    done = subprocess.run(
        [sys.executable, program, kind, str(bench.python), str(tmp_path / "logs")],
        capture_output=True,
        text=True,
        env=env,
        cwd=tmp_path,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    # SunGrid Engine shows a job that has just begun as "t", on its way to the host, for a few seconds more.
    running = re.compile(r" [rt] .* all\.q@" if kind == "SGECluster" else r" R ")
    assert [bool(running.search(line)) for line in seen["scaled"]] == [True, True], seen["scaled"]
    assert seen["total"] == sum(2 * i for i in range(100))
    assert seen["adapted_total"] == sum(2 * i for i in range(400, 900))
    assert 1 <= len(seen["adapted"]) <= 2
    assert seen["idle"] == []
    assert "Registered with center at" in "".join(path.read_text() for path in (tmp_path / "logs").iterdir())
