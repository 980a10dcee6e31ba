"""What the parts of the worker's machine share: its data, the queue of ready tasks, and how a key is given up."""

from __future__ import annotations

from collections import deque
from collections.abc import MutableMapping
from heapq import heappop, heappush
from typing import Any, TypeAlias

from distributed.protocol.messages import Key, Message, ReplicasMissing, TasksReturned
from distributed.worker.state.fetching import Fetching
from distributed.worker.state.instructions import Execute, Instruction, TakeBack
from distributed.worker.state.outbox import Outbox
from distributed.worker.state.tasks import Function, TaskState

Resources: TypeAlias = tuple[tuple[str, float], ...]


class Core:
    """Keys, tasks, resources, outbox. See :class:`~distributed.worker.state.machine.WorkerState`."""

    def __init__(
        self,
        address: str = "",
        *,
        data: MutableMapping[Key, Any] | None = None,
        resources: dict[str, float] | None = None,
        nthreads: int = 1,
        history: int = 100_000,
        fetching: Fetching | None = None,
    ) -> None:
        self.address = address
        self.data: MutableMapping[Key, Any] = {} if data is None else data
        self.nthreads = nthreads
        self.status = "running"
        self.own_status = "running"  # that of its own accord: "paused" while memory is short
        self.tasks: dict[Key, TaskState] = {}
        self.discarded: dict[tuple[Key, bytes], TaskState] = {}  # by key and work
        self.functions: dict[bytes, Function] = {}
        self.total_resources: dict[str, float] = dict(resources or {})
        self.available_resources: dict[str, float] = dict(self.total_resources)
        self.nbytes = 0
        self.executing_count = 0
        self.fetching = Fetching(address) if fetching is None else fetching
        self.outbox = Outbox()
        self.history: deque[tuple[Key, str, str, str]] = deque(maxlen=history)
        self._ready: dict[Resources, list[tuple[int, int, int, TaskState]]] = {}
        self._ready_serial = 0
        self._execute: list[TaskState] = []
        self._instructions: list[Instruction] = []
        self._events = 0
        self._stimulus = ""

    # ------------------------------------------------------------ in and out

    def drain(self, now: float) -> tuple[list[Message], list[Instruction]]:
        """Everything for the scheduler and for the shell since the last call, in order."""
        instructions = self.drain_instructions(now)
        return self.outbox.drain(), instructions

    def drain_instructions(self, now: float) -> list[Instruction]:
        """Only what the shell has to do; messages stay (there is no scheduler to send them to)."""
        if self.fetching.pending:
            self._fetch_more(now)
        instructions, self._instructions = self._instructions, []
        if self._execute:
            instructions.append(Execute(self._execute))
            self._execute = []
        return instructions

    def wake_at(self) -> float | None:
        """When :meth:`drain` has to be called even if nothing happens (a busy peer is asked again)."""
        return self.fetching.wake_at()

    def story(self, *keys: Key) -> list[tuple[Key, str, str, str]]:
        """The remembered transitions of these keys: (key, start, finish, what caused it)."""
        wanted = set(keys)
        return [entry for entry in self.history if entry[0] in wanted]

    def ready_count(self) -> int:
        """Tasks that could run if the worker were not paused or had more resources (an upper bound)."""
        return sum(map(len, self._ready.values()))

    @property
    def ready(self) -> list[TaskState]:
        """Tasks that could run if the worker were not paused or had more resources, best first."""
        entries = [entry for heap in self._ready.values() for entry in heap if self._is_queued(entry[3])]
        return [ts for _, _, _, ts in sorted(entries, key=lambda entry: entry[:3])]

    def _begin(self, event: str) -> None:
        self._events += 1
        self._stimulus = f"{event}-{self._events}"

    def _move(self, ts: TaskState, finish: str) -> None:
        self.history.append((ts.key, ts.state, finish, self._stimulus))
        ts.state = finish

    def _fetch_more(self, now: float) -> None:
        for gather, batch in self.fetching.next_requests(now):
            self._begin("fetch")
            for ts in batch:
                self._move(ts, "flight")
            self._instructions.append(gather)

    # ------------------------------------------------------------ tasks whose dependencies are here

    def _make_ready(self, ts: TaskState) -> None:
        """All it waited for is here: hand it over, or queue it while the worker is paused or short of resources."""
        ts.waits = None
        for dep in ts.deps:
            if dep not in self.data:  # freed since
                self._return_missing(ts, dep, [self.address])
                return
        if (self.status == "running" or ts.group.options.despite_pause) and not ts.group.resources:
            self._hand_over(ts)
            return
        self._move(ts, "ready")
        self._queue(ts)
        self._start_ready()

    def _queue(self, ts: TaskState) -> None:
        self._ready_serial += 1
        entry = (ts.group.order, ts.seq, self._ready_serial, ts)
        heappush(self._ready.setdefault(ts.group.resources, []), entry)

    def _hand_over(self, ts: TaskState) -> None:
        for name, amount in ts.group.resources:
            self.available_resources[name] -= amount
        self._move(ts, "executing")
        self.executing_count += 1
        self._execute.append(ts)

    def _fits(self, resources: Resources) -> bool:
        available = self.available_resources
        return all(available.get(name, 0) >= amount for name, amount in resources)

    def _start_ready(self) -> None:
        """Hand over queued tasks, best first, as far as resources go."""
        if self.status != "running":
            return
        while True:
            best: list[tuple[int, int, int, TaskState]] | None = None
            for resources, heap in list(self._ready.items()):
                while heap and not self._is_queued(heap[0][3]):
                    heappop(heap)
                if not heap:
                    del self._ready[resources]
                elif self._fits(resources) and (best is None or heap[0] < best[0]):
                    best = heap
            if best is None:
                return
            self._hand_over(heappop(best)[3])

    def _is_queued(self, ts: TaskState) -> bool:
        return ts.state == "ready" and self.tasks.get(ts.key) is ts

    def _end_execution(self, ts: TaskState) -> None:
        """It no longer counts as executing; what it used is free."""
        self.executing_count -= 1
        self._free_resources(ts)

    def _free_resources(self, ts: TaskState) -> None:
        if ts.group.resources:
            for name, amount in ts.group.resources:
                self.available_resources[name] += amount
            self._start_ready()

    def _wake_dependents(self, ts: TaskState) -> None:
        dependents, ts.dependents = ts.dependents, None
        for key in dependents:
            dependent = self.tasks.get(key)
            if (
                dependent is not None
            ):  # else it stood on another of these, which had to be returned a moment ago
                self._arrived(dependent, ts.key)

    def _arrived(self, ts: TaskState, dep: Key) -> None:
        ts.waits.discard(dep)
        if not ts.waits:
            self._make_ready(ts)

    # ------------------------------------------------------------ giving up

    def _discard(self, ts: TaskState) -> None:
        """Its result is unwanted; it may still run, and uses its resources until it ends."""
        self.discarded[ts.key, ts.work] = ts
        self.executing_count -= 1

    def _discarded_ended(self, ts: TaskState) -> None:
        key = ts.key
        if self.discarded.get((key, ts.work)) is not ts:
            return
        del self.discarded[key, ts.work]
        self._free_resources(ts)
        successor = self.tasks.get(key)
        if successor is not None and successor.state == "waiting" and successor.work == ts.work:
            self._arrived(successor, key)

    def _take_back(self, tasks: list[TaskState], purpose: str, answer: TasksReturned | None = None) -> None:
        """Ask for tasks handed over earlier. Those still in this turn's Execute must reach the executor first."""
        if self._execute:
            self._instructions.append(Execute(self._execute))
            self._execute = []
        self._instructions.append(TakeBack(tasks, purpose, answer))

    def _forget(self, ts: TaskState) -> None:
        """Drop a key that is not in memory; whoever waits for it is returned."""
        key = ts.key
        del self.tasks[key]
        self._answer_order(ts)
        if ts.state == "fetch":
            self.fetching.remove(ts)
        if ts.state != "released":
            self._move(ts, "released")
        if ts.waits:
            waits, ts.waits = ts.waits, None
            for dep in waits:
                if dep != key:
                    self._stop_waiting(key, dep)
        if ts.dependents:
            dependents, ts.dependents = ts.dependents, None
            for dependent in dependents:
                waiting = self.tasks.get(dependent)
                if waiting is not None:
                    self._return_missing(waiting, key, [*(ts.failed or ()), self.address], ts.work)

    def _answer_order(self, ts: TaskState) -> None:
        """A copy that was ordered is not fetched: the scheduler waits for an answer."""
        if ts.acquire:
            ts.acquire = False
            self.outbox.replica_missing(ts.key, ts.failed or [], ts.work)

    def _make_way(self, ts: TaskState) -> None:
        """The scheduler means other work by this key now: give up what is here under it."""
        key = ts.key
        if ts.state == "memory":
            if ts.told:  # it may believe in this copy
                self.outbox.send(
                    ReplicasMissing([(key, [self.address])], [(key, ts.work)] if ts.work else [])
                )
            del self.tasks[key], self.data[key]
            self.nbytes -= ts.nbytes
            self._move(ts, "released")
            return
        running = ts.state in ("executing", "long-running")
        if running:
            self._discard(ts)
        self._forget(ts)
        if running:
            self._take_back([ts], "free")

    def _stop_waiting(self, key: Key, dep: Key) -> None:
        source = self.tasks.get(dep)
        if source is None or not source.dependents:
            return
        source.dependents.pop(key, None)
        if source.state == "fetch" and not source.dependents and not source.acquire:
            self._forget(source)

    def _return_missing(self, ts: TaskState, dep: Key, addresses: list[str], work: bytes = b"") -> None:
        message = self.outbox.returned(ts.key, ts.seq, "missing")
        message.missing.append((dep, addresses))
        if work:
            message.works.append((dep, work))
        if ts.waits:
            ts.waits.discard(dep)
        self._forget(ts)
