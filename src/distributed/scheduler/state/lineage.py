"""How long a history of computations may become: ``x = client.submit(step, x, batch)``, for ever.

What a result was computed from is remembered as long as the result may have to be computed again. So a loop in which
every step stands on the one before would keep every step, and every argument, for ever. When what is kept in this way
is more than ``settings.lineage``, a result at the young end becomes a *checkpoint*: it is copied to a second worker,
held as long as something stands on it, and its history is forgotten, here and at the clients. What is lost later is
computed again from the checkpoint on.
"""

from __future__ import annotations

from distributed.protocol.messages import LineageCut
from distributed.scheduler.state import copies, lifecycle
from distributed.scheduler.state.index import Index
from distributed.scheduler.state.records import TaskState

#: Seconds that a second worker has to fetch its copy.
PATIENCE = 5.0

#: Seconds between two looks for results to become checkpoints: what is large cannot be copied all the time.
INTERVAL = 1.0


def check(s: Index) -> None:
    """Called every now and then: begin, finish and end checkpoints."""
    for ts, deadline in list(s.checkpointing.items()):
        if ts.state != "memory" or ts.spec is None or ts.immovable:
            del s.checkpointing[ts]
        elif len(ts.who_has) > 1 or s.now >= deadline:
            del s.checkpointing[ts]
            _cut(s, ts)
    over = [
        ts
        for ts in s.checkpoints
        if ts not in s.checkpointing and (not ts.dependents or ts.state != "memory" or ts.spec is not None)
    ]
    for ts in over:
        del s.checkpoints[ts]
        ts.nwaiters -= 1
        lifecycle.release(s, ts)
    if (
        s.lineage_nbytes > s.settings.lineage
        and s.now >= s.lineage_next
        and not s.checkpointing
        and not s.parked
    ):
        s.lineage_next = s.now + INTERVAL
        _begin(s)


def _begin(s: Index) -> None:
    """Choose results that stand on the youngest of the history, small ones first, and have them copied."""
    heads = {
        dependent: None
        for ts in s.young
        for dependent in ts.dependents
        if dependent.state == "memory"
        and dependent.spec is not None
        and not dependent.spec.options.actor
        and not dependent.immovable
    }
    s.young.clear()
    affordable = s.settings.lineage // 4
    for ts in sorted(heads, key=lambda ts: (ts.nbytes, ts.seq)):
        affordable -= ts.nbytes
        if affordable < 0:
            break
        receivers = [ws for ws in s.workers.values() if ws.status == "running" and ws not in ts.who_has]
        s.checkpointing[ts] = s.now + PATIENCE if receivers else s.now
        if ts not in s.checkpoints:
            s.checkpoints[ts] = None  # held from now on
            ts.nwaiters += 1
        if receivers and len(ts.who_has) == 1:
            target = min(receivers, key=lambda ws: ws.nbytes)
            holders = [ws.address for ws in ts.who_has]
            s.outbox.send(target.address, copies.acquire(s, [(ts.key, ts.nbytes, holders)]))


def _cut(s: Index, ts: TaskState) -> None:
    """The history of this result is forgotten; the result is held as long as something stands on it."""
    spec = ts.spec
    assert spec is not None
    if ts.history:
        ts.history = False
        s.lineage_nbytes -= lifecycle.history_nbytes(ts)
    dependencies, ts.dependencies = ts.dependencies, ()
    ts.spec = None
    ts.args = b""
    s.uncount(spec)
    for dep in dependencies:
        dep.dependents.pop(ts, None)
        s.parked.append(dep)  # let go turn by turn, however many checkpoints are made at once
    for client in s.clients:
        s.outbox.send(client, LineageCut([ts.key], [ts.work], s.outbox.heard_of.get(client, 0)))


__all__ = ["check"]
