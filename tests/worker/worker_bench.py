"""A worker's machine on the bench: the test plays the executor, the peers and the scheduler."""

from __future__ import annotations

from typing import Any

from distributed.protocol.messages import PutFunctions, RunOptions, RunTasks, TaskError
from distributed.worker.state import Close, Execute, Gather, HangUp, TakeBack, TaskState, WorkerState

ME, A, B, C = (f"tcp://10.0.0.{i}:1" for i in (9, 1, 2, 3))
ERROR = TaskError(b"x", exception_text="boom")


class Bench:
    """A machine with an executor that does what the test says. ``seqs`` count up by themselves."""

    def __init__(self, **kwargs: Any) -> None:
        self.state = WorkerState(ME, **kwargs)
        self.now = 0.0
        self.seq = 0
        self.queued: dict[Any, TaskState] = {}  # handed over, not started
        self.started: dict[Any, TaskState] = {}
        self.gathers: list[Gather] = []
        self.closed: Close | None = None
        self.peers_gone: list[str] = []
        self.state.handle(PutFunctions([b"f"], [b"blob"]), 0.0)

    def turn(self) -> list[Any]:
        """Carry out all instructions; the messages for the scheduler."""
        while instructions := self.state.drain_instructions(self.now):
            for instruction in instructions:
                match instruction:
                    case Execute(tasks):
                        self.queued |= {ts.key: ts for ts in tasks}
                    case TakeBack(tasks):
                        taken = [ts for ts in tasks if self.queued.get(ts.key) is ts]
                        for ts in taken:
                            del self.queued[ts.key]
                        self.state.taken_back(instruction, taken)
                    case Gather():
                        self.gathers.append(instruction)
                    case Close():
                        self.closed = instruction
                    case HangUp(peers):
                        self.peers_gone += peers
        self.state.validate()
        return self.state.outbox.drain()

    def handle(self, message: Any) -> list[Any]:
        self.state.handle(message, self.now)
        return self.turn()

    def run(self, *keys: Any, deps: Any = None, holders: Any = (), **options: Any) -> list[Any]:
        seqs = [self.next_seq() for _ in keys]
        if deps is not None and deps and not isinstance(deps[0], list):
            deps = [deps for _ in keys]
        return self.handle(
            RunTasks(
                b"f", "f", list(keys), [b"args"] * len(keys), seqs, deps, list(holders), RunOptions(**options)
            )
        )

    def next_seq(self) -> int:
        self.seq += 1
        return self.seq

    def start(self, key: Any) -> TaskState:
        ts = self.started[key] = self.queued.pop(key)
        return ts

    def finish(self, *keys: Any, value: Any = 1, payload: Any = b"v") -> list[Any]:
        batch = []
        for key in keys:
            if key in self.queued:
                self.start(key)
            batch.append((self.started.pop(key), value, 28, "int", payload, 0.5))
        self.state.tasks_completed(batch)
        return self.turn()

    def fail(self, key: Any) -> list[Any]:
        if key in self.queued:
            self.start(key)
        self.state.tasks_failed([(self.started.pop(key), ERROR)])
        return self.turn()

    def deliver(self, *results: Any, worker: str | None = None) -> list[Any]:
        """The oldest open Gather (or that of ``worker``) is answered with these (key, value)."""
        gather = next(g for g in self.gathers if worker in (None, g.worker))
        self.gathers.remove(gather)
        self.state.gathered(gather.worker, [(key, value, 100) for key, value in results], self.now)
        return self.turn()

    def break_off(self, worker: str, busy: bool = False) -> list[Any]:
        self.gathers = [g for g in self.gathers if g.worker != worker]
        self.state.gather_failed(worker, self.now, busy=busy)
        return self.turn()

    @property
    def states(self) -> dict[Any, str]:
        return {key: ts.state for key, ts in self.state.tasks.items()}
