"""The zero worker: real client, real scheduler, real sockets, and a worker that finishes everything at once.

    python benchmarks/zero_worker.py [--tasks 50000]

Shows what a task costs the client and the scheduler with all that they have to read and write, and nothing of
what running it costs. The zero worker answers every task with the same result, whatever the arguments.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from contenders import end, wait_until
from workloads import inc

from distributed import Client
from distributed.comm import connect
from distributed.core import Connection
from distributed.protocol.messages import FreeKeys, Message, RunTasks, TasksFinished, WorkerHeartbeat
from distributed.protocol.payload import pack

ANSWER = pack(42)


async def serve(address: str) -> None:
    """Be a worker of one thread until the scheduler goes away."""
    connection = Connection(await connect(address, timeout=10))
    gone = asyncio.Event()
    connection.on_close.append(lambda _: gone.set())

    def on_stream(messages: list[Message]) -> None:
        for message in messages:
            if type(message) is RunTasks:
                n = len(message.keys)
                values = [ANSWER] * n if message.options.inline else [None] * n
                connection.send(
                    TasksFinished(message.keys, message.seqs, [28] * n, [1e-6] * n, ["int"] * n, values)
                )
            elif type(message) is not FreeKeys and not message.__class__.__name__.endswith("Functions"):
                print(f"zero worker: no answer to {message!r:.200}", file=sys.stderr)

    connection.on_stream = on_stream
    await connection.call(
        "register_worker", address=connection.local_address, name="zero", nthreads=1, server_id="zero-worker"
    )
    while not gone.is_set():
        connection.send(WorkerHeartbeat({"memory": 0, "cpu": 0.0, "executing": 0, "ready": 0}))
        try:
            async with asyncio.timeout(1):
                await gone.wait()
        except TimeoutError:
            continue


def cpu(pid: int) -> float:
    """CPU seconds of one process so far."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def measure(tasks: int) -> dict[str, float]:
    """Microseconds per task."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "scheduler.json")
        command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host=127.0.0.1", "--port=0"]
        scheduler = subprocess.Popen([*command, f"--scheduler-file={file}"], stdout=sys.stderr)
        worker = None
        try:
            wait_until(file.exists, "the scheduler did not write its file", scheduler)
            address = json.loads(file.read_text())["address"]
            worker = subprocess.Popen([sys.executable, __file__, "--serve", address], stdout=sys.stderr)
            with Client(address, timeout=20) as client:
                client.wait_for_workers(1)
                client.gather(client.map(inc, range(-2_000, 0)))
                pids = {"client": os.getpid(), "scheduler": scheduler.pid, "zero worker": worker.pid}
                before, start = {role: cpu(pid) for role, pid in pids.items()}, time.perf_counter()
                results = client.gather(client.map(inc, range(tasks)))
                wall = time.perf_counter() - start
                after = {role: cpu(pid) for role, pid in pids.items()}
        finally:
            for process in (worker, scheduler):
                if process is not None:
                    end(process)
    if results != [42] * tasks:
        raise RuntimeError(f"wrong results: {results[:5]} …")
    figures = {f"{role} CPU": 1e6 * (after[role] - before[role]) / tasks for role in pids}
    return figures | {"wall": 1e6 * wall / tasks}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=50_000)
    parser.add_argument("--serve", metavar="ADDRESS", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        asyncio.run(serve(args.serve))
        return
    os.environ.setdefault("DISTRIBUTED_KEY", secrets.token_hex(32))
    for name, value in measure(args.tasks).items():
        print(f"{name:<16} {value:6.2f} µs a task ({args.tasks:,} tasks)")


if __name__ == "__main__":
    main()
