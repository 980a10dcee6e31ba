"""Whose futures are whose: a client that is given another's makes itself one on the same key.

A future without a client, unpickled or made by its key, may get any. Until it has one it holds the key in each client
of this process that knows it: its maker may let go of theirs at once.
"""

from __future__ import annotations

import weakref
from asyncio import _get_running_loop
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from distributed.client.future import Future, make_future
from distributed.client.state.records import FAILED, ClientTask
from distributed.forks import module_lock

if TYPE_CHECKING:
    from distributed.client.client import Client
    from distributed.client.session import Session

_all_clients: weakref.WeakSet[Client] = weakref.WeakSet()
_lock = module_lock()


def lives(client: Client) -> None:
    """It is one of this process's from now on."""
    with _lock:
        _all_clients.add(client)


def living() -> list[Client]:
    """The clients of this process, closed ones too."""
    with _lock:
        return list(_all_clients)


def forget() -> None:
    """In a child: they are the parent's."""
    _all_clients.clear()


def holds_on(task: ClientTask) -> list[Future]:
    """A future of each client of this process, which keeps the key if that client has it."""
    holds = []
    for client in living():
        session = client._session
        if session.status != "closed":
            held = session.hold(task)
            if held is not None:
                holds.append(make_future(client, held))
    return holds


def adopted(holds: list[Future], client: Client) -> Future | None:
    """A future of ``client`` on what only others of its network have; None where it needs nothing of theirs."""
    mine = [hold for hold in holds if hold._client is client]
    for hold in [*mine, *holds]:
        owner = hold._client
        if owner is not None and (owner is client or _same_network(owner, client)) and _is_held(hold):
            return None if owner is client else own(hold, client)
    return None


def _is_held(hold: Future) -> bool:
    task, session = hold._task, hold._client._session  # type: ignore[union-attr]
    if task.key not in session.state.tasks and _get_running_loop() is None:
        session.settle()  # it may have been submitted this moment; a loop must not wait for another
    return task.nfutures >= 0 and task.status not in FAILED


class ForeignFutureError(ValueError):
    """A future of another network."""


def own(future: Future, client: Any) -> Future:
    """A future of ``client`` on the same key: ``future`` itself, where it is unbound or that client's.

    What another client has not heard the result of may be on its way to the scheduler, so this one submits it, too: one
    key, computed once. A future that failed is given back as it is.

    Raises
    ------
    ForeignFutureError
        The future belongs to a client of another scheduler.
    """
    owner = future._client
    if owner is None:
        future.bind_client(client)
        return future
    theirs, ours = owner._session, client._session
    if theirs is ours:
        return future
    if not _same_network(owner, client):
        raise ForeignFutureError(
            f"{future!r} belongs to a client of another scheduler ({owner!r}); gather its result there and pass that "
            "on instead"
        )
    task = future._task
    if task.status in FAILED:
        return future
    if task.status == "pending":
        *needed, mine = _recipes(theirs, task)
        if mine.call is not None:
            ours.submit(needed, wanted=False)
            made = make_future(client, mine)
            ours.submit([mine])
            return made
    made = Future(future.key, client)
    keep_until_done(ours, [future], [made._task])  # the scheduler may hear of its release first
    return made


def keep_until_done(session: Session, futures: list[Future], tasks: Iterable[ClientTask]) -> None:
    """Let these futures live until the tasks are done, or are not needed any more."""
    session.watch(tasks, partial(_let_go, futures))


def _let_go(futures: list[Future]) -> None:
    """Nothing to do: they are let go with what refers to them."""


def _same_network(one: Any, other: Any) -> bool:
    ours, theirs = one._session.scheduler_id, other._session.scheduler_id
    if ours is None or theirs is None:
        return False
    return bool(ours == theirs or one.scheduler_address == other.scheduler_address)


def _recipes(session: Session, task: ClientTask) -> list[ClientTask]:
    """How to compute a task that is not done, and what of it is not done either: dependencies first."""
    known = session.state.tasks
    if task.call is None:
        task = known.get(task.key, task)
    if any(key not in known for key in task.deps):
        session.settle()
    order: list[ClientTask] = []
    seen = {task.key}
    stack = [(task, iter(task.deps))]
    while stack:
        current, deps = stack[-1]
        for key in deps:
            dep = known.get(key)
            if dep is not None and key not in seen:
                seen.add(key)
                if dep.call is not None and dep.status == "pending":
                    stack.append((dep, iter(dep.deps)))
                    break
        else:
            stack.pop()
            shared = current.shared  # it says something else than what the key stands for
            made = ClientTask(current.key, work=current.work) if shared else None
            order.append(made or ClientTask(current.key, current.call, current.args, current.deps))
    return order


__all__ = ["ForeignFutureError", "keep_until_done", "own"]
