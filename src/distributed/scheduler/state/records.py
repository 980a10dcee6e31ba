"""What the scheduler knows: one record a task, worker, client, function; no behaviour beyond their own bookkeeping.

Collections are tuples and dicts, never sets of objects: their order is the same in every run, so that a seed replays
a simulated network exactly.  Tasks come in millions, hence slots, and empty collections are shared.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from distributed.protocol.messages import Key, TaskError, TaskOptions
from distributed.protocol.payload import Payload
from distributed.scheduler.state.queue import TaskQueue

#: Shared by all tasks without dependents; never written to.
NO_TASKS: dict[TaskState, None] = {}

#: Tasks in these states are still to be computed, so they need their dependencies.
PENDING_STATES = frozenset({"waiting", "no-worker", "queued", "processing"})

#: Expected seconds of a task of a function that has not run yet.
UNKNOWN_DURATION = 0.5

#: No task is expected to take less than this many seconds: the engine itself costs about that.
SHORTEST_DURATION = 20e-6


class Function:
    """A pickled function and who can be told of it by its id alone."""

    __slots__ = ("blob", "clients", "fn", "ntasks", "workers")

    def __init__(self, fn: bytes, blob: Payload) -> None:
        self.fn = fn
        self.blob = blob
        self.ntasks = 0
        self.clients: dict[str, None] = {}
        self.workers: dict[WorkerState, None] = {}


class TaskPrefix:
    """What is learnt about all tasks of one name. ``duration_average`` in seconds, negative while unknown."""

    __slots__ = ("duration_average", "expected", "name", "nerred", "nfinished")

    def __init__(self, name: str) -> None:
        self.name = name
        self.duration_average = -1.0
        self.expected = UNKNOWN_DURATION
        self.nfinished = 0
        self.nerred = 0

    def add_durations(self, total: float, count: int) -> None:
        """Take ``count`` runs of ``total`` seconds together into the running average (weights fade by half)."""
        mean = total / count
        old = self.duration_average
        weight = 0.5 if count < 10 else 0.9
        self.duration_average = mean if old < 0 else old + weight * (mean - old)
        self.expected = max(self.duration_average, SHORTEST_DURATION)
        self.nfinished += count

    def __repr__(self) -> str:
        return f"<TaskPrefix {self.name!r} {self.duration_average:.6f}s>"


class TaskSpec:
    """What many tasks share: their function and their options. Interned, counted by its tasks."""

    __slots__ = (
        "candidates",
        "candidates_version",
        "fn",
        "name",
        "ntasks",
        "options",
        "prefix",
        "restricted",
    )

    def __init__(self, fn: bytes, name: str, options: TaskOptions, prefix: TaskPrefix) -> None:
        self.fn = fn
        self.name = name
        self.options = options
        self.prefix = prefix
        self.ntasks = 0
        self.restricted = bool(options.workers or options.resources)
        self.candidates: dict[WorkerState, None] = {}
        self.candidates_version = -1


class TaskState:
    """One task, from its submission until nobody needs it.

    Attributes
    ----------
    key : str, int, float, bytes or tuple
    seq : int
        Running number of this submission; orders tasks of equal priority.
    spec : TaskSpec or None
        None for data that was scattered or found on a worker: it cannot be computed again.
    state : str
        One of the states of :mod:`distributed.scheduler.state.table`.
    nwaiting : int
        Number of dependencies that are not in memory; meaningful while ``waiting``.
    nwaiters : int
        Number of dependents that are still to be computed.
    client : ClientState or None
        Who submitted it first.
    who_wants : tuple of ClientState
    who_has : tuple of WorkerState
    nbytes : int
        Size of the result, bytes; negative while unknown.
    suspicious : int
        Number of workers that died while this task was surely running on them; who and how is in ``Index.suspects``.
    history : bool
        Its result is gone and others were computed from it: counted in ``lineage_nbytes``.
    immovable : dict of WorkerState to str, or None
        The holders that cannot hand the result out, and why; see :mod:`immovable`.
    careful : bool
        Was among many tasks on a worker that died: run it without company until it has proved harmless.
    work : bytes
        What the key stands for, where the key alone does not say it; see :mod:`works`.
    """

    __slots__ = (
        "args",
        "careful",
        "client",
        "dependencies",
        "dependents",
        "error",
        "history",
        "immovable",
        "key",
        "nbytes",
        "nwaiters",
        "nwaiting",
        "processing_on",
        "queue",
        "retries",
        "seq",
        "spec",
        "state",
        "suspicious",
        "type",
        "who_has",
        "who_wants",
        "work",
    )

    def __init__(
        self, key: Key, seq: int, spec: TaskSpec | None, args: Payload, dependencies: tuple[TaskState, ...]
    ) -> None:
        self.key = key
        self.work = b""
        self.seq = seq
        self.spec = spec
        self.args = args
        self.dependencies = dependencies
        self.dependents = NO_TASKS
        self.state = "released"
        self.nwaiting = 0
        self.nwaiters = 0
        self.who_wants: tuple[ClientState, ...] = ()
        self.who_has: tuple[WorkerState, ...] = ()
        self.client: ClientState | None = None
        self.processing_on: WorkerState | None = None
        self.queue: TaskQueue | None = None
        self.nbytes = -1
        self.type = ""
        self.error: TaskError | None = None
        self.suspicious = 0
        self.careful = False
        self.history = False
        self.immovable: dict[WorkerState, str] | None = None
        self.retries = 0 if spec is None else spec.options.retries

    def __repr__(self) -> str:
        return f"<TaskState {self.key!r} {self.state}>"

    def __lt__(self, other: TaskState) -> bool:
        """So that heaps take two tasks of one ``seq``, as two schedulers before this one may have given it."""
        return False

    @property
    def needed(self) -> bool:
        """Whether somebody waits for the result."""
        return bool(self.who_wants) or self.nwaiters > 0

    @property
    def prefix(self) -> TaskPrefix | None:
        return None if self.spec is None else self.spec.prefix

    @property
    def priority(self) -> tuple[int, int]:
        """Lower runs first."""
        return (0 if self.spec is None else -self.spec.options.priority, self.seq)

    @property
    def waiting_on(self) -> set[TaskState]:
        """Dependencies that are not in memory, for a task that waits."""
        return {d for d in self.dependencies if d.state != "memory"} if self.state == "waiting" else set()

    @property
    def waiters(self) -> set[TaskState]:
        """Dependents that are still to be computed."""
        return {d for d in self.dependents if d.state in PENDING_STATES}

    @property
    def erred_on(self) -> set[str]:
        """Addresses of workers on which the task erred."""
        return set() if self.error is None else set(self.error.erred_on)

    @property
    def exception_text(self) -> str:
        return "" if self.error is None else self.error.exception_text

    @property
    def traceback_text(self) -> str:
        return "" if self.error is None else self.error.traceback_text

    @property
    def exception(self) -> Payload | None:
        """Payload of the exception; the scheduler does not look inside."""
        return None if self.error is None else self.error.exception

    @property
    def traceback(self) -> Payload | None:
        return None if self.error is None else self.error.traceback

    @property
    def annotations(self) -> bytes:
        return b"" if self.spec is None else self.spec.options.annotations


class WorkerState:
    """One worker as the scheduler sees it.

    Attributes
    ----------
    occupancy : float
        Expected seconds of the tasks it was given.
    backlog : TaskQueue
        Runnable tasks that prefer this worker and have not been sent to it.
    steal_asked : bool
        A StealTasks is under way.
    last_seen, last_vouched : float
        When it spoke last; when its nanny said last that it lives.
    """

    __slots__ = (
        "address",
        "alone",
        "backlog",
        "extra",
        "functions",
        "has_what",
        "host",
        "last_completion",
        "last_seen",
        "last_vouched",
        "long_running",
        "memory_limit",
        "metrics",
        "name",
        "nbytes",
        "ncareful",
        "nthreads",
        "occupancy",
        "processing",
        "resources",
        "server_id",
        "status",
        "steal_asked",
    )

    def __init__(
        self,
        address: str,
        *,
        name: Any = None,
        nthreads: int = 1,
        memory_limit: int = 0,
        resources: dict[str, float] | None = None,
        host: str = "",
        server_id: str = "",
        now: float = 0.0,
        extra: dict[str, Any] | None = None,
    ) -> None:
        self.address = address
        self.name = address if name is None else name
        self.nthreads = nthreads
        self.memory_limit = memory_limit
        self.resources = resources or {}
        self.host = host
        self.server_id = server_id
        self.status = "running"
        self.last_seen = now
        self.last_vouched = now
        self.last_completion = now
        self.metrics: dict[str, Any] = {}
        self.extra = extra or {}
        self.alone: tuple[WorkerState, ...] = (self,)
        self.functions: dict[Function, None] = {}
        self.has_what: dict[TaskState, None] = {}
        self.processing: dict[TaskState, float] = {}
        self.long_running: dict[TaskState, None] = {}
        self.ncareful = 0
        self.occupancy = 0.0
        self.nbytes = 0
        self.backlog = TaskQueue()
        self.steal_asked = False

    def __repr__(self) -> str:
        return f"<WorkerState {self.address} {self.status} has {len(self.has_what)} processing {len(self.processing)}>"

    @property
    def used_resources(self) -> dict[str, float]:
        """Amounts that the tasks given to this worker ask for."""
        used = dict.fromkeys(self.resources, 0.0)
        for ts in self.processing:
            if ts.spec is not None:
                for resource, amount in ts.spec.options.resources:
                    used[resource] = used.get(resource, 0.0) + amount
        return used

    def identifiers(self) -> Iterator[Any]:
        """Everything a user may call this worker by in ``workers=``."""
        yield self.address
        yield str(self.name)
        yield self.host


class ClientState:
    """One client.

    Attributes
    ----------
    disconnected_at : float or None
        None while it is there, else the time its connection was lost.
    unconfirmed : dict of TaskState
        What it wanted before it came back and has not asked for again: what it released meanwhile nobody told us.
    graphs : dict of int to dict of TaskState to int
        Of each graph that is arriving in pieces: how many dependents of a task are announced and have not come.
    stale_graphs : list of dict of TaskState to int
        The same of graphs that its lost connection cut off.
    refused : dict of keys
        What it told again, and cannot have: these keys were used for other work meanwhile.
    """

    __slots__ = (
        "alone",
        "aside",
        "confirm_until",
        "disconnected_at",
        "functions",
        "graphs",
        "last_seen",
        "name",
        "refused",
        "stale_graphs",
        "unconfirmed",
        "wants_what",
    )

    def __init__(self, name: str, now: float = 0.0) -> None:
        self.name = name
        self.wants_what: dict[TaskState, None] = {}
        self.functions: dict[Function, None] = {}
        self.alone: tuple[ClientState, ...] = (self,)
        self.last_seen = now
        self.disconnected_at: float | None = None
        self.unconfirmed: dict[TaskState, None] = {}
        self.confirm_until = 0.0
        self.graphs: dict[int, dict[TaskState, int]] = {}
        self.stale_graphs: list[dict[TaskState, int]] = []
        self.aside = TaskQueue()
        self.refused: dict[Key, None] = {}

    def __repr__(self) -> str:
        return f"<ClientState {self.name} wants {len(self.wants_what)}>"
