"""What this machine gives to this process: processors and memory, limits of containers counted.

Control groups (versions 1 and 2), processor affinity and resource limits leave less than the hardware has:
the smallest counts. ``CPU_COUNT`` and ``MEMORY_LIMIT`` are looked up when first asked for.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_ROOT = Path("/")


def cpu_count(root: Path = _ROOT) -> int:
    """Processors this process may use, at least 1; half a processor counts as one.

    Parameters
    ----------
    root : Path
        Where ``proc`` and ``sys`` are looked for.
    """
    count: float = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        count = min(count, len(os.sched_getaffinity(0)))
    for quota in _cpu_quotas(root):
        count = min(count, quota)
    return max(1, math.ceil(count))


def memory_limit(root: Path = _ROOT) -> int:
    """Bytes of memory this process may use.

    Parameters
    ----------
    root : Path
        Where ``proc`` and ``sys`` are looked for.
    """
    limit = _physical_memory()
    for bound in _memory_bounds(root):
        if 0 < bound < limit:
            limit = bound
    return limit


def worker_memory_limit(
    limit: Any, nthreads: int, ncores: int | None = None, total: int | None = None, nworkers: int = 1
) -> int | None:
    """What a ``memory_limit`` given by a user means for one worker.

    Parameters
    ----------
    limit : "auto", int, float, str or None
        Bytes, a text such as ``"4GiB"``, or (up to 1) a fraction of the machine's memory.
        ``"auto"`` is the worker's share by its threads. 0, ``"0"`` and None mean: no limit.
    nthreads : int
        Threads of the worker.
    ncores, total : int, optional
        Processors and bytes of memory of the machine; looked up when not given.
    nworkers : int
        Like workers that are started together: what ``"auto"`` gives them is never more than there is.

    Returns
    -------
    int or None
        Bytes, never more than the machine has; None for no limit.

    Raises
    ------
    ValueError
        When ``limit`` is none of these.

    Examples
    --------
    >>> worker_memory_limit("auto", nthreads=1, ncores=4, total=8_000)
    2000
    >>> worker_memory_limit(0.5, nthreads=1, total=8_000)
    4000
    """
    if limit is None or limit in (0, "0", "none", "None"):
        return None
    if total is None:
        total = memory_limit()
    if limit == "auto":
        return int(total * min(1 / max(1, nworkers), nthreads / (ncores or cpu_count())))
    if isinstance(limit, str):
        try:
            limit = float(limit)
        except ValueError:
            limit = _nbytes(limit)
    if not limit >= 0:
        raise ValueError(f"memory limit {limit!r} is negative")
    if limit <= 1:
        limit = limit * total
    return min(int(limit), total) or None


def _nbytes(text: str) -> int:
    from dask.utils import parse_bytes

    try:
        return int(parse_bytes(text))
    except (ValueError, KeyError):
        message = (
            f"memory limit {text!r} is no size; give bytes, 4GiB, a fraction such as 0.5, auto, or 0 for none"
        )
        raise ValueError(message) from None


def _physical_memory() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not a POSIX system
        import psutil

        return int(psutil.virtual_memory().total)


def _cpu_quotas(root: Path) -> Iterator[float]:
    for group in _groups(root, "cpu"):
        maximum = _words(group / "cpu.max")  # version 2: "quota period" or "max period"
        if len(maximum) == 2 and maximum[0] != "max":
            yield float(maximum[0]) / float(maximum[1])
        quota, period = _words(group / "cpu.cfs_quota_us"), _words(group / "cpu.cfs_period_us")
        if quota and period and float(quota[0]) > 0:
            yield float(quota[0]) / float(period[0])


def _memory_bounds(root: Path) -> Iterator[int]:
    for group in _groups(root, "memory"):
        for name in ("memory.max", "memory.high", "memory.limit_in_bytes", "memory.soft_limit_in_bytes"):
            words = _words(group / name)
            if words and words[0] != "max":
                yield int(words[0])
    try:
        import resource
    except ImportError:
        return
    for kind in (resource.RLIMIT_RSS, resource.RLIMIT_AS):
        soft = resource.getrlimit(kind)[0]
        if soft != resource.RLIM_INFINITY:
            yield soft


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Folders of the control groups this process is in, from the innermost outwards: each of them binds."""
    if sys.platform != "linux":
        return
    mount = root / "sys/fs/cgroup"
    for line in _lines(root / "proc/self/cgroup"):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            top = mount
        elif controller in controllers.split(","):
            top = mount / controller if (mount / controller).is_dir() else mount / controllers
        else:
            continue
        here = top / path.strip().lstrip("/")
        while here != top:
            if here.is_dir():
                yield here
            here = here.parent
        if top.is_dir():  # in a container the group's own folder is mounted as the top
            yield top


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _words(path: Path) -> list[str]:
    lines = _lines(path)
    return lines[0].split() if lines else []


def __getattr__(name: str) -> Any:
    if name == "CPU_COUNT":
        value = cpu_count()
    elif name == "MEMORY_LIMIT":
        value = memory_limit()
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value
