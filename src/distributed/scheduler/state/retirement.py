"""Retirement. Workers that are asked to leave: what only they hold is copied to one that stays, then they may go.

Several may leave at once, and their orders may overlap. All that leave are in :attr:`Index.leaving` before anything is
copied, so that none of them is chosen to take a copy, and a copy on one of them counts for nothing. Of a result, the
first holder that can hand it out sees to it that it is copied; the others need not wait.

Where nobody stays, or a result cannot leave its worker, there is nothing to wait for: what is lost is computed again.
Where those that stay are all paused, the leavers wait until one of them has room.

Who has no haste (its lifetime is over) *wishes* to leave: such workers leave one after the other, each when somebody is
there to take over, and work until then. One that is alone stays as long as it has something that is wanted.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from distributed.protocol.messages import Key, SetWorkerStatus
from distributed.scheduler.state import copies, immovable, placement
from distributed.scheduler.state.index import Index
from distributed.scheduler.state.records import TaskState, WorkerState


def begin(s: Index, workers: Iterable[WorkerState]) -> None:
    """Stop giving these workers tasks and copy their only copies; :attr:`Index.retired` names those that may go."""
    new = [ws for ws in workers if ws not in s.leaving]
    for ws in new:
        s.leaving[ws] = {}
        ws.status = "closing_gracefully"
        s.workers_version += 1
        s.outbox.send(
            ws.address, SetWorkerStatus("closing_gracefully")
        )  # it gives back what it has not started
        placement.update_open(s, ws)
    for ws in new:
        placement.requeue_backlog(s, ws)
    survey(s)


def wish(s: Index, workers: Iterable[WorkerState]) -> None:
    """These leave when somebody can take over."""
    for ws in workers:
        s.patient[ws] = None
    grant(s)


def grant(s: Index) -> None:
    """Let the next of those who wish to leave begin; have one that lost its successor work on."""
    for ws in s.patient:
        has_something = (
            ws.has_what
            or ws.processing
            or any(ws in found.held or ws in found.running for found in s.unclaimed.values())
        )
        replaceable = any(other.status == "running" for other in s.workers.values() if other is not ws)
        if ws in s.leaving:
            if has_something and all(other in s.leaving for other in s.workers.values()):
                call_off(s, [ws])
        elif not s.leaving and (replaceable or not has_something):
            begin(s, [ws])
            return


def call_off(s: Index, workers: Iterable[WorkerState]) -> None:
    """These go on, as if nobody had asked them to leave."""
    for ws in workers:
        if ws in s.leaving:
            end(s, ws)
            ws.status = "running"
            s.paused.pop(ws, None)  # if its memory is full it says so again
            s.workers_version += 1
            s.outbox.send(ws.address, SetWorkerStatus("running"))
            placement.update_open(s, ws)
    placement.reconsider_unrunnable(s)
    survey(s)


def end(s: Index, ws: WorkerState) -> None:
    """It is gone, or does not leave now."""
    if s.leaving.pop(ws, None) is not None:
        s.retired.pop(ws.address, None)


def arrived(s: Index, target: WorkerState, keys: Iterable[Key]) -> None:
    """These copies are with a worker now: who waited for just that need not any more."""
    if target in s.leaving:
        return
    done = False
    for key in keys:
        ts = s.tasks.get(key)
        if ts is not None and target in ts.who_has:
            for pending in s.leaving.values():
                done |= ts in pending and len(pending) == 1
                pending.pop(ts, None)
    if done:
        survey(s)


def survey(s: Index) -> None:
    """Look at all that leave: order the copies that are missing, note who has nothing left to do."""
    if s.patient:
        grant(s)
    if not s.leaving:
        return
    stay = [ws for ws in s.workers.values() if ws not in s.leaving]
    receivers = _Receivers(s, [ws for ws in stay if ws.status == "running"])
    unclaimed = _held_unclaimed(s) if stay and s.unclaimed else {}
    for ws, before in s.leaving.items():
        pending: dict[TaskState, WorkerState | None] = {}
        if stay:
            for ts in ws.has_what:
                if (ts.who_has == ws.alone or _answers_for(s, ws, ts)) and not immovable.is_stuck(ts):
                    pending[ts] = receivers.target(ts, before.get(ts))
        s.leaving[ws] = pending
        if ws.processing or pending or ws in unclaimed or s.outbox.arrives_at(ws.address):
            s.retired.pop(ws.address, None)
        else:
            s.retired[ws.address] = None
    receivers.order()


def _answers_for(s: Index, ws: WorkerState, ts: TaskState) -> bool:
    """Whether nobody who stays holds this, and of those who leave this one has to see to it."""
    return all(holder in s.leaving for holder in ts.who_has) and immovable.who_can_deliver(ts)[0] is ws


def _held_unclaimed(s: Index) -> dict[WorkerState, None]:
    """Those that leave with what nobody has asked for since a restart, and may yet."""
    return {
        ws: None
        for found in s.unclaimed.values()
        if all(holder in s.leaving for holder in found.held)
        for ws in found.held
    }


class _Receivers:
    """Those that take copies, the one with the fewest bytes first, what is on its way to it included."""

    def __init__(self, s: Index, workers: list[WorkerState]) -> None:
        self._s = s
        self._able = dict.fromkeys(workers)
        promised: dict[WorkerState, int] = {}
        for pending in s.leaving.values():
            for ts, target in pending.items():
                if target is not None and ts not in target.has_what:
                    promised[target] = promised.get(target, 0) + ts.nbytes
        self._heap = [(ws.nbytes + promised.get(ws, 0), i, ws) for i, ws in enumerate(workers)]
        heapq.heapify(self._heap)
        self._wanted: dict[WorkerState, list[TaskState]] = {}

    def target(self, ts: TaskState, before: WorkerState | None) -> WorkerState | None:
        """Who is to take a copy: the one that was asked already, if it may still answer; None while nobody can."""
        if before is not None and before in self._able and copies.is_open(self._s, before, ts.key):
            return before
        if not self._heap:
            return None
        nbytes, i, ws = self._heap[0]
        heapq.heapreplace(self._heap, (nbytes + ts.nbytes, i, ws))
        self._wanted.setdefault(ws, []).append(ts)
        return ws

    def order(self) -> None:
        """Ask them."""
        for ws, tasks in self._wanted.items():
            copies.order(
                self._s,
                ws,
                [
                    (ts.key, ts.nbytes, [holder.address for holder in immovable.who_can_deliver(ts)])
                    for ts in tasks
                ],
            )
