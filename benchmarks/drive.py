"""Measure one contender once, in this environment, and print what was found as JSON.

Started by ``run.py``. CPU time is that of this process and all its descendants, as the system counts it.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
from typing import Any

import psutil
from contenders import KINDS, Contender, Distributed


def cpu_by_role(roots: dict[str, int]) -> dict[str, float]:
    """CPU seconds so far of this process ("client"), of the trees under ``roots``, of what is left."""
    me = psutil.Process()
    owners = {pid: role for role, pid in roots.items()}
    for role, pid in roots.items():
        owners |= {child.pid: role for child in psutil.Process(pid).children(recursive=True)}
    seconds = dict.fromkeys(["client", *roots, "rest"], 0.0)
    for process in [me, *me.children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        role = "client" if process.pid == me.pid else owners.get(process.pid, "rest")
        seconds[role] += times.user + times.system
    return seconds


def rest_of(before: dict[str, float], after: dict[str, float], tasks: int) -> dict[str, float]:
    """Microseconds of CPU per task by role, and their sum."""
    by_role = {role: 1e6 * (after[role] - before[role]) / tasks for role in after}
    return by_role | {"total": sum(by_role.values())}


def throughput(contender: Contender, tasks: int) -> dict[str, Any]:
    """CPU and wall time of ``tasks`` tasks until the results are there; CPU until all is released, too."""
    gc.collect()
    before, start = cpu_by_role(contender.roots()), time.perf_counter()
    results = contender.run(0, tasks)
    wall, after = time.perf_counter() - start, cpu_by_role(contender.roots())
    if results != list(range(1, tasks + 1)):
        raise RuntimeError(f"wrong results: {results[:5]} …")
    settled = settle(contender)
    return {
        "tasks": tasks,
        "wall_us": 1e6 * wall / tasks,
        "cpu_us": rest_of(before, after, tasks),
        "cpu_us_with_release": rest_of(before, settled, tasks)["total"],
    }


def settle(contender: Contender, window: float = 0.3, patience: float = 5.0) -> dict[str, float]:
    """CPU times once the processes have come to rest: under 5 % of a core for ``window`` seconds."""
    deadline = time.monotonic() + patience
    last = cpu_by_role(contender.roots())
    while True:
        time.sleep(window)
        now = cpu_by_role(contender.roots())
        if sum(now.values()) - sum(last.values()) < 0.05 * window or time.monotonic() > deadline:
            return now
        last = now


def round_trips(contender: Contender, number: int) -> dict[str, float]:
    """Milliseconds of one task alone: median and ninth decile."""
    times = []
    for i in range(10_000_000, 10_000_000 + number):
        start = time.perf_counter()
        result = contender.round_trip(i)
        times.append(1e3 * (time.perf_counter() - start))
        if result != i + 1:
            raise RuntimeError(f"wrong result: {result}")
    deciles = statistics.quantiles(times, n=10)
    return {"number": number, "median_ms": statistics.median(times), "p90_ms": deciles[8]}


def memory(contender: Distributed, pending: int) -> dict[str, float]:
    """Bytes by which scheduler and client grow for each task that waits behind a running one."""
    parties = {"scheduler": psutil.Process(contender.roots()["scheduler"]), "client": psutil.Process()}
    contender.run(-30_000_000, -30_000_000 + 2_000)
    settle(contender)
    before = {role: process.memory_info().rss for role, process in parties.items()}
    end = contender.pend(pending)
    settle(contender)
    growth = {role: process.memory_info().rss - before[role] for role, process in parties.items()}
    end()
    return {"pending": pending} | {f"{role}_nbytes": growth[role] / pending for role in growth}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--tasks", type=int, default=0)
    parser.add_argument("--warm-up", type=int, default=500)
    parser.add_argument("--round-trips", type=int, default=0)
    parser.add_argument("--pending", type=int, default=0)
    args = parser.parse_args()
    found: dict[str, Any] = {"workers": args.workers}
    with KINDS[args.kind](args.workers) as contender:
        contender.run(-20_000_000, -20_000_000 + args.warm_up)
        settle(contender)
        if args.tasks:
            found["throughput"] = throughput(contender, args.tasks)
        if args.round_trips:
            found["round_trip"] = round_trips(contender, args.round_trips)
        if args.pending:
            if not isinstance(contender, Distributed) or "scheduler" not in contender.roots():
                parser.error(f"{args.kind} has no scheduler process to weigh")
            found["memory"] = memory(contender, args.pending)
    json.dump(found, sys.stdout)
    print()


if __name__ == "__main__":
    main()
