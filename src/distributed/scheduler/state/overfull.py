"""Workers that were ended for their memory while they ran nothing: what they held was too much to be handed out.

A result that is pickled to be sent may be there twice for a while. Where its worker is ended for that, the result is
computed again, asked for again, and its next worker is ended, too: so the largest results of such a worker are
suspected, as tasks are that ran when theirs died, and err when they have been forgiven often enough.
"""

from __future__ import annotations

from distributed.protocol.messages import TaskError
from distributed.scheduler.state import errors
from distributed.scheduler.state.index import Index
from distributed.scheduler.state.records import TaskState, WorkerState


def suspect(s: Index, ws: WorkerState, death: str) -> dict[TaskState, TaskError]:
    """Suspect the largest results of a worker, which together are half of what it held; those that shall err."""
    failing: dict[TaskState, TaskError] = {}
    share = 0
    for ts in sorted(ws.has_what, key=lambda ts: ts.nbytes, reverse=True):
        if 2 * share > ws.nbytes:
            break
        share += max(ts.nbytes, 1)
        ts.suspicious += 1
        deaths = s.suspects.setdefault(ts, [])
        deaths.append(death)
        if ts.suspicious > s.settings.allowed_failures and ts.spec is not None:
            failing[ts] = errors.not_deliverable(ts, deaths)
    return failing


__all__ = ["suspect"]
