"""The programs of the repository: the word count on both kinds of network, the benchmarks, the pictures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from system_bench import Bench

ROOT = Path(__file__).parent.parent.parent
WORDCOUNT = ROOT / "examples" / "wordcount.py"


def run(
    program: Path, *arguments: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(program), *arguments],
        env=env,
        capture_output=True,
        text=True,
        timeout=100,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Three files: 300 times "a", 200 "b", 100 "c"."""
    folder = tmp_path / "corpus"
    (folder / "deeper").mkdir(parents=True)
    (folder / "one.txt").write_text("a b c\n" * 100)
    (folder / "two.txt").write_text("a, b.\n" * 100)
    (folder / "deeper" / "three.txt").write_text("a 1 22 _\n" * 100)
    (folder / "deeper" / "other.md").write_text("a\n")
    return folder


def corpus_options(corpus: Path) -> list[str]:
    return ["--root", str(corpus), "--pattern", "*.txt", "--chunk-size", "500", "--top", "2", "--verify"]


def check_output(result: subprocess.CompletedProcess[str]) -> None:
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["300", "a"] in lines
    assert ["200", "b"] in lines
    assert ["100", "c"] not in lines
    assert "600, 3 different" in result.stdout
    assert "tasks/s" in result.stdout
    assert "check    right: the same as counted in this process" in result.stdout


def test_wordcount_on_a_network_of_its_own(corpus: Path, key: str) -> None:
    check_output(run(WORDCOUNT, *corpus_options(corpus), "--workers", "2"))


def test_wordcount_on_a_running_network(corpus: Path, bench: Bench) -> None:
    _, address = bench.scheduler()
    bench.worker(address)
    check_output(run(WORDCOUNT, *corpus_options(corpus), "--scheduler", address))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--root", "no/such/folder"], "no readable file *.py in no/such/folder"),
        (["--scheduler", "127.0.0.1:9"], "no network at 127.0.0.1:9"),
        (["--scheduler", "no-such-host.invalid:8786"], "no network at no-such-host.invalid:8786"),
    ],
    ids=["no files", "nobody there", "no such host"],
)
def test_wordcount_complains_in_one_line(arguments: list[str], complaint: str, key: str) -> None:
    result = run(WORDCOUNT, *arguments)
    assert result.returncode == 2
    assert complaint in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("kind", ["distributed", "distributed-local", "pool"])
def test_benchmark_measures(kind: str, key: str) -> None:
    options = ["--tasks=300", "--warm-up=50", "--round-trips=10"]
    if kind == "distributed":
        options.append("--pending=2000")
    result = run(ROOT / "benchmarks" / "drive.py", kind, *options, env={**os.environ, "DISTRIBUTED_KEY": key})
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["throughput"]["tasks"] == 300
    assert found["throughput"]["wall_us"] > 0
    assert found["round_trip"]["median_ms"] > 0
    assert ("memory" in found) == (kind == "distributed")


def test_zero_worker(key: str) -> None:
    result = run(ROOT / "benchmarks" / "zero_worker.py", "--tasks=2000")
    assert result.returncode == 0, result.stderr
    assert "no answer to" not in result.stderr
    assert [line.rpartition("CPU")[0].strip() for line in result.stdout.splitlines()[:3]] == [
        "client",
        "scheduler",
        "zero worker",
    ]


def test_pictures_are_as_drawn(tmp_path: Path) -> None:
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import draw  # type: ignore[import-not-found]
    finally:
        sys.path.pop(0)
    committed = (ROOT / "docs" / "images" / "network.svg").read_text()
    draw.IMAGES = tmp_path
    assert draw.network().read_text() == committed
