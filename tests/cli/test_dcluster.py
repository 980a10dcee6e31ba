"""What ``dcluster`` makes of its words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from distributed.cli.dcluster import banner, main, make_plan
from distributed.deploy.ssh_hosts import Host


def plan(monkeypatch: pytest.MonkeyPatch, *words: str):  # type: ignore[no-untyped-def]
    monkeypatch.setenv("DISTRIBUTED_KEY", "ab" * 32)
    return make_plan(main.make_context("dcluster", list(words)).params)


def test_the_first_host_has_the_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    found = plan(monkeypatch, "ann@a", "b:2222", "a")
    assert found.scheduler == Host("a", "ann")
    assert found.workers == [Host("a", "ann"), Host("b", None, 2222), Host("a")]
    scheduler, workers = found.places()
    assert scheduler.prefix == "[ scheduler a:8786 ]"
    assert [place.prefix for place in workers] == ["[ worker a ]", "[ worker b ]", "[ worker a-2 ]"]
    assert found.python == sys.executable
    assert found.security.key.text() == "ab" * 32


def test_options_of_the_programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("b\nc # third\n")
    found = plan(
        monkeypatch,
        *("a", "--hostfile", str(tmp_path / "hosts"), "--scheduler", "s", "--scheduler-port", "0"),
        *(
            "--nthreads",
            "2",
            "--nprocs",
            "3",
            "--memory-limit",
            "1GiB",
            "--no-nanny",
            "--local-directory",
            "/scratch",
        ),
        *("--worker-args", "--resources 'GPU=1 MEM=2'", "--scheduler-args", "--idle-timeout 1h"),
    )
    assert found.scheduler == Host("s")
    assert [host.name for host in found.workers] == ["a", "b", "c"]
    assert found.scheduler_arguments == ["--idle-timeout", "1h"]
    assert " ".join(found.worker_arguments) == (
        "--nthreads 2 --nworkers 3 --memory-limit 1GiB --local-directory /scratch --no-nanny "
        "--resources GPU=1 MEM=2"
    )
    assert found.places()[0].prefix == "[ scheduler s ]"


def test_the_early_commands_zero_threads_means_all(monkeypatch: pytest.MonkeyPatch) -> None:
    assert plan(monkeypatch, "a", "--nthreads", "0").worker_arguments == []


def test_banner() -> None:
    lines = banner([Host("a"), Host("b")], "a:8786").splitlines()
    assert lines[0] == "-" * 63
    assert lines[1].strip().startswith("distributed-network v")
    assert lines[3:8] == ["Worker nodes:", "  0: a", "  1: b", "", "scheduler node: a:8786"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "no hosts: give them"),
        (["a:b:c"], "'a:b:c' is no host"),
        (["--hostfile", "/nowhere/hosts"], "the hostfile /nowhere/hosts cannot be read"),
        (["a", "--memory-limit", "much"], "much"),
        (["a", "--insecure", "--key-file", "x"], "exclude each other"),
        (["a", "--key-file", "/no/such/key"], "no cluster key at /no/such/key: there is no such file"),
        (["a", "--nonsense"], "No such option"),
        (["a", "--worker-args", "'"], "No closing quotation"),
    ],
)
def test_one_clear_line(words: list[str], complaint: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "distributed.cli.dcluster", *words], capture_output=True, text=True, timeout=30
    )
    assert done.returncode in (1, 2)
    assert complaint in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
