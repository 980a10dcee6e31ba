"""What the worker's machine knows of one key, and the table of the states a key may be in.

States
------
``waiting``
    A task that cannot run yet: dependencies are on their way, or a discarded run of the same key has to end first.
``ready``
    Everything is here, but the worker is paused or its resources are taken.
``executing``
    Handed to the executor: queued for a thread or running in one. Which of the two, only the executor knows.
``long-running``
    Executing outside the pool's slots (the task called ``secede``).
``fetch``
    A result of another worker that is wanted here and not asked for yet.
``flight``
    Such a result, asked for.
``memory``
    A result that is here.
``released``
    Not known. A released task that still runs is in ``WorkerState.discarded`` until it ends.

An error is no state: it is reported, and the task forgotten.
"""

from __future__ import annotations

from typing import Any

import msgspec

from distributed.protocol.messages import Key, RunOptions
from distributed.protocol.payload import Payload

#: Every change of state that may happen, and what makes it happen.
TRANSITIONS: dict[tuple[str, str], str] = {
    (
        "released",
        "waiting",
    ): "told to run; a dependency, or the end of a discarded run of this key, is missing",
    ("released", "ready"): "told to run while paused or short of resources",
    ("released", "executing"): "told to run, everything is here",
    ("released", "fetch"): "wanted here as a dependency or a replica",
    ("released", "memory"): "scattered to this worker",
    ("fetch", "flight"): "asked a holder",
    ("fetch", "waiting"): "told to run what was to be fetched",
    ("fetch", "ready"): "told to run what was to be fetched",
    ("fetch", "executing"): "told to run what was to be fetched",
    ("fetch", "memory"): "scattered to this worker",
    ("fetch", "released"): "freed, nobody waits for it any more, or no holder is left",
    ("flight", "memory"): "arrived",
    ("flight", "fetch"): "this holder did not deliver, or cannot hand it out; another may",
    ("flight", "waiting"): "told to run what is in flight",
    ("flight", "ready"): "told to run what is in flight",
    ("flight", "executing"): "told to run what is in flight",
    ("flight", "released"): "freed, or no holder is left",
    ("waiting", "ready"): "last dependency arrived while paused or short of resources",
    ("waiting", "executing"): "last dependency arrived",
    ("waiting", "memory"): "scattered to this worker",
    ("waiting", "released"): "freed, stolen, or returned because a dependency cannot be had",
    ("ready", "executing"): "resumed, or resources are free",
    ("ready", "memory"): "scattered to this worker",
    ("ready", "released"): "freed, stolen or returned",
    ("executing", "long-running"): "seceded",
    ("executing", "ready"): "taken back from the executor: the worker pauses",
    ("executing", "memory"): "finished",
    ("executing", "released"): "freed, stolen, failed or returned",
    ("long-running", "memory"): "finished",
    ("long-running", "released"): "freed or failed",
    ("memory", "released"): "freed",
}

#: All states, in the order of the module's documentation.
STATES = ("waiting", "ready", "executing", "long-running", "fetch", "flight", "memory", "released")


def diagram() -> str:
    """The transition table as a Graphviz graph."""
    edges = [f'  "{start}" -> "{finish}" [tooltip="{why}"];' for (start, finish), why in TRANSITIONS.items()]
    return "\n".join(["digraph worker {", *edges, "}"])


class Function:
    """A function by its content hash: pickled, and once a thread has needed it, the function itself."""

    __slots__ = ("blob", "func", "id", "is_async")

    def __init__(self, id: bytes, blob: Payload) -> None:
        self.id = id
        self.blob = blob
        self.func: Any = None
        self.is_async = False


class TaskGroup:
    """What tasks of one RunTasks message have in common."""

    __slots__ = ("function", "inline", "name", "options", "order", "resources")

    def __init__(self, function: Function, name: str, options: RunOptions) -> None:
        self.function = function
        self.name = name
        self.options = options
        self.order = -options.priority
        self.inline = options.inline and not options.actor
        self.resources = options.resources


class TaskState(msgspec.Struct, gc=False, eq=False):
    """One key on this worker.

    A Struct because it is made in C and keeps out of the garbage collector's lists; so it must take part in no
    reference cycle, and links to other tasks are keys, not objects.

    Attributes
    ----------
    key, seq, group, args
        As told by RunTasks; ``group`` is None for what is only data here.
    state : str
        One of ``STATES``.
    serial : int
        The executor's running number of the hand-over; 0 before.
    deps : tuple of keys
    waits : set of keys or None
        Why a waiting task waits: dependencies, or its own key for a discarded run.
    dependents : dict of keys or None
        Waiting tasks that this key keeps from running.
    holders, failed : list of str or None
        Addresses to fetch it from, and those that did not deliver.
    acquire : bool
        The scheduler asked for this copy (AcquireReplicas).
    nbytes, type, duration
        Of the result.
    told : int
        The ReplicasAdded, counted since the registration, that told the scheduler of this copy.
    spared : int
        FreeKeys up to this number do not mean it: it was scattered after they had been written.
    since : int
        Nor do orders of a lower ``seq``: they had been written, and taken back, before.
    work : bytes
        What the key stands for, as the scheduler says; empty where the key says it.
    """

    key: Key
    seq: int = -1
    group: Any = None
    args: Any = None
    state: str = "executing"
    serial: int = 0
    deps: tuple[Key, ...] = ()
    waits: Any = None
    dependents: Any = None
    holders: Any = None
    failed: Any = None
    acquire: bool = False
    nbytes: int = 0
    type: str = ""
    duration: float = 0.0
    told: int = 0
    spared: int = 0
    since: int = 0
    work: bytes = b""

    def __repr__(self) -> str:
        return f"<TaskState {self.key!r} {self.state}>"
