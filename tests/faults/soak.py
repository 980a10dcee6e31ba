"""A network under a random fault every second: are all values right, and does nobody's memory grow?

    python tests/faults/soak.py --minutes 15 [--seed N] [--no-namespaces]

Faults: ``kill -9`` of a worker, of a nanny with its worker, of the scheduler (each is started again); SIGSTOP of a
worker or of the scheduler for a while; as root on Linux, where hosts are network namespaces, a cut between two
workers or between one and all others. Ends with status 1 and says why when a value is wrong, a computation stands
still for two minutes, memory has grown, or something is left behind after all was released.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import ctypes
import os
import random
import secrets
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "system")]

import psutil  # noqa: E402
from fault_tasks import lump, sizes, soak_sum  # noqa: E402
from network_hosts import HostBench, Hosts, why_not  # noqa: E402
from system_bench import Command, wait_until  # noqa: E402

from distributed import Client  # noqa: E402

WORKERS = 3
WIDTH = 120
PATIENCE = 120.0
PORT = "8786"
MIB = 2**20


def enter(namespace: str) -> None:
    """This thread, and those and the processes it starts from now on, live on that host."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{namespace}") as file:
        if libc.setns(file.fileno(), 0x40000000):
            raise OSError(ctypes.get_errno(), f"setns to {namespace} failed")


class LocalHosts:
    """In place of hosts: all on loopback, no link can be cut."""

    n = 0

    def address(self, i: int) -> str:
        return "127.0.0.1"

    def remove(self) -> None:
        pass


class LocalBench(HostBench):
    def on(self, i: int, name: str, *arguments: str) -> Command:
        return self.start(name, *arguments)


