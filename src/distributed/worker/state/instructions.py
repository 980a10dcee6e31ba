"""What the worker's machine asks its shell to do."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from distributed.protocol.messages import Key
from distributed.worker.state.tasks import TaskState


class Execute(msgspec.Struct):
    """Hand these to the executor. Answered, one by one, by what the machine's ``tasks_*`` events take."""

    tasks: list[TaskState]


class TakeBack(msgspec.Struct):
    """Take back what no thread has started. Answered at once by ``taken_back(instruction, taken)``.

    ``purpose`` is "free" (discard), "pause" (keep, run later), "steal" or "closing" (give back to the scheduler).
    """

    tasks: list[TaskState]
    purpose: str
    answer: Any = None


class Gather(msgspec.Struct):
    """Ask ``worker`` for the results of ``keys``. Answered by ``gathered`` or ``gather_failed``.

    ``detour``: have the scheduler ask, for there is no way from here. ``works``: what is meant by some of the keys.
    """

    worker: str
    keys: list[Key]
    nbytes: int
    detour: bool = False
    works: dict[Key, bytes] = {}


class Close(msgspec.Struct):
    """The scheduler wants this worker to stop; ``nanny``: for good."""

    reason: str
    nanny: bool


class HangUp(msgspec.Struct):
    """Wait no longer for what was asked of these peers: a Gather of them has failed."""

    peers: list[str]


Instruction: TypeAlias = Execute | TakeBack | Gather | Close | HangUp
