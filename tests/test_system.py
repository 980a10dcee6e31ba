from __future__ import annotations

import os
from pathlib import Path

import pytest

from distributed import system


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_this_machine() -> None:
    assert 1 <= system.cpu_count() <= (os.cpu_count() or 1)
    assert system.memory_limit() > 2**20
    assert system.cpu_count() == system.CPU_COUNT
    assert system.memory_limit() == system.MEMORY_LIMIT


def test_version_2_inner_group_binds(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/a/b\n",
            "sys/fs/cgroup/a/b/cpu.max": "50000 100000\n",
            "sys/fs/cgroup/a/b/memory.max": "1000000\n",
        },
    )
    assert system.cpu_count(root) == 1  # half a processor is one
    assert system.memory_limit(root) == 1_000_000


def test_version_2_outer_group_binds(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/a/b\n",
            "sys/fs/cgroup/a/b/memory.max": "max\n",
            "sys/fs/cgroup/a/memory.max": "2000000\n",
            "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
        },
    )
    assert system.memory_limit(root) == 2_000_000
    assert system.cpu_count(root) == system.cpu_count(tmp_path / "nothing")


def test_version_1(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "5:cpu,cpuacct:/job\n4:memory:/job\n0::/\n",
            "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us": "100000\n",
            "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "3000000\n",
        },
    )
    assert system.cpu_count(root) == 1
    assert system.memory_limit(root) == 3_000_000


def test_in_a_container_the_own_group_is_the_top(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/memory.max": "4000000\n",
            "sys/fs/cgroup/cpu.max": "10000 100000\n",
        },
    )
    assert system.memory_limit(root) == 4_000_000
    assert system.cpu_count(root) == 1


def test_no_quota_is_no_limit(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {"proc/self/cgroup": "5:cpu:/\n", "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
         "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"},
    )  # fmt: skip
    assert system.cpu_count(root) == system.cpu_count(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("auto", 250),
        (None, None),
        (0, None),
        ("0", None),
        (0.5, 500),
        (1.0, 1000),
        (1, 1000),
        ("0.5", 500),
        ("100", 100),
        (300, 300),
        ("1kB", 1000),
        ("1TB", 1000),
    ],
)
def test_memory_limit_of_a_worker(given: object, expected: int | None) -> None:
    assert system.worker_memory_limit(given, nthreads=1, ncores=4, total=1000) == expected


@pytest.mark.parametrize(
    ("nthreads", "nworkers", "each"), [(1, 4, 250), (1, 8, 125), (4, 8, 125), (1, 1, 250), (2, 2, 500)]
)
def test_workers_that_start_together_share_the_memory(nthreads: int, nworkers: int, each: int) -> None:
    assert system.worker_memory_limit("auto", nthreads, ncores=4, total=1000, nworkers=nworkers) == each


@pytest.mark.parametrize("nonsense", ["much", "4 apples", -1, "-5"])
def test_nonsense_memory_limits(nonsense: object) -> None:
    with pytest.raises(ValueError, match="memory limit"):
        system.worker_memory_limit(nonsense, nthreads=1, ncores=4, total=1000)
