#!/usr/bin/env python3
"""A graph of very many tasks, ``da.ones((n, n), chunks=(100, 100)).sum()``, on one or several installed packages.

    python3 benchmarks/graph.py --python ours=/path/to/python --python peer=/path/to/other/python  # with dask[array]
    python3 benchmarks/graph.py --side 70000          # 650 000 tasks, on this interpreter alone

Scheduler, two workers of one thread and the client are processes of their own. Said are: when the client had handed
everything over, when the first task had run, when the result was there; the peak memory of client and scheduler; and
the longest time that the event loop of each was held, by the clock, and where it went: processor time of the loop's
own thread, of other threads of its process (which hold the interpreter's lock meanwhile), how much of both was the
garbage collector's; the rest is other processes' on the same cores. The longest time in processor time of the loop's
thread alone is said besides: it is little changed by what else the machine does. What held the client's loop while dask
made the collection, before the client was given it, is said apart: Python's collector, as a user's process has it, goes
through all that there is in one step. The default size is a twentieth of ``--side 70000``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
BEAT = 0.005


def watch_loop(loop: Any, found: dict[str, Any]) -> None:
    """Note the longest times between two beats of a loop, and where they went; called on it."""
    import gc
    import time

    collecting = [
        0.0,
        0.0,
    ]  # processor time of collections so far, in whatever thread; the present one's begin

    def collection(phase: str, info: dict[str, Any]) -> None:
        now = time.thread_time()
        if phase == "start":
            collecting[1] = now
        else:
            collecting[0] += now - collecting[1]

    gc.callbacks.append(collection)

    def look() -> list[float]:
        return [time.perf_counter(), time.thread_time(), time.process_time(), collecting[0]]

    last = look()

    def beat() -> None:
        nonlocal last
        now = look()
        clock, own, process, collector = (after - before for after, before in zip(now, last, strict=True))
        clock -= found["beat"]
        if clock > found["block"]:
            found.update(block=clock, own=own, others=process - own, collector=collector)
        found["block_cpu"] = max(found["block_cpu"], own)
        last = now
        loop.call_later(found["beat"], beat)

    loop.call_soon(beat)


def nothing_yet() -> dict[str, Any]:
    """What :func:`watch_loop` fills."""
    return {"beat": BEAT, "block": 0.0, "own": 0.0, "others": 0.0, "collector": 0.0, "block_cpu": 0.0}


def begin_anew(loop: Any, found: dict[str, Any]) -> dict[str, Any]:
    """What :func:`watch_loop` has found until now; from here on it finds something else."""
    turned = threading.Event()
    before: dict[str, Any] = {}

    def turn() -> None:
        before.update(found)
        found.update(nothing_yet())
        turned.set()

    loop.call_soon_threadsafe(turn)
    turned.wait()
    return before


def watch_scheduler(watch: Any, found: dict[str, Any], dask_scheduler: Any) -> None:
    import asyncio

    dask_scheduler.bench = found
    watch(asyncio.get_running_loop(), found)


def read_scheduler(dask_scheduler: Any) -> dict[str, float]:
    from pathlib import Path

    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {**dask_scheduler.bench, "rss_mb": int(status["VmHWM"].split()[0]) / 1024}


def has_run(dask_scheduler: Any) -> bool:
    return any(
        prefix.duration_average >= 0
        for name, prefix in dask_scheduler.task_prefixes.items()
        if name.startswith("sum")
    )


def measure(side: int, timeout: float) -> dict[str, Any]:
    import resource

    import cloudpickle
    import dask.array as da

    from distributed import Client

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        file = Path(folder) / "scheduler.json"
        commands = [
            ["dask_scheduler", "--host=127.0.0.1", "--port=0", f"--scheduler-file={file}"],
            *[["dask_worker", f"--scheduler-file={file}", "--nthreads=1", "--no-nanny"]] * 2,
        ]
        processes = []
        try:
            for module, *options in commands:
                command = [sys.executable, "-m", f"distributed.cli.{module}", *options]
                processes.append(
                    subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                )
                while not file.exists():
                    time.sleep(0.05)
            address = json.loads(file.read_text())["address"]
            with Client(address) as client:
                client.wait_for_workers(2)
                client.run_on_scheduler(watch_scheduler, watch_loop, nothing_yet())
                found = nothing_yet()
                loop = client.loop.asyncio_loop
                loop.call_soon_threadsafe(watch_loop, loop, found)
                first: list[float] = []
                done = threading.Event()
                start = time.perf_counter()

                def look() -> None:
                    while not done.wait(0.1):
                        if client.run_on_scheduler(has_run):
                            first.append(time.perf_counter() - start)
                            return

                looking = threading.Thread(target=look)
                looking.start()
                collection = da.ones((side, side), chunks=(100, 100)).sum()
                making = begin_anew(loop, found)
                future = client.compute(collection)
                submitted = time.perf_counter() - start
                result = future.result(timeout=timeout)
                end = time.perf_counter() - start
                assert result == side * side, result
                done.set()
                looking.join()
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                return {
                    "submitted": submitted,
                    "first": first[0] if first else end,
                    "end": end,
                    "making": making,
                    "client": {**found, "rss_mb": peak},
                    "scheduler": client.run_on_scheduler(read_scheduler),
                }
        finally:
            for process in reversed(processes):
                process.terminate()
            for process in processes:
                process.wait(30)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--python", action="append", default=[], metavar="NAME=PATH", help="an interpreter to use"
    )
    parser.add_argument("--side", type=int, default=15_652, help="side of the array, in elements")
    parser.add_argument("--timeout", type=float, default=1_800, help="seconds for one of them")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.side, options.timeout)))
        return
    for name, _, path in (given.partition("=") for given in options.python or [f"this={sys.executable}"]):
        environment = dict(os.environ)
        if name == "peer":  # what is named on the way to ours must not hide it
            environment.pop("PYTHONPATH", None)
        command = [
            path,
            str(HERE / "graph.py"),
            "--measure",
            f"--side={options.side}",
            f"--timeout={options.timeout}",
        ]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if done.returncode:
            print(f"{name}: failed\n{done.stderr}")
            continue
        found = json.loads(done.stdout.splitlines()[-1])
        first, submitted, end = found["first"], found["submitted"], found["end"]
        print(f"{name}: first task {first:.1f} s, handed over {submitted:.1f} s, end {end:.1f} s")
        making = found["making"]["block"]
        print(f"    while dask made the collection, the client's loop was held for {making * 1e3:.0f} ms")
        for who in ("client", "scheduler"):
            part = found[who]
            print(
                f"    {who:9s} peak {part['rss_mb']:6.0f} MB, loop held for {part['block'] * 1e3:5.0f} ms at most: "
                f"{part['own'] * 1e3:.0f} own, {part['others'] * 1e3:.0f} other threads, "
                f"{part['collector'] * 1e3:.0f} of both collecting; own at most {part['block_cpu'] * 1e3:.0f} ms"
            )


if __name__ == "__main__":
    main()
