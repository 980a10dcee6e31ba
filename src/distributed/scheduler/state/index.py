"""The index: every record the scheduler has, and the one place where a task's state changes.

What happens to a task is in :mod:`lifecycle`, where it runs in :mod:`placement`, what clients and workers say in
:mod:`client_events` and :mod:`worker_events`; all are functions over this index.
"""

from __future__ import annotations

import math
import random
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Any

from distributed.protocol.messages import DropFunctions, Key, TaskOptions
from distributed.protocol.payload import Payload
from distributed.scheduler.state.outbox import Outbox
from distributed.scheduler.state.partings import Parting
from distributed.scheduler.state.queue import TaskQueue
from distributed.scheduler.state.records import (
    ClientState,
    Function,
    TaskPrefix,
    TaskSpec,
    TaskState,
    WorkerState,
)
from distributed.scheduler.state.spreading import Spread
from distributed.scheduler.state.table import TRANSITIONS, InvalidTransition


@dataclass(frozen=True, slots=True)
class Settings:
    """What can be configured; times in seconds, bandwidth in bytes per second."""

    allowed_failures: int = 3
    worker_ttl: float = 300.0
    worker_hang_limit: float = 600.0
    client_grace: float = 60.0
    unclaimed_grace: float = 60.0
    muster: float = 10.0
    no_workers: float = math.inf
    prefetch: float = 0.05
    lineage: int = 2**28
    bandwidth: float = 100e6
    latency: float = 1e-3
    shortage_patience: float = 60.0
    story_length: int = 100_000


#: Names of which durations are remembered though they have no task.
MAX_PREFIXES = 10_000

#: Where a stimulus came from and which of its kind it was: enough to name it in a story, cheap to make.
Stimulus = tuple[str, str, int]


class Unclaimed:
    """What workers hold or run of a key that nobody has submitted to this scheduler (yet)."""

    __slots__ = ("deadline", "held", "running")

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.held: dict[WorkerState, tuple[int, str, bytes]] = {}  # bytes, type, work
        self.running: dict[WorkerState, tuple[int, bytes]] = {}  # seq, work


