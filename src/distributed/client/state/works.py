"""Keys that stand for other work than they did before: what then becomes of records and futures.

A key stands for one work as long as a live future is held on it, or on what stands on it: who submits other work
meanwhile gets a future on that one, and is told (:attr:`ClientState.taken`). After that the new work takes the key. A
record that was cancelled or lost is never computed again: its futures stay as they are, and a new record takes its
place, of whatever work. The scheduler does the same by the same rule; where it knows of needs that this client does
not, it says KeysTaken.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from distributed.client.state.records import ENDED, ClientTask, mirror
from distributed.client.state.table import TRANSITIONS, following
from distributed.protocol.messages import (
    Key,
    KeysTaken,
    LineageCut,
    TaskError,
    TasksErredForClient,
    TasksInMemory,
    TasksRefused,
)

if TYPE_CHECKING:
    from distributed.client.state.machine import ClientState

_ERRED = following("erred")

#: Why a future ends whose key stands for other work than it is of.
GIVEN_AWAY = "the key stands for other work by now"


def other_work(state: ClientState, have: ClientTask, task: ClientTask) -> ClientTask:
    """Other work under a key that is known: the record that the key stands for from now on.

    That of the other work, once nobody holds a live future on the old one, or on what stands on it.
    """
    if have.nfutures and have.status not in ENDED:
        state.taken.append(have.key)
        return have
    for dep in task.deps:  # before anything is forgotten: these may be what the old work stood on
        state._depend(dep)
    while have.ndependents and (state.parked or state.unpinning):
        state.drop_parked()  # what is forgotten already does not need it
    if have.ndependents and have.status == "cancelled":
        cancel_dependents(state, have)
    elif have.ndependents:
        state.taken.append(have.key)
        state.parked.append(task.deps)
        return have
    if state.tasks.get(have.key) is have:
        if have.nfutures:
            for old in (have, *(have.twins or ())):
                old.nfutures = -1  # they stay as they are, and do not count here any more
            have.twins = None
        state.parked.append(have.deps)
        if have.ndependents:
            task.ndependents = have.ndependents
            for pinned in (*state.pinned.values(), state.unpinning):
                pinned[:] = [task if other is have else other for other in pinned]
    state.tasks[task.key] = task
    task.known = False
    return task


def cancel_dependents(state: ClientState, task: ClientTask) -> None:
    """What stands on a cancelled task is cancelled with it: the scheduler may not have said so yet, nor know of it."""
    reason = f"{task.key!r}, which it stands on, was cancelled"
    dependents: dict[Key, list[ClientTask]] = {}
    for other in state.tasks.values():
        for key in other.deps:
            dependents.setdefault(key, []).append(other)
    stack = [task]
    cancelled: list[Key] = []
    while stack:
        for other in dependents.pop(stack.pop().key, ()):
            stack.append(other)
            if other.nfutures and TRANSITIONS.get((other.status, "cancelled")):
                other.reason = reason
                state._doubt(other)
                state._set(other, "cancelled")
                cancelled.append(other.key)
                state._unanswered[other.key] = state._unanswered.get(other.key, 0) + 1
    if cancelled:
        state._outbox.cancel(cancelled, False, reason, "")


def let_go_of_deps(state: ClientState, task: ClientTask) -> None:
    """It has ended, and nothing stands on it: it is never computed by this record again."""
    if task.deps:
        state.parked.append(task.deps)
        task.call, task.args, task.deps = None, None, ()
        if len(state.parked) == 1:
            state.drop_parked()


def taken(state: ClientState, message: KeysTaken) -> None:
    state._note("taken", message.keys)
    for key, work in zip(message.keys, message.works, strict=True):
        task = state._meant(key, message.heard)
        if task is not None:
            if task.work != work and (task.call is not None or task.status != "pending"):
                _learn(state, task, work)
            if task.status == "cancelled":
                continue
            task.shared = True
            task.work = work
            state.taken.append(key)


def not_shared(task: ClientTask) -> None:
    """A record that nobody held: what its own call is of may come under its key again."""
    task.shared = False
    if not task.nfutures and task.call is not None:
        task.work = b""


def first_error(state: ClientState, error: TaskError) -> TaskError:
    """What is known to have been raised, where the scheduler can only say that it does not know how to get a value."""
    blamed = state.tasks.get(error.blamed_key)
    if blamed is None or blamed.status != "error" or not (blamed.shared or blamed.call is None):
        return error
    return blamed.error or error


def erred(state: ClientState, message: TasksErredForClient) -> None:
    state._note("erred", message.keys)
    if message.works:
        learn(state, message)
    for key, error in zip(message.keys, message.errors, strict=True):
        task = state._meant(key, message.heard)
        if task is not None and task.status in _ERRED and key not in state._unanswered:
            task.error = first_error(state, error)
            task.value = None
            state._set(task, "erred")


def learn(state: ClientState, message: TasksInMemory | TasksErredForClient) -> None:
    """What outcomes are of: those of other work than a record is known to be of do not reach it."""
    for key, work in zip(message.keys, message.works, strict=True):
        task = state._meant(key, message.heard)
        if task is not None and work and task.work != work and key not in state._unanswered:
            _learn(state, task, work)


def _learn(state: ClientState, task: ClientTask, work: bytes) -> None:
    """A key stands for this. A future that is known to be of other work never changes it: it ends instead."""
    if not task.work or not task.nfutures:
        task.work = work
    elif TRANSITIONS.get((task.status, "cancelled")):
        task.reason = GIVEN_AWAY
        state._doubt(task)
        state._set(task, "cancelled")
        state._outbox.release([task.key])  # the scheduler takes it for wanted


def tell_held(state: ClientState, tasks: Iterable[ClientTask]) -> None:
    """Other work comes under these keys: what live futures on them are of is to be told before.

    After a connection was lost what has erred is not told again, so that the scheduler may know nothing of it.
    """
    for task in tasks:
        have = state.tasks.get(task.key)
        if have is None or not have.nfutures or have.known or have.status in ENDED:
            continue
        if have.call is not None or have.is_other(task):  # else lost data comes again
            state._tell_if_unknown(have)


def scatter(state: ClientState, tasks: Collection[ClientTask]) -> None:
    """Data that a call to the scheduler carries, under its number."""
    if state._some_unknown:
        tell_held(state, tasks)
    state._outbox.numbered += 1
    number = state._outbox.numbered
    for task in tasks:
        have = state.tasks.setdefault(task.key, task)
        if have is not task and (have.status in ENDED or have.is_other(task)):
            have = other_work(state, have, task)
        if have is not task:
            state._join(have, task)
        if task.named:
            have.told = number
        if have.status != "pending" and (have.nfutures == 0 or have.status in ("cancelled", "lost")):
            state._set(have, "submit")
        have.nfutures += 1
        have.known = True
        if have is not task:
            mirror(have, task)


def hold(state: ClientState, task: ClientTask) -> None:
    """A future was made that is no client's yet: it keeps the key if it is known here."""
    have = state.tasks.get(task.key)
    if task.call is None and (have is None or have.status in ENDED):
        task.nfutures = -1  # it does not count, and is not known
    else:
        state.handle_submit((task,))


