"""Retiring a worker: what only it holds is copied elsewhere, what it runs is finished, then it may be closed."""

from __future__ import annotations

from distributed.protocol.messages import AcquireReplicas, SetWorkerStatus
from distributed.scheduler.state import placement
from distributed.scheduler.state.index import Index
from distributed.scheduler.state.records import TaskState, WorkerState


def begin(s: Index, ws: WorkerState) -> None:
    """Stop giving the worker tasks and copy its only copies. :attr:`Index.retired` names it when that is done."""
    if ws.retire_pending is not None:
        return
    ws.status = "closing_gracefully"
    ws.retire_pending = {}
    s.workers_version += 1
    s.outbox.send(ws.address, SetWorkerStatus("closing_gracefully"))  # it gives back what it has not started
    placement.update_open(s, ws)
    placement.requeue_backlog(s, ws)
    check(s, ws)


def check_all(s: Index) -> None:
    """Look again at every worker that is being retired."""
    for ws in list(s.workers.values()):
        if ws.retire_pending is not None:
            check(s, ws)


def check(s: Index, ws: WorkerState) -> None:
    """Ask for the copies that are still missing; note the worker as retired when there is nothing left to do.

    Where no other worker can take the copies, or they cannot be made, there is nothing to wait for: what is lost is
    computed again.
    """
    pending = ws.retire_pending
    assert pending is not None
    for ts, target in list(pending.items()):
        if ts.immovable or ts.who_has != ws.alone or s.workers.get(target.address) is not target:
            del pending[ts]
    receivers = [other for other in s.workers.values() if other.status == "running"]
    wanted: dict[WorkerState, list[TaskState]] = {}
    promised: dict[WorkerState, int] = {}
    if receivers:
        for ts in ws.has_what:
            if len(ts.who_has) == 1 and ts not in pending and not ts.immovable:
                target = min(receivers, key=lambda other: other.nbytes + promised.get(other, 0))
                promised[target] = promised.get(target, 0) + ts.nbytes
                wanted.setdefault(target, []).append(ts)
                pending[ts] = target
    for target, tasks in wanted.items():
        s.outbox.send(target.address, AcquireReplicas([(ts.key, ts.nbytes, [ws.address]) for ts in tasks]))
    if not ws.processing and not pending and ws.address not in s.retired:
        s.retired.append(ws.address)
