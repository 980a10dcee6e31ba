"""What programs read on a live scheduler: its workers, tasks and memory from many sides. Nothing here changes anything.

What is not a plain look-up says so: it goes through all tasks, and belongs into no hot path.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from distributed.comm.addressing import (
    coerce_to_address,
    get_address_host,
    normalize_address,
    resolve_address,
)
from distributed.protocol.messages import Key
from distributed.scheduler.base import SchedulerBase
from distributed.scheduler.groups import TaskGroup, groups_of
from distributed.scheduler.state import placement
from distributed.scheduler.state.records import UNKNOWN_DURATION

if TYPE_CHECKING:
    from distributed.scheduler.state import TaskState, WorkerState


class MemoryUse(NamedTuple):
    """Bytes of memory; ``managed`` are results that tasks left, ``unmanaged`` all else that the processes hold."""

    process: int
    managed: int

    @property
    def unmanaged(self) -> int:
        return max(0, self.process - self.managed)

    @property
    def optimistic(self) -> int:
        """What would be left if all that is not managed were given back."""
        return self.managed


class Introspection(SchedulerBase):
    """Mixed into :class:`~distributed.scheduler.server.Scheduler`."""

    #: Expected seconds of a task of a function that has not run yet.
    UNKNOWN_TASK_DURATION = UNKNOWN_DURATION

    _idle_from: float | None = None
    _nthreads_history: deque[tuple[float, int]]

    def introspection_handlers(self) -> dict[str, Any]:
        self._nthreads_history = deque([(time.time(), 0)], maxlen=1000)
        return {
            "check_idle": self.check_idle,
            "get_memory": self.get_memory,
            "get_progress": self.get_progress,
        }

    # ------------------------------------------------------------ workers

    @property
    def running(self) -> set[WorkerState]:
        """Workers that take tasks: neither paused nor leaving."""
        return {ws for ws in self.state.workers.values() if ws.status == "running"}

    @property
    def idle(self) -> dict[str, WorkerState]:
        """Workers that take tasks and have none, by address."""
        return {ws.address: ws for ws in self.running if not ws.processing and not ws.backlog}

    @property
    def saturated(self) -> set[WorkerState]:
        """Workers that take tasks and have been given enough of them for now."""
        return {ws for ws in self.running if not placement.has_room(self.state, ws)}

    @property
    def idle_task_count(self) -> set[WorkerState]:
        """Workers that take tasks and have fewer of them than threads."""
        return {ws for ws in self.running if len(ws.processing) < ws.nthreads}

    @property
    def aliases(self) -> dict[Any, str]:
        """Address of each worker, by its name."""
        return {ws.name: ws.address for ws in self.state.workers.values()}

    @property
    def host_info(self) -> dict[str, dict[str, Any]]:
        """By host: ``addresses`` of its workers and the sum of their ``nthreads``."""
        hosts: dict[str, dict[str, Any]] = {}
        for ws in self.state.workers.values():
            info = hosts.setdefault(ws.host, {"addresses": set(), "nthreads": 0})
            info["addresses"].add(ws.address)
            info["nthreads"] += ws.nthreads
        return hosts

    @property
    def resources(self) -> dict[str, dict[str, float]]:
        """By resource: the amount of each worker, by address."""
        found: dict[str, dict[str, float]] = {}
        for ws in self.state.workers.values():
            for name, amount in ws.resources.items():
                found.setdefault(name, {})[ws.address] = amount
        return found

    @property
    def total_memory(self) -> int:
        """Bytes that all workers together may use."""
        return sum(ws.memory_limit for ws in self.state.workers.values())

    @property
    def memory(self) -> MemoryUse:
        """Bytes that all workers together use, by their last heartbeats."""
        workers = self.state.workers.values()
        return MemoryUse(
            process=sum(int(ws.metrics.get("memory", 0)) for ws in workers),
            managed=sum(ws.nbytes for ws in workers),
        )

    def get_memory(self, measure: str = "process") -> int:
        """One of the numbers of :attr:`memory`, by its name."""
        return int(getattr(self.memory, measure))

    @property
    def bandwidth(self) -> float:
        """Bytes a second that are expected between two workers."""
        return self.state.settings.bandwidth

    @property
    def total_nthreads_history(self) -> deque[tuple[float, int]]:
        """Pairs of time (seconds since the epoch) and threads of all workers together, one each time they changed."""
        return self._nthreads_history

    def note_workers_changed(self) -> None:
        total = sum(ws.nthreads for ws in self.state.workers.values())
        if self._nthreads_history[-1][1] != total:
            self._nthreads_history.append((time.time(), total))
        super().note_workers_changed()

    def workers_list(self, workers: Iterable[Any] | None) -> list[str]:
        """Addresses of the workers with these addresses, names or hosts; all of them if None."""
        if workers is None:
            return list(self.state.workers)
        wanted = {str(worker) for worker in workers}
        return [ws.address for ws in self.state.workers.values() if not wanted.isdisjoint(ws.identifiers())]

    def coerce_address(self, addr: Any, resolve: bool = True) -> str:
        """The address that is meant by an address, a (host, port) pair, or the name of a worker."""
        if addr in self.aliases:
            return self.aliases[addr]
        address = normalize_address(coerce_to_address(addr))
        return resolve_address(address) if resolve else address

    def coerce_hostname(self, host: Any) -> str:
        """The host that is meant by a host, or by the name of a worker on it."""
        address = self.aliases.get(host)
        return get_address_host(address) if address is not None else str(host)

    def get_worker_service_addr(
        self, worker: str, service_name: str, protocol: bool = False
    ) -> tuple[str, int] | str | None:
        """Host and port of a worker's service; ``protocol``: as an address with the worker's scheme.

        None when it has no such service.
        """
        ws = self.state.workers[worker]
        port = (ws.extra.get("services") or {}).get(service_name)
        if port is None:
            return None
        return f"{worker.partition('://')[0]}://{ws.host}:{port}" if protocol else (ws.host, port)

    def is_unoccupied(self, ws: WorkerState, occupancy: float, nprocessing: int) -> bool:
        """Whether a worker with so much to do (seconds, tasks) could be given more."""
        return nprocessing < ws.nthreads or occupancy < self.state.settings.prefetch * ws.nthreads

    # ------------------------------------------------------------ tasks

    @property
    def n_tasks(self) -> int:
        """Tasks that this scheduler has ever known."""
        return self.state.next_seq - self.state.first_seq

    @property
    def queued(self) -> list[TaskState]:
        """Tasks that could run and wait for a worker to have room, unless they wait for a certain one."""
        return sorted(self.state.queue, key=lambda ts: ts.priority)

    @property
    def erred_tasks(self) -> list[TaskState]:
        """Tasks that have erred. Goes through all tasks."""
        return [ts for ts in self.state.tasks.values() if ts.state == "erred"]

    @property
    def replicated_tasks(self) -> set[TaskState]:
        """Tasks whose result more than one worker holds. Goes through all tasks."""
        return {ts for ts in self.state.tasks.values() if len(ts.who_has) > 1}

    @property
    def task_groups(self) -> dict[str, TaskGroup]:
        """Tasks that came from one call or collection, together, by the common part of their keys.

        Goes through all tasks.
        """
        return groups_of(self.state.tasks.values())

    def get_progress(self, keys: Iterable[Key]) -> list[list[Any]]:
        """Pairs of key and state of these tasks and of all that they depend on. None for the state of unknown ones."""
        seen: dict[TaskState, None] = {}
        unknown = []
        for key in keys:
            ts = self.state.tasks.get(key)
            if ts is None:
                unknown.append([key, None])
            else:
                seen[ts] = None
        stack = list(seen)
        while stack:
            for dep in stack.pop().dependencies:
                if dep not in seen:
                    seen[dep] = None
                    stack.append(dep)
        return [[ts.key, ts.state] for ts in seen] + unknown

    def get_task_prefix_states(self) -> dict[str, dict[str, int]]:
        """By name: how many of its tasks are in each state. Goes through all tasks."""
        counts: dict[str, Counter[str]] = {}
        for ts in self.state.tasks.values():
            if ts.prefix is not None:
                counts.setdefault(ts.prefix.name, Counter())[ts.state] += 1
        return {name: dict(states) for name, states in counts.items()}

    def metrics_of_now(self) -> dict[str, float]:
        """Of every server, and how many workers, threads, clients and tasks there are. Goes through all tasks."""
        states = Counter(ts.state for ts in self.state.tasks.values())
        return {
            **super().metrics_of_now(),
            "workers": len(self.state.workers),
            "threads": sum(ws.nthreads for ws in self.state.workers.values()),
            "clients": len(self.state.clients),
            "tasks": len(self.state.tasks),
            **{f"tasks_{state.replace('-', '_')}": count for state, count in states.items()},
        }

    @property
    def transition_log(self) -> list[tuple[Key, str, str, str, float]]:
        """The last transitions of tasks: (key, start, finish, stimulus_id, time), oldest first."""
        return [
            (key, start, finish, f"{kind}-{source}-{number}", when)
            for key, start, finish, (kind, source, number), when in self.state.log
        ]

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to compute."""
        state = self.state
        busy = state.queue or state.backlogged or state.asides or state.unrunnable
        return not busy and not any(ws.processing for ws in state.workers.values())

    def check_idle(self) -> float | None:
        """Since when (seconds since the epoch) every call found nothing to compute; None when there is something."""
        if not self.is_idle:
            self._idle_from = None
        elif self._idle_from is None:
            self._idle_from = time.time()
        return self._idle_from

    # ------------------------------------------------------------ decisions

    def valid_workers(self, ts: TaskState) -> set[WorkerState] | None:
        """Workers that may run a task; None: any of them may."""
        if ts.spec is None or not ts.spec.restricted:
            return None
        return set(placement.candidates(self.state, ts.spec))

    def get_comm_cost(self, ts: TaskState, ws: WorkerState) -> float:
        """Seconds it would take to bring to a worker what a task needs and it does not have."""
        return placement.fetch_time(self.state, ts, ws)

    def worker_objective(self, ts: TaskState, ws: WorkerState) -> tuple[float, int]:
        """What is least for the worker that a task is best given to: seconds until it starts there, bytes it holds."""
        return placement.start_delay(self.state, ts, ws), ws.nbytes

    # ------------------------------------------------------------ invariants

    def validate_state(self, allow_overlap: bool = False) -> None:
        """Check every invariant of the state machine; AssertionError when one does not hold. Slow.

        ``allow_overlap`` is accepted, without a meaning.
        """
        self.state.validate()

    def validate_key(self, key: Key, ts: TaskState | None = None) -> None:
        """As :meth:`validate_state`, and the task must be known: KeyError else."""
        assert ts is None or self.state.tasks[key] is ts, f"{ts!r} is not the record of {key!r}"
        self._validate(key, self.state.tasks[key].state)

    def _validate(self, key: Key, state: str) -> None:
        ts = self.state.tasks[key]
        assert ts.state == state, f"{key!r} is {ts.state}, not {state}"
        self.state.validate()

    def validate_released(self, key: Key) -> None:
        """As :meth:`validate_key`, and the task must be released."""
        self._validate(key, "released")

    def validate_waiting(self, key: Key) -> None:
        """As :meth:`validate_key`, and the task must wait for dependencies."""
        self._validate(key, "waiting")

    def validate_no_worker(self, key: Key) -> None:
        """As :meth:`validate_key`, and no worker may be able to take the task."""
        self._validate(key, "no-worker")

    def validate_queued(self, key: Key) -> None:
        """As :meth:`validate_key`, and the task must wait for a worker to have room."""
        self._validate(key, "queued")

    def validate_processing(self, key: Key) -> None:
        """As :meth:`validate_key`, and a worker must have been given the task."""
        self._validate(key, "processing")

    def validate_memory(self, key: Key) -> None:
        """As :meth:`validate_key`, and a worker must hold the task's result."""
        self._validate(key, "memory")

    def validate_erred(self, key: Key) -> None:
        """As :meth:`validate_key`, and the task must have erred."""
        self._validate(key, "erred")
