"""Many networks, played by several processes, and what they came to."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from distributed.testing.simulation.coverage import Coverage
from distributed.testing.simulation.shrinking import attempt
from distributed.testing.simulation.world import Size, World

#: Networks that a process plays before it tells how they went.
CHUNK = 10

Job = tuple[Sequence[int], tuple[str, ...] | None, Size]


@dataclass
class Tally:
    """What some networks came to; ``failures`` are (seed, text)."""

    nnetworks: int = 0
    ntasks: int = 0
    nmessages: int = 0
    nevents: int = 0
    fewest_tasks: int = 1 << 30
    fewest_faults: int = 1 << 30
    cpu: float = 0.0
    simulated: float = 0.0
    accidents: Counter[str] = field(default_factory=Counter)
    coverage: Coverage = field(default_factory=Coverage)
    failures: list[tuple[int, str]] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Take in another."""
        self.nnetworks += other.nnetworks
        self.ntasks += other.ntasks
        self.nmessages += other.nmessages
        self.nevents += other.nevents
        self.fewest_tasks = min(self.fewest_tasks, other.fewest_tasks)
        self.fewest_faults = min(self.fewest_faults, other.fewest_faults)
        self.cpu += other.cpu
        self.simulated += other.simulated
        self.accidents.update(other.accidents)
        self.coverage.add(other.coverage.reached)
        self.failures += other.failures

    def __str__(self) -> str:
        happened = ", ".join(f"{name} {n}" for name, n in sorted(self.accidents.items()))
        fewest = f" (at least {self.fewest_tasks} each)" if self.ntasks else ""
        faults = f" (at least {self.fewest_faults} each)" if self.accidents else ""
        return (
            f"{self.nnetworks} networks, {self.ntasks} tasks{fewest}, "
            f"{sum(self.accidents.values())} accidents{faults}, "
            f"{self.nmessages} messages, {self.nevents} events, {self.simulated:.0f} simulated seconds, "
            f"{self.cpu:.1f} s of CPU; {len(self.failures)} failed\naccidents: {happened or 'none'}"
        )


def play_some(job: Job) -> Tally:
    """Play these networks in this process."""
    seeds, trouble, size = job
    tally = Tally()
    begin = time.process_time()
    for seed in seeds:
        world = World(seed, trouble, size)
        tally.nnetworks += 1
        failure = attempt(world)
        if failure is not None:
            tally.failures.append((seed, str(failure.error)))
            continue
        naccidents = sum(world.naccidents.values())
        tally.ntasks += len(world.graph.tasks)
        tally.nmessages += world.network.nmessages
        tally.nevents += world.network.nevents
        tally.simulated += world.network.now
        tally.fewest_tasks = min(tally.fewest_tasks, len(world.graph.tasks))
        tally.fewest_faults = min(tally.fewest_faults, naccidents)
        tally.accidents.update(world.naccidents)
        tally.coverage.add(world.coverage.reached)
    tally.cpu = time.process_time() - begin
    return tally


def play_all(
    seeds: Sequence[int],
    trouble: tuple[str, ...] | None = None,
    size: Size | None = None,
    *,
    processes: int = 1,
    failures: int = 3,
    progress: Callable[[Tally], None] = lambda tally: None,
) -> Tally:
    """Play all these networks, until so many have failed. ``progress`` is called now and then."""
    jobs: list[Job] = [(seeds[i : i + CHUNK], trouble, size or Size()) for i in range(0, len(seeds), CHUNK)]
    total = Tally()
    for tally in _results(jobs, processes):
        total.add(tally)
        progress(total)
        if len(total.failures) >= failures:
            break
    return total


def _results(jobs: list[Job], processes: int) -> Iterator[Tally]:
    if processes <= 1:
        yield from map(play_some, jobs)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap_unordered(play_some, jobs)


__all__ = ["Tally", "play_all", "play_some"]
