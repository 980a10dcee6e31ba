"""The scheduler and the clients: their machines, and the little that their shells do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distributed.client.state import ClientState, ClientTask
from distributed.protocol.messages import ClientHeartbeat, CloseClient, CloseWorker
from distributed.scheduler.state import SchedulerState, Settings
from distributed.testing.simulation.network import End, Wire

if TYPE_CHECKING:
    from distributed.testing.simulation.world import World

TICK = 0.1
HEARTBEAT = 5.0


class Scheduler:
    """One run of the scheduler, until it is killed."""

    def __init__(self, world: World, settings: Settings) -> None:
        self.world = world
        self.network = world.network
        self.alive = True
        seed = self.network.random.randrange(1 << 30)
        self.machine = SchedulerState(settings, seed=seed, first_seq=self.network.random.randrange(1 << 31))
        self.ends: dict[str, End] = {}
        self.wires: list[Wire] = []
        self.network.after(TICK, self.tick)

    def accept(self, peer: str) -> End:
        """Somebody connects; gives them their end."""
        wire = Wire(self.network, peer)
        self.wires = [other for other in self.wires if not other.cut_off]
        self.wires.append(wire)
        mine, theirs = wire.ends
        mine.receive = lambda messages: self.register(mine, messages[0])
        return theirs

    def register(self, end: End, hello: Any) -> None:
        if not self.alive:
            return
        now = self.network.now
        if isinstance(hello, str):
            peer = hello
            self.machine.add_client(peer, now)
            end.receive = lambda messages: self.from_client(peer, end, messages)
            end.closed = lambda: self.client_closed(peer, end)
        else:
            peer = hello["address"]
            status = hello.pop("status")
            if peer in self.machine.workers:
                same = self.machine.workers[peer].server_id == hello["server_id"]
                self.machine.remove_worker(peer, now, reason="registered anew", expected=same)
            self.machine.add_worker(now=now, **hello)
            if status != "running":
                self.machine.set_worker_status(peer, status, now)
            end.receive = lambda messages: self.from_worker(peer, end, messages)
            end.closed = lambda: self.worker_closed(peer, end)
        self.ends[peer] = end
        end.send(["OK"])
        self.flush()

    def from_client(self, client: str, end: End, messages: list[Any]) -> None:
        if self.alive and self.ends.get(client) is end:
            for message in messages:
                self.machine.handle_client(client, message, self.network.now)
            self.flush()

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

    def flush(self) -> None:
        self.machine.validate()
        for peer, messages in self.machine.drain(self.network.now):
            end = self.ends.get(peer)
            if end is not None:
                end.send(messages)
        self.machine.validate(drained=True)

    def tick(self) -> None:
        if not self.alive:
            return
        silent = self.machine.tick(self.network.now)
        assert not silent, f"{silent} counted as silent"
        for address in list(self.machine.retired):
            self.ends.pop(address).send([CloseWorker("retired")])
            self.machine.remove_worker(address, self.network.now, reason="retired", expected=True)
        self.flush()
        self.network.after(TICK, self.tick)

    def kill(self) -> None:
        self.alive = False
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
        self.end: End | None = None
        self.registered = False
        self.closed = False
        self.connect()
        self.network.after(HEARTBEAT, self.heartbeat)

    def connect(self) -> None:
        if self.closed:
            return
        if self.world.scheduler is None:
            self.network.after(0.1, self.connect)
            return
        end = self.end = self.world.scheduler.accept(self.name)
        end.receive = lambda messages: self.on_messages(end, messages)
        end.closed = lambda: self.on_closed(end)
        end.send([self.name])

    def on_messages(self, end: End, messages: list[Any]) -> None:
        if end is not self.end or self.closed:
            return
        if messages[0] == "OK":
            self.registered = True
            self.machine.reconnected()
        else:
            for message in messages:
                self.machine.handle_message(message)
        self.turn()

    def on_closed(self, end: End) -> None:
        if end is self.end and not self.closed:
            self.registered = False
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
        self.machine.validate()

    # ------------------------------------------------------------ the user

    def submit(self, keys: list[str]) -> None:
        """Futures on these keys; what they stand on and has no future here travels as inner nodes."""
        graph = self.world.graph
        mine = [key for key in keys if key not in self.futures]
        for key in graph.order(*mine):
            wanted = key in mine
            if not wanted and key in self.futures:
                continue
            task = graph.client_task(key)
            if wanted:
                self.futures[key] = task
            self.machine.handle_submit([task], wanted)
        self.turn()

    def release(self, keys: list[str]) -> None:
        self.machine.handle_release([self.futures.pop(key) for key in keys])
        self.turn()

    def cancel(self, keys: list[str], force: bool) -> None:
        self.machine.handle_cancel(keys, force)
        self.turn()

    def retry(self, keys: list[str]) -> None:
        self.machine.handle_retry(keys)
        self.turn()

    def futures_records(self) -> list[ClientTask]:
        """The machine's records of what this client's user holds futures on."""
        return [self.machine.tasks[key] for key in self.futures]

    def leave(self) -> None:
        """For good."""
        if self.end is not None and self.registered:
            self.end.send([CloseClient()])
        self.closed = True


__all__ = ["Client", "Scheduler"]
