"""What the client remembers: tasks, the calls they share, and who waits for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from distributed.protocol.messages import Key, TaskError, TaskOptions
from distributed.protocol.payload import Payload


class Function:
    """A pickled function and its content hash."""

    __slots__ = ("blob", "id", "nbytes")

    def __init__(self, id: bytes, blob: Payload, nbytes: int) -> None:
        self.id = id
        self.blob = blob
        self.nbytes = nbytes

    def __repr__(self) -> str:
        return f"<Function {self.id.hex()[:8]}, {self.nbytes} bytes>"


class Call:
    """What the tasks of one ``map`` have in common: the function, the name of the field, the options."""

    __slots__ = ("function", "name", "options")

    def __init__(self, function: Function, name: str, options: TaskOptions) -> None:
        self.function = function
        self.name = name
        self.options = options

    def __repr__(self) -> str:
        return f"<Call {self.name}>"

    def same(self, other: Call) -> bool:
        """Whether tasks of both may stand in one message."""
        return self is other or (
            self.function.id == other.function.id
            and self.name == other.name
            and self.options == other.options
        )


class ClientTask(msgspec.Struct, eq=False, gc=False):
    """One key: how to compute it, who wants it, what became of it.

    A user's thread makes it and hands it to the loop in an event; from then on only the loop changes it, while any
    thread may read it. Fields are written so that a reader who sees ``status`` sees what belongs to it.

    Attributes
    ----------
    call
        None for data that the client did not submit (scattered, or a future of somebody else's).
    args, deps
        Payload of ``(args, kwargs)`` and the keys of other tasks in it.
    nfutures
        Live :class:`~distributed.client.future.Future` objects on this key.
    ndependents
        Kept tasks that list this key in ``deps``.
    status
        ``pending``, ``finished``, ``error``, ``cancelled`` or ``lost``.
    value
        Payload of a small result; None if it must be fetched from ``worker``.
    known
        False after a reconnection, when the present scheduler was not told about this task.
    twins
        Other records of the same key, made by threads that did not see this one yet; they mirror it.
    named
        The user chose the key, so other work may come under it.
    told
        Number of the message that told the scheduler what the key stands for; 0 where the key itself says it.
    again
        It was told before, to another connection.
    work
        What the scheduler says that the key stands for, as far as it has.
    shared
        The scheduler has other work under this key, which somebody needs: the result is that one's.
    """

    key: Any
    call: Call | None = None
    args: Any = None
    deps: tuple[Key, ...] = ()
    nfutures: int = 0
    ndependents: int = 0
    status: str = "pending"
    value: Any = None
    error: TaskError | None = None
    type: str = ""
    worker: str = ""
    reason: str = ""
    known: bool = True
    waiters: list[Waiter] | None = None
    twins: list[ClientTask] | None = None
    named: bool = False
    told: int = 0
    again: bool = False
    work: bytes = b""
    shared: bool = False

    def __repr__(self) -> str:
        return f"<ClientTask {self.key!r} {self.status}>"

    @property
    def reusable(self) -> bool:
        """Whether a new future of the same call may read its status here.

        Not from a record that ended without an outcome: the loop will start the task anew, but the user's thread could
        look before.
        """
        return self.call is not None and self.status != "cancelled" and self.status != "lost"

    def is_other(self, task: ClientTask) -> bool:
        """Whether another record is of other work under the same key, as far as both are known."""
        mine, other = self.call, task.call
        if mine is None or other is None:  # data
            return task.named and other is None and (mine is not None or self.work != task.work)
        return not (
            (mine is other or mine.function.id == other.function.id)
            and self.args == task.args
            and self.deps == task.deps
        )


def mirror(task: ClientTask, twin: ClientTask) -> None:
    """Another record of a key shows what became of it. Its status comes last, see :class:`ClientTask`."""
    twin.value = task.value
    twin.error = task.error
    twin.type = task.type
    twin.worker = task.worker
    twin.work = task.work
    twin.reason = task.reason
    twin.status = task.status


#: How a :class:`Waiter` waits.
ALL, ANY, EACH = "all", "any", "each"

#: Statuses without a result to come.
FAILED = frozenset(("error", "cancelled", "lost"))

#: Statuses of records that are never computed again: a new one takes their place.
ENDED = frozenset(("cancelled", "lost"))


class Waiter:
    """Somebody waits for tasks to end. Handed out by the machine once it is satisfied.

    Parameters
    ----------
    mode : {"all", "any", "each"}
        Woken once when all are done, once when any is, or each time some are (their keys are in ``ready``).
    wake : callable
        What the shell calls then, on the loop.
    eager : bool
        With "all": woken as soon as one has failed.
    """

    __slots__ = ("eager", "mode", "queued", "ready", "remaining", "wake")

    def __init__(self, mode: str, wake: Callable[[], Any], *, eager: bool = False) -> None:
        self.mode = mode
        self.wake = wake
        self.eager = eager
        self.remaining = 1
        self.ready: list[Key] = []
        self.queued = False

    def abandon(self) -> None:
        """Nobody waits any more. The machine forgets this waiter when it comes across it."""
        self.remaining = -1

    @property
    def over(self) -> bool:
        return (self.remaining <= 0 and self.mode != EACH) or self.remaining < 0
