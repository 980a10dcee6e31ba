"""What must hold when a simulated network has come to rest, and the account of one where it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distributed.scheduler.state import SchedulerState
from distributed.testing.simulation.reuse import RAISES
from distributed.testing.simulation.workloads import RAISED, Task

if TYPE_CHECKING:
    from distributed.testing.simulation.parties import Client
    from distributed.testing.simulation.world import World


NONE = Task("")


class SimulationError(AssertionError):
    """An invariant of a whole network is broken. Its text has the seed, the stories of the keys and the last events."""

    def __init__(self, world: World, what: str, *keys: str) -> None:
        self.seed = world.seed
        lines = [f"seed {world.seed}: {what}", f"accidents: {world.naccidents or 'none'}"]
        if world.scheduler is not None:
            machine = world.scheduler.machine
            for key in keys:
                lines.append(f"{key} at the scheduler: {machine.tasks.get(key)}")
                lines += [
                    f"    {start} -> {end}, {why}, {when:.4f}"
                    for _, start, end, why, when in machine.story(key)
                ]
        for worker in world.workers.values():
            for key in keys:
                story = [f"{start} -> {end} ({why})" for _, start, end, why in worker.machine.story(key)]
                if story or key in worker.machine.tasks:
                    lines.append(
                        f"{key} on {worker.address}: {worker.machine.tasks.get(key)}; {', '.join(story)}"
                    )
        for client in world.clients.values():
            for key in keys:
                story = [f"{event} {stimulus}" for stimulus, event, _ in client.machine.story(key)]
                if story or key in client.machine.tasks:
                    lines.append(
                        f"{key} at {client.name}: {client.machine.tasks.get(key)}; {', '.join(story)}"
                    )
        lines.append("last events:")
        lines += world.network.events
        super().__init__("\n".join(lines))


#: Accidents by which workers are lost with what they hold and run.
DEADLY = ("crash", "cut-worker", "freeze", "cut-pair", "let-go", "restart", "start-fails")


def check_values(world: World) -> None:
    """Every future that is wanted has the right value, or an error or cancellation with a cause."""
    for client in world.clients.values():
        for key in client.futures:
            check_future(world, client, key)
        for key, tasks in client.dead.items():
            for task in tasks:
                if task.status not in ("cancelled", "lost"):
                    raise SimulationError(
                        world, f"{key} was cancelled by {client.name} and is {task.status}", key
                    )


def check_future(world: World, client: Client, key: str) -> None:
    task = client.futures[key]
    family = world.graph.family_of(key)
    expected = {world.graph.expected(key)} if family is None else family.allowed(client.name, key)
    if task.status == "finished":
        value = int(task.value) if task.value is not None else fetched(world, key)
        if value not in expected:
            raise SimulationError(world, f"{key} is {value} for {client.name}, not {expected}", key)
    elif task.status == "error":
        assert task.error is not None
        text = task.error.exception_text
        crashes = sum(world.naccidents.get(name, 0) for name in DEADLY)
        justified = text == RAISED and RAISES in expected
        justified |= text == RAISED and any(world.graph.tasks[k].flaky for k in world.graph.order(key))
        justified |= text.startswith("KilledWorker") and crashes > 3
        justified |= text.startswith("LostDataError") and (crashes > 0 or world.deserted)
        justified |= text.startswith("WorkersFullError") and world.naccidents.get("pause", 0) > 0
        if family is not None and not family.owner:
            # whoever could say how to compute what is shared may have left
            justified |= text.startswith("LostDataError")
        justified |= text.startswith("ImmovableDataError") and world.graph.may_be_apart(key)
        if not justified:
            raise SimulationError(world, f"{key} has no reason to be erred for {client.name}: {text}", key)
    elif task.status == "lost":
        if client.name not in world.given_up:
            raise SimulationError(world, f"{key} is lost for {client.name}, which never gave up", key)
    elif task.status == "cancelled":
        related = (key, *world.graph.order(key), *world.graph.tasks.get(key, NONE).deps)
        shared = family is not None and not family.owner and len(family.generations) > 1
        if not shared and not world.cancelled.intersection(related if family is None else family.keys):
            raise SimulationError(
                world, f"{key} is cancelled for {client.name}, and nobody did: {task.reason}", key
            )
    else:
        raise SimulationError(world, f"{key} is {task.status} for {client.name}", key)


def disagreement(world: World) -> tuple[str, ...] | None:
    """What scheduler and workers, or scheduler and clients, do not see alike: in words, then the keys."""
    assert world.scheduler is not None
    s = world.scheduler.machine
    if s.leaving:
        what = {ws.address: list(pending) for ws, pending in s.leaving.items()}
        return (f"these are asked to leave and never may: {what}",)
    for worker in world.workers.values():
        ws = s.workers.get(worker.address)
        if ws is None:
            return (f"{worker.address} is not registered",)
        believed = {str(ts.key) for ts in ws.has_what}
        believed |= {str(key) for key, found in s.unclaimed.items() if ws in found.held}
        held = {str(key) for key in worker.machine.data}
        if believed != held:
            return (f"{worker.address} holds other data than the scheduler believes", *(believed ^ held))
        given = {str(ts.key) for ts in ws.processing}
        runs = {str(ts.key) for ts in (*worker.claims.values(), *worker.running.values())}
        if given != runs:
            return (f"{worker.address} runs other tasks than the scheduler believes", *(given ^ runs))
        if ws.status != worker.machine.status:
            return (f"{worker.address} is {worker.machine.status}, not {ws.status}",)
    for client in world.clients.values():
        cs = s.clients[client.name]
        wanted = {str(ts.key) for ts in cs.wants_what} - {str(ts.key) for ts in cs.unconfirmed}
        alive = {key for key in client.futures if client.futures[key].status in ("pending", "finished")}
        known = client.machine.tasks  # data without a recipe is wanted as a dependency, too
        may = set(client.futures) | {
            str(key) for key, task in known.items() if task.call is None or task.shared
        }
        if not alive <= wanted <= may:
            differ = (alive - wanted) | (wanted - may)
            return (f"{client.name} wants other results than the scheduler believes", *differ)
    return None


def fetched(world: World, key: str) -> Any:
    """The value as the client would fetch it: from a worker that holds it according to the scheduler."""
    assert world.scheduler is not None
    ts = world.scheduler.machine.tasks.get(key)
    holders = [] if ts is None else [ws.address for ws in ts.who_has]
    values = {
        address: world.workers[address].machine.data[key]
        for address in holders
        if address in world.workers and key in world.workers[address].machine.data
    }
    if not values:
        raise SimulationError(world, f"no worker has {key}, though {holders} should", key)
    if len(set(values.values())) > 1:
        raise SimulationError(world, f"{key} has several values: {values}", key)
    return next(iter(values.values()))


def check_nothing_left(world: World) -> None:
    """No party remembers anything of tasks that nobody wants."""
    assert world.scheduler is not None
    left = leftovers(world.scheduler.machine)
    if left:
        keys = [str(key) for key in list(world.scheduler.machine.tasks)[:3]]
        raise SimulationError(world, f"left at the scheduler: {left}", *keys)
    for worker in world.workers.values():
        if worker.machine.tasks or worker.machine.data or worker.machine.discarded or worker.claims:
            keys = [str(key) for key in list(worker.machine.tasks)[:3]]
            what = [worker.machine.tasks, list(worker.machine.data), worker.machine.discarded, worker.claims]
            raise SimulationError(world, f"left at {worker.address}: {what}", *keys)
    for client in world.clients.values():
        if client.machine.tasks:
            keys = [str(key) for key in list(client.machine.tasks)[:3]]
            raise SimulationError(world, f"left at {client.name}: {client.machine.tasks}", *keys)


def leftovers(s: SchedulerState) -> dict[str, Any]:
    """Whatever a scheduler still remembers of tasks; empty after everything was released."""
    found: dict[str, Any] = {
        "tasks": list(s.tasks.values()),
        "specs": list(s.specs),
        "unclaimed": list(s.unclaimed),
        "unrunnable": list(s.unrunnable),
        "queued": list(s.queue),
        "seconds queued": s.queue.seconds,
        "functions": [
            function.fn for function in s.functions.values() if function.ntasks or not function.clients
        ],
        "wanted": [cs for cs in s.clients.values() if cs.wants_what],
        "books": [
            name
            for name in (
                *(
                    "promised",
                    "arriving",
                    "reprieved",
                    "stranded",
                    "suspects",
                    "parked",
                    "provisional",
                    "asides",
                ),
                *("returning", "checkpoints", "checkpointing", "ordered", "leaving", "patient", "awaited"),
                *("lineage_nbytes", "backlogged", "due", "freed", "sorting", "strays"),
            )
            if getattr(s, name)
        ],
        "workers": [
            ws
            for ws in s.workers.values()
            if ws.has_what
            or ws.processing
            or ws.long_running
            or ws.backlog
            or ws.nbytes
            or ws.occupancy
            or ws.ncareful
            or ws.backlog.seconds
        ],
    }
    return {name: what for name, what in found.items() if what}
