"""Peers that do not take what is said to them: found before the scheduler's memory is full of it."""

from __future__ import annotations

from collections.abc import Iterable


class SlowPeers:
    """Watches how many unsent bytes wait for each peer. Pure.

    Parameters
    ----------
    limit : int
        Bytes that may wait for one peer as long as it likes. One large answer may be more: it only has to shrink.
    patience : float
        Seconds that more than ``limit`` may wait without getting fewer.
    """

    def __init__(self, limit: int, patience: float) -> None:
        self.limit = limit
        self.patience = patience
        self._over: dict[str, tuple[float, int]] = {}  # since when, and the fewest bytes until now

    def look(self, waiting: Iterable[tuple[str, int]], now: float) -> list[tuple[str, int]]:
        """Peers whose time is up, with the bytes that wait for them; ``waiting`` names all peers and their bytes."""
        before, self._over = self._over, {}
        hopeless = []
        for peer, nbytes in waiting:
            if nbytes <= self.limit:
                continue
            since, fewest = before.get(peer, (now, nbytes))
            if nbytes < fewest:
                since, fewest = now, nbytes
            if now - since >= self.patience:
                hopeless.append((peer, nbytes))
            else:
                self._over[peer] = (since, fewest)
        return hopeless
