"""The worker's state machine.

Messages of the scheduler go into :meth:`WorkerState.handle`; what the shell did comes back through the events
(``tasks_completed``, ``gathered``, ``taken_back``...). Nothing is returned: messages for the scheduler and
instructions for the shell collect until :meth:`WorkerState.drain`. Time comes in as ``now``, in seconds of any clock.

Rules
-----
* A task that cannot get its dependencies is returned to the scheduler, never kept.
* Results are matched to tasks by identity of the ``TaskState``: whatever a discarded run delivers is dropped.
* A task that is discarded while it runs may be run anew only after that run has ended; other work under its key may at
  once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import repeat
from typing import Any, TypeAlias

from distributed.protocol.messages import (
    AcquireReplicas,
    CloseWorker,
    DropFunctions,
    FreeKeys,
    Key,
    Message,
    PeersGone,
    PutFunctions,
    ReplicasMissing,
    RunTasks,
    SetWorkerStatus,
    StealTasks,
    TaskError,
    TasksReturned,
    WorkerStatusChanged,
)
from distributed.protocol.payload import Payload, pack
from distributed.worker.state.instructions import Close, TakeBack
from distributed.worker.state.replicas import NOTHING, Replicas
from distributed.worker.state.tasks import Function, TaskGroup, TaskState

#: A finished task: task, value, nbytes, type name, inline payload or None, seconds.
Completion: TypeAlias = tuple[TaskState, Any, int, str, Payload | None, float]


class WorkerState(Replicas):
    """What one worker knows and what it is about to do.

    Parameters
    ----------
    address : str
        The worker's own address.
    data : mutable mapping of key to value, optional
        Where results are put; the machine alone adds and removes.
    nthreads : int
        Tasks that may run at the same time; only kept for those who ask.
    resources : dict of str to float
        What tasks with ``resources`` may use altogether.
    history : int
        Transitions remembered for :meth:`story`.
    fetching : Fetching, optional
        Limits for fetching from peers.
    """

    def __init__(self, address: str = "", **kwargs: Any) -> None:
        super().__init__(address, **kwargs)
        self._handlers: dict[type, Callable[[Any, float], None]] = {
            RunTasks: self._handle_run_tasks,
            FreeKeys: self._handle_free_keys,
            StealTasks: self._handle_steal_tasks,
            PutFunctions: self._handle_put_functions,
            DropFunctions: self._handle_drop_functions,
            AcquireReplicas: self._handle_acquire_replicas,
            SetWorkerStatus: self._handle_set_status,
            CloseWorker: self._handle_close,
            PeersGone: self._handle_peers_gone,
        }

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

    def validate(self) -> None:
        """Check all invariants. Slow. Raises AssertionError."""
        from distributed.worker.state.validation import validate

        validate(self)

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
        if message.deps is not None or message.works is not None:
            works = dict(message.dep_works)
            holders = {key: (nbytes, addresses) for key, nbytes, addresses in message.holders}
            for key, args, seq, deps, work in zip(
                message.keys,
                message.args,
                message.seqs,
                message.deps or repeat(()),
                message.works or repeat(b""),
                strict=False,
            ):
                self._run(key, group, args, seq, work, deps, holders, works)
            return
        if group.resources or self.status != "running":
            for key, args, seq in zip(message.keys, message.args, message.seqs, strict=True):
                self._run(key, group, args, seq)
            return
        tasks = self.tasks
        discarded = self.discarded
        execute = self._execute
        history = self.history
        stimulus = self._stimulus
        counted = self.executing_count - len(execute)
        for key, args, seq in zip(message.keys, message.args, message.seqs, strict=True):
            if key in tasks or (discarded and (key, b"") in discarded):
                self._run(key, group, args, seq)
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
        work: bytes = b"",
        deps: Iterable[Key] = (),
        holders: Mapping[Key, tuple[int, list[str]]] = NOTHING,
        works: Mapping[Key, bytes] = NOTHING,
    ) -> None:
        ts = self.tasks.get(key)
        if ts is not None and ts.work != work:
            if seq < ts.since:
                return
            self._make_way(ts)
            ts = None
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
        self._answer_order(ts)
        ts.seq, ts.group, ts.args, ts.deps = seq, group, args, tuple(dict.fromkeys(deps))
        ts.work = work
        ts.holders = ts.failed = None
        waits: set[Key] = set()
        if (key, work) in self.discarded:
            waits.add(key)
        for dep in ts.deps:
            if dep not in self.data or (dep in works and self.tasks[dep].work != works[dep]):
                nbytes, addresses = holders.get(dep, (0, []))
                stale = dep in self.data and seq < self.tasks[dep].since
                if dep == key or stale or not self._want(dep, nbytes, addresses, works.get(dep, b"")):
                    self._return_missing(ts, dep, addresses, works.get(dep, b""))
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

    def _report_finished(self, ts: TaskState) -> None:
        message = self.outbox.finished()
        message.keys.append(ts.key)
        message.seqs.append(ts.seq)
        message.nbytes.append(ts.nbytes)
        message.durations.append(ts.duration)
        message.types.append(ts.type)
        message.values.append(None)

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
                if ts.told > message.heard:
                    works = [(key, ts.work)] if ts.work else []
                    self.outbox.send(ReplicasMissing([(key, [self.address])], works))
                elif ts.spared and ts.spared >= message.number > 0:
                    continue
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

    # ------------------------------------------------------------ the worker itself

    def _handle_set_status(self, message: SetWorkerStatus, now: float) -> None:
        """One that paused itself stays so when it need not leave after all; the scheduler may have missed it."""
        if message.status == "running" and self.own_status == "paused":
            self._set_status("paused")
            self.outbox.send(WorkerStatusChanged("paused"))
        else:
            self._set_status(message.status)

    def set_status(self, status: str) -> None:
        """The worker itself changes its status; the scheduler is told, unless the worker leaves anyway."""
        self.own_status = status
        if status != self.status and self.status != "closing_gracefully":
            self._begin(f"status-{status}")
            self._set_status(status)
            self.outbox.send(WorkerStatusChanged(status))

    def set_resources(self, resources: dict[str, float]) -> None:
        """The worker has these amounts from now on, beside those it has of others."""
        self._begin("set-resources")
        for name, amount in resources.items():
            used = self.total_resources.get(name, 0.0) - self.available_resources.get(name, 0.0)
            self.total_resources[name] = amount
            self.available_resources[name] = amount - used
        if self.status == "running":
            self._start_ready()

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
        for ts in self.tasks.values():
            ts.told = ts.spared = ts.since = 0

    def holding(self) -> list[list[Any]]:
        """[key, nbytes, type, work] of everything in memory."""
        return [[ts.key, ts.nbytes, ts.type, ts.work] for ts in self.tasks.values() if ts.state == "memory"]

    def running(self) -> list[list[Any]]:
        """[key, seq, work] of everything that executes."""
        return [
            [ts.key, ts.seq, ts.work]
            for ts in self.tasks.values()
            if ts.state in ("executing", "long-running")
        ]
