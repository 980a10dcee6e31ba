"""The scheduler and the clients: their machines, and the little that their shells do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from distributed.client.state import ClientState, ClientTask
from distributed.client.state.graphs import GraphPiece
from distributed.protocol.messages import (
    ClientEvent,
    ClientHeartbeat,
    CloseClient,
    CloseWorker,
    TasksInMemory,
)
from distributed.scheduler.state import SchedulerState, Settings, WorkerState
from distributed.scheduler.state.partings import DISMISS, RENEW, REPLACE
from distributed.testing.simulation.network import End, Wire
from distributed.testing.simulation.outcomes import Outcomes
from distributed.testing.simulation.reuse import Family, Work, client_task

if TYPE_CHECKING:
    from distributed.testing.simulation.world import World

TICK = 0.1
HEARTBEAT = 5.0


@dataclass(frozen=True)
class Scatter:
    """The call by which a client hands data over, and its answer."""

    key: str
    value: int
    work: bytes = b""
    number: int = 0
    worker: str = ""
    status: str = "asked"

    @property
    def works(self) -> dict[Any, bytes]:
        return {self.key: self.work} if self.work else {}


class Scheduler:
    """One run of the scheduler, until it is killed."""

    def __init__(self, world: World, settings: Settings) -> None:
        self.world = world
        self.network = world.network
        self.alive = True
        world.serial += 1
        self.id = world.serial
        seed = self.network.random.randrange(1 << 30)
        self.machine = SchedulerState(settings, seed=seed, first_seq=self.network.random.randrange(1 << 31))
        self.ends: dict[str, End] = {}
        self.wires: list[Wire] = []
        self.announced: list[str] = []
        self.goes_on = False
        self.network.after(TICK, self.tick)

    def accept(self, peer: str) -> End:
        """Somebody connects; gives them their end."""
        wire = Wire(self.network, peer)
        self.wires = [other for other in self.wires if not other.cut_off]
        self.wires.append(wire)
        mine, theirs = wire.ends
        mine.owner = self
        mine.receive = lambda messages: self.register(mine, messages[0])
        return theirs

    def register(self, end: End, hello: Any) -> None:
        if not self.alive:
            return
        now = self.network.now
        if "client" in hello:
            peer = hello["client"]
            self.machine.add_client(peer, now)
            if hello["scheduler"] not in (None, self.id):
                self.machine.expect_workers(hello["workers"], now)
            end.receive = lambda messages: self.from_client(peer, end, messages)
            end.closed = lambda: self.client_closed(peer, end)
        else:
            peer = hello["address"]
            status = hello.pop("status")
            if peer in self.machine.workers:
                same = self.machine.workers[peer].server_id == hello["server_id"]
                self.machine.remove_worker(peer, now, reason="registered anew", expected=same)
                self.part()
            self.machine.add_worker(now=now, **hello)
            if status != "running":
                self.machine.set_worker_status(peer, status, now)
            end.receive = lambda messages: self.from_worker(peer, end, messages)
            end.closed = lambda: self.worker_closed(peer, end)
        self.ends[peer] = end
        end.send([{"status": "OK", "scheduler": self.id, "workers": list(self.machine.workers)}])
        self.flush()

    def from_client(self, client: str, end: End, messages: list[Any]) -> None:
        if self.alive and self.ends.get(client) is end:
            if isinstance(messages[0], Scatter):
                self.scatter(client, end, messages[0])
                return
            for message in messages:
                self.machine.handle_client(client, message, self.network.now)
            self.flush()

    def scatter(self, client: str, end: End, call: Scatter) -> None:
        """The operation: hand the data to a worker, then note that it is there, then answer."""
        if not self.alive:
            return
        taken, named = self.machine.name_data(client, call.works, call.number, self.network.now)
        if taken:
            self.flush()
            end.send([replace(call, status="taken")])
            return
        able = [ws.address for ws in self.machine.workers.values() if ws.status == "running"]
        if not able:
            self.machine.data_named(named, self.network.now)
            self.flush()
            end.send([replace(call, status="failed")])
            return
        address = self.network.random.choice(able)
        self.network.note("world", f"{call} goes to {address}")
        target = self.machine.workers[address]
        process = self.world.workers.get(address)
        nfrees = self.machine.scatter_begun(address, [call.key], self.network.now)
        since = self.machine.next_seq

        def arrives() -> None:
            """The connection ends with either process."""
            here = self.alive and process is not None and process.alive
            if process is not None and process in self.network.frozen:
                self.network.at(self.network.frozen[process], arrives)
                return
            if here and process is not None and process.introducing:
                self.network.after(0.01, arrives)
                return
            if here and process is not None:
                process.machine.scattered([(call.key, call.value, 28, "int")], nfrees, call.works, since)
                process.turn()
            self.network.after(self.network.delay(), self.scattered, client, end, call, target, here, named)

        self.network.after(self.network.delay(), arrives)

    def scattered(
        self, client: str, end: End, call: Scatter, target: WorkerState, answered: bool, named: list[Any]
    ) -> None:
        """The worker's answer, or the end of the connection to it."""
        if not self.alive:
            return
        now = self.network.now
        there = self.machine.workers.get(target.address)
        taken = answered and there is not None and there.server_id == target.server_id
        if taken:
            owner = client if self.ends.get(client) is end else None
            self.machine.add_data(target.address, owner, [(call.key, 28, "int", call.work)], now)
        else:
            self.machine.note_strays(target.address, [call.key], now)
        self.machine.scatter_ended(target.address, [call.key], now)
        self.machine.data_named(named, now)
        self.flush()
        end.send([replace(call, worker=target.address, status="OK" if taken else "failed")])

    def from_worker(self, worker: str, end: End, messages: list[Any]) -> None:
        if self.alive and self.ends.get(worker) is end:
            for message in messages:
                self.machine.handle_worker(worker, message, self.network.now)
            self.flush()

    def client_closed(self, client: str, end: End) -> None:
        if self.alive and self.ends.get(client) is end:
            del self.ends[client]
            self.machine.client_disconnected(client, self.network.now)
            self.flush()

    def worker_closed(self, worker: str, end: End) -> None:
        if self.alive and self.ends.get(worker) is end:
            del self.ends[worker]
            self.machine.remove_worker(worker, self.network.now, reason="connection lost")
            self.flush()

    def announce_workers(self) -> None:
        """Clients are told which workers came and went: after a restart they name them."""
        workers = list(self.machine.workers)
        joined = [address for address in workers if address not in self.announced]
        left = [address for address in self.announced if address not in workers]
        self.announced = workers
        if joined or left:
            for client in self.machine.clients:
                self.machine.outbox.send(client, ClientEvent("workers", {"joined": joined, "left": left}))

    def part(self) -> None:
        """Who left the books is told, or hung up on; nannies are ordered to replace him."""
        parted, self.machine.parted = self.machine.parted, []
        for ws, parting, reason in parted:
            end = self.ends.pop(ws.address, None)
            if end is not None and parting.stop:
                end.send([CloseWorker(reason, nanny=parting.for_good)])
            if end is not None:
                end.hang_up()
            worker = self.world.workers.get(ws.address)
            if parting.ordered and worker is not None and worker.nanny is not None:
                by_force = parting.stop or parting.by_force
                delay = self.network.delay() + (2.0 if parting.stop else 0.0)  # time to close by itself
                self.network.after(delay, worker.nanny.replace, ws.server_id, by_force)

    def flush(self) -> None:
        self.part()
        self.announce_workers()
        checked = self.network.worth_validating()
        if checked:
            self.machine.validate()
        for peer, messages in self.machine.drain(self.network.now):
            end = self.ends.get(peer)
            if end is not None:
                end.send(messages)
        if checked:
            self.machine.validate(drained=True)
        if self.machine.unfinished and not self.goes_on:
            self.goes_on = True
            self.network.after(0.0, self.go_on)

    def go_on(self) -> None:
        """The next turn, for what was too much for one."""
        self.goes_on = False
        if self.alive:
            self.flush()

    def tick(self) -> None:
        if not self.alive:
            return
        silent = self.machine.tick(self.network.now)
        for address in silent:
            assert self.world.was_frozen(address), f"{address} counted as silent"
            self.machine.remove_worker(address, self.network.now, reason="silent", parting=REPLACE)
        if all(ws in self.machine.leaving for ws in self.machine.workers.values()):
            self.world.deserted = True
        for address in list(self.machine.retired):
            ws = self.machine.workers[address]
            parting = RENEW if ws in self.machine.patient else DISMISS
            self.machine.remove_worker(
                address, self.network.now, reason="retired", expected=True, parting=parting
            )
        self.flush()
        self.network.after(TICK, self.tick)

    def kill(self) -> None:
        self.alive = False
        self.world.coverage.scheduler(self.machine)
        for wire in self.wires:
            wire.cut()


