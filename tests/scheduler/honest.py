"""A network around the scheduler's machine that is as small as can be: honest workers, clients, streams in order.

Every message waits in a queue until the test delivers it, so answers arrive late, cross orders and concern tasks that
are long forgotten. Nothing here looks into the scheduler; the scheduler alone is tested.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from scenario import assert_empty

from distributed.protocol import messages as m
from distributed.scheduler.state import SchedulerState, Settings, orders

KEYS = [f"k{i}" for i in range(9)]
ADDRESSES = [f"w{i}" for i in range(5)]
CLIENTS = ["c", "d", "e"]
SETTINGS = Settings(allowed_failures=1, client_grace=20, unclaimed_grace=20, prefetch=0.02)


@dataclass
class Order:
    """A task that a worker was told to run."""

    seq: int
    deps: list[str]
    holders: dict[str, list[str]]
    started: bool = False


@dataclass
class Worker:
    """Does what it is told, in the order of its messages, as slowly as the test wants."""

    address: str
    nthreads: int
    inbox: deque[m.Message] = field(default_factory=deque)
    outbox: deque[m.Message] = field(default_factory=deque)
    orders: dict[str, Order] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    functions: set[bytes] = field(default_factory=set)
    status: str = "running"
    connected: bool = True

    def take(self, message: m.Message, world: World) -> None:
        match message:
            case m.PutFunctions():
                self.functions |= set(message.ids)
            case m.DropFunctions():
                self.functions -= set(message.ids)
            case m.RunTasks():
                assert message.fn in self.functions, (self.address, message)
                deps: list[list[str]] = message.deps or [[] for _ in message.keys]
                holders = {key: list(addresses) for key, _, addresses in message.holders}
                for key, seq, needs in zip(message.keys, message.seqs, deps, strict=True):
                    if key in self.memory:
                        self.finished(key, seq)
                    elif key in self.orders:
                        self.orders[key].seq = seq
                    else:
                        self.orders[key] = Order(seq, needs, holders)
            case m.FreeKeys():
                for key in message.keys:
                    self.memory.pop(key, None)
                    self.orders.pop(key, None)
            case m.StealTasks():
                taken = [key for key in message.keys if key in self.orders and not self.orders[key].started]
                seqs = [self.orders.pop(key).seq for key in taken]
                refused = [key for key in message.keys if key not in taken]
                self.outbox.append(m.TasksReturned(taken, seqs, "stolen", refused))
            case m.AcquireReplicas():
                for key, _, addresses in message.holders:
                    failed = self.fetch(key, addresses, world)
                    if failed is not None:
                        self.outbox.append(m.ReplicasMissing([(key, failed)]))
            case m.SetWorkerStatus():
                self.status = message.status
                for key in [key for key, order in self.orders.items() if not order.started]:
                    self.outbox.append(m.TasksReturned([key], [self.orders.pop(key).seq], "closing"))
            case _:
                raise AssertionError(f"{self.address} does not know {message}")

    def fetch(self, key: str, addresses: list[str], world: World) -> list[str] | None:
        """Get a copy; None when it is here, else who did not deliver."""
        if key in self.memory:
            return None
        failed = []
        for address in addresses:
            peer = world.workers.get(address)
            if peer is None or key not in peer.memory:
                failed.append(address)
            elif key in world.immovable:
                self.outbox.append(m.ResultsImmovable([key], [address], ["lock"]))
                if world.rng.random() < 0.5:
                    peer.outbox.append(m.ResultsImmovable([key], [address], ["lock"]))
            else:
                self.memory[key] = peer.memory[key]
                self.outbox.append(m.ReplicasAdded([key], [self.memory[key]]))
                return None
        return failed if addresses else [self.address]

    def start(self, key: str, world: World) -> None:
        order = self.orders[key]
        for dep in order.deps:
            failed = self.fetch(dep, order.holders.get(dep, []), world)
            if failed is not None:
                del self.orders[key]
                self.outbox.append(m.TasksReturned([key], [order.seq], "missing", [], [(dep, failed)]))
                return
        order.started = True

    def finish(self, key: str) -> None:
        order = self.orders.pop(key)
        self.memory[key] = 10
        self.finished(key, order.seq)

    def finished(self, key: str, seq: int) -> None:
        n = self.memory[key]
        self.outbox.append(m.TasksFinished([key], [seq], [n], [0.01], ["int"], [None]))

    def err(self, key: str) -> None:
        order = self.orders.pop(key)
        error = m.TaskError(b"", exception_text="raised by the task")
        self.outbox.append(m.TasksErred([key], [order.seq], [error]))


class World:
    """The scheduler's machine, workers, clients and what is on its way between them.

    Parameters
    ----------
    rng : random.Random
        Where every choice comes from.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.now = 0.0
        self.state = SchedulerState(SETTINGS)
        self.workers: dict[str, Worker] = {}
        self.wants: dict[str, set[str]] = {}
        self.away: set[str] = set()
        self.told: dict[tuple[str, str], str] = {}
        self.scattered: set[str] = set()
        self.steps: list[str] = []
        self.deps = {
            key: rng.sample(KEYS[:i], min(i, rng.choice((0, 0, 1, 2, 3)))) for i, key in enumerate(KEYS)
        }
        self.immovable = {key for key in KEYS if rng.random() < 0.15}
        self.options = {key: self.some_options() for key in KEYS}
        self.events: list[tuple[int, Callable[[], str]]] = [
            (6, self.submit),
            (20, self.deliver_to_worker),
            (20, self.deliver_to_scheduler),
            (20, self.work),
            (3, self.join),
            (2, self.die),
            (1, self.leave),
            (2, self.cut),
            (3, self.come_back),
            (3, self.release),
            (1, self.cancel),
            (1, self.retry),
            (1, self.want),
            (2, self.pause),
            (1, self.retire),
            (1, self.scatter),
            (1, self.client_goes),
            (2, self.client_comes),
            (4, self.tick),
            (1, self.restart),
            (2, self.order),
        ]
        self.weights = [weight for weight, _ in self.events]

    def some_options(self) -> m.TaskOptions:
        rng = self.rng
        return m.TaskOptions(
            priority=rng.choice((0, 0, 0, 1, -1)),
            retries=rng.choice((0, 0, 0, 1)),
            workers=rng.choice(((), (), (), ("w0",), ("w1", "w2"))),
            allow_other_workers=rng.random() < 0.3,
            resources=rng.choice(((), (), (), (("GPU", 1.0),))),
        )

    # ------------------------------------------------------------ playing

    def step(self) -> None:
        _, event = self.rng.choices(self.events, self.weights)[0]
        self.turn(event)

    def turn(self, event: Callable[[], str]) -> None:
        self.steps.append(f"{len(self.steps)} {event.__name__}: ")
        if event.__name__ in ("submit", "want", "cancel", "client_comes"):
            self.drain()  # so that no TasksCancelled is under way to a client that asks anew
        self.steps[-1] += event()
        self.state.validate()
        if self.rng.random() < 0.8:
            self.drain()

    def drain(self) -> None:
        for peer, messages in self.state.drain(self.now):
            if peer in self.workers:
                worker = self.workers[peer]
                if worker.connected:
                    worker.inbox.extend(messages)
            else:
                for message in messages:
                    self.tell(peer, message)
        self.state.validate(drained=True)

    def tell(self, client: str, message: m.Message) -> None:
        if client in self.away or client not in self.wants:
            return
        match message:
            case m.TasksInMemory():
                self.told.update(((client, key), "memory") for key in message.keys)
            case m.TasksErredForClient():
                for key, error in zip(message.keys, message.errors, strict=True):
                    self.told[client, key] = error.exception_text
            case m.TasksLost():
                for key in message.keys:
                    self.told.pop((client, key), None)
            case m.TasksCancelled() | m.TasksRefused():
                for key in message.keys:
                    self.wants[client].discard(key)
                    self.told.pop((client, key), None)
            case m.CancelAnswered():
                pass
            case _:
                raise AssertionError(message)

    def some(self, among: Any) -> Any:
        among = list(among)
        return self.rng.choice(among) if among else None

    def present(self) -> list[str]:
        return [client for client in self.wants if client not in self.away]

    def connected(self) -> list[Worker]:
        return [worker for worker in self.workers.values() if worker.connected]

    # ------------------------------------------------------------ clients

    def submit(self) -> str:
        client = self.some(self.present())
        if client is None:
            return self.client_comes()
        return f"{client} {self.submit_key(client, self.rng.choice(KEYS))}"

    def submit_key(self, client: str, wanted: str) -> str:
        """As clients do: everything it stands on first, as inner nodes."""
        order: dict[str, None] = {}
        stack = [wanted]
        while stack:
            key = stack.pop()
            order.pop(key, None)
            order[key] = None
            stack += self.deps[key]
        say = self.state.handle_client
        for key in sorted(order, key=KEYS.index):
            fn = b"f%d" % (KEYS.index(key) % 3)
            say(client, m.PutFunctions([fn], [b""]), self.now)
            deps = [self.deps[key]] if self.deps[key] else None
            args: list[Any] = [b""]
            say(
                client,
                m.SubmitTasks(fn, fn.decode(), [key], args, deps, self.options[key], key == wanted),
                self.now,
            )
        self.wants[client].add(wanted)
        return wanted

    def release(self) -> str:
        client = self.some(self.present())
        key = self.some(sorted(self.wants[client])) if client else None
        if key is None:
            return "-"
        self.let_go(client, key)
        return f"{client} {key}"

    def let_go(self, client: str, key: str) -> None:
        self.wants[client].discard(key)
        self.told.pop((client, key), None)
        self.state.handle_client(client, m.ReleaseKeys([key]), self.now)

    def cancel(self) -> str:
        client = self.some(self.present())
        if client is None:
            return "-"
        key, force = self.rng.choice(KEYS), self.rng.random() < 0.5
        self.state.handle_client(client, m.CancelKeys([key], force), self.now)
        return f"{client} {key} {force}"

    def retry(self) -> str:
        client = self.some(self.present())
        if client is None:
            return "-"
        key = self.rng.choice(KEYS)
        self.state.handle_client(client, m.RetryKeys([key]), self.now)
        return f"{client} {key}"

    def want(self) -> str:
        client = self.some(self.present())
        if client is None:
            return "-"
        key = self.rng.choice(KEYS)
        self.wants[client].add(key)
        self.state.handle_client(client, m.WantKeys([key]), self.now)
        return f"{client} {key}"

    def scatter(self) -> str:
        client, worker = self.some(self.present()), self.some(self.connected())
        if client is None or worker is None:
            return "-"
        key = self.rng.choice([*KEYS, "s0", "s1"])
        if key in worker.orders or worker.inbox or worker.outbox:
            return "-"  # a FreeKeys on its way to the worker would hit what is scattered now
        worker.memory[key] = 10
        self.wants[client].add(key)
        self.state.add_data(worker.address, client, [(key, 10, "int")], self.now)
        return f"{client} {key} on {worker.address}"

    def client_comes(self) -> str:
        client = self.rng.choice(CLIENTS)
        known = client in self.wants
        if known and client not in self.away:
            return "-"
        self.away.discard(client)
        self.state.add_client(client, self.now)
        for key in sorted(self.wants.setdefault(client, set())):
            self.told.pop((client, key), None)
            if key in self.deps:
                self.submit_key(client, key)
            else:
                self.state.handle_client(client, m.WantKeys([key]), self.now)
        return client

    def client_goes(self) -> str:
        client = self.some(self.present())
        if client is None:
            return "-"
        if self.rng.random() < 0.3:
            del self.wants[client]
            self.state.handle_client(client, m.CloseClient(), self.now)
            return f"{client} for good"
        self.away.add(client)
        self.state.client_disconnected(client, self.now)
        return client

    # ------------------------------------------------------------ workers

    def join(self) -> str:
        address = self.rng.choice(ADDRESSES)
        if address in self.workers:
            return "-"
        worker = self.workers[address] = Worker(address, self.rng.choice((1, 1, 2, 3)))
        self.register(worker)
        return address

    def register(self, worker: Worker) -> None:
        worker.connected = True
        worker.inbox.clear()
        worker.outbox.clear()
        worker.functions.clear()
        worker.status = "running"
        worker.orders = {key: order for key, order in worker.orders.items() if order.started}
        self.state.add_worker(
            worker.address,
            now=self.now,
            nthreads=worker.nthreads,
            resources={"GPU": 1.0} if worker.address in ("w0", "w1", "w3") else {},
            holding=[(key, nbytes, "int") for key, nbytes in worker.memory.items()],
            running=[(key, order.seq) for key, order in worker.orders.items()],
        )

    def die(self) -> str:
        address = self.some(self.workers)
        if address is None:
            return "-"
        del self.workers[address]
        self.state.remove_worker(address, self.now)
        return str(address)

    def leave(self) -> str:
        address = self.some(address for address, worker in self.workers.items() if worker.connected)
        if address is None:
            return "-"
        del self.workers[address]
        self.state.handle_worker(address, m.WorkerClosing(), self.now)
        return str(address)

    def cut(self) -> str:
        worker = self.some(self.connected())
        if worker is None:
            return "-"
        worker.connected = False
        self.state.remove_worker(worker.address, self.now)
        return str(worker.address)

    def come_back(self) -> str:
        worker = self.some(worker for worker in self.workers.values() if not worker.connected)
        if worker is None:
            return "-"
        self.register(worker)
        return str(worker.address)

    def pause(self) -> str:
        worker = self.some(self.connected())
        if worker is None or worker.status == "closing_gracefully":
            return "-"
        worker.status = "paused" if worker.status == "running" else "running"
        worker.outbox.append(m.WorkerStatusChanged(worker.status))
        return f"{worker.address} {worker.status}"

    def retire(self) -> str:
        worker = self.some(self.connected())
        if worker is None:
            return "-"
        self.state.retire_workers([worker.address], self.now)
        return str(worker.address)

    def deliver_to_worker(self) -> str:
        worker = self.some(worker for worker in self.connected() if worker.inbox)
        if worker is None:
            return "-"
        message = worker.inbox.popleft()
        worker.take(message, self)
        return f"{worker.address} {message}"

    def deliver_to_scheduler(self) -> str:
        worker = self.some(worker for worker in self.connected() if worker.outbox)
        if worker is None:
            return "-"
        message = worker.outbox.popleft()
        self.state.handle_worker(worker.address, message, self.now)
        return f"{worker.address} {message}"

    def work(self) -> str:
        worker = self.some(worker for worker in self.workers.values() if worker.orders)
        if worker is None:
            return "-"
        key = self.some(worker.orders)
        order = worker.orders[key]
        what = self.rng.random()
        if not order.started:
            if worker.status != "running":
                return "-"
            worker.start(key, self)
        elif what < 0.75:
            worker.finish(key)
        elif what < 0.9:
            worker.err(key)
        else:
            worker.outbox.append(m.LongRunning([key], [order.seq]))
        return f"{worker.address} {key}"

    # ------------------------------------------------------------ code inside the scheduler

    def order(self) -> str:
        """A plugin has something done to a task; what makes no sense is refused, and changes nothing."""
        key, ws = self.some(self.state.tasks), self.some(self.state.workers.values())
        if key is None or ws is None:
            return "-"
        ts = self.state.tasks[key]
        error = m.TaskError(b"", exception_text="raised by the task: ordered")
        name, args = self.rng.choice(
            [
                ("drop_result", ()),
                ("drop_result", ()),
                ("compute", ()),
                ("give_up", ("ordered",)),
                ("fail", (error,)),
                ("send", (ws,)),
                ("send", (ws,)),
                ("restrict", (self.rng.choice((None, ("w0",), ("w0", "w3"))),)),
            ]
        )
        self.state.begin("plugin", name, self.now)
        before = ts.state, self.state.ntransitions
        try:
            getattr(orders, name)(self.state, ts, *args)
        except ValueError as refused:
            assert (ts.state, self.state.ntransitions) == before
            return f"{name} {key}: {refused}"
        return f"{name} {key} {args}"

    # ------------------------------------------------------------ everything

    def tick(self) -> str:
        self.now += self.rng.choice((0.01, 1.0, 1.0, 25.0))
        for worker in self.connected():
            self.state.handle_worker(worker.address, m.WorkerHeartbeat({}), self.now)
        for client in self.present():
            self.state.handle_client(client, m.ClientHeartbeat(), self.now)
        assert self.state.tick(self.now) == []
        for client in list(self.away):
            if client not in self.state.clients:
                self.away.discard(client)
                self.wants.pop(client, None)
        return f"{self.now}"

    def restart(self) -> str:
        """Another scheduler; all come back in any order."""
        self.state = SchedulerState(SETTINGS, first_seq=self.state.next_seq + 100)
        for worker in self.workers.values():
            worker.connected = False
        back: list[Callable[[], str]] = []
        self.away = set(self.wants)
        self.told.clear()
        for _ in range(self.rng.randrange(8)):
            back.append(self.rng.choice((self.come_back, self.client_comes)))
        for event in back:
            event()
        return ""

    def settle(self) -> None:
        """No more accidents: everybody comes back, enough workers join, all work is done."""
        for client in list(self.away):
            self.away.discard(client)
            self.wants.pop(client, None)
            self.state.remove_client(client, self.now)
        for worker in list(self.workers.values()):
            ws = self.state.workers.get(worker.address)
            if worker.status != "running" or (ws is not None and ws.status != "running"):
                del self.workers[worker.address]
                self.state.remove_worker(worker.address, self.now, expected=True)
            elif not worker.connected:
                self.register(worker)
        for address in ADDRESSES:
            if address not in self.workers:
                self.workers[address] = Worker(address, 2)
                self.register(self.workers[address])
        self.drain()
        self.go_on()
        self.gather_all()
        self.go_on()

    def go_on(self) -> None:
        for _ in range(1000):
            if not self.round():
                return
        raise AssertionError("it goes on for ever")

    def gather_all(self) -> None:
        """Somebody asks for everything, so that copies which are on nobody's worker any more are found out.

        There are such where a FreeKeys for a taken back order crossed a copy that came in beforehand.
        """
        for worker in self.workers.values():
            gone = [
                ts.key for ts in self.state.workers[worker.address].has_what if ts.key not in worker.memory
            ]
            if gone:
                self.state.not_delivered(worker.address, gone, self.now)
        self.drain()

    def round(self) -> bool:
        """Everybody takes all messages and ends all tasks once; False when there was nothing to do."""
        busy = False
        for worker in self.workers.values():
            for message in list(worker.inbox):
                busy = True
                worker.inbox.popleft()
                worker.take(message, self)
            for key in list(worker.orders):
                busy = True
                if not worker.orders[key].started:
                    worker.start(key, self)
                elif self.rng.random() < 0.9:
                    worker.finish(key)
                else:
                    worker.err(key)
            while worker.outbox:
                busy = True
                self.state.handle_worker(worker.address, worker.outbox.popleft(), self.now)
                self.state.validate()
        self.drain()
        return busy

    def check_settled(self) -> None:
        """Every wanted task ended, everybody knows it, and scheduler and workers agree on what is where."""
        s = self.state
        for client, wants in self.wants.items():
            known = {ts.key for ts in s.clients[client].wants_what}
            assert known >= wants, (client, wants - known)
            for key in wants:
                ts = s.tasks[key]
                assert ts.state in ("memory", "erred"), ts
                said = self.told[client, key]
                assert (said == "memory") == (ts.state == "memory"), (client, key, said, ts)
                if ts.state == "erred":
                    assert ts.error is not None
                    assert said == ts.error.exception_text
                    assert said.startswith(
                        ("raised by the task", "KilledWorker", "LostDataError", "ImmovableDataError")
                    ), said
        for worker in self.workers.values():
            ws = s.workers[worker.address]
            held = {ts.key for ts in ws.has_what}
            held |= {key for key, found in s.unclaimed.items() if ws in found.held}
            assert held == set(worker.memory), (worker.address, held, worker.memory)
            assert not ws.processing, ws
            assert not worker.orders

    def release_all(self) -> None:
        """After this and the grace times nobody may remember anything."""
        for client, wants in self.wants.items():
            for key in sorted(wants):
                self.let_go(client, key)
        for _ in range(2):
            self.now += 100
            for worker in self.workers.values():
                self.state.handle_worker(worker.address, m.WorkerHeartbeat({}), self.now)
            self.state.tick(self.now)
            while self.round():
                pass
        assert_empty(self.state)
        for worker in self.workers.values():
            assert not worker.memory, (worker.address, worker.memory)
