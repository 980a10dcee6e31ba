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
import os
import secrets
import tempfile
import time
from pathlib import Path
from typing import Any

from soak_network import MIB, WORKERS, SoakNetwork  # first: it finds the modules beside it

import psutil  # isort: skip
from fault_tasks import lump, sizes, soak_sum  # isort: skip
from network_hosts import why_not  # isort: skip
from system_bench import wait_until  # isort: skip

from distributed import Client  # isort: skip

WIDTH = 120
PATIENCE = 120.0


class Soak:
    """What a network has to compute while it is plagued."""

    def __init__(self, network: SoakNetwork) -> None:
        self.network = network
        self.rounds = 0

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
        network = self.network
        with Client(network.address) as client:
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
                network.mend()
                network.revive()
                if now >= next_fault:
                    next_fault = now + 1.0
                    network.fault()
                while running and running[0][0].done():
                    future, expected, _ = running.popleft()
                    self.check(client, future, expected)
                    ndone += 1
                    del future
                if running and now - running[0][2] > PATIENCE:
                    key = running[0][0].key
                    raise AssertionError(f"{key} stands still for {PATIENCE:g} s: {network.story()}")
                if now >= next_line:
                    next_line = now + 10.0
                    memory.append(psutil.Process().memory_info().rss / MIB)
                    left = end - now
                    print(
                        f"{left:5.0f} s left, {ndone} computations, client {memory[-1]:.0f} MiB", flush=True
                    )
                time.sleep(0.02)
            network.mend(everything=True)
            wait_until(lambda: self.complete(client), "all workers are back", 60)
            while running:
                future, expected, _ = running.popleft()
                self.check(client, future, expected)
                ndone += 1
            del future
            self.account(client, ndone, memory)

    def complete(self, client: Client) -> bool:
        self.network.revive()
        return len(client.scheduler_info()["workers"]) == WORKERS

    def account(self, client: Client, ndone: int, memory: list[float]) -> None:
        """At rest: nothing is left, and more work takes no more memory."""

        def left() -> dict[str, int]:
            return {
                "tasks at the client": len(client._session.state.tasks),
                "tasks at the scheduler": client.run_on_scheduler(_ntasks),
                "results at workers": sum(client.run(_nresults).values()),
            }

        wait_until(lambda: not any(left().values()), f"nothing is left: {left()}", 60)

        def work(n: int) -> dict[str, float]:
            for _ in range(n):
                future, expected = self.submit(client)
                self.check(client, future, expected)
            del future
            wait_until(lambda: not any(left().values()), "nothing is left", 60)
            return {"client": psutil.Process(os.getpid()).memory_info().rss / MIB} | self.network.resident()

        before, after = work(10), work(20)
        counted = self.network.faults
        faults = ", ".join(f"{n} × {name}" for name, n in sorted(counted.items()))
        print(
            f"{ndone} computations of {WIDTH * 2 + 7} tasks right; {sum(counted.values())} faults: {faults}"
        )
        for name, old in before.items():
            print(f"  {name}: {old:.0f} MiB, after 20 computations more {after[name]:.0f} MiB")
        grown = [name for name, old in before.items() if after[name] > old * 1.1 + 10]
        assert not grown, f"the memory of {', '.join(grown)} grows"
        if len(memory) >= 6:
            early, late = max(memory[: len(memory) // 3]), memory[-1]
            print(f"  client in the first third {early:.0f} MiB, at the end {late:.0f} MiB")
            assert late < early * 1.25 + 20, "the client's memory grows"


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
        network = SoakNetwork(Path(folder), seed, namespaces=not reason)
        try:
            Soak(network).run(options.minutes * 60)
        except AssertionError as error:
            print(f"seed {seed}: {error}\n{network.story()}", flush=True)
            raise SystemExit(1) from None
        finally:
            network.end()


if __name__ == "__main__":
    main()
