"""Histories of computations that go on for ever."""

from __future__ import annotations

import time
from typing import Any

import dask

from distributed import Client
from distributed.protocol.messages import (
    AcquireReplicas,
    LineageCut,
    PutFunctions,
    ReleaseKeys,
    ReplicasAdded,
    RunTasks,
    SubmitTasks,
    TasksFinished,
)
from distributed.scheduler.state import SchedulerState, Settings

FN = b"f" * 16


class Loop:
    """``x = submit(step, x, batch)`` on two workers that finish everything at once."""

    def __init__(self, lineage: int, nworkers: int = 2) -> None:
        self.s = SchedulerState(Settings(lineage=lineage))
        self.now = 0.0
        self.workers = [f"tcp://w:{i}" for i in range(nworkers)]
        for address in self.workers:
            self.s.add_worker(address, now=0.0)
        self.s.add_client("c", 0.0)
        self.s.handle_client("c", PutFunctions([FN], [b"blob"]), 0.0)
        self.n = 0
        self.cut: list[Any] = []
        self.most = 0

    def step(self) -> None:
        n, self.n = self.n, self.n + 1
        deps = [[f"x{n - 1}"]] if n else None
        self.s.handle_client("c", SubmitTasks(FN, "step", [f"x{n}"], [b"b" * 1_000], deps), self.now)
        if n:
            self.s.handle_client("c", ReleaseKeys([f"x{n - 1}"]), self.now)
        self.turn()
        self.now += 0.1
        self.s.tick(self.now)
        self.turn()
        self.most = max(self.most, len(self.s.tasks))

    def turn(self) -> None:
        while messages := dict(self.s.drain(self.now)):
            for peer, said in messages.items():
                for message in said:
                    if isinstance(message, RunTasks):
                        n = len(message.keys)
                        done = TasksFinished(
                            message.keys, message.seqs, [10] * n, [1e-3] * n, ["int"] * n, [None] * n
                        )
                        self.s.handle_worker(peer, done, self.now)
                    elif isinstance(message, AcquireReplicas):
                        keys = [key for key, _, _ in message.holders]
                        self.s.handle_worker(peer, ReplicasAdded(keys, [10] * len(keys)), self.now)
                    elif isinstance(message, LineageCut):
                        self.cut += message.keys
            self.s.validate()


def test_a_loop_without_end_is_remembered_up_to_the_limit() -> None:
    loop = Loop(lineage=50_000)
    for _ in range(300):
        loop.step()
    assert 5 <= len(loop.cut) <= 20
    assert loop.most < 80
    last = loop.s.tasks["x299"]
    assert last.state == "memory"
    assert len(loop.s.checkpoints) == 1  # the one that x299 stands on, on both workers
    (checkpoint,) = loop.s.checkpoints
    assert len(checkpoint.who_has) == 2


def test_what_is_lost_is_computed_again_from_the_last_checkpoint() -> None:
    loop = Loop(lineage=50_000)
    while len(loop.cut) < 3:
        loop.step()
    for _ in range(5):
        loop.step()
    last = loop.s.tasks[f"x{loop.n - 1}"]
    (checkpoint,) = loop.s.checkpoints
    loop.s.remove_worker(last.who_has[0].address, loop.now, expected=True)
    loop.turn()
    assert last.state == "memory"
    assert checkpoint.state == "memory"


def test_everything_is_forgotten_with_the_last_future() -> None:
    loop = Loop(lineage=20_000)
    for _ in range(100):
        loop.step()
    loop.s.handle_client("c", ReleaseKeys([f"x{loop.n - 1}"]), loop.now)
    loop.turn()
    loop.s.tick(loop.now + 0.1)
    loop.turn()
    assert not loop.s.tasks
    assert not loop.s.checkpoints
    assert loop.s.lineage_nbytes == 0


def test_one_worker_alone_makes_checkpoints_without_copies() -> None:
    loop = Loop(lineage=20_000, nworkers=1)
    for _ in range(100):
        loop.step()
    assert loop.cut
    assert loop.most < 50


def test_below_the_limit_nothing_is_forgotten() -> None:
    loop = Loop(lineage=10**9)
    for _ in range(100):
        loop.step()
    assert not loop.cut
    assert len(loop.s.tasks) == 100


def test_a_client_forgets_with_its_scheduler() -> None:
    with (
        dask.config.set({"distributed.scheduler.lineage-limit": "200 kB"}),
        Client(n_workers=2, threads_per_worker=1, processes=False) as client,
    ):

        def step(x: int, batch: bytes) -> int:
            return x + len(batch)

        x = client.submit(int)
        for i in range(600):
            x = client.submit(step, x, b"%06d" % i + b"b" * 4_000)
            if i % 20 == 19:
                x.result()
        assert x.result() == 600 * 4_006

        def grown(dask_scheduler: Any) -> int:
            return len(dask_scheduler.state.tasks)

        deadline = time.monotonic() + 20
        while client.run_on_scheduler(grown) > 200 or len(client._session.state.tasks) > 200:
            assert time.monotonic() < deadline, "everything is still remembered"
            time.sleep(0.02)
        client._session.settle()
        client._session.state.validate()