class Index:
    """Index of tasks, workers and clients.

    Parameters
    ----------
    settings : Settings, optional
    seed : int, optional
        For the random choices (which holder a worker asks first).
    first_seq : int, optional
        Number of the first task. A new scheduler begins elsewhere than the last one, so that late answers meant for
        that one are recognised.
    """

    #: Whether a paused worker may be given a task; since when all stands still, and what it looked like then.
    relief_due = False
    standing_since: tuple[float, tuple[int, int]] | None = None
    #: When and why the last nanny that gave up did, until a worker comes.
    given_up: tuple[float, str] | None = None
    #: What is kept only to compute other results again, in bytes; see :mod:`lineage`.
    lineage_nbytes = 0
    lineage_next = 0.0
    #: Whether the head of the queue is still being sorted, and how many may be set aside in this turn.
    sorting = False
    sort_left = 0

    def __init__(self, settings: Settings | None = None, *, seed: int = 0, first_seq: int = 0) -> None:
        self.settings = settings or Settings()
        self.random = random.Random(seed)
        self.now = 0.0
        self.first_seq = first_seq
        self.next_seq = first_seq
        self.tasks: dict[Key, TaskState] = {}
        self.workers: dict[str, WorkerState] = {}
        self.clients: dict[str, ClientState] = {}
        self.functions: dict[bytes, Function] = {}
        self.prefixes: dict[str, TaskPrefix] = {}
        self.specs: dict[tuple[bytes, str, TaskOptions], TaskSpec] = {}
        self.queue = TaskQueue()
        # Workers with a backlog; those whose backlog or room has grown since work was given out; those whose tasks have
        # become fewer since then.
        self.backlogged: OrderedDict[WorkerState, None] = OrderedDict()
        self.due: dict[WorkerState, None] = {}
        self.freed: dict[WorkerState, None] = {}
        self.unrunnable: dict[TaskState, float] = {}  # and since when
        # Nannies that are there. While there are no workers: which tasks there were at what time, oldest first. See
        # :mod:`desertion`.
        self.nannies: dict[str, None] = {}
        self.deserted: deque[tuple[float, int]] = deque()
        # Tasks that may have no place because of results that cannot be moved; looked at when the turn ends.
        self.stranded: dict[TaskState, None] = {}
        # Workers with room for more, and those of them with a thread without a task. Ordered dicts: a plain one takes
        # the longer to find its first entry the more were deleted before it.
        self.open: OrderedDict[WorkerState, None] = OrderedDict()
        self.idle: OrderedDict[WorkerState, None] = OrderedDict()
        self.names: dict[Any, WorkerState] = {}
        # Workers that say that their memory is full; see :mod:`shortage`.
        self.paused: dict[WorkerState, None] = {}
        # Clients whose connection is lost; those with tasks that were set aside meanwhile; those of them that are back.
        # See :mod:`absence`.
        self.absent: dict[ClientState, None] = {}
        self.asides: dict[ClientState, None] = {}
        self.returning: dict[ClientState, None] = {}
        self.workers_version = 0
        self.unclaimed: dict[Key, Unclaimed] = {}
        # Data that was scattered to workers that had left as they answered, and until when they may come back with it.
        self.strays: dict[str, tuple[float, list[Key]]] = {}
        # Workers of the network before a restart that have not come back yet, and until when they are waited for.
        self.awaited: dict[str, float] = {}
        # Keys known by name alone while the network comes together again: data may come with a worker, a recipe with a
        # client. They are in state waiting.
        self.promised: dict[TaskState, None] = {}
        # Named data that is being scattered; in state waiting, as those.
        self.arriving: dict[TaskState, int] = {}
        self.complete_at = 0.0
        # Results that nobody needed as they were looked at, kept as long as who needs them may still be told.
        self.reprieved: dict[TaskState, None] = {}
        # Inner nodes of graphs as they were submitted, until when their dependents should have been: (time, tasks).
        self.provisional: deque[tuple[float, list[TaskState]]] = deque()
        # Of suspicious tasks, the workers that died with them, and how: for the error in the end.
        self.suspects: dict[TaskState, list[str]] = {}
        # Tasks that nobody needs, to be let go in the next turns: what stands on one another comes in millions.
        self.parked: list[TaskState] = []
        # The youngest of what is kept only to compute other results again.
        self.young: deque[TaskState] = deque(maxlen=100)
        self.checkpointing: dict[TaskState, float] = {}
        self.checkpoints: dict[TaskState, None] = {}
        # Copies that an operation waits for, by the worker that is to get them; see :mod:`copies`.
        self.ordered: dict[WorkerState, dict[Key, None]] = {}
        self.orders_settled = False
        self.outbox = Outbox()
        self.spread = Spread()
        # Workers that are to leave: what of theirs has to be copied first, and to whom; and those that may go now. See
        # :mod:`retirement`.
        self.leaving: dict[WorkerState, dict[TaskState, WorkerState | None]] = {}
        self.retired: dict[str, None] = {}
        # Workers that leave when somebody can take over, in the order in which they asked.
        self.patient: dict[WorkerState, None] = {}
        # Workers that left the books, how, and why: the shell has to see to it that they know; see :mod:`partings`.
        self.parted: list[tuple[WorkerState, Parting, str]] = []
        self.vanished: list[str] = []  # who left without a word: those who asked them wait
        # What the shell tells extensions and plugins at the end of the turn: (kind, peer, data).
        self.notices: list[tuple[str, str, Any]] = []
        self.log: deque[tuple[Key, str, str, Stimulus, float]] = deque(maxlen=self.settings.story_length)
        self.stimulus: Stimulus = ("", "", 0)
        self._nstimuli = 0
        self.ntransitions = 0

    def begin(self, source: str, kind: str, now: float) -> None:
        """Everything from here on is caused by this event."""
        self.now = now
        self._nstimuli += 1
        self.stimulus = (kind, source, self._nstimuli)

    def set_state(self, ts: TaskState, finish: str) -> None:
        """The one place where a task's state changes."""
        start = ts.state
        if (start, finish) not in TRANSITIONS:
            raise InvalidTransition(f"{ts.key!r}: {start} -> {finish}, caused by {self.stimulus}")
        ts.state = finish
        self.ntransitions += 1
        self.log.append((ts.key, start, finish, self.stimulus, self.now))

    @property
    def unfinished(self) -> bool:
        """Whether there is more to do than fits into one turn: another one shall follow at once."""
        return bool(self.parked or self.returning or self.sorting)

    def numbered(self, seq: int) -> bool:
        """Whether this scheduler gave out this ``seq``, not one before it."""
        return self.first_seq <= seq < self.next_seq

    def incomplete(self) -> bool:
        """Whether parties that were there before a restart may still be on their way back."""
        return self.now < self.complete_at

    def intern_spec(self, fn: bytes, name: str, options: TaskOptions) -> TaskSpec:
        """The one record shared by all tasks of this function and these options."""
        ident = (fn, name, options)
        spec = self.specs.get(ident)
        if spec is None:
            prefix = self.prefixes.get(name)
            if prefix is None:
                if len(self.prefixes) >= MAX_PREFIXES:
                    self._forget_prefixes()
                prefix = self.prefixes[name] = TaskPrefix(name)
            spec = self.specs[ident] = TaskSpec(fn, name, options, prefix)
        return spec

    def _forget_prefixes(self) -> None:
        """There are many names: the older half of those that have no task is unlearnt."""
        used = {spec.name for spec in self.specs.values()}
        unused = [name for name in self.prefixes if name not in used]
        for name in unused[: 1 + len(unused) // 2]:
            del self.prefixes[name]

    def uncount(self, spec: TaskSpec) -> None:
        """A task of this spec is forgotten, or how to compute it is."""
        spec.ntasks -= 1
        function = self.functions[spec.fn]
        function.ntasks -= 1
        if not spec.ntasks:
            del self.specs[spec.fn, spec.name, spec.options]
        if not function.ntasks:
            self.drop_if_unused(function)

    def put_function(self, client: str, fn: bytes, blob: Payload) -> None:
        """A client may now refer to a function by its id."""
        function = self.functions.get(fn)
        if function is None:
            function = self.functions[fn] = Function(fn, blob)
        function.clients[client] = None
        self.clients[client].functions[function] = None

    def drop_function(self, client: str, fn: bytes) -> None:
        """A client will not refer to a function any more."""
        function = self.functions.get(fn)
        if function is not None:
            function.clients.pop(client, None)
            self.clients[client].functions.pop(function, None)
            self.drop_if_unused(function)

    def drop_if_unused(self, function: Function) -> None:
        if function.ntasks == 0 and not function.clients:
            del self.functions[function.fn]
            for ws in function.workers:
                del ws.functions[function]
                self.outbox.send(ws.address, DropFunctions([function.fn]))

    def story(self, *keys: Key) -> list[tuple[Key, str, str, str, float]]:
        """The transitions of some keys: (key, start, finish, stimulus_id, time)."""
        wanted = set(keys)
        return [
            (key, start, finish, f"{kind}-{source}-{number}", when)
            for key, start, finish, (kind, source, number), when in self.log
            if key in wanted
        ]
