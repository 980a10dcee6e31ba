"""The scheduler's state machine alone: microseconds of CPU a task, no sockets, no workers.

    python benchmarks/scheduler_alone.py [--tasks 200000] [--workers 1]

Three kinds of work: independent tasks (``map``), a binary tree of them, and chains. Every worker finishes at once
all it is given. Each figure is the CPU time of the whole life of a task: submitted, placed, finished, released.
"""

from __future__ import annotations

import argparse
import gc
import resource
import time
from collections.abc import Iterator

from distributed.collector import THRESHOLDS
from distributed.protocol.messages import (
    Message,
    PutFunctions,
    ReleaseKeys,
    RunTasks,
    SubmitTasks,
    TasksFinished,
)
from distributed.scheduler.state import SchedulerState

CHUNK = 5_000


def independent(n: int) -> Iterator[SubmitTasks]:
    """``n`` tasks without dependencies."""
    for start in range(0, n, CHUNK):
        keys = [f"inc-{i:032x}" for i in range(start, min(start + CHUNK, n))]
        yield SubmitTasks(b"f" * 16, "inc", keys, [b"x" * 20] * len(keys))


def tree(n: int) -> Iterator[SubmitTasks]:
    """About ``n`` tasks: leaves, then sums of two down to one."""
    level = [f"leaf-{i:032x}" for i in range(n // 2)]
    yield SubmitTasks(b"f" * 16, "leaf", level, [b"x" * 20] * len(level))
    depth = 0
    while len(level) > 1:
        depth += 1
        above = [f"sum-{depth}-{i:028x}" for i in range(len(level) // 2)]
        deps = [level[2 * i : 2 * i + 2] for i in range(len(above))]
        yield SubmitTasks(b"g" * 16, "sum", above, [b"x" * 60] * len(above), deps)
        level = above


def chains(n: int, width: int = 100) -> Iterator[SubmitTasks]:
    """``width`` chains of ``n / width`` tasks."""
    before: list[str] = []
    for step in range(n // width):
        keys = [f"step-{step}-{i:028x}" for i in range(width)]
        deps = [[key] for key in before] if before else None
        yield SubmitTasks(b"f" * 16, "step", keys, [b"x" * 40] * width, deps)
        before = keys


def run(messages: list[SubmitTasks], nworkers: int) -> tuple[float, int]:
    """CPU seconds and number of tasks of one piece of work from submission to release."""
    state = SchedulerState()
    for i in range(nworkers):
        state.add_worker(f"tcp://10.0.0.1:{i}", nthreads=1, now=0.0)
    state.add_client("client", now=0.0)
    state.handle_client("client", PutFunctions([b"f" * 16, b"g" * 16], [b"inc", b"add"]), 0.0)
    total = sum(len(message.keys) for message in messages)
    begin = time.process_time()
    for message in messages:
        state.handle_client("client", message, 0.0)
    now, done = 0.0, 0
    while done < total:
        for peer, outgoing in state.drain(now):
            for message in outgoing:
                now += 1e-4
                done += finish(state, peer, message, now)
    for message in messages:
        state.handle_client("client", ReleaseKeys(message.keys), now)
    list(state.drain(now))
    while state.parked:  # what is much to let go is let go over many turns
        list(state.drain(now))
    seconds = time.process_time() - begin
    if state.tasks:
        raise AssertionError(f"{len(state.tasks)} tasks are left")
    return seconds, total


def finish(state: SchedulerState, worker: str, message: Message, now: float) -> int:
    """A worker that finishes at once; returns how many tasks."""
    if not isinstance(message, RunTasks):
        return 0
    n = len(message.keys)
    answer = TasksFinished(message.keys, message.seqs, [28] * n, [1e-6] * n, ["int"] * n, [b"v"] * n)
    state.handle_worker(worker, answer, now)
    return n


def memory_per_task(n: int) -> float:
    """Bytes of resident memory a pending task."""
    state = SchedulerState()
    state.add_client("client", now=0.0)
    state.handle_client("client", PutFunctions([b"f" * 16], [b"inc"]), 0.0)
    gc.collect()
    before = resident()
    for message in independent(n):
        message.args = [b"%020d" % i for i in range(len(message.keys))]
        state.handle_client("client", message, 0.0)
        del message
    gc.collect()
    return (resident() - before) / n


def resident() -> int:
    """Resident bytes of this process."""
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * resource.getpagesize()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=200_000)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    gc.set_threshold(*THRESHOLDS)  # as in the process of the scheduler
    print(f"memory        {memory_per_task(options.tasks):8.0f} bytes a pending task")
    for name, work in [("map", independent), ("tree", tree), ("chains", chains)]:
        seconds, n = run(list(work(options.tasks)), options.workers)
        print(f"{name:12s}  {seconds / n * 1e6:8.2f} us a task  ({n:,} tasks, {options.workers} workers)")


if __name__ == "__main__":
    main()