class Client:
    """One client: the machine and the futures that its user holds."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.network = world.network
        self.name = name
        self.machine = ClientState()
        self.futures: dict[str, ClientTask] = {}
        self.twins: dict[str, list[ClientTask]] = {}  # more futures on the keys of futures
        self.dead: dict[str, list[ClientTask]] = {}  # cancelled futures that the user still holds
        self.outcomes = Outcomes()
        self.nsending = 0
        self.scattering: dict[str, Scatter] = {}
        self.after_scatter: dict[str, Callable[[], None]] = {}
        self.scheduler: int | None = None
        self.workers: dict[str, None] = {}
        self.end: End | None = None
        self.registered = False
        self.closed = False
        self.goes_on = False
        self.connect()
        self.network.after(HEARTBEAT, self.heartbeat)

    def connect(self) -> None:
        if self.closed:
            return
        if self.world.scheduler is None:
            self.network.after(0.1, self.connect)
            return
        end = self.end = self.world.scheduler.accept(self.name)
        end.owner = self
        end.receive = lambda messages: self.on_messages(end, messages)
        end.closed = lambda: self.on_closed(end)
        end.send([{"client": self.name, "scheduler": self.scheduler, "workers": list(self.workers)}])

    def on_messages(self, end: End, messages: list[Any]) -> None:
        if end is not self.end or self.closed:
            return
        if isinstance(messages[0], dict):
            self.registered = True
            if self.scheduler != messages[0]["scheduler"]:  # the workers of the last one are on their way
                self.scheduler = messages[0]["scheduler"]
                self.workers.update(dict.fromkeys(messages[0]["workers"]))
            else:
                self.workers = dict.fromkeys(messages[0]["workers"])
            self.machine.reconnected()
        elif isinstance(messages[0], Scatter):
            self.on_scattered(messages[0])
        else:
            for message in messages:
                self.machine.handle_message(message)
            for event in self.machine.topics:
                self.workers.update(dict.fromkeys(event.data["joined"]))
                for address in event.data["left"]:
                    self.workers.pop(address, None)
            self.machine.topics.clear()
        self.turn()

    def on_closed(self, end: End) -> None:
        if end is self.end and not self.closed:
            self.registered = False
            for call in list(self.scattering.values()):
                self.on_scattered(replace(call, status="failed"))
            self.network.after(self.network.random.uniform(0, 0.5), self.connect)

    def heartbeat(self) -> None:
        if not self.closed:
            if self.end is not None and self.registered:
                self.end.send([ClientHeartbeat()])
            self.network.after(HEARTBEAT, self.heartbeat)

    def turn(self) -> None:
        if self.end is not None and self.registered:
            self.end.send(self.machine.drain())
        self.machine.take_woken()
        for family in self.world.graph.families:
            for key in family.keys:
                if key in self.futures:
                    self.outcomes.look((self.futures[key], *self.twins.get(key, ())))
        if self.network.worth_validating():
            self.machine.validate()
        if (self.machine.parked or self.machine.unpinning) and not self.goes_on:
            self.goes_on = True
            self.network.after(0.0, self.go_on)

    def go_on(self) -> None:
        """The next turn, for what was too much for one."""
        self.goes_on = False
        if not self.closed:
            self.machine.drop_parked()
            self.turn()

    # ------------------------------------------------------------ keys used again, see reuse.py

    def is_live(self, key: str) -> bool:
        """Whether the user holds a future on this key that is not cancelled; such a one stands in ``futures`` then."""
        held = [self.futures[key], *self.twins.get(key, ())] if key in self.futures else []
        alive = [task for task in held if task.status not in ("cancelled", "lost")]
        if alive and held[0] is not alive[0]:
            self.dead.setdefault(key, []).extend(task for task in held if task not in alive)
            self.futures[key], self.twins[key] = alive[0], alive[1:]
        return bool(alive)

    def bury(self, task: ClientTask) -> None:
        """Another future comes on this key: one that was cancelled stays so, and so does one of other work."""
        key = str(task.key)
        old = self.futures.get(key)
        if old is not None and not self.is_live(key) and (old.status == "cancelled" or old.args != task.args):
            self.dead.setdefault(key, []).extend([self.futures.pop(key), *self.twins.pop(key, ())])

    def hold(self, task: ClientTask) -> None:
        """A future more."""
        key = str(task.key)
        if key in self.futures:
            self.twins.setdefault(key, []).append(task)
        else:
            self.futures[key] = task

    def reuse(self, family: Family, keys: list[str]) -> None:
        """Futures on some keys of the generation that this client is in."""
        generation = family.current[self.name]
        works = family.generations[generation]
        order = family.order(generation, keys)
        root = works[order[0]]
        if root.data is None:
            self.reuse_tasks(family, order, keys)
        elif not self.is_live(root.key):
            if self.end is None or not self.registered:
                return
            self.bury(client_task(root))
            family.busy[self.name] = family.busy.get(self.name, 0) + 1
            self.after_scatter[root.key] = lambda: self.reuse_tasks(family, order[1:], keys)
            self.scatter(root.key, root.data)
        else:
            self.reuse_tasks(family, order[1:], keys)

    def reuse_tasks(self, family: Family, order: list[str], keys: list[str]) -> None:
        works = family.generations[family.current[self.name]]
        wanted = [key for key in order if key in keys]
        if not wanted:
            return
        if self.network.random.random() < 0.5:
            for key in order:
                if key in wanted or not self.is_live(key):
                    task = client_task(works[key])
                    if key in wanted:
                        self.bury(task)
                        self.hold(task)
                    self.machine.handle_submit([task], key in wanted)
            self.turn()
            return
        tasks = {key: client_task(works[key]) for key in order}
        deps = {key: works[key].deps for key in order}
        family.busy[self.name] = family.busy.get(self.name, 0) + self.send_graph(tasks, deps, wanted)

    def reuse_held(self, work: Work) -> None:
        """Other work under a key on which a future is held: that keeps its work."""
        task = client_task(work)
        self.hold(task)
        self.machine.handle_submit([task])
        self.turn()

    # ------------------------------------------------------------ the user

    def submit(self, keys: list[str]) -> None:
        """Futures on these keys; what they stand on and has no future here travels as inner nodes."""
        graph = self.world.graph
        mine = [key for key in keys if key not in self.futures]
        for key in graph.order(*mine):
            wanted = key in mine
            if not wanted and self.is_live(key):
                continue
            task = graph.client_task(key)
            if wanted:
                self.futures[key] = task
            self.machine.handle_submit([task], wanted)
        self.turn()

    def submit_graph(self, keys: list[str]) -> None:
        """The same as one graph, which goes out in small pieces; some graphs end before they are complete."""
        graph = self.world.graph
        if not graph.named:
            self.submit(keys)
            return
        order = graph.order(*keys)
        self.send_graph(
            {key: graph.client_task(key) for key in order},
            {key: graph.tasks[key].deps for key in order},
            keys,
        )

    def send_graph(
        self, tasks: dict[str, ClientTask], deps: dict[str, tuple[str, ...]], keys: list[str]
    ) -> int:
        """In small pieces, the first at once; gives how many, with the early end of one that fails."""
        random = self.network.random
        ndependents = {key: sum(key in of for of in deps.values()) for key in tasks}
        self.world.serial += 1
        piece = GraphPiece(self.world.serial, self.machine.nconnections)
        pieces = [piece]
        for key, task in tasks.items():
            piece.add(task, ndependents[key], key in keys)
            if random.random() < 0.3:
                piece = piece.next()
                pieces.append(piece)
        piece.message.last = True
        fails_at = random.randrange(len(pieces)) if random.random() < 0.1 and len(pieces) > 1 else None
        when = 0.0
        for i, piece in enumerate(pieces):
            if i == fails_at and i:
                self.network.after(when, self.end_graph, piece.message.graph, list(tasks))
                return i + 1
            self.nsending += 1
            self.network.after(when, self.send_piece, piece, list(tasks))
            when += random.choice((0.0, 0.001, 0.05))
        return len(pieces)

    def send_piece(self, piece: GraphPiece, keys: list[str]) -> None:
        self.nsending -= 1
        if self.closed:
            return
        self.said(keys)
        for task, wanted in zip(piece.tasks, piece.message.wanted, strict=True):
            if wanted:
                self.bury(task)
                self.twins.setdefault(str(task.key), []).append(task)
        self.machine.handle_graph(piece.tasks, piece)
        for key in [key for key, twins in self.twins.items() if twins and key not in self.futures]:
            self.futures[key] = self.twins[key].pop(0)
        self.turn()

    def said(self, keys: Iterable[object]) -> None:
        """One step less until whoever uses these keys again has handed over all: only then its user acts again."""
        families = [self.world.graph.family_of(str(key)) for key in keys]
        for family in {family.name: family for family in families if family is not None}.values():
            family.busy[self.name] -= 1

    def end_graph(self, graph: int, keys: list[str]) -> None:
        if not self.closed:
            self.said(keys)
            self.machine.handle_graph_end(graph)
            self.turn()

    def scatter_data(self, key: str) -> None:
        """Hand over data of the graph."""
        graph = self.world.graph
        self.after_scatter[key] = lambda: self.submit([graph.users[key]])
        self.scatter(key, graph.data[key])

    def scatter(self, key: str, value: int) -> None:
        """Hand data over; with the answer tasks on it are submitted."""
        if self.end is None or not self.registered:
            return
        named = self.world.graph.family_of(key) is not None
        work = str(value).encode().ljust(16) if named else b""
        task = ClientTask(key, named=named, work=work)
        self.futures[key] = task
        self.machine.handle_scatter([task])
        self.turn()
        call = self.scattering[key] = Scatter(key, value, work, self.machine.numbered)
        self.end.send([call])

    def on_scattered(self, answer: Scatter) -> None:
        if self.scattering.pop(answer.key, None) is None:
            return
        if answer.status in ("OK", "taken"):
            if answer.status == "OK":
                keys = [answer.key]
                self.machine.handle_message(TasksInMemory(keys, [None], ["int"], [answer.worker]))
            if answer.key in self.futures:
                self.after_scatter.pop(answer.key, lambda: None)()
        else:
            self.world.cancelled.add(answer.key)
            self.machine.handle_cancel([answer.key], False, "scatter failed")
        self.after_scatter.pop(answer.key, None)
        family = self.world.graph.family_of(answer.key)
        if family is not None:
            family.busy[self.name] -= 1
        self.turn()

    def release(self, keys: list[str]) -> None:
        tasks = [self.futures.pop(key) for key in keys if key in self.futures]
        tasks += [task for key in keys for task in self.twins.pop(key, ())]
        tasks += [task for key in keys for task in self.dead.pop(key, ())]
        self.machine.handle_release(tasks)
        self.turn()

    def fire(self, keys: list[str]) -> None:
        """These shall run to their end, whoever holds a future on them; none of ours is kept for that."""
        self.machine.handle_fire([self.futures[key] for key in keys])
        self.turn()

    def cancel(self, keys: list[str], force: bool) -> None:
        self.machine.handle_cancel(keys, force)
        self.turn()

    def retry(self, keys: list[str]) -> None:
        self.machine.handle_retry(keys)
        self.turn()

    def futures_records(self) -> list[ClientTask]:
        """What the user sees of the futures."""
        return list(self.futures.values())

    def leave(self) -> None:
        """For good."""
        if self.end is not None and self.registered:
            self.end.send([CloseClient()])
        self.closed = True

    def die(self) -> None:
        """Its process is killed."""
        assert self.end is not None
        self.end.wire.cut()
        self.closed = True


__all__ = ["Client", "Scatter", "Scheduler"]
