"""One simulated network: who takes part, what its users do, what goes wrong, until everything has ended well.

A run has four parts. *Trouble*: clients submit, release, cancel and retry while workers crash, join, pause, are
retired and cut off, while clients come and go and the scheduler is killed and started again. *Calm*: no more
accidents, enough workers; all that is wanted must end. *Release*: all futures die; nothing may be left anywhere.
*Check* after each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from distributed.scheduler.state import Settings
from distributed.scheduler.state.records import PENDING_STATES
from distributed.testing.simulation import invariants
from distributed.testing.simulation.network import Network
from distributed.testing.simulation.parties import Client, Scheduler
from distributed.testing.simulation.workers import Worker
from distributed.testing.simulation.workloads import WORKLOADS, Graph
from distributed.worker.state import Gather

SETTINGS = Settings(
    allowed_failures=3,
    client_grace=8.0,
    unclaimed_grace=8.0,
    worker_ttl=30.0,
    prefetch=0.05,
    story_length=20_000,
)
NAMES = ("w0", "w1", "w2", "w3", "w4", "w5")
CLIENTS = ("alice", "bob", "carol")


@dataclass
class Report:
    """What one run did."""

    seed: int
    ntasks: int
    nmessages: int
    nevents: int
    naccidents: dict[str, int]
    seconds: float


class World:
    """A simulated network. ``trouble`` names the accidents that may happen; see :data:`ACCIDENTS`."""

    def __init__(self, seed: int, trouble: tuple[str, ...] | None = None) -> None:
        self.seed = seed
        self.network = Network(seed)
        self.random = self.network.random
        self.graph = Graph()
        self.serial = 0
        self.scheduler: Scheduler | None = Scheduler(self, SETTINGS)
        self.workers: dict[str, Worker] = {}
        self.clients: dict[str, Client] = {}
        self.naccidents: dict[str, int] = {}
        self.cancelled: set[str] = set()
        self.calm = False
        self.prefixes: list[list[str]] = []
        known = tuple(ACCIDENTS)
        if trouble is None:
            trouble = tuple(self.random.sample(known, self.random.randint(0, len(known))))
        self.trouble = trouble

    # ------------------------------------------------------------ parties

    def join(self, name: str | None = None) -> None:
        free = [other for other in NAMES if other not in self.workers]
        if name is None and not free:
            return
        name = name or self.random.choice(free)
        resources = {"GPU": 1.0} if name in ("w0", "w2") else {}
        self.network.note("world", f"{name} joins")
        self.workers[name] = Worker(self, name, self.random.choice((1, 1, 2, 4)), resources)

    def close_worker(self, worker: Worker) -> None:
        """Its process ends."""
        worker.alive = False
        if self.workers.get(worker.address) is worker:
            del self.workers[worker.address]
        if worker.end is not None:
            worker.end.wire.cut()

    def peer_asked(self, asker: Worker, request: Gather) -> None:
        """A request for data arrives at a peer; its answer takes its time."""
        peer = self.workers.get(request.worker)
        delay = self.network.delay()
        if peer is None:
            self.network.after(delay, asker.answered, request, None, False)
        elif self.random.random() < 0.03:
            self.network.after(delay, asker.answered, request, None, True)
        else:
            data = peer.machine.data
            found = [(key, data[key], peer.machine.tasks[key].nbytes) for key in request.keys if key in data]
            self.network.after(delay, asker.answered, request, found, False)

    def some_worker(self) -> Worker | None:
        return self.random.choice(list(self.workers.values())) if self.workers else None

    def some_client(self) -> Client | None:
        return self.random.choice(list(self.clients.values())) if self.clients else None

    # ------------------------------------------------------------ a run

    def play(self) -> Report:
        """Raises :class:`SimulationError` with the story of what went wrong."""
        try:
            self.run_trouble()
            self.run_calm()
            self.run_release()
        except invariants.SimulationError:
            raise
        except Exception as error:
            raise invariants.SimulationError(self, f"{type(error).__name__}: {error}") from error
        network = self.network
        return Report(
            self.seed, len(self.graph.tasks), network.nmessages, network.nevents, self.naccidents, network.now
        )

    def run_trouble(self) -> None:
        for _ in range(self.random.randint(1, 4)):
            self.join()
        for name in CLIENTS[: self.random.randint(1, len(CLIENTS))]:
            self.clients[name] = Client(self, name)
        for i in range(self.random.randint(1, 4)):
            kind = self.random.choice(list(WORKLOADS))
            self.prefixes.append(WORKLOADS[kind](self.random, self.graph, str(i)))
        end = self.random.uniform(0.5, 4.0)
        for _ in range(self.random.randint(3, 12)):
            self.network.after(self.random.uniform(0, end / 2), self.user_acts)
        if self.trouble:
            for _ in range(self.random.randint(1, 12)):
                self.network.after(self.random.uniform(0, end), self.accident)
        self.run_until(lambda: self.network.now > end, end + 1)

    def run_calm(self) -> None:
        self.calm = True
        self.network.slow = 0.002
        if self.scheduler is None:
            self.scheduler = Scheduler(self, SETTINGS)
        for worker in list(self.workers.values()):
            if worker.machine.status == "paused":
                worker.machine.set_status("running")
                worker.turn()
        self.keep_workers()
        for client in self.clients.values():
            if not any(task.nfutures for task in client.machine.tasks.values()):
                self.user_submits(client)
        self.run_until(self.all_ended, 300)
        self.run_for(5.0)  # what was on its way arrives
        if not self.all_ended():
            self.run_until(self.all_ended, 300)
        invariants.check_values(self)
        self.run_until(lambda: invariants.disagreement(self) is None, 60, "agreed")

    def keep_workers(self) -> None:
        """Those that tasks name and that have resources are there, even when one that was retired leaves now."""
        for name in ("w0", "w1"):
            if name not in self.workers:
                self.join(name)
        self.network.after(1.0, self.keep_workers)

    def run_release(self) -> None:
        for client in self.clients.values():
            client.release(list(client.futures))
        self.run_for(SETTINGS.client_grace + SETTINGS.unclaimed_grace + 5)
        invariants.check_nothing_left(self)

    def all_ended(self) -> bool:
        machine = self.scheduler.machine if self.scheduler is not None else None
        return (
            machine is not None
            and not machine.incomplete()
            and all(client.registered and not client.nsending for client in self.clients.values())
            and not any(
                task.status == "pending"
                for client in self.clients.values()
                for task in client.futures_records()
            )
        )

    def run_for(self, seconds: float) -> None:
        end = self.network.now + seconds
        self.run_until(lambda: self.network.now >= end, seconds + 10)

    def run_until(self, condition: Callable[[], bool], seconds: float, what: str = "ended") -> None:
        """Let events happen; hanging, or talking without end, is an error."""
        network = self.network
        deadline = network.now + seconds
        most = network.nmessages + 3_000 + 400 * len(self.graph.tasks) * (1 + sum(self.naccidents.values()))
        while not condition():
            network.step()
            if network.now > deadline:
                text, *keys = (what == "agreed" and invariants.disagreement(self)) or ("", *self.pending())
                raise invariants.SimulationError(
                    self, f"not {what} after {seconds} simulated seconds {text}", *keys
                )
            if network.nmessages > most:
                raise invariants.SimulationError(
                    self, f"more than {most} messages: it goes on for ever", *self.pending()
                )

    def pending(self) -> list[str]:
        """What somebody still waits for, and what of that the scheduler has not finished."""
        keys = {
            task.key
            for client in self.clients.values()
            for task in client.futures_records()
            if task.status == "pending"
        }
        order = self.graph.order(*sorted(keys))
        if self.scheduler is None:
            return order
        tasks = self.scheduler.machine.tasks
        return [key for key in order if key in keys or (key in tasks and tasks[key].state in PENDING_STATES)]

    # ------------------------------------------------------------ users

    def user_acts(self) -> None:
        client = self.some_client()
        if client is None:
            return
        what = self.random.random()
        keys = [key for key in client.futures if key not in client.scattering]
        some = self.random.sample(keys, self.random.randint(1, len(keys))) if keys else []
        if what < 0.5 or not some:
            self.user_submits(client)
        elif what < 0.6:
            key = self.graph.add_data(self.random)
            self.network.note(client.name, f"scatters {key}")
            client.scatter(key)
        elif what < 0.7:
            self.network.note(client.name, f"releases {some}")
            client.release(some)
        elif what < 0.8:
            force = self.random.random() < 0.4
            self.network.note(client.name, f"cancels {some} {'by force' if force else ''}")
            for key in some:
                self.cancelled.add(key)
            client.cancel(some, force)
        else:
            self.network.note(client.name, f"retries {some}")
            client.retry(some)

    def user_submits(self, client: Client) -> None:
        keys = self.random.choice(self.prefixes)
        keys = self.random.sample(keys, self.random.randint(1, len(keys)))
        self.network.note(client.name, f"submits {keys}")
        if self.random.random() < 0.5:
            client.submit(keys)
        else:
            client.submit_graph(keys)

    # ------------------------------------------------------------ accidents

    def accident(self) -> None:
        if self.calm:
            return
        name = self.random.choice(self.trouble)
        self.naccidents[name] = self.naccidents.get(name, 0) + 1
        ACCIDENTS[name](self)

    def crash(self) -> None:
        worker = self.some_worker()
        if worker is not None:
            self.network.note("world", f"{worker.address} crashes")
            self.close_worker(worker)

    def more_workers(self) -> None:
        self.join()

    def cut_worker(self) -> None:
        worker = self.some_worker()
        if worker is not None and worker.end is not None:
            worker.end.wire.cut()

    def pause(self) -> None:
        worker = self.some_worker()
        if worker is not None and worker.machine.status in ("running", "paused"):
            status = "paused" if worker.machine.status == "running" else "running"
            self.network.note(worker.address, f"is {status}")
            worker.machine.set_status(status)
            worker.turn()

    def retire(self) -> None:
        worker = self.some_worker()
        scheduler = self.scheduler
        if worker is not None and scheduler is not None and worker.address in scheduler.machine.workers:
            self.network.note("world", f"{worker.address} is retired")
            scheduler.machine.retire_worker(worker.address, self.network.now)
            scheduler.flush()

    def cut_client(self) -> None:
        client = self.some_client()
        if client is not None and client.end is not None:
            client.end.wire.cut()

    def client_leaves(self) -> None:
        client = self.some_client()
        if client is not None and len(self.clients) > 1:
            self.network.note(client.name, "leaves")
            del self.clients[client.name]
            client.leave()

    def kill_scheduler(self) -> None:
        if self.scheduler is not None:
            self.network.note("world", "the scheduler is killed")
            self.scheduler.kill()
            self.scheduler = None
            self.network.after(self.random.uniform(0.01, 0.5), self.start_scheduler)

    def start_scheduler(self) -> None:
        if self.scheduler is None:
            self.network.note("world", "the scheduler is started again")
            self.scheduler = Scheduler(self, SETTINGS)

    def slow_wires(self) -> None:
        self.network.slow = self.random.choice((0.0005, 0.002, 0.02, 0.1))


#: What may go wrong, by name.
ACCIDENTS: dict[str, Callable[[World], None]] = {
    "crash": World.crash,
    "join": World.more_workers,
    "cut-worker": World.cut_worker,
    "pause": World.pause,
    "retire": World.retire,
    "cut-client": World.cut_client,
    "client-leaves": World.client_leaves,
    "kill-scheduler": World.kill_scheduler,
    "slow-wires": World.slow_wires,
}


def play(seed: int, trouble: tuple[str, ...] | None = None) -> Report:
    """Play one network. Raises :class:`SimulationError`."""
    return World(seed, trouble).play()


__all__ = ["ACCIDENTS", "Report", "World", "play"]