class Soak:
    """The network, what is done to it, and what it has to compute meanwhile."""

    def __init__(self, folder: Path, seed: int, namespaces: bool) -> None:
        self.random = random.Random(seed)
        key = secrets.token_hex(32)
        os.environ["DISTRIBUTED_KEY"] = key
        self.hosts: Any = Hosts(WORKERS + 1) if namespaces else LocalHosts()
        self.bench = (HostBench if namespaces else LocalBench)(folder, key, self.hosts)
        self.bench.configure(
            scheduler__allowed_failures=1_000_000,
            scheduler__worker_ttl="3s",
            scheduler__muster_timeout="4s",
            scheduler__unclaimed_ttl="15s",
            nanny__quick_failure="0s",
            nanny__max_quick_failures=1_000_000,
            comm__timeouts__connect="2s",
            comm__timeouts__tcp="4s",
        )
        self.namespaces = namespaces
        if namespaces:
            enter(self.hosts.name(0))
        self.port = PORT if namespaces else "0"
        self.scheduler = self.start_scheduler()
        self.address = self.scheduler.out[0].rpartition(" ")[2]
        self.port = self.address.rpartition(":")[2]
        self.workers = [self.start_worker(i) for i in range(WORKERS)]
        for worker in self.workers:
            worker.line(1)
        self.undo: list[tuple[float, Any]] = []  # when, what
        self.faults: collections.Counter[str] = collections.Counter()
        self.rounds = 0

    # ------------------------------------------------------------ parties

    def start_scheduler(self) -> Command:
        command = self.bench.on(0, "dscheduler", "--host", self.hosts.address(0), "--port", self.port)
        command.line(0)
        return command

    def start_worker(self, i: int) -> Command:
        return self.bench.on(i + 1, "dworker", self.address, "--name", f"w{i}", "--nthreads", "1")

    def pid(self, i: int) -> int | None:
        """The worker process of nanny ``i``, if there is one just now."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.workers[i].process.pid).children():
                return child.pid
        return None

    # ------------------------------------------------------------ faults

    def fault(self) -> None:
        """One of them, chosen by chance."""
        kinds = [self.kill_worker] * 3 + [self.freeze_worker] * 3 + [self.kill_scheduler]
        kinds += [self.freeze_scheduler, self.kill_nanny]
        if self.namespaces:
            kinds += [self.cut] * 2
        kind = self.random.choice(kinds)
        if kind():
            self.faults[kind.__name__.replace("_", " ")] += 1

    def later(self, seconds: float, what: Any) -> None:
        self.undo.append((time.monotonic() + seconds, what))

    def mend(self, everything: bool = False) -> None:
        now = time.monotonic()
        due = [entry for entry in self.undo if everything or entry[0] <= now]
        self.undo = [entry for entry in self.undo if entry not in due]
        for _, what in due:
            what()

    def revive(self) -> None:
        """A nanny whose first worker was killed before it ran has ended with an error: as an operator would."""
        for i, worker in enumerate(self.workers):
            if worker.process.poll() is not None:
                self.replace(i)

    def replace(self, i: int) -> None:
        self.workers[i].end()
        self.bench.commands.remove(self.workers[i])
        self.workers[i] = self.start_worker(i)

    def kill_worker(self) -> bool:
        pid = self.pid(self.random.randrange(WORKERS))
        return pid is not None and _signal(pid, signal.SIGKILL)

    def kill_nanny(self) -> bool:
        self.replace(self.random.randrange(WORKERS))
        return True

    def freeze_worker(self) -> bool:
        pid = self.pid(self.random.randrange(WORKERS))
        if pid is None or not _signal(pid, signal.SIGSTOP):
            return False
        self.later(self.random.choice([0.2, 1.0, 5.0]), lambda: _signal(pid, signal.SIGCONT))
        return True

    def freeze_scheduler(self) -> bool:
        pid = self.scheduler.process.pid
        _signal(pid, signal.SIGSTOP)
        self.later(self.random.choice([0.2, 1.0, 3.0]), lambda: _signal(pid, signal.SIGCONT))
        return True

    def kill_scheduler(self) -> bool:
        self.scheduler.end()
        self.bench.commands.remove(self.scheduler)
        self.scheduler = self.start_scheduler()
        return True

    def cut(self) -> bool:
        i, j = self.random.sample(range(1, WORKERS + 1), 2)
        if self.random.random() < 0.5:
            self.hosts.cut(i, j)
            self.later(self.random.choice([1.0, 6.0]), lambda: self.hosts.heal(i, j))
        else:
            self.hosts.unplug(i)
            self.later(self.random.choice([0.5, 2.0, 6.0]), lambda: self.hosts.plug(i))
        return True

    # ------------------------------------------------------------ work

    def submit(self, client: Client) -> tuple[Any, int]:
        """A computation and what it must give."""
        self.rounds += 1
        first = self.rounds * 1_000_000
        lumps = client.map(lump, range(first, first + WIDTH))
        lengths = client.map(sizes, lumps, lumps[1:] + lumps[:1])
        parts = [client.submit(soak_sum, lengths[i : i + 20]) for i in range(0, WIDTH, 20)]
        values = [len(lump(first + i, sleep=False)) for i in range(WIDTH)]
        return client.submit(soak_sum, parts), 2 * sum(values)

    def check(self, client: Client, future: Any, expected: int) -> None:
        value = client.gather(future, direct=None) if future.done() else future.result(timeout=PATIENCE)
        assert value == expected, f"{future.key}: {value} is not {expected}"

    def run(self, seconds: float) -> None:
        """Faults and computations until the time is up, then rest and accounts."""
        with Client(self.address) as client:
            client.wait_for_workers(WORKERS)
            running: collections.deque[tuple[Any, int, float]] = collections.deque()
            end = time.monotonic() + seconds
            next_fault = time.monotonic() + 1.0
            next_line = 0.0
            memory: list[float] = []
            ndone = 0
            while time.monotonic() < end:
                while len(running) < 3:
                    running.append((*self.submit(client), time.monotonic()))
                now = time.monotonic()
                self.mend()
                self.revive()
                if now >= next_fault:
                    next_fault = now + 1.0
                    self.fault()
                while running and running[0][0].done():
                    future, expected, _ = running.popleft()
                    self.check(client, future, expected)
                    ndone += 1
                    del future
                if running and now - running[0][2] > PATIENCE:
                    raise AssertionError(
                        f"{running[0][0].key} stands still for {PATIENCE:g} s: {self.story()}"
                    )
                if now >= next_line:
                    next_line = now + 10.0
                    memory.append(psutil.Process().memory_info().rss / MIB)
                    left = end - now
                    print(
                        f"{left:5.0f} s left, {ndone} computations, client {memory[-1]:.0f} MiB", flush=True
                    )
                time.sleep(0.02)
            self.mend(everything=True)
            wait_until(lambda: self.complete(client), "all workers are back", 60)
            while running:
                future, expected, _ = running.popleft()
                self.check(client, future, expected)
                ndone += 1
            del future
            self.account(client, ndone, memory)

    def complete(self, client: Client) -> bool:
        self.revive()
        return len(client.scheduler_info()["workers"]) == WORKERS

    def story(self) -> str:
        return "\n".join(["", self.scheduler.text[-3000:], *(worker.text[-1500:] for worker in self.workers)])

    def account(self, client: Client, ndone: int, memory: list[float]) -> None:
        """At rest: nothing is left, and more work takes no more memory."""

        def left() -> dict[str, int]:
            return {
                "tasks at the client": len(client._session.state.tasks),
                "tasks at the scheduler": client.run_on_scheduler(_ntasks),
                "results at workers": sum(client.run(_nresults).values()),
            }

        wait_until(lambda: not any(left().values()), f"nothing is left: {left()}", 60)
        names = ["client", "scheduler", *(f"worker {i}" for i in range(WORKERS))]
        names += [f"nanny {i}" for i in range(WORKERS)]

        def resident() -> list[float]:
            pids = [os.getpid(), self.scheduler.process.pid, *(self.pid(i) for i in range(WORKERS))]
            pids += [worker.process.pid for worker in self.workers]
            return [psutil.Process(pid).memory_info().rss / MIB for pid in pids]

        def work(n: int) -> list[float]:
            for _ in range(n):
                future, expected = self.submit(client)
                self.check(client, future, expected)
            del future
            wait_until(lambda: not any(left().values()), "nothing is left", 60)
            return resident()

        before, after = work(10), work(20)
        faults = ", ".join(f"{n} × {name}" for name, n in sorted(self.faults.items()))
        print(
            f"{ndone} computations of {WIDTH * 2 + 7} tasks right; {sum(self.faults.values())} faults: {faults}"
        )
        for name, old, new in zip(names, before, after, strict=True):
            print(f"  {name}: {old:.0f} MiB, after 20 computations more {new:.0f} MiB")
        grown = [name for name, old, new in zip(names, before, after, strict=True) if new > old * 1.1 + 10]
        assert not grown, f"the memory of {', '.join(grown)} grows"
        if len(memory) >= 6:
            early, late = max(memory[: len(memory) // 3]), memory[-1]
            print(f"  client in the first third {early:.0f} MiB, at the end {late:.0f} MiB")
            assert late < early * 1.25 + 20, "the client's memory grows"


def _signal(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def _ntasks(dask_scheduler: Any) -> int:
    return len(dask_scheduler.tasks)


def _nresults(dask_worker: Any) -> int:
    return len(dask_worker.data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--no-namespaces", action="store_true")
    options = parser.parse_args()
    seed = secrets.randbelow(10**6) if options.seed is None else options.seed
    reason = "not wanted" if options.no_namespaces else why_not()
    print(f"seed {seed}, {options.minutes:g} minutes, network namespaces: {reason or 'yes'}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(Path(folder), seed, namespaces=not reason)
        try:
            soak.run(options.minutes * 60)
        except AssertionError as error:
            print(f"seed {seed}: {error}\n{soak.story()}", flush=True)
            raise SystemExit(1) from None
        finally:
            soak.mend(everything=True)
            for command in soak.bench.commands:
                command.end()
            soak.hosts.remove()


if __name__ == "__main__":
    main()
