"""Accidents of those who leave: several workers retired at once, copies that go to and fro, clients that die."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distributed.scheduler.state import copies, lifecycle

if TYPE_CHECKING:
    from distributed.testing.simulation.world import World


def retire_several(world: World) -> bool:
    """Operators scale down: several are asked to leave, in one order or in orders that overlap."""
    scheduler = world.scheduler
    if scheduler is None or len(scheduler.machine.workers) < 3:
        return False
    client = world.some_client()
    if client is not None:  # while these arrive, or before
        for _ in range(world.random.randint(0, 6)):
            client.scatter_data(world.graph.add_data(world.random))
    if world.random.random() < 0.5:
        world.network.after(world.random.uniform(0, 0.5), _retire, world)
    else:
        _retire(world)
    return True


def _retire(world: World) -> None:
    scheduler = world.scheduler
    if scheduler is None or world.calm:
        return
    there = list(scheduler.machine.workers)
    if len(there) < 2:
        return
    leave = world.random.sample(there, world.random.randint(1, len(there) - 1))
    parts = [leave] if world.random.random() < 0.6 else [leave[:-1], leave[-2:]]
    world.network.note("world", f"{parts} are retired")
    for part in parts:
        scheduler.machine.retire_workers(part, world.network.now)
    scheduler.flush()


def keep(world: World) -> bool:
    """The order to leave is called off."""
    scheduler = world.scheduler
    if scheduler is None or not scheduler.machine.leaving:
        return False
    addresses = [ws.address for ws in scheduler.machine.leaving]
    addresses = world.random.sample(addresses, world.random.randint(1, len(addresses)))
    world.network.note("world", f"{addresses} are kept")
    scheduler.machine.keep_workers(addresses, world.network.now)
    scheduler.flush()
    return True


def copy(world: World) -> bool:
    """As ``replicate``: some results get more copies, others fewer."""
    scheduler = world.scheduler
    if scheduler is None:
        return False
    machine = scheduler.machine
    running = [ws for ws in machine.workers.values() if ws.status == "running"]
    held = [ts for ts in machine.tasks.values() if ts.state == "memory" and not ts.immovable]
    if len(running) < 2 or not held:
        return False
    machine.begin("operator", "replicate", world.network.now)
    for ts in world.random.sample(held, min(len(held), 5)):
        holders = [ws for ws in running if ws in ts.who_has]
        if len(holders) > 1 and world.random.random() < 0.5:
            spare = world.random.choice(holders)
            lifecycle.remove_replica(ts, spare)
            machine.outbox.free(spare.address, ts.key)
        else:
            target = world.random.choice(running)
            copies.order(machine, target, [(ts.key, ts.nbytes, [ws.address for ws in ts.who_has])])
    scheduler.flush()
    return True


def client_dies(world: World) -> bool:
    """A client's process is killed; what it wanted is let go after the grace time, and runs last until then."""
    client = world.some_client()
    if client is None or len(world.clients) < 2 or not client.registered:
        return False
    world.network.note(client.name, "is killed")
    del world.clients[client.name]
    client.die()
    return True


__all__ = ["client_dies", "copy", "keep", "retire_several"]
