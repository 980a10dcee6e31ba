"""When tasks ran: reconstructed from what workers report, for plugins that want to know."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Any

from distributed.protocol.messages import Key, TasksFinished


class Completions:
    """Start and stop of tasks that finished in this turn.

    A worker reports how long its tasks ran, many in one message; their order in it is that in which they finished. From
    the moment the message came they are laid out backwards over the worker's threads, so that none overlap: exact in
    length, off by no more than the time the message gathered and travelled in place.
    """

    def __init__(self) -> None:
        self._spans: dict[Key, tuple[str, int, float, float]] = {}

    def add(self, worker: str, nthreads: int, message: TasksFinished, when: float) -> None:
        """A worker's message came at ``when``, seconds since the epoch."""
        threads = [(-when, thread) for thread in range(max(1, nthreads))]
        for key, duration in zip(reversed(message.keys), reversed(message.durations), strict=True):
            stop, thread = heappop(threads)
            self._spans[key] = worker, thread, -stop - duration, -stop
            heappush(threads, (stop + duration, thread))

    def take(self) -> dict[Key, tuple[str, int, float, float]]:
        """(worker, thread, start, stop) by key, since the last call."""
        spans, self._spans = self._spans, {}
        return spans


def as_startstops(span: tuple[str, int, float, float] | None) -> list[dict[str, Any]]:
    """As plugins are given it."""
    return [] if span is None else [{"action": "compute", "start": span[2], "stop": span[3]}]
