"""A worker: its machine, threads that take simulated time, a wire to the scheduler and requests to its peers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from distributed.protocol.messages import TaskError, WorkerClosing, WorkerHeartbeat
from distributed.testing.simulation.network import End
from distributed.testing.simulation.workloads import RAISED
from distributed.worker.state import Close, Execute, Gather, Instruction, TakeBack, TaskState, WorkerState

if TYPE_CHECKING:
    from distributed.testing.simulation.supervision import Nanny
    from distributed.testing.simulation.world import World

#: Results up to so many bytes travel with the completion.
INLINE_NBYTES = 500
HEARTBEAT = 1.0

#: Transitions that a worker remembers.
HISTORY = 3_000


class Worker:
    """One worker process, until it crashes or closes.

    Parameters
    ----------
    world : World
    address : str
    nthreads : int
    resources : dict of str to float
    """

    def __init__(
        self, world: World, address: str, nthreads: int, resources: dict[str, float], fails: bool = False
    ) -> None:
        self.world = world
        self.network = world.network
        self.address = address
        self.nthreads = nthreads
        self.machine = WorkerState(address, resources=resources, history=HISTORY)
        self.alive = True
        self.fails = fails
        self.nanny: Nanny | None = None
        world.serial += 1
        self.id = f"process-{world.serial}"
        self.end: End | None = None
        self.registered = False
        self.introducing = False
        self.claims: dict[int, TaskState] = {}
        self.running: dict[int, TaskState] = {}
        self.seceded: set[int] = set()
        self.connect()
        self.network.after(HEARTBEAT, self.heartbeat)

    # ------------------------------------------------------------ the scheduler

    def connect(self) -> None:
        """A new connection; what is only promised is forgotten, what is here and runs is told."""
        if not self.alive:
            return
        if self.world.scheduler is None:
            self.network.after(0.1, self.connect)
            return
        if self.end is not None:
            self.machine.scheduler_lost()
            self.turn()
            self.machine.forget_unsent()
        self.registered = False
        self.introducing = True
        end = self.end = self.world.scheduler.accept(self.address)
        end.owner = self
        end.receive = lambda messages: self.on_messages(end, messages)
        end.closed = lambda: self.on_closed(end)
        end.send(
            [
                {
                    "address": self.address,
                    "nthreads": self.nthreads,
                    "resources": dict(self.machine.total_resources),
                    "server_id": self.id,
                    "holding": [tuple(entry) for entry in self.machine.holding()],
                    "running": [tuple(entry) for entry in self.machine.running()],
                    "status": self.machine.status,
                }
            ]
        )

    def on_messages(self, end: End, messages: list[Any]) -> None:
        if not self.alive or end is not self.end:
            return
        if isinstance(messages[0], dict) and self.fails:
            self.fail(end)
            return
        if isinstance(messages[0], dict):
            self.registered = True
            self.introducing = False
        else:
            for message in messages:
                self.machine.handle(message, self.network.now)
        self.turn()

    def fail(self, end: End) -> None:
        """It has registered, and cannot start: it says goodbye before it has run anything."""
        self.network.note(self.address, "cannot start")
        end.send([WorkerClosing("it could not start")])
        end.hang_up()
        self.end = None
        self.world.close_worker(self)
        if self.nanny is not None:
            self.nanny.ended()

    def on_closed(self, end: End) -> None:
        if self.alive and end is self.end:
            self.registered = self.introducing = False
            self.network.after(self.network.random.uniform(0, 0.3), self.connect)

    def heartbeat(self) -> None:
        if self.alive:
            if self.end is not None and self.registered:
                self.end.send([WorkerHeartbeat({})])
            self.network.after(HEARTBEAT, self.heartbeat)

    # ------------------------------------------------------------ turns, as the shell does them

    def turn(self) -> None:
        while self.alive and (instructions := self.machine.drain_instructions(self.network.now)):
            for instruction in instructions:
                self.carry_out(instruction)
        if not self.alive:
            return
        self.start_tasks()
        if self.end is not None and self.registered:
            self.end.send(self.machine.outbox.drain())
        if self.network.worth_validating():
            self.machine.validate()
        wake_at = self.machine.wake_at()
        if wake_at is not None:
            self.network.after(max(0.0, wake_at - self.network.now), self.wake)

    def wake(self) -> None:
        if self.alive and self.machine.wake_at() is not None:
            self.turn()

    def carry_out(self, instruction: Instruction) -> None:
        if isinstance(instruction, Execute):
            for ts in instruction.tasks:
                self.world.serial += 1
                ts.serial = self.world.serial
                self.claims[ts.serial] = ts
        elif isinstance(instruction, TakeBack):
            taken = [ts for ts in instruction.tasks if self.claims.pop(ts.serial, None) is not None]
            self.machine.taken_back(instruction, taken)
        elif isinstance(instruction, Gather):
            self.ask(instruction)
        else:
            assert isinstance(instruction, Close)
            self.world.close_worker(self)
            if self.nanny is not None and not instruction.nanny:
                self.nanny.ended()

    # ------------------------------------------------------------ threads

    def start_tasks(self) -> None:
        """Threads that are free take tasks, the best first."""
        while self.claims and len(self.running) - len(self.seceded) < self.nthreads:
            serial = min(self.claims, key=lambda n: (self.claims[n].group.order, self.claims[n].seq, n))
            ts = self.running[serial] = self.claims.pop(serial)
            missing = [dep for dep in ts.deps if dep not in self.machine.data]
            if missing:
                self.network.after(0.0, self.ended, serial, missing)
                continue
            task, result = self.world.graph.run(str(ts.key), bytes(ts.args), ts.deps, self.machine.data)
            seconds = task.seconds * self.network.random.uniform(0.5, 2)
            if task.secedes:
                self.network.after(seconds / 2, self.secede, serial)
            self.network.after(seconds, self.ended, serial, result)

    def secede(self, serial: int) -> None:
        if self.alive and serial in self.running:
            self.seceded.add(serial)
            self.machine.tasks_seceded([self.running[serial]])
            self.turn()

    def ended(self, serial: int, result: int | list[str] | None) -> None:
        """A thread is done with a task: with a result, an error (None) or dependencies that were missing."""
        if not self.alive:
            return
        ts = self.running.pop(serial)
        self.seceded.discard(serial)
        if isinstance(result, list):
            self.machine.tasks_missing([(ts, list(result))])
        elif result is None:
            self.machine.tasks_failed([(ts, TaskError(bytes(ts.args), exception_text=RAISED))])
        else:
            nbytes = self.network.random.choice((28, 28, 1000, 10_000_000))
            payload = str(result).encode() if ts.group.inline and nbytes <= INLINE_NBYTES else None
            self.machine.tasks_completed([(ts, result, nbytes, "int", payload, 0.01)])
        self.turn()

    # ------------------------------------------------------------ peers

    def ask(self, request: Gather) -> None:
        self.network.nmessages += 2
        self.network.note(self.address, f"asks {request.worker} for {request.keys}")
        self.network.after(self.network.delay(), self.world.peer_asked, self, request)

    def answered(
        self,
        request: Gather,
        found: Iterable[tuple[Any, Any, int]] | None,
        busy: bool,
        unreachable: bool = False,
        immovable: Iterable[tuple[Any, str, str]] = (),
    ) -> None:
        if not self.alive:
            return
        if found is None:
            self.machine.gather_failed(request.worker, self.network.now, busy=busy, unreachable=unreachable)
        else:
            self.machine.gathered(request.worker, found, self.network.now, immovable=immovable)
        self.turn()
