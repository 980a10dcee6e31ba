"""Desertion. What waits for workers that do not come errs in the end.

Workers may come from anywhere at any time, so by default everything waits for them. ``no-workers-timeout`` bounds that,
for tasks that no worker may run and, while there are none at all, for every task. And when the last nanny has given up
because its worker could not be started any more, nobody is left to bring one: unless one comes soon, all that wait are
told.
"""

from __future__ import annotations

import itertools
import math

from distributed.scheduler.state import errors, lifecycle
from distributed.scheduler.state.index import Index
from distributed.scheduler.state.records import TaskState

#: Tasks that err in one tick: no loop is held by a million.
MAX_ERRED = 5_000


def nanny_gave_up(s: Index, nanny: str, reason: str) -> None:
    s.nannies.pop(nanny, None)
    s.given_up = (s.now, reason)


def check(s: Index) -> None:
    """Err what has waited for too long."""
    limit, since, why = _patience(s)
    if limit == math.inf or s.awaited or s.incomplete():
        s.deserted.clear()
        return
    for ts in _unrunnable(s, limit, since):
        lifecycle.to_erred(s, ts, errors.no_worker(ts, limit, why, any_there=bool(s.workers)))
    if s.workers:
        s.deserted.clear()
        return
    s.deserted.append((s.now, s.next_seq))
    while len(s.deserted) > 1 and s.now - s.deserted[1][0] > limit:
        s.deserted.popleft()
    when, below = s.deserted[0]
    if s.now - when > limit:
        old = [ts for ts in itertools.islice(s.queue, MAX_ERRED) if ts.seq < below]
        for ts in old:
            if ts.state == "queued":  # else one before it let go of it
                lifecycle.to_erred(s, ts, errors.no_worker(ts, limit, why, any_there=False))


def _patience(s: Index) -> tuple[float, float, str]:
    """How long is waited, from when on at the earliest, and why no longer."""
    limit = s.settings.no_workers
    if s.given_up is None or s.nannies or s.workers:
        return limit, -math.inf, ""
    when, reason = s.given_up
    return min(limit, s.settings.muster), when, reason


def _unrunnable(s: Index, limit: float, earliest: float) -> list[TaskState]:
    """Those that no worker may run for so long; they stand in the order in which that began."""
    waiting = itertools.takewhile(lambda entry: s.now - max(entry[1], earliest) > limit, s.unrunnable.items())
    return [ts for ts, _ in itertools.islice(waiting, MAX_ERRED)]
