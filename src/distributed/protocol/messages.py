"""The typed messages of the wire protocol: the one place that says what the parties tell each other.

Two kinds travel on every connection, many in one frame:

* **stream messages**, one way, in order, never answered as such: client <-> scheduler and scheduler <-> worker;
* **calls**: :class:`Request` and :class:`Reply` / :class:`ReplyError`, matched by ``id``, many in flight.

Whatever comes in thousands is a *column*: parallel lists, one entry a task, never a list of objects.

Rules for changing a message: fields are only added, at the end, with a default; a field is never removed, reordered
or given another meaning without raising ``PROTOCOL_VERSION`` of the handshake.

The words used in the fields:

``key``
    Name of a task and of its result, unique in the network.
``fn``
    16 byte content hash of a pickled function. The function itself travels once a connection (:class:`PutFunctions`)
    and is in force until :class:`DropFunctions`.
``args``
    Payload of the pickled pair ``(args, kwargs)``. A result of another task stands in it as a
    :class:`~distributed.protocol.refs.Ref`; its key is also listed in ``deps``.
``seq``
    The scheduler's running number of one submission of a key. It orders tasks of equal priority (lower first) and
    tells a late answer about an earlier task of the same key from an answer about this one.
``work``
    What a key stands for: 16 bytes of hash of function, arguments and the works of the dependencies, made by the
    scheduler; empty where the key itself is such a hash. Two results are the same only if key and work are. A column
    of works is empty where all its works are.
``number``, ``heard``
    A client numbers the messages that say what keys stand for; ``heard`` is the last such number that the scheduler
    knew. What is said of a key whose present work was told later is about an earlier one. Negative: that is no matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from distributed.protocol.payload import Payload

#: A task's key. Tuples may nest. Decoded tuples are tuples again.
Key: TypeAlias = str | int | float | bytes | tuple[Any, ...]

# On the wire a payload is ``bin`` (small) or an extension that names buffers of the frame, which only a field of type
# Any can hold; ``protocol.codec`` turns it into ``bytes`` or ``Serialized``. Read the alias as "Payload".
WirePayload: TypeAlias = Any
if TYPE_CHECKING:
    WireKey: TypeAlias = Any
else:
    # A key with its nesting spelled out, for msgspec has no recursive tuple type: so arrays in key columns are decoded
    # as tuples at no cost. Tuples may nest six deep.
    WireKey = str | int | float | bool | None
    for _ in range(6):
        WireKey = str | int | float | bool | None | tuple[WireKey, ...]


class Message(msgspec.Struct, array_like=True, tag=True, gc=False):
    """Base of all messages."""


class TaskOptions(msgspec.Struct, array_like=True, frozen=True, omit_defaults=True):
    """What holds for all tasks of one :class:`SubmitTasks`.

    ``priority`` higher runs first; ``retries`` how often an erring task is run again; ``workers`` addresses, names or
    host names that may run it, others only if ``allow_other_workers``; ``resources`` amount of each that one running
    task takes; ``annotations`` free-form, kept with the task.
    """

    priority: int = 0
    retries: int = 0
    workers: tuple[str, ...] = ()
    allow_other_workers: bool = False
    resources: tuple[tuple[str, float], ...] = ()
    actor: bool = False
    annotations: bytes = b""  # MessagePack of a dict; opaque here so that options stay hashable


class TaskError(msgspec.Struct, array_like=True):
    """Why a task has no result.

    ``exception`` and ``traceback`` are payloads for the client; ``exception_text`` and ``traceback_text`` are for
    people and for parties that do not unpickle. ``erred_on`` names workers, ``blamed_key`` the task that failed first.
    """

    exception: WirePayload
    traceback: WirePayload = None
    exception_text: str = ""
    traceback_text: str = ""
    erred_on: list[str] = []
    blamed_key: WireKey = None


# ---------------------------------------------------------------- both directions


class PutFunctions(Message):
    """From now on ``fn`` ids[i] means the pickled function blobs[i] (client -> scheduler -> worker)."""

    ids: list[bytes]
    blobs: list[WirePayload]


class DropFunctions(Message):
    """The sender will not refer to these functions again without putting them anew."""

    ids: list[bytes]


class Request(Message):
    """Call operation ``op``. With ``id`` 0 nobody waits for an answer.

    ``once``: the caller's number of this order, which it gives again, under the same number, when its connection broke
    before the answer came; ``settled``: its orders with smaller numbers are answered; ``again``: what was broken off
    in the middle may be carried out once more. Questions have the number 0.
    """

    id: int
    op: str
    kwargs: dict[str, Any] = {}
    once: int = 0
    settled: int = 0
    again: bool = False


class Reply(Message):
    """The result of the request with this ``id``. ``packed``: it is a payload, for it cannot stand in a message."""

    id: int
    result: Any = None
    packed: bool = False


class ReplyError(Message):
    """The request with this ``id`` raised. ``exception`` is a payload or None, ``text`` says it in one line."""

    id: int
    text: str
    exception: WirePayload = None
    traceback: WirePayload = None


# ---------------------------------------------------------------- client -> scheduler


class SubmitTasks(Message):
    """Tasks of one function and one set of options, in the order they should run.

    ``deps`` is None when no task has any, else one list of keys a task; every dependency was submitted or wanted
    earlier in the same stream. ``wanted`` False: these are inner nodes of a graph, the client holds no future on them.
    A key that is already known keeps its running or finished task; the client's interest is added to it.
    ``named``: somebody chose these keys, so that other work may come under them; else they are hashes of their work.
    ``again``: told before, perhaps to another scheduler: never to be computed by other work that has the key now.
    """

    fn: bytes
    name: str
    keys: list[WireKey]
    args: list[WirePayload]
    deps: list[list[WireKey]] | None = None
    options: TaskOptions = TaskOptions()
    wanted: bool = True
    named: bool = False
    again: bool = False
    number: int = 0


class SubmitGraph(Message):
    """A piece of a graph, in the order in which it should run; ``last`` ends it.

    ``calls`` are the functions, names and options in use here, ``which[i]`` is that of task i. Every dependency was
    submitted or wanted earlier in the same stream. ``ndependents[i]`` says how many tasks of the whole graph, here or
    in pieces to come, list the task in ``deps``: what is announced so is computed at once and kept for them.
    ``wanted[i]``: the client holds a future on it. A graph that ends early drops what was announced. Keys of graphs are
    names that somebody chose.
    """

    graph: int
    calls: list[tuple[bytes, str, TaskOptions]]
    which: list[int]
    keys: list[WireKey]
    args: list[WirePayload]
    deps: list[list[WireKey]]
    ndependents: list[int]
    wanted: list[bool]
    last: bool = False
    number: int = 0


class WantKeys(Message):
    """The client now holds futures on keys it did not submit. Unknown keys are answered by TasksCancelled.

    ``works``: what they stand for, where the client knows. ``errors``: what it was told that they ended in, for a
    scheduler that does not know them; None where they did not. Both may be shorter than ``keys``.
    """

    keys: list[WireKey]
    works: list[bytes] = []
    errors: list[TaskError | None] = []


class ReleaseKeys(Message):
    """The client holds no future on these keys any more."""

    keys: list[WireKey]


class CancelKeys(Message):
    """Cancel for this client, or with ``force`` for all. Every client that wanted them gets TasksCancelled.

    Who asked gets CancelAnswered behind that, in any case.
    """

    keys: list[WireKey]
    force: bool = False
    reason: str = ""
    msg: str = ""


class RetryKeys(Message):
    """Run erred tasks again, and with them whatever erred task they stand on."""

    keys: list[WireKey]


class FireAndForget(Message):
    """These tasks shall run to their end although nobody may hold a future on them then."""

    keys: list[WireKey]


class ClientHeartbeat(Message):
    """The client lives."""


class CloseClient(Message):
    """The client leaves for good: its futures may be released at once."""


# ---------------------------------------------------------------- scheduler -> client


class TasksInMemory(Message):
    """Results are there. ``values[i]`` is the payload of a small result, else None: ask for it.

    ``types[i]`` is the type's name; ``workers[i]`` an address that holds the result.
    """

    keys: list[WireKey]
    values: list[WirePayload]
    types: list[str]
    workers: list[str]
    works: list[bytes] = []
    heard: int = -1


class TasksErredForClient(Message):
    """Tasks that ended in an error, one :class:`TaskError` each."""

    keys: list[WireKey]
    errors: list[TaskError]
    heard: int = -1
    works: list[bytes] = []


class TasksCancelled(Message):
    """Futures on these keys will never resolve; ``reason`` says why in words."""

    keys: list[WireKey]
    reason: str = ""
    msg: str = ""
    heard: int = -1


class TasksRefused(Message):
    """Submitted tasks that depend on what the scheduler does not know: the first such key of each is in ``missing``.

    It forgot that in the meantime, for reasons that the client had not heard of yet, or could not see.
    """

    keys: list[WireKey]
    missing: list[WireKey]
    heard: int = -1


class CancelAnswered(Message):
    """CancelKeys has come, with these keys: what is said of them from here on is about what came after it."""

    keys: list[WireKey]


class TasksLost(Message):
    """Results told before are gone and will be computed again (or come as an error): back to pending."""

    keys: list[WireKey]
    heard: int = -1


class KeysTaken(Message):
    """These keys stand for other work than the client submitted, which somebody needs: ``works``.

    What the client is told of them from here on is about that work.
    """

    keys: list[WireKey]
    works: list[bytes]
    heard: int = -1


class LineageCut(Message):
    """How to compute these is forgotten, and what only they stood on: they are data now, held on their own account."""

    keys: list[WireKey]
    works: list[bytes] = []
    heard: int = -1


#: Topic of the event that ends a network: ``data`` is the reason, and there will be no scheduler to come back to.
CLOSING = "scheduler-closes"


class ClientEvent(Message):
    """Anything rare: ``topic`` names it, ``data`` is MessagePack-able."""

    topic: str
    data: Any = None


# ---------------------------------------------------------------- scheduler -> worker


class RunOptions(msgspec.Struct, array_like=True, frozen=True, omit_defaults=True):
    """What holds for all tasks of one :class:`RunTasks`.

    ``inline``: send small results along with the completion. ``duration``: expected seconds a task, negative when
    unknown. ``despite_pause``: also on a worker that is paused, for it lets go of data.
    """

    priority: int = 0
    resources: tuple[tuple[str, float], ...] = ()
    inline: bool = True
    duration: float = -1.0
    actor: bool = False
    annotations: bytes = b""
    despite_pause: bool = False


class RunTasks(Message):
    """Run these. Columns are parallel; ``deps`` as in SubmitTasks.

    ``holders`` says of every distinct dependency its size in bytes and the addresses that hold it; ``dep_works`` its
    work, where it has one.
    """

    fn: bytes
    name: str
    keys: list[WireKey]
    args: list[WirePayload]
    seqs: list[int]
    deps: list[list[WireKey]] | None = None
    holders: list[tuple[WireKey, int, list[str]]] = []
    options: RunOptions = RunOptions()
    works: list[bytes] | None = None
    dep_works: list[tuple[WireKey, bytes]] = []


class FreeKeys(Message):
    """Forget these: drop the data, take back what has not started, discard the result of what runs.

    ``heard`` is how many ReplicasAdded of this worker the scheduler knew as it began this message: copies that it was
    told of later it will believe in, so that they are gone has to be said. ``number`` counts these messages:
    data scattered to it after a message with this number was written is not meant by that message.
    """

    keys: list[WireKey]
    heard: int = 0
    number: int = 0


class StealTasks(Message):
    """Give back those that have not started. Answered by one TasksReturned with ``reason`` "stolen" (maybe empty)."""

    keys: list[WireKey]


class AcquireReplicas(Message):
    """Fetch copies of these results from their ``holders`` (as in RunTasks; ``works`` as its ``dep_works``).

    ``seq`` is the number that the next task had when this was written.
    """

    holders: list[tuple[WireKey, int, list[str]]]
    works: list[tuple[WireKey, bytes]] = []
    seq: int = 1 << 62


class SetWorkerStatus(Message):
    """``running`` or ``paused`` or ``closing_gracefully``."""

    status: str


class PeersGone(Message):
    """These addresses are in the network no longer, and may be frozen: what was asked of them will not be answered."""

    addresses: list[str]


class CloseWorker(Message):
    """Stop. ``nanny``: the nanny too, so that nothing starts it again."""

    reason: str = ""
    nanny: bool = True


# ---------------------------------------------------------------- worker -> scheduler


class TasksFinished(Message):
    """Results now in this worker's memory: ``nbytes`` their sizes, ``durations`` seconds each task ran.

    ``values[i]`` is the payload of a small result that was asked for inline, else None.
    """

    keys: list[WireKey]
    seqs: list[int]
    nbytes: list[int]
    durations: list[float]
    types: list[str]
    values: list[WirePayload]


class TasksErred(Message):
    """Tasks that raised."""

    keys: list[WireKey]
    seqs: list[int]
    errors: list[TaskError]


class TasksReturned(Message):
    """Tasks given back unstarted; the worker holds nothing of them.

    ``reason`` is "stolen" (answer to StealTasks; ``refused`` are those that had started or were not there), "missing"
    (dependencies could not be had: ``missing`` lists key and the addresses that did not deliver, ``works`` what was
    meant by some of them) or "closing".
    """

    keys: list[WireKey]
    seqs: list[int]
    reason: str
    refused: list[WireKey] = []
    missing: list[tuple[WireKey, list[str]]] = []
    works: list[tuple[WireKey, bytes]] = []


class LongRunning(Message):
    """These tasks seceded: they run on but hold no thread of the pool any more."""

    keys: list[WireKey]
    seqs: list[int]


class ReplicasAdded(Message):
    """Copies fetched from other workers are here too."""

    keys: list[WireKey]
    nbytes: list[int]
    works: list[bytes] = []


class ReplicasMissing(Message):
    """Copies that could not be had, and the addresses that did not deliver; ``works`` as in TasksReturned."""

    missing: list[tuple[WireKey, list[str]]]
    works: list[tuple[WireKey, bytes]] = []


class ResultsImmovable(Message):
    """``holders[i]`` has ``keys[i]`` and cannot hand it out, for it cannot be pickled; ``reasons[i]`` says why.

    Said by the holder, when it was asked, and by a worker that was told so in place of the result.
    """

    keys: list[WireKey]
    holders: list[str]
    reasons: list[str]


class WorkerHeartbeat(Message):
    """The worker lives. ``metrics``: ``cpu`` (percent), ``memory`` (bytes), ``executing``, ``ready``, … free-form."""

    metrics: dict[str, Any]


class WorkerStatusChanged(Message):
    """``running``, ``paused``, ``closing_gracefully``."""

    status: str


class WorkerClosing(Message):
    """The worker leaves by its own will: not a failure, nobody is blamed."""

    reason: str = ""


class WorkerEvent(Message):
    """Anything rare: ``topic`` names it, ``data`` is MessagePack-able."""

    topic: str
    data: Any = None


ClientToScheduler: TypeAlias = (
    PutFunctions
    | DropFunctions
    | SubmitTasks
    | SubmitGraph
    | WantKeys
    | ReleaseKeys
    | CancelKeys
    | RetryKeys
    | FireAndForget
    | ClientHeartbeat
    | CloseClient
)
SchedulerToClient: TypeAlias = (
    TasksInMemory
    | TasksErredForClient
    | TasksCancelled
    | TasksRefused
    | CancelAnswered
    | TasksLost
    | KeysTaken
    | LineageCut
    | ClientEvent
)
SchedulerToWorker: TypeAlias = (
    PutFunctions
    | DropFunctions
    | RunTasks
    | FreeKeys
    | StealTasks
    | AcquireReplicas
    | SetWorkerStatus
    | CloseWorker
    | PeersGone
)
WorkerToScheduler: TypeAlias = (
    TasksFinished
    | TasksErred
    | TasksReturned
    | LongRunning
    | ReplicasAdded
    | ReplicasMissing
    | ResultsImmovable
    | WorkerHeartbeat
    | WorkerStatusChanged
    | WorkerClosing
    | WorkerEvent
)
AnyMessage: TypeAlias = (
    Request
    | Reply
    | ReplyError
    | ClientToScheduler
    | SchedulerToClient
    | SchedulerToWorker
    | WorkerToScheduler
)

__all__ = [
    name
    for name, value in list(globals().items())
    if isinstance(value, type) and issubclass(value, msgspec.Struct)
] + [
    "CLOSING",
    "AnyMessage",
    "ClientToScheduler",
    "Key",
    "Payload",
    "SchedulerToClient",
    "SchedulerToWorker",
    "WorkerToScheduler",
]