def refused(state: ClientState, message: TasksRefused) -> None:
    """What these need is told again, if it is known here how to compute it; else they are given up."""
    state._note("refused", message.keys)
    for key, missing in zip(message.keys, message.missing, strict=True):
        task = state._meant(key, message.heard)
        if task is None or missing not in task.deps:
            continue
        needed = state.tasks[missing]
        if not needed.nfutures:  # that work is gone, this client's may take the key
            needed.shared = False
        state._doubt(task)
        state._doubt(needed)
        if _cannot_be_told(state, needed) and TRANSITIONS.get((task.status, "cancelled")):
            task.reason = f"it depends on {missing!r}, which the scheduler does not know"
            state._set(task, "cancelled")
    for key in message.keys:
        task = state.tasks.get(key)
        if task is not None and task.status in ("pending", "finished"):
            state._tell_if_unknown(task)


def _cannot_be_told(state: ClientState, task: ClientTask) -> bool:
    """Whether this is data, or stands on data that the scheduler said it does not know."""
    if task.call is None:
        return True
    seen = {task.key}
    stack = [task]
    while stack:
        for key in stack.pop().deps:
            dep = state.tasks[key]
            if dep.call is None and dep.status in ENDED:
                return True
            if key not in seen:
                seen.add(key)
                stack.append(dep)
    return False


def cut(state: ClientState, message: LineageCut) -> None:
    state._note("cut", message.keys)
    for i, key in enumerate(message.keys):
        task = state._meant(key, message.heard)
        if task is not None and task.call is not None:
            state.parked.append(task.deps)
            task.call, task.args, task.deps = None, None, ()
            task.work = message.works[i] if message.works else b""


__all__ = [
    "cancel_dependents",
    "cut",
    "erred",
    "first_error",
    "hold",
    "learn",
    "let_go_of_deps",
    "not_shared",
    "other_work",
    "refused",
    "scatter",
    "taken",
    "tell_held",
]
