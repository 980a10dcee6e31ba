"""Copies that an operation of the shell ordered and waits for.

A worker answers every order: the copy is there (ReplicasAdded), or nobody delivers it (ReplicasMissing); or it goes.
With that the order is settled, and the operation sees from ``who_has`` what came of it. What takes an order's place
settles it too: the worker is to compute the result itself, or was handed the data, or the key is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable

from distributed.protocol.messages import AcquireReplicas, Key
from distributed.scheduler.state.index import Index
from distributed.scheduler.state.records import WorkerState


def order(s: Index, ws: WorkerState, holders: list[tuple[Key, int, list[str]]]) -> None:
    """Have a worker get copies: (key, nbytes, addresses of those that hold it)."""
    s.outbox.send(ws.address, acquire(s, holders))
    s.ordered.setdefault(ws, {}).update((key, None) for key, _, _ in holders)


def acquire(s: Index, holders: list[tuple[Key, int, list[str]]]) -> AcquireReplicas:
    """The order, with the works of what is to be copied."""
    tasks = [s.tasks[key] for key, _, _ in holders if key in s.tasks]
    return AcquireReplicas(holders, [(ts.key, ts.work) for ts in tasks if ts.work], s.next_seq)


def is_open(s: Index, ws: WorkerState, key: Key) -> bool:
    """Whether the worker has not answered yet."""
    return key in s.ordered.get(ws, ())


def settle(s: Index, ws: WorkerState, keys: Iterable[Key]) -> None:
    """The worker says what came of these."""
    left = s.ordered.get(ws)
    if left is None:
        return
    for key in keys:
        if key in left:
            del left[key]
            s.orders_settled = True
    if not left:
        del s.ordered[ws]


def superseded(s: Index, key: Key, ws: WorkerState | None = None) -> None:
    """This worker, or (None) all, will not answer what was ordered under this key: something else took its place."""
    for target in list(s.ordered) if ws is None else (ws,):
        settle(s, target, (key,))


def forget_worker(s: Index, ws: WorkerState) -> None:
    """It is gone, and will not answer."""
    if s.ordered.pop(ws, None) is not None:
        s.orders_settled = True


__all__ = ["acquire", "forget_worker", "is_open", "order", "settle", "superseded"]
