"""Random histories of the worker's machine: whatever happens in whatever order, the invariants hold."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worker_bench import ERROR, ME, A, B, Bench, C

from distributed.protocol.messages import (
    AcquireReplicas,
    FreeKeys,
    PutFunctions,
    RunOptions,
    RunTasks,
    SetWorkerStatus,
    StealTasks,
    TasksErred,
    TasksFinished,
    TasksReturned,
)
from distributed.worker.state import TRANSITIONS

KEYS = [f"k{i}" for i in range(6)]
PEERS = [A, B, C, ME]

keys = st.sampled_from(KEYS)
some_keys = st.lists(keys, min_size=1, max_size=3, unique=True)
holders = st.lists(st.sampled_from(PEERS), max_size=3, unique=True)
resources = st.sampled_from([(), (), (("GPU", 1.0),), (("GPU", 2.0), ("DISK", 1.0)), (("TPU", 1.0),)])

events = st.one_of(
    st.tuples(st.just("run"), some_keys, st.lists(keys, max_size=3), holders, resources, st.integers(-1, 1)),
    st.tuples(st.just("free"), some_keys),
    st.tuples(st.just("steal"), some_keys),
    st.tuples(st.just("acquire"), keys, holders),
    st.tuples(st.just("scatter"), keys),
    st.tuples(st.just("start"), st.integers(0, 10)),
    st.tuples(st.just("start"), st.integers(0, 10)),
    st.tuples(
        st.just("end"),
        st.integers(0, 10),
        st.sampled_from(["finish", "finish", "fail", "missing", "reschedule"]),
    ),
    st.tuples(st.just("secede"), st.integers(0, 10)),
    st.tuples(st.just("deliver"), st.integers(0, 10), st.sets(keys), st.sets(keys)),
    st.tuples(st.just("break"), st.integers(0, 10), st.booleans()),
    st.tuples(st.just("status"), st.sampled_from(["running", "paused", "closing_gracefully"])),
    st.tuples(st.just("time"), st.floats(0, 1)),
    st.tuples(st.just("lost")),
    st.tuples(st.just("turn")),
)


class History:
    """Events happen; several may fall into one turn, as they do in the worker."""

    def __init__(self) -> None:
        self.bench = Bench(resources={"GPU": 2, "DISK": 1})
        self.answers: list[tuple[Any, int]] = []
        self.asked: dict[Any, int] = {}
        self.steals = 0

    def happen(self, name: str, *what: Any) -> None:
        getattr(self, name)(*what)

    def turn(self) -> None:
        for message in self.bench.turn():
            if isinstance(message, TasksFinished | TasksErred | TasksReturned):
                self.answers += zip(message.keys, message.seqs, strict=True)
            if isinstance(message, TasksReturned) and message.reason == "stolen":
                self.steals -= 1

    def run(self, keys: Any, deps: Any, where: Any, amounts: Any, priority: int) -> None:
        bench = self.bench
        seqs = [bench.next_seq() for _ in keys]
        message = RunTasks(
            *(b"f", "f", keys, [b""] * len(keys), seqs, [deps] * len(keys)),
            [(dep, 10, list(where)) for dep in dict.fromkeys(deps)],
            RunOptions(resources=amounts, priority=priority),
        )
        bench.state.handle(message, bench.now)
        self.asked |= dict(zip(keys, seqs, strict=True))

    def free(self, keys: Any) -> None:
        self.bench.state.handle(FreeKeys(keys), self.bench.now)
        for key in keys:
            self.asked.pop(key, None)

    def steal(self, keys: Any) -> None:
        self.steals += 1
        self.bench.state.handle(StealTasks(keys), self.bench.now)

    def acquire(self, key: Any, where: Any) -> None:
        self.bench.state.handle(AcquireReplicas([(key, 10, list(where))]), self.bench.now)

    def scatter(self, key: Any) -> None:
        self.bench.state.scattered([(key, "scattered", 9, "str")])
        self.asked.pop(key, None)

    def start(self, n: int) -> None:
        if waiting := list(self.bench.queued):
            key = waiting[n % len(waiting)]
            assert key not in self.bench.started, "two runs of one key at the same time"
            self.bench.start(key)

    def end(self, n: int, how: str) -> None:
        if not self.bench.started:
            return
        started = list(self.bench.started)
        ts = self.bench.started.pop(started[n % len(started)])
        state = self.bench.state
        if how == "finish":
            state.tasks_completed([(ts, 1, 28, "int", None, 0.1)])
        elif how == "fail":
            state.tasks_failed([(ts, ERROR)])
        elif how == "missing":
            state.tasks_missing([(ts, list(ts.deps[:1]))])
        else:
            state.tasks_rescheduled([ts])

    def secede(self, n: int) -> None:
        if started := list(self.bench.started.values()):
            self.bench.state.tasks_seceded([started[n % len(started)]])

    def deliver(self, n: int, have: Any, immovable: Any) -> None:
        if gathers := self.bench.gathers:
            gather = gathers.pop(n % len(gathers))
            results = [(key, "fetched", 10) for key in gather.keys if key in have]
            stuck = [(key, gather.worker, "a lock") for key in gather.keys if key in immovable]
            self.bench.state.gathered(gather.worker, results, self.bench.now, immovable=stuck)

    def break_(self, n: int, busy: bool) -> None:
        if gathers := self.bench.gathers:
            gather = gathers.pop(n % len(gathers))
            self.bench.state.gather_failed(gather.worker, self.bench.now, busy=busy)

    def status(self, status: str) -> None:
        self.bench.state.handle(SetWorkerStatus(status), self.bench.now)

    def time(self, seconds: float) -> None:
        self.bench.now += seconds

    def lost(self) -> None:
        """Another scheduler: it asks for nothing yet, and knows what it is told."""
        self.turn()
        state = self.bench.state
        state.scheduler_lost()
        self.turn()
        state.forget_unsent()
        running = {key for key, *_ in state.running()}
        self.asked = {key: seq for key, seq in self.asked.items() if key in running}
        state.handle(PutFunctions([b"f"], [b"blob"]), self.bench.now)

    def finish_everything(self) -> None:
        self.status("running")
        for _ in range(1000):
            self.turn()
            if self.bench.queued:
                self.start(0)
            elif self.bench.started:
                self.end(0, "finish")
            elif self.bench.gathers:
                self.deliver(0, set(KEYS), set())
            elif (wake_at := self.bench.state.wake_at()) is not None and wake_at > self.bench.now:
                self.bench.now = wake_at
            else:
                return
        raise AssertionError("the machine does not come to rest")


@settings(max_examples=400, deadline=None)
@given(st.lists(events, max_size=60))
def test_random_histories(history: list[tuple[Any, ...]]) -> None:
    net = History()
    for name, *what in history:
        net.happen("break_" if name == "break" else name, *what)
        if name not in ("run", "free", "steal"):  # those may share a turn with what follows
            net.turn()
    net.finish_everything()
    state = net.bench.state
    assert net.steals == 0, "a StealTasks was not answered once"
    assert state.executing_count == 0
    assert state.discarded == {}
    assert state.fetching.in_flight == {}
    # Whatever was asked for and neither freed nor answered waits for resources this worker does not have, or for
    # a task that does.
    answered = dict(net.answers)
    for key, seq in net.asked.items():
        if answered.get(key) != seq:
            assert state.tasks[key].state in ("ready", "waiting"), (key, seq, state.story(key))
    free_all = list(state.tasks)
    net.free(free_all)
    net.turn()
    assert state.tasks == {}
    assert state.data == {}
    assert state.available_resources == state.total_resources
    assert not state.ready


def test_random_histories_reach_every_transition(capsys: pytest.CaptureFixture[str]) -> None:
    """The table claims nothing that does not happen. (Seeded: hypothesis' own choice is not repeatable here.)"""
    from random import Random

    random = Random(0)
    seen: set[tuple[str, str]] = set()
    for _ in range(600):
        net = History()
        for _ in range(60):
            name = random.choice(
                ["run", "run", "run", "free", "steal", "acquire", "acquire", "scatter", "start", "start"]
            )
            if random.random() < 0.6:
                name = random.choice(["end", "secede", "deliver", "break_", "status", "time", "turn"])
            some = random.sample(KEYS, random.randint(1, 3))
            where = random.sample(PEERS, random.randint(0, 3))
            amounts = random.choice([(), (), (("GPU", 1.0),), (("GPU", 2.0),), (("TPU", 1.0),)])
            what: dict[str, tuple[Any, ...]] = {
                "run": (some, random.sample(KEYS, random.randint(0, 3)), where, amounts, 0),
                "free": (some,),
                "steal": (some,),
                "acquire": (some[0], where),
                "scatter": (some[0],),
                "start": (random.randint(0, 9),),
                "end": (random.randint(0, 9), random.choice(["finish", "fail", "missing"])),
                "secede": (random.randint(0, 9),),
                "deliver": (random.randint(0, 9), set(random.sample(KEYS, 4)), set(random.sample(KEYS, 1))),
                "break_": (random.randint(0, 9), random.random() < 0.5),
                "status": (random.choice(["running", "running", "paused"]),),
                "time": (0.05,),
                "turn": (),
            }
            net.happen(name, *what[name])
            if random.random() < 0.7:
                net.turn()
        net.turn()
        seen |= {(start, finish) for _, start, finish, _ in net.bench.state.history}
    with capsys.disabled():
        print(f"\ntransitions of the worker: {len(seen)} of {len(TRANSITIONS)} reached")
    assert seen == set(TRANSITIONS), f"never: {set(TRANSITIONS) - seen}"
