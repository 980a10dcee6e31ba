"""One simulated network: who takes part, what its users do, what goes wrong, until everything has ended well.

A run has four parts. *Trouble*: clients submit, release, cancel and retry while workers crash, join, pause, are
retired and cut off, while clients come and go and the scheduler is killed and started again. *Calm*: no more
accidents, enough workers; all that is wanted must end. *Release*: all futures die; nothing may be left anywhere.
*Check* after each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from distributed.scheduler.state import Settings, orders
from distributed.scheduler.state.records import PENDING_STATES
from distributed.testing.simulation import departures, invariants, supervision
from distributed.testing.simulation.bounds import low_bounds
from distributed.testing.simulation.coverage import Coverage, Transition, watching_clients
from distributed.testing.simulation.network import Network
from distributed.testing.simulation.parties import Client, Scheduler
from distributed.testing.simulation.reuse import add_family, user_reuses
from distributed.testing.simulation.workers import Worker
from distributed.testing.simulation.workloads import WORKLOADS, Graph
from distributed.worker.state import Gather

SETTINGS = Settings(
    allowed_failures=3,
    client_grace=8.0,
    unclaimed_grace=8.0,
    worker_ttl=30.0,
    prefetch=0.05,
    shortage_patience=1.0,
    story_length=20_000,
)
NAMES = ("w0", "w1", "w2", "w3", "w4", "w5")
CLIENTS = ("alice", "bob", "carol")

#: One network in so many sends every message through the codec; one in so many validates every turn.
WITH_CODEC = 20
THOROUGH = 50

#: A network has so many tasks and accidents at least, unless it is asked for fewer.
MIN_TASKS = 200
MIN_FAULTS = 5


@dataclass(frozen=True)
class Size:
    """How large a network is."""

    tasks: int = MIN_TASKS
    faults: int = MIN_FAULTS
    most_faults: int = 20
    workers: int = 6
    clients: int = 3
    acts: int = 36

    def smaller(self) -> list[Size]:
        """What to try where a network of this size fails: less of one thing each."""
        found = [replace(self, tasks=self.tasks // 2)] if self.tasks > 1 else []
        if self.tasks > 8:
            found.append(replace(self, tasks=self.tasks * 3 // 4))
        if self.most_faults:
            for most in {self.most_faults // 2, self.most_faults - 1}:
                found.append(replace(self, faults=min(self.faults, most), most_faults=most))
        if self.workers > 2:
            found.append(replace(self, workers=self.workers - 1))
        if self.clients > 1:
            found.append(replace(self, clients=self.clients - 1))
        if self.acts:
            found += [replace(self, acts=acts) for acts in {self.acts // 2, self.acts - 1}]
        return found

    def __str__(self) -> str:
        return f"{self.tasks},{self.faults},{self.most_faults},{self.workers},{self.clients},{self.acts}"

    @classmethod
    def parse(cls, text: str) -> Size:
        """The inverse of ``str``."""
        return cls(*map(int, text.split(",")))


@dataclass
class Report:
    """What one run did."""

    seed: int
    ntasks: int
    nmessages: int
    nevents: int
    naccidents: dict[str, int]
    seconds: float
    reached: dict[str, set[Transition]] = field(compare=False, repr=False)


class World:
    """A simulated network.

    Parameters
    ----------
    seed : int
    trouble : tuple of str, optional
        The accidents that may happen; see :data:`ACCIDENTS`. Chosen by the seed if not given.
    size : Size
        How much there is of everything; smaller ones are tried where one fails.
    """

    def __init__(self, seed: int, trouble: tuple[str, ...] | None = None, size: Size | None = None) -> None:
        self.size = size or Size()
        self.seed = seed
        self.network = Network(seed, codec=seed % WITH_CODEC == 0, thorough=seed % THOROUGH == 0)
        self.coverage = Coverage()
        self.frozen_once: set[str] = set()
        self.partitions: set[frozenset[str]] = set()
        self.nsubmitted = 0
        self.random = self.network.random
        self.graph = Graph()
        self.graph.named = seed % 2 == 0
        self.serial = 0
        self.scheduler: Scheduler | None = Scheduler(self, SETTINGS)
        self.workers: dict[str, Worker] = {}
        self.clients: dict[str, Client] = {}
        self.naccidents: dict[str, int] = {}
        self.cancelled: set[str] = set()
        self.given_up: set[str] = set()
        self.deserted = False  # all workers were asked to leave at once: what only they have is lost
        self.calm = False
        self.prefixes: list[list[str]] = []
        known = tuple(ACCIDENTS)
        self.anything_goes = trouble is None
        if trouble is None:
            trouble = tuple(self.random.sample(known, self.random.randint(1, len(known))))
        self.trouble = trouble

    # ------------------------------------------------------------ parties

    def join(self, name: str | None = None) -> None:
        free = [other for other in NAMES[: self.size.workers] if other not in self.workers]
        if name is None and not free:
            return
        name = name or self.random.choice(free)
        self.network.note("world", f"{name} joins")
        worker = self.start_worker(name, self.random.choice((1, 1, 2, 4)))
        if self.random.random() < 0.5:
            supervision.Nanny(self, worker)

    def start_worker(self, name: str, nthreads: int, *, fails: bool = False) -> Worker:
        resources = {"GPU": 1.0} if name in ("w0", "w2") else {}
        worker = self.workers[name] = Worker(self, name, nthreads, resources, fails)
        return worker

    def close_worker(self, worker: Worker) -> None:
        """Its process ends."""
        worker.alive = False
        self.coverage.worker(worker.machine)
        if self.workers.get(worker.address) is worker:
            del self.workers[worker.address]
        if worker.end is not None:
            worker.end.wire.cut()

    def peer_asked(self, asker: Worker, request: Gather) -> None:
        """A request for data arrives at a peer; its answer takes its time."""
        peer = self.workers.get(request.worker)
        delay = self.network.delay()
        if peer in self.network.frozen:
            self.network.at(self.network.frozen[peer], self.peer_asked, asker, request)
        elif request.detour and (self.scheduler is None or not asker.registered):
            self.network.after(delay, asker.answered, request, None, False)
        elif not request.detour and frozenset((asker.address, request.worker)) in self.partitions:
            self.network.after(delay, asker.answered, request, None, False, True)
        elif peer is None:
            self.network.after(delay, asker.answered, request, None, False)
        elif self.random.random() < 0.03:
            self.network.after(delay, asker.answered, request, None, True)
        else:
            data = peer.machine.data
            tasks = peer.machine.tasks
            here = [
                key
                for key in request.keys
                if key in data and request.works.get(key) in (None, tasks[key].work)
            ]
            stuck = [key for key in here if self.graph.is_immovable(str(key))]
            found = [(key, data[key], peer.machine.tasks[key].nbytes) for key in here if key not in stuck]
            immovable = [(key, peer.address, "a socket") for key in stuck]
            self.network.after(delay, asker.answered, request, found, False, False, immovable)
            if stuck:
                peer.machine.immovable([(key, "a socket") for key in stuck])
                peer.turn()

    def some_worker(self) -> Worker | None:
        """One that is not frozen."""
        workers = [worker for worker in self.workers.values() if worker not in self.network.frozen]
        return self.random.choice(workers) if workers else None

    def some_client(self) -> Client | None:
        """One that is not frozen."""
        clients = [client for client in self.clients.values() if client not in self.network.frozen]
        return self.random.choice(clients) if clients else None

    def was_frozen(self, address: str) -> bool:
        """Whether a worker of this address may have been silent for long."""
        return address in self.frozen_once

    # ------------------------------------------------------------ a run

    def play(self) -> Report:
        """Raises :class:`SimulationError` with the story of what went wrong."""
        try:
            with watching_clients(self.coverage), low_bounds(self.seed):
                self.run_trouble()
                self.run_calm()
                self.run_release()
        except invariants.SimulationError:
            raise
        except Exception as error:
            raise invariants.SimulationError(self, f"{type(error).__name__}: {error}") from error
        network = self.network
        if self.scheduler is not None:
            self.coverage.scheduler(self.scheduler.machine)
        for worker in self.workers.values():
            self.coverage.worker(worker.machine)
        return Report(
            self.seed,
            len(self.graph.tasks),
            network.nmessages,
            network.nevents,
            self.naccidents,
            network.now,
            self.coverage.reached,
        )

    def run_trouble(self) -> None:
        for _ in range(self.random.randint(1, 4)):
            self.join()
        for name in CLIENTS[: self.random.randint(1, self.size.clients)]:
            self.clients[name] = Client(self, name)
        end = self.random.uniform(0.5, 4.0)
        while len(self.graph.tasks) < self.size.tasks:
            kind = self.random.choice(list(WORKLOADS))
            keys = WORKLOADS[kind](self.random, self.graph, str(len(self.prefixes)))
            self.prefixes.append(keys)
            self.network.after(self.random.uniform(0, end / 2), self.user_submits, None, keys)
        for number in range(self.random.choice((0, 2, 5, 10)) if self.size.acts else 0):
            owner = self.random.choice(("", *self.clients, *self.clients))
            self.graph.families.append(add_family(self.random, number, owner))
        for _ in range(self.random.randint(min(3, self.size.acts), self.size.acts)):
            self.network.after(self.random.uniform(0, end), self.user_acts)
        if self.trouble:
            for _ in range(self.random.randint(self.size.faults, self.size.most_faults)):
                self.network.after(self.random.uniform(0, end), self.accident)
        self.run_until(lambda: self.network.now > end, end + 1)
        for trial in range(20 * self.size.faults):  # some could not happen: nobody was there
            if not self.trouble or sum(self.naccidents.values()) >= self.size.faults:
                break
            self.accident(self.anything_goes and trial > self.size.faults)
            self.run_for(0.02)

    def run_calm(self) -> None:
        self.calm = True
        self.network.slow = 0.002
        self.run_until(lambda: not self.network.frozen, 100)
        if self.scheduler is None:
            self.scheduler = Scheduler(self, SETTINGS)
        for worker in list(self.workers.values()):
            if worker.machine.own_status == "paused":
                worker.machine.set_status("running")
                worker.turn()
        self.keep_workers()
        for client in self.clients.values():
            if not any(task.nfutures for task in client.machine.tasks.values()):
                self.user_submits(client, self.random.choice(self.prefixes))
        self.run_until(self.all_ended, 300)
        self.run_for(5.0)  # what was on its way arrives
        while not (self.all_ended() and self.idle()):
            self.run_until(lambda: self.all_ended() and self.idle(), 300)
            self.run_for(1.0)
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
            client.release(list({**client.futures, **client.dead}))
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

    def idle(self) -> bool:
        """Whether the scheduler waits for nothing: else news of what was lost may be on its way to a client."""
        return self.scheduler is not None and not any(
            ts.state in PENDING_STATES for ts in self.scheduler.machine.tasks.values()
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
            if network.now > deadline and not condition():
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
        if self.graph.families and self.random.random() < 0.4:
            user_reuses(self, client)
            return
        what = self.random.random()
        keys = [key for key in client.futures if key not in client.scattering]
        some = self.random.sample(keys, self.random.randint(1, len(keys))) if keys else []
        if what < 0.5 or not some:
            keys = self.random.choice(self.prefixes)
            self.user_submits(client, self.random.sample(keys, self.random.randint(1, len(keys))))
        elif what < 0.6:
            free = [key for key in self.graph.data if key not in client.futures]
            again = bool(free) and self.random.random() < 0.5  # the same content has the same key
            key = self.random.choice(free) if again else self.graph.add_data(self.random)
            self.network.note(client.name, f"scatters {key}")
            client.scatter_data(key)
        elif what < 0.7:
            if self.random.random() < 0.3:
                fired = [key for key in some if self.graph.family_of(key) is None]  # those stay in use
                self.network.note(client.name, f"fires {fired}")
                client.fire(fired)
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

    def user_submits(self, client: Client | None, keys: list[str]) -> None:
        client = client or self.some_client()
        if client is None:  # all are frozen
            self.network.after(0.1, self.user_submits, None, keys)
            return
        self.network.note(client.name, f"submits {keys}")
        if self.random.random() < 0.5:
            client.submit(keys)
        else:
            client.submit_graph(keys)

    # ------------------------------------------------------------ accidents

    def accident(self, of_any_kind: bool = False) -> None:
        if self.calm:
            return
        name = self.random.choice(tuple(ACCIDENTS) if of_any_kind else self.trouble)
        if ACCIDENTS[name](self):
            self.naccidents[name] = self.naccidents.get(name, 0) + 1

    def crash(self) -> bool:
        if not self.workers:
            return False
        worker = self.random.choice(list(self.workers.values()))
        self.network.note("world", f"{worker.address} crashes")
        self.close_worker(worker)
        if worker.nanny is not None and self.random.random() < 0.7:  # else both do
            worker.nanny.ended()
        return True

    def more_workers(self) -> bool:
        n = len(self.workers)
        self.join()
        return len(self.workers) > n

    def cut_worker(self) -> bool:
        worker = self.some_worker()
        if worker is None or worker.end is None or worker.end.wire.cut_off:
            return False
        worker.end.wire.cut()
        return True

    def cut_pair(self) -> bool:
        """Two workers cannot reach each other any more, though both reach the scheduler; mended later, or never."""
        if len(self.workers) < 2:
            return False
        pair = frozenset(self.random.sample(list(self.workers), 2))
        self.network.note("world", f"{sorted(pair)} cannot reach each other")
        self.partitions.add(pair)
        if self.random.random() < 0.5:
            self.network.after(self.random.uniform(0.1, 5.0), self.mend, pair)
        return True

    def mend(self, pair: frozenset[str]) -> None:
        """They reach each other again."""
        self.partitions.discard(pair)

    def freeze(self) -> bool:
        """A process is stopped, and goes on later: mostly before anybody gives it up."""
        party = self.random.choice((self.some_worker(), self.some_client(), self.scheduler))
        if party is None or party in self.network.frozen:
            return False
        long = isinstance(party, Worker) and self.random.random() < 0.2
        seconds = SETTINGS.worker_ttl + 5.0 if long else self.random.uniform(0.05, 3.0)
        name = "scheduler" if isinstance(party, Scheduler) else getattr(party, "address", "a client")
        self.frozen_once.add(name)
        self.network.note("world", f"{name} is frozen for {seconds:.2f} s")
        self.network.freeze(party, seconds)
        return True

    def pause(self) -> bool:
        """Memory runs short on a worker, or there is room again."""
        worker = self.some_worker()
        if worker is None or worker.machine.status not in ("running", "paused"):
            return False
        status = "paused" if worker.machine.status == "running" else "running"
        self.network.note(worker.address, f"is {status}")
        worker.machine.set_status(status)
        worker.turn()
        return True

    def retire(self) -> bool:
        worker = self.some_worker()
        scheduler = self.scheduler
        if worker is None or scheduler is None or worker.address not in scheduler.machine.workers:
            return False
        self.network.note("world", f"{worker.address} is retired")
        scheduler.machine.retire_workers([worker.address], self.network.now)
        scheduler.flush()
        return True

    def cut_client(self) -> bool:
        client = self.some_client()
        if client is None or client.end is None or client.end.wire.cut_off:
            return False
        client.end.wire.cut()
        return True

    def client_leaves(self) -> bool:
        client = self.some_client()
        if client is None or len(self.clients) < 2:
            return False
        self.network.note(client.name, "leaves")
        del self.clients[client.name]
        client.leave()
        return True

    def client_gives_up(self) -> bool:
        """A client has waited for its scheduler for too long; its user may submit again."""
        client = self.some_client()
        if client is None or client.registered:
            return False
        self.network.note(client.name, "gives up")
        client.machine.abandon("no scheduler")
        client.machine.take_woken()
        self.given_up.add(client.name)
        return True

    def kill_scheduler(self) -> bool:
        if self.scheduler is None:
            return False
        self.network.note("world", "the scheduler is killed")
        self.network.frozen.pop(self.scheduler, None)
        self.scheduler.kill()
        self.scheduler = None
        self.network.after(self.random.uniform(0.01, 0.5), self.start_scheduler)
        return True

    def start_scheduler(self) -> None:
        if self.scheduler is None:
            self.network.note("world", "the scheduler is started again")
            self.scheduler = Scheduler(self, SETTINGS)

    def slow_wires(self) -> bool:
        self.network.slow = self.random.choice((0.0005, 0.002, 0.02, 0.1))
        return True

    def order(self) -> bool:
        """Code inside the scheduler has something done to tasks; what makes no sense is refused."""
        if self.scheduler is None or not self.scheduler.machine.tasks:
            return False
        machine = self.scheduler.machine
        known = list(machine.tasks.values())
        workers = list(machine.workers.values())
        for ts in self.random.sample(known, min(len(known), self.random.choice((1, 5, 20)))):
            if machine.tasks.get(ts.key) is not ts:
                continue  # an order before this one let go of it
            what = self.random.choice(("drop_result", "drop_result", "send", "restrict"))
            stuck = any(
                self.graph.is_immovable(str(key)) for key in (ts.key, *(d.key for d in ts.dependencies))
            )
            if what == "restrict" and stuck:
                continue  # it could be kept from where it has to run
            self.network.note("world", f"{what} {ts.key!r}")
            machine.begin("plugin", what, self.network.now)
            try:
                if what == "drop_result":
                    orders.drop_result(machine, ts)
                elif what == "restrict":
                    orders.restrict(machine, ts, self.random.choice((None, ("w0",), ("w0", "w1"))))
                elif workers:
                    orders.send(machine, ts, self.random.choice(workers))
            except ValueError:
                continue
        self.scheduler.flush()
        return True


#: What may go wrong, by name.
ACCIDENTS: dict[str, Callable[[World], bool]] = {
    "order": World.order,
    "crash": World.crash,
    "join": World.more_workers,
    "cut-worker": World.cut_worker,
    "pause": World.pause,
    "retire": World.retire,
    "cut-client": World.cut_client,
    "client-leaves": World.client_leaves,
    "kill-scheduler": World.kill_scheduler,
    "slow-wires": World.slow_wires,
    "cut-pair": World.cut_pair,
    "freeze": World.freeze,
    "client-gives-up": World.client_gives_up,
    "retire-several": departures.retire_several,
    "keep": departures.keep,
    "copy": departures.copy,
    "client-dies": departures.client_dies,
    "restart": supervision.restart,
    "let-go": supervision.let_go,
    "lifetimes-end": supervision.lifetimes_end,
    "start-fails": supervision.start_fails,
}


def play(seed: int, trouble: tuple[str, ...] | None = None, size: Size | None = None) -> Report:
    """Play one network. Raises :class:`SimulationError`."""
    return World(seed, trouble, size).play()


__all__ = ["ACCIDENTS", "Report", "Size", "World", "play"]
