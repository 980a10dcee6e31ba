"""Nannies, and what goes wrong with those whom they keep running: restarts, removals, lifetimes, starts that fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distributed.scheduler.state import partings

if TYPE_CHECKING:
    from distributed.testing.simulation.workers import Worker
    from distributed.testing.simulation.world import World

PARTINGS = (partings.HANG_UP, partings.DISMISS, partings.RENEW, partings.REPLACE, partings.REPLACE_BY_FORCE)


class Nanny:
    """Starts its worker again; may be frozen, as every party."""

    def __init__(self, world: World, worker: Worker) -> None:
        self.world = world
        self.worker = worker
        self.nfailing = 0  # so many starts from now on fail after the worker has registered
        worker.nanny = self

    def replace(self, process: str, by_force: bool) -> None:
        """The scheduler's order arrives."""
        worker = self.worker
        if worker.id == process and worker.alive and (by_force or worker in self.world.network.frozen):
            self.world.network.note(worker.address, "is ended by its nanny")
            self.world.network.frozen.pop(worker, None)
            self.world.close_worker(worker)
            self.ended()

    def ended(self) -> None:
        """Its worker's process has ended, and not for good."""
        self.world.network.after(self.world.random.uniform(0.05, 0.5), self.start)

    def start(self) -> None:
        old = self.worker
        if old.alive or old.address in self.world.workers:
            return
        self.world.network.note(old.address, "is started again by its nanny")
        fails = self.nfailing > 0
        self.nfailing -= fails
        self.worker = self.world.start_worker(old.address, old.nthreads, fails=fails)
        self.worker.nanny = self


def restart(world: World) -> bool:
    """A client restarts the network: its futures are cancelled, workers renewed; some nannies are frozen meanwhile."""
    scheduler, network = world.scheduler, world.network
    if scheduler is None or scheduler in network.frozen:
        return False
    machine = scheduler.machine
    supervised = [
        worker for worker in world.workers.values() if worker.nanny and worker.address in machine.workers
    ]
    if not supervised:
        return False
    network.note("world", "the network is restarted")
    for worker in supervised:
        assert worker.nanny is not None
        if world.random.random() < 0.4:
            network.freeze(worker.nanny, world.random.uniform(0.1, 5.0))
    for cs in list(machine.clients.values()):
        keys = [ts.key for ts in cs.wants_what]
        world.cancelled.update(map(str, keys))
        machine.cancel(cs.name, keys, network.now, force=True, reason="scheduler-restart")
    for worker in supervised:
        machine.remove_worker(
            worker.address, network.now, reason="restart", expected=True, parting=partings.RENEW
        )
    scheduler.flush()
    return True


def let_go(world: World) -> bool:
    """A worker is taken out of the books, in any way."""
    worker, scheduler = world.some_worker(), world.scheduler
    if worker is None or scheduler is None or worker.address not in scheduler.machine.workers:
        return False
    parting, expected = world.random.choice(PARTINGS), world.random.random() < 0.5
    world.network.note("world", f"{worker.address} is let go of: {parting.word}")
    scheduler.machine.remove_worker(
        worker.address, world.network.now, reason="let go", expected=expected, parting=parting
    )
    scheduler.flush()
    return True


def lifetimes_end(world: World) -> bool:
    """Some workers leave when others can take over."""
    scheduler = world.scheduler
    if scheduler is None or not scheduler.machine.workers:
        return False
    there = list(scheduler.machine.workers)
    leave = world.random.sample(there, world.random.randint(1, len(there)))
    world.network.note("world", f"the lifetimes of {leave} are over")
    scheduler.machine.wish_to_leave(leave, world.network.now)
    scheduler.flush()
    return True


def start_fails(world: World) -> bool:
    """A plugin fails on a worker that registers, some times in a row; then its nanny has one that works."""
    supervised = [worker for worker in world.workers.values() if worker.nanny]
    if not supervised:
        return False
    worker = world.random.choice(supervised)
    assert worker.nanny is not None
    worker.nanny.nfailing = world.random.randint(1, 3)
    world.network.note("world", f"{worker.address} crashes, and starts after it will fail")
    world.close_worker(worker)
    worker.nanny.ended()
    return True


__all__ = ["Nanny", "let_go", "lifetimes_end", "restart", "start_fails"]
