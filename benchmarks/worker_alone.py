"""CPU microseconds per task of the worker's machine and executor alone: no sockets, no event loop.

``RunTasks`` of many calls of one small function go in, ``TasksFinished`` come out, in batches as the scheduler sends
them. Counts what the worker pays: unpickling the arguments, the call, sizing, pickling the small result, all
bookkeeping; not the codec and not the network.

    python benchmarks/worker_alone.py [TASKS] [--threads N] [--batch N]
"""

from __future__ import annotations

import argparse
import gc
import threading
from time import perf_counter, process_time

from distributed.protocol.messages import PutFunctions, RunTasks
from distributed.protocol.payload import pack
from distributed.worker.data import DataStore
from distributed.worker.executor import Executor
from distributed.worker.state import Execute, WorkerState


def inc(x: int) -> int:
    return x + 1


def run(ntasks: int, nthreads: int, batch: int) -> tuple[float, float]:
    """(CPU, wall) microseconds per task."""
    state = WorkerState("tcp://127.0.0.1:1", data=DataStore())
    wake = threading.Event()
    executor = Executor(nthreads, state.data, wake.set)
    state.handle(PutFunctions([b"inc"], [pack(inc)]), 0.0)
    messages = [
        RunTasks(
            fn=b"inc",
            name="inc",
            keys=[f"inc-{i:032x}" for i in range(start, start + batch)],
            args=[pack(((i,), {})) for i in range(start, start + batch)],
            seqs=list(range(start, start + batch)),
        )
        for start in range(0, ntasks, batch)
    ]
    for message in messages:  # as decoded from a frame: every key a new string
        message.keys = [key.encode().decode() for key in message.keys]
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    cpu, wall = process_time(), perf_counter()
    done = 0
    waiting = iter(messages)
    given = 0
    while done < ntasks:
        while given - done < 2 * batch and (message := next(waiting, None)) is not None:
            state.handle(message, 0.0)
            given += len(message.keys)
        out, instructions = state.drain(0.0)
        for instruction in instructions:
            assert type(instruction) is Execute
            executor.submit(instruction.tasks)
        done += sum(len(message.keys) for message in out)
        if done < given:
            wake.wait()
            wake.clear()
            outcomes = executor.drain()
            assert not outcomes.failed, outcomes.failed[0][1].traceback_text
            state.tasks_completed(outcomes.completed)
    cpu, wall = process_time() - cpu, perf_counter() - wall
    assert state.data[f"inc-{ntasks - 1:032x}"] == ntasks
    executor.close(1.0)
    return cpu / ntasks * 1e6, wall / ntasks * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", type=int, nargs="?", default=50_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=500)
    options = parser.parse_args()
    for _ in range(3):
        cpu, wall = run(options.tasks, options.threads, options.batch)
        print(
            f"{cpu:6.2f} us CPU, {wall:6.2f} us wall a task ({options.tasks:,} tasks, {options.threads} threads)"
        )


if __name__ == "__main__":
    main()
