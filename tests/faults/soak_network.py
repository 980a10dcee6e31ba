"""The network of the soaks: real processes on loopback, or on hosts whose links can be cut; what is done to them."""

from __future__ import annotations

import collections
import contextlib
import ctypes
import os
import random
import secrets
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "system")]

import psutil  # noqa: E402
from network_hosts import HostBench, Hosts  # noqa: E402
from system_bench import Command  # noqa: E402

WORKERS = 3
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


class SoakNetwork:
    """A scheduler and workers under nannies, and faults of them chosen by chance.

    Parameters
    ----------
    folder : Path
        For homes and temporary files of the processes.
    seed : int
        Of the faults.
    namespaces : bool
        Whether each worker has a host of its own.
    nthreads : int
        Of each worker.
    """

    def __init__(self, folder: Path, seed: int, namespaces: bool = False, nthreads: int = 1) -> None:
        self.random = random.Random(seed)
        self.nthreads = nthreads
        key = secrets.token_hex(32)
        os.environ["DISTRIBUTED_KEY"] = key
        self.hosts: Any = Hosts(WORKERS + 1) if namespaces else LocalHosts()
        self.bench = (HostBench if namespaces else LocalBench)(folder, key, self.hosts)
        self.bench.configure(
            scheduler__allowed_failures=1_000_000,
            scheduler__worker_ttl="3s",
            scheduler__muster_timeout="4s",
            scheduler__unclaimed_ttl="15s",
            scheduler__client_ttl="15s",
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
        self.undo: list[tuple[float, Callable[[], Any]]] = []  # when, what
        self.faults: collections.Counter[str] = collections.Counter()

    # ------------------------------------------------------------ parties

    def start_scheduler(self) -> Command:
        command = self.bench.on(0, "dscheduler", "--host", self.hosts.address(0), "--port", self.port)
        command.line(0)
        return command

    def start_worker(self, i: int) -> Command:
        arguments = ["--name", f"w{i}", "--nthreads", str(self.nthreads)]
        return self.bench.on(i + 1, "dworker", self.address, *arguments)

    def pid(self, i: int) -> int | None:
        """The worker process of nanny ``i``, if there is one just now."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.workers[i].process.pid).children():
                return child.pid
        return None

    def revive(self) -> None:
        """A nanny whose first worker was killed before it ran has ended with an error: as an operator would."""
        for i, worker in enumerate(self.workers):
            if worker.process.poll() is not None:
                self.replace(i)

    def replace(self, i: int) -> None:
        self.workers[i].end()
        self.bench.commands.remove(self.workers[i])
        self.workers[i] = self.start_worker(i)

    def resident(self) -> dict[str, float]:
        """MiB of memory of each process."""
        pids: dict[str, int | None] = {"scheduler": self.scheduler.process.pid}
        pids |= {f"worker {i}": self.pid(i) for i in range(WORKERS)}
        pids |= {f"nanny {i}": self.workers[i].process.pid for i in range(WORKERS)}
        return {name: psutil.Process(pid).memory_info().rss / MIB for name, pid in pids.items()}

    def story(self) -> str:
        """What the processes printed last."""
        return "\n".join(["", self.scheduler.text[-3000:], *(worker.text[-1500:] for worker in self.workers)])

    def end(self) -> None:
        """Nothing is left of it."""
        self.mend(everything=True)
        for command in self.bench.commands:
            command.end()
        self.hosts.remove()

    # ------------------------------------------------------------ faults

    def kinds(self) -> list[Callable[[], bool]]:
        """The faults, as often as they are likely."""
        kinds = [self.kill_worker] * 3 + [self.freeze_worker] * 3 + [self.kill_scheduler]
        kinds += [self.freeze_scheduler, self.kill_nanny]
        return kinds + [self.cut] * 2 if self.namespaces else kinds

    def fault(self) -> None:
        """One of them, chosen by chance."""
        kind = self.random.choice(self.kinds())
        if kind():
            self.faults[kind.__name__.replace("_", " ")] += 1

    def later(self, seconds: float, what: Callable[[], Any]) -> None:
        self.undo.append((time.monotonic() + seconds, what))

    def mend(self, everything: bool = False) -> None:
        """Undo the faults whose time is over."""
        now = time.monotonic()
        due = [entry for entry in self.undo if everything or entry[0] <= now]
        self.undo = [entry for entry in self.undo if entry not in due]
        for _, what in due:
            what()

    def freeze(self, pid: int, seconds: float) -> bool:
        if not send_signal(pid, signal.SIGSTOP):
            return False
        self.later(seconds, lambda: send_signal(pid, signal.SIGCONT))
        return True

    def kill_worker(self) -> bool:
        pid = self.pid(self.random.randrange(WORKERS))
        return pid is not None and send_signal(pid, signal.SIGKILL)

    def kill_nanny(self) -> bool:
        self.replace(self.random.randrange(WORKERS))
        return True

    def freeze_worker(self) -> bool:
        pid = self.pid(self.random.randrange(WORKERS))
        return pid is not None and self.freeze(pid, self.random.choice([0.2, 1.0, 5.0]))

    def freeze_scheduler(self) -> bool:
        return self.freeze(self.scheduler.process.pid, self.random.choice([0.2, 1.0, 3.0]))

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


def send_signal(pid: int, number: int) -> bool:
    """Whether there was such a process."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
