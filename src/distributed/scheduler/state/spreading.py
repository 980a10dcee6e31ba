"""Spreading. Which worker gets the next piece of data that somebody scatters.

Each worker has an account of how much more it was given than those it was chosen among, in bytes a thread; every piece
costs some bytes beside its own, so that small pieces spread by number and large ones by size. The worker with the
smallest account is next. So one call with many pieces, many calls with one, and many clients at once come to the same.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from distributed.scheduler.state.records import WorkerState

#: What each piece costs beside its bytes.
PIECE = 100_000


class Spread:
    """The accounts of the workers of one network."""

    def __init__(self) -> None:
        self._accounts: dict[WorkerState, float] = {}

    def place(
        self, workers: Iterable[WorkerState], sizes: Iterable[int], ncopies: int = 1
    ) -> list[list[WorkerState]]:
        """Who of these gets each of the pieces of so many bytes: ``ncopies`` different ones, if there are as many."""
        accounts = self._accounts
        order = [(accounts.get(ws, 0.0), i, ws) for i, ws in enumerate(workers)]
        before = sum(account for account, _, _ in order)
        heapq.heapify(order)
        placed = []
        for nbytes in sizes:
            chosen = [heapq.heappop(order) for _ in range(min(ncopies, len(order)))]
            for account, i, ws in chosen:
                heapq.heappush(order, (account + (nbytes + PIECE) / ws.nthreads, i, ws))
            placed.append([ws for _, _, ws in chosen])
        added = (sum(account for account, _, _ in order) - before) / len(order)
        accounts.update((ws, account - added) for account, _, ws in order)
        return placed

    def forget(self, ws: WorkerState) -> None:
        """It has left."""
        self._accounts.pop(ws, None)


__all__ = ["Spread"]
