"""The worker's state machine.

Messages of the scheduler go into :meth:`WorkerState.handle`; what the shell did comes back through the events
(``tasks_completed``, ``gathered``, ``taken_back``...). Nothing is returned: messages for the scheduler and
instructions for the shell collect until :meth:`WorkerState.drain`. Time comes in as ``now``, in seconds of any clock.

Rules
-----
* A task that cannot get its dependencies is returned to the scheduler, never kept.
* Results are matched to tasks by identity of the ``TaskState``: whatever a discarded run delivers is dropped.
* A key that is discarded while it runs may be run anew only after that run has ended.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, MutableMapping
from heapq import heappop, heappush
from typing import Any

from distributed.protocol.messages import (
    AcquireReplicas,
    CloseWorker,
    DropFunctions,
    FreeKeys,
    Key,
    Message,
    PutFunctions,
    RunTasks,
    SetWorkerStatus,
    StealTasks,
    TaskError,
    TasksReturned,
    WorkerStatusChanged,
)
from distributed.protocol.payload import Payload, pack
from distributed.worker.state.fetching import Fetching
from distributed.worker.state.instructions import Close, Execute, Gather, Instruction, TakeBack
from distributed.worker.state.outbox import Outbox
from distributed.worker.state.tasks import Function, TaskGroup, TaskState

Resources = tuple[tuple[str, float], ...]
#: A finished task: task, value, nbytes, type name, inline payload or None, seconds.
Completion = tuple[TaskState, Any, int, str, Payload | None, float]


class WorkerState:
    """What one worker knows and what it is about to do.

    Parameters
    ----------
    address : str
        The worker's own address.
    data : mutable mapping of key to value, optional
        Where results are put; the machine alone adds and removes.
    resources : dict of str to float
        What tasks with ``resources`` may use altogether.
    history : int
        Transitions remembered for :meth:`story`.
    fetching : Fetching, optional
        Limits for fetching from peers.
    """

    def __init__(
        self,
        address: str = "",
        *,
        data: MutableMapping[Key, Any] | None = None,
        resources: dict[str, float] | None = None,
        history: int = 100_000,
        fetching: Fetching | None = None,
    ) -> None:
        self.address = address
        self.data: MutableMapping[Key, Any] = {} if data is None else data
        self.status = "running"
        self.tasks: dict[Key, TaskState] = {}
        self.discarded: dict[Key, TaskState] = {}
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
        self._handlers: dict[type, Callable[[Any, float], None]] = {
            RunTasks: self._handle_run_tasks,
            FreeKeys: self._handle_free_keys,
            StealTasks: self._handle_steal_tasks,
            PutFunctions: self._handle_put_functions,
            DropFunctions: self._handle_drop_functions,
            AcquireReplicas: self._handle_acquire_replicas,
            SetWorkerStatus: self._handle_set_status,
            CloseWorker: self._handle_close,
        }

    # ------------------------------------------------------------ in and out

    def handle(self, message: Message, now: float) -> None:
        """Take one stream message of the scheduler.

        Raises
        ------
        ValueError
            The scheduler sent what no scheduler may send to a worker.
        """
        handler = self._handlers.get(type(message))
        if handler is None:
            raise ValueError(f"a worker cannot take a {type(message).__name__} message")
        self._begin(type(message).__name__)
        handler(message, now)

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

    def _begin(self, event: str) -> None:
        self._events += 1
        self._stimulus = f"{event}-{self._events}"

    def _move(self, ts: TaskState, finish: str) -> None:
        self.history.append((ts.key, ts.state, finish, self._stimulus))
        ts.state = finish

    # ------------------------------------------------------------ told to run

    def _handle_put_functions(self, message: PutFunctions, now: float) -> None:
        for id, blob in zip(message.ids, message.blobs, strict=True):
            if id not in self.functions:
                self.functions[id] = Function(id, blob)

    def _handle_drop_functions(self, message: DropFunctions, now: float) -> None:
        for id in message.ids:
            self.functions.pop(id, None)

    def _handle_run_tasks(self, message: RunTasks, now: float) -> None:
        function = self.functions.get(message.fn)
        if function is None:
            self._refuse_unknown_function(message)
            return
        group = TaskGroup(function, message.name, message.options)
        if message.deps is not None:
            holders = {key: (nbytes, addresses) for key, nbytes, addresses in message.holders}
            for key, args, seq, deps in zip(
                message.keys, message.args, message.seqs, message.deps, strict=True
            ):
                self._run(key, group, args, seq, deps, holders)
            return
        if group.resources or self.status != "running":
            for key, args, seq in zip(message.keys, message.args, message.seqs, strict=True):
                self._run(key, group, args, seq, (), {})
            return
        tasks = self.tasks
        discarded = self.discarded
        execute = self._execute
        history = self.history
        stimulus = self._stimulus
        counted = self.executing_count - len(execute)
        for key, args, seq in zip(message.keys, message.args, message.seqs, strict=True):
            if key in tasks or key in discarded:
                self._run(key, group, args, seq, (), {})
            else:
                ts = TaskState(key, seq, group, args)
                tasks[key] = ts
                execute.append(ts)
                history.append((key, "released", "executing", stimulus))
        self.executing_count = counted + len(execute)

    def _refuse_unknown_function(self, message: RunTasks) -> None:
        text = (
            f"the scheduler asked for function {message.fn.hex()} ({message.name}) without sending it first"
        )
        error = TaskError(
            pack(RuntimeError(text)), exception_text=repr(RuntimeError(text)), erred_on=[self.address]
        )
        for key, seq in zip(message.keys, message.seqs, strict=True):
            self.outbox.erred(key, seq, error)

    def _run(
        self,
        key: Key,
        group: TaskGroup,
        args: Payload,
        seq: int,
        deps: Iterable[Key],
        holders: dict[Key, tuple[int, list[str]]],
    ) -> None:
        ts = self.tasks.get(key)
        if ts is None:
            ts = self.tasks[key] = TaskState(key, state="released")
        elif ts.state == "memory":
            ts.seq = seq
            self._report_finished(ts)
            return
        elif ts.group is not None:  # already on its way: this order's answer will be that run's
            ts.seq = seq
            return
        elif ts.state == "fetch":
            self.fetching.remove(ts)
        ts.seq, ts.group, ts.args, ts.deps = seq, group, args, tuple(dict.fromkeys(deps))
        ts.holders = ts.failed = None
        ts.acquire = False
        waits: set[Key] = set()
        if key in self.discarded:
            waits.add(key)
        for dep in ts.deps:
            if dep not in self.data:
                nbytes, addresses = holders.get(dep, (0, []))
                if dep == key or not self._want(dep, nbytes, addresses):
                    self._return_missing(ts, dep, addresses)
                    return
                waits.add(dep)
                dependents = self.tasks[dep].dependents
                if dependents is None:
                    dependents = self.tasks[dep].dependents = {}
                dependents[key] = None
                ts.waits = waits  # so that a return because of a later dependency finds this one
        if waits:
            ts.waits = waits
            self._move(ts, "waiting")
        else:
            self._make_ready(ts)

    def _make_ready(self, ts: TaskState) -> None:
        """All it waited for is here: hand it over, or queue it while the worker is paused or short of resources."""
        ts.waits = None
        for dep in ts.deps:
            if dep not in self.data:  # freed since
                self._return_missing(ts, dep, [self.address])
                return
        if self.status == "running" and not ts.group.resources:
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

    # ------------------------------------------------------------ what the executor says

    def tasks_completed(self, batch: Iterable[Completion]) -> None:
        """Results of tasks handed over with Execute."""
        self._begin("completed")
        tasks = self.tasks
        data = self.data
        history = self.history
        stimulus = self._stimulus
        message = None
        for ts, value, nbytes, typename, payload, duration in batch:
            key = ts.key
            if tasks.get(key) is not ts:
                self._discarded_ended(ts)
                continue
            if message is None:
                message = self.outbox.finished()
            message.keys.append(key)
            message.seqs.append(ts.seq)
            message.nbytes.append(nbytes)
            message.durations.append(duration)
            message.types.append(typename)
            message.values.append(payload)
            data[key] = value
            history.append((key, ts.state, "memory", stimulus))
            ts.state = "memory"
            ts.nbytes = nbytes
            ts.type = typename
            ts.duration = duration
            self.nbytes += nbytes
            self.executing_count -= 1
            if ts.group.resources:
                self._free_resources(ts)
            ts.group = ts.args = None
            ts.deps = ()
            if ts.dependents:
                self._wake_dependents(ts)

    def tasks_failed(self, batch: Iterable[tuple[TaskState, TaskError]]) -> None:
        """Tasks that raised."""
        self._begin("failed")
        for ts, error in batch:
            if self.tasks.get(ts.key) is not ts:
                self._discarded_ended(ts)
                continue
            self._end_execution(ts)
            error.erred_on = [self.address]
            error.blamed_key = ts.key
            self.outbox.erred(ts.key, ts.seq, error)
            self._forget(ts)

    def tasks_missing(self, batch: Iterable[tuple[TaskState, list[Key]]]) -> None:
        """Tasks that a thread took and could not start: these dependencies had been freed meanwhile."""
        self._begin("missing")
        for ts, keys in batch:
            if self.tasks.get(ts.key) is not ts:
                self._discarded_ended(ts)
                continue
            self._end_execution(ts)
            message = self.outbox.returned(ts.key, ts.seq, "missing")
            message.missing.extend((key, [self.address]) for key in keys)
            self._forget(ts)

    def tasks_rescheduled(self, batch: Iterable[TaskState]) -> None:
        """Tasks that asked to run again, maybe elsewhere."""
        self._begin("rescheduled")
        for ts in batch:
            if self.tasks.get(ts.key) is not ts:
                self._discarded_ended(ts)
                continue
            self._end_execution(ts)
            self.outbox.returned(ts.key, ts.seq, "rescheduled")
            self._forget(ts)

    def tasks_seceded(self, batch: Iterable[TaskState]) -> None:
        """Tasks that left the pool's slots."""
        self._begin("seceded")
        for ts in batch:
            if self.tasks.get(ts.key) is ts and ts.state == "executing":
                self._move(ts, "long-running")
                self.outbox.long_running(ts.key, ts.seq)

    def taken_back(self, instruction: TakeBack, taken: Iterable[TaskState]) -> None:
        """The answer to TakeBack: which of its tasks no thread had started."""
        self._begin(f"taken-back-{instruction.purpose}")
        refused = {ts.key for ts in instruction.tasks}
        for ts in taken:
            refused.discard(ts.key)
            if self.tasks.get(ts.key) is not ts:
                if instruction.purpose == "steal":
                    instruction.answer.refused.append(ts.key)
                self._discarded_ended(ts)
                continue
            self._end_execution(ts)
            if instruction.purpose == "pause":
                self._move(ts, "ready")
                self._queue(ts)
                continue
            if instruction.purpose == "steal":
                instruction.answer.keys.append(ts.key)
                instruction.answer.seqs.append(ts.seq)
            else:
                self.outbox.returned(ts.key, ts.seq, "closing")
            self._forget(ts)
        if instruction.purpose == "steal":
            instruction.answer.refused.extend(refused)
            self.outbox.send(instruction.answer)
        self._start_ready()

    def _discarded_ended(self, ts: TaskState) -> None:
        key = ts.key
        if self.discarded.get(key) is not ts:
            return
        del self.discarded[key]
        self._free_resources(ts)
        successor = self.tasks.get(key)
        if successor is not None and successor.state == "waiting":
            self._arrived(successor, key)

    # ------------------------------------------------------------ told to give up

    def _handle_free_keys(self, message: FreeKeys, now: float) -> None:
        running: list[TaskState] = []
        tasks = self.tasks
        data = self.data
        history = self.history
        for key in message.keys:
            ts = tasks.get(key)
            if ts is None:
                continue
            if ts.state == "memory":
                del tasks[key], data[key]
                self.nbytes -= ts.nbytes
                history.append((key, "memory", "released", self._stimulus))
                continue
            if ts.state in ("executing", "long-running"):
                self._discard(ts)
                running.append(ts)
            self._forget(ts)
        if running:
            self._take_back(running, "free")

    def _discard(self, ts: TaskState) -> None:
        """Its result is unwanted; it may still run, and uses its resources until it ends."""
        self.discarded[ts.key] = ts
        self.executing_count -= 1

    def _handle_steal_tasks(self, message: StealTasks, now: float) -> None:
        answer = TasksReturned([], [], "stolen", [], [])
        candidates: list[TaskState] = []
        for key in message.keys:
            ts = self.tasks.get(key)
            if ts is not None and ts.state in ("waiting", "ready"):
                answer.keys.append(key)
                answer.seqs.append(ts.seq)
                self._forget(ts)
            elif ts is not None and ts.state == "executing":
                candidates.append(ts)
            else:
                answer.refused.append(key)
        if candidates:
            self._take_back(candidates, "steal", answer)
        else:
            self.outbox.send(answer)

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
                    self._return_missing(waiting, key, [*(ts.failed or ()), self.address])

    def _stop_waiting(self, key: Key, dep: Key) -> None:
        source = self.tasks.get(dep)
        if source is None or not source.dependents:
            return
        source.dependents.pop(key, None)
        if source.state == "fetch" and not source.dependents and not source.acquire:
            self._forget(source)

    def _return_missing(self, ts: TaskState, dep: Key, addresses: list[str]) -> None:
        message = self.outbox.returned(ts.key, ts.seq, "missing")
        message.missing.append((dep, addresses))
        if ts.waits:
            ts.waits.discard(dep)
        self._forget(ts)

    # ------------------------------------------------------------ dependencies and replicas

    def _handle_acquire_replicas(self, message: AcquireReplicas, now: float) -> None:
        for key, nbytes, addresses in message.holders:
            if key in self.data:
                self.outbox.replica_added(key, self.tasks[key].nbytes)
            elif self._want(key, nbytes, addresses):
                self.tasks[key].acquire = True
            else:
                self.outbox.replica_missing(key, addresses)

    def _want(self, key: Key, nbytes: int, addresses: list[str]) -> bool:
        """See to it that this key gets here. False: nobody can deliver it."""
        ts = self.tasks.get(key)
        if ts is None:
            holders = self.fetching.candidates(addresses, [])
            if not holders:
                return False
            ts = self.tasks[key] = TaskState(key, state="released", nbytes=nbytes, holders=holders, failed=[])
            self._move(ts, "fetch")
            self.fetching.add(ts)
        elif ts.state in ("fetch", "flight"):
            known = set(ts.holders)
            ts.holders.extend(h for h in self.fetching.candidates(addresses, ts.failed) if h not in known)
            if ts.state == "fetch":
                self.fetching.add(ts)
        return True

    def _fetch_more(self, now: float) -> None:
        for gather, batch in self.fetching.next_requests(now):
            self._begin("fetch")
            for ts in batch:
                self._move(ts, "flight")
            self._instructions.append(gather)

    def gathered(self, worker: str, results: Iterable[tuple[Key, Any, int]], now: float) -> None:
        """``worker`` answered a Gather with these (key, value, nbytes); keys it left out it does not hold."""
        self._begin("gathered")
        asked = {ts.key: ts for ts in self.fetching.answered(worker)}
        for key, value, nbytes in results:
            ts = asked.pop(key, None)
            if ts is None or ts.state != "flight" or self.tasks.get(key) is not ts:
                continue
            if not ts.dependents and not ts.acquire:  # nobody waits for it any more
                self._forget(ts)
                continue
            self._into_memory(ts, value, nbytes, "")
            self.outbox.replica_added(key, nbytes)
        for ts in asked.values():
            self._not_delivered(ts, worker)

    def gather_failed(self, worker: str, now: float, *, busy: bool = False) -> None:
        """``worker`` could not be asked, or (``busy``) wants to be asked later."""
        self._begin("busy" if busy else "gather-failed")
        batch = self.fetching.answered(worker)
        if busy:
            self.fetching.busy(worker, now)
            for ts in batch:
                if ts.state == "flight" and self.tasks.get(ts.key) is ts:
                    if ts.dependents or ts.acquire:
                        self._move(ts, "fetch")
                        self.fetching.add(ts)
                    else:
                        self._forget(ts)
            return
        for ts in [*batch, *self.fetching.pending.get(worker, {}).values()]:
            self._not_delivered(ts, worker)

    def _not_delivered(self, ts: TaskState, worker: str) -> None:
        """This holder does not count any more: try another, or give up."""
        if ts.state not in ("fetch", "flight") or self.tasks.get(ts.key) is not ts:
            return
        if ts.state == "fetch":
            self.fetching.lose(worker, ts)
        if worker in ts.holders:
            ts.holders.remove(worker)
        ts.failed.append(worker)
        if ts.holders and (ts.dependents or ts.acquire):
            if ts.state == "flight":
                self._move(ts, "fetch")
                self.fetching.add(ts)
            return
        if ts.acquire:
            self.outbox.replica_missing(ts.key, ts.failed)
        self._forget(ts)

    def _into_memory(self, ts: TaskState, value: Any, nbytes: int, typename: str) -> None:
        self.data[ts.key] = value
        self._move(ts, "memory")
        self.nbytes += nbytes
        ts.nbytes, ts.type = nbytes, typename
        ts.holders = ts.failed = ts.group = ts.args = None
        ts.deps = ()
        ts.acquire = False
        if ts.dependents:
            self._wake_dependents(ts)

    def _wake_dependents(self, ts: TaskState) -> None:
        dependents, ts.dependents = ts.dependents, None
        for key in dependents:
            self._arrived(self.tasks[key], ts.key)

    def _arrived(self, ts: TaskState, dep: Key) -> None:
        ts.waits.discard(dep)
        if not ts.waits:
            self._make_ready(ts)

    def scattered(self, items: Iterable[tuple[Key, Any, int, str]]) -> None:
        """Data sent straight to this worker: (key, value, nbytes, type name)."""
        self._begin("scattered")
        for key, value, nbytes, typename in items:
            ts = self.tasks.get(key)
            if ts is not None and ts.state == "memory":
                self.nbytes += nbytes - ts.nbytes
                self.data[key] = value
                ts.nbytes, ts.type = nbytes, typename
                continue
            if ts is not None and ts.state in ("executing", "long-running"):
                self._discard(ts)
                del self.tasks[key]
                self._move(ts, "released")
                self._take_back([ts], "free")
                dependents, ts.dependents = ts.dependents, None
                ts = self.tasks[key] = TaskState(key, state="released", dependents=dependents)
            elif ts is None:
                ts = self.tasks[key] = TaskState(key, state="released")
            elif ts.state == "fetch":
                self.fetching.remove(ts)
            elif ts.waits:
                waits, ts.waits = ts.waits, None
                for dep in waits - {key}:
                    self._stop_waiting(key, dep)
            self._into_memory(ts, value, nbytes, typename)

    # ------------------------------------------------------------ the worker itself

    def _handle_set_status(self, message: SetWorkerStatus, now: float) -> None:
        self._set_status(message.status)

    def set_status(self, status: str) -> None:
        """The worker itself changes its status; the scheduler is told."""
        if status != self.status:
            self._begin(f"status-{status}")
            self._set_status(status)
            self.outbox.send(WorkerStatusChanged(status))

    def _set_status(self, status: str) -> None:
        if status not in ("running", "paused", "closing_gracefully"):
            raise ValueError(
                f"a worker cannot be told to be {status!r}: running, paused or closing_gracefully"
            )
        self.status = status
        if status == "running":
            self._start_ready()
            return
        executing = [ts for ts in self.tasks.values() if ts.state == "executing"]
        if status == "paused":
            if executing:
                self._take_back(executing, "pause")
            return
        for ts in [ts for ts in self.tasks.values() if ts.state in ("waiting", "ready")]:
            if self.tasks.get(ts.key) is ts:
                self.outbox.returned(ts.key, ts.seq, "closing")
                self._forget(ts)
        if executing:
            self._take_back(executing, "closing")

    def _handle_close(self, message: CloseWorker, now: float) -> None:
        self._instructions.append(Close(message.reason, message.nanny))

    def _report_finished(self, ts: TaskState) -> None:
        message = self.outbox.finished()
        message.keys.append(ts.key)
        message.seqs.append(ts.seq)
        message.nbytes.append(ts.nbytes)
        message.durations.append(ts.duration)
        message.types.append(ts.type)
        message.values.append(None)

    # ------------------------------------------------------------ another connection to a scheduler

    def scheduler_lost(self) -> None:
        """Call before registering anew: what is only promised is forgotten, data, what runs and what ended are kept.

        The next scheduler knows of nothing but what :meth:`holding` and :meth:`running` tell it, so tasks that no
        thread has started are taken back from the executor and dropped. Carry out the instructions, then call
        :meth:`forget_unsent`, before asking for those lists.
        """
        self._begin("scheduler-lost")
        self.functions.clear()
        for ts in list(self.tasks.values()):
            if self.tasks.get(ts.key) is ts and ts.state in ("waiting", "ready"):
                self._forget(ts)
        for ts in list(self.tasks.values()):
            if self.tasks.get(ts.key) is ts and ts.state in ("fetch", "flight"):
                self._forget(ts)
        executing = [ts for ts in self.tasks.values() if ts.state == "executing"]
        if executing:
            self._take_back(executing, "closing")

    def forget_unsent(self) -> None:
        """Drop what was to be said to a scheduler that is gone, except results and errors of tasks."""
        self.outbox.keep_outcomes()

    def holding(self) -> list[list[Any]]:
        """[key, nbytes, type] of everything in memory."""
        return [[ts.key, ts.nbytes, ts.type] for ts in self.tasks.values() if ts.state == "memory"]

    def running(self) -> list[list[Any]]:
        """[key, seq] of everything that executes."""
        return [[ts.key, ts.seq] for ts in self.tasks.values() if ts.state in ("executing", "long-running")]


__all__ = ["Completion", "Gather", "WorkerState"]
