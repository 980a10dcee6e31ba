"""From whom to fetch what, when: batches by peer, bounded in bytes and in number, another holder when one fails."""

from __future__ import annotations

from random import Random

from distributed.protocol.messages import Key
from distributed.worker.state.instructions import Gather
from distributed.worker.state.tasks import TaskState


class Fetching:
    """Keys in state ``fetch`` by holder, and the requests that are out.

    Parameters
    ----------
    address : str
        This worker's own; never asked.
    max_connections : int
        Peers asked at the same time, one request each.
    max_nbytes : int
        Bytes asked for in one request; a larger single result travels alone.
    busy_delay : float
        Seconds until a peer that answered "busy" is asked again.
    detour_time : float
        Seconds for which a peer that cannot be reached is asked through the scheduler; then it is tried again.
    seed : int
        Spreads the load of a result that many want over its holders.
    """

    def __init__(
        self,
        address: str,
        *,
        max_connections: int = 32,
        max_nbytes: int = 50_000_000,
        busy_delay: float = 0.1,
        detour_time: float = 60.0,
        seed: int = 0,
    ) -> None:
        self.address = address
        self.max_connections = max_connections
        self.max_nbytes = max_nbytes
        self.busy_delay = busy_delay
        self.detour_time = detour_time
        self.detour_until: dict[str, float] = {}
        self.on_detour: set[str] = set()  # peers whose request in flight goes through the scheduler
        self.pending: dict[str, dict[Key, TaskState]] = {}
        self.in_flight: dict[str, list[TaskState]] = {}
        self.busy_until: dict[str, float] = {}
        self._random = Random(seed)

    def candidates(self, holders: list[str], failed: list[str]) -> list[str]:
        """The holders worth asking."""
        return [
            holder for holder in dict.fromkeys(holders) if holder != self.address and holder not in failed
        ]

    def add(self, ts: TaskState) -> None:
        """Fetch this from any of ``ts.holders``."""
        for holder in ts.holders:
            self.pending.setdefault(holder, {})[ts.key] = ts

    def remove(self, ts: TaskState) -> None:
        """No longer to be asked for."""
        for holder in ts.holders or ():
            self.lose(holder, ts)

    def lose(self, holder: str, ts: TaskState) -> None:
        """Not to be asked from this holder."""
        waiting = self.pending.get(holder)
        if waiting is not None:
            waiting.pop(ts.key, None)
            if not waiting:
                del self.pending[holder]

    def next_requests(self, now: float) -> list[tuple[Gather, list[TaskState]]]:
        """Requests that may go out now. Their tasks are taken off every holder's list."""
        requests: list[tuple[Gather, list[TaskState]]] = []
        if not self.pending:
            return requests
        free = self.max_connections - len(self.in_flight)
        peers = [peer for peer in self.pending if peer not in self.in_flight]
        if len(peers) > 1:
            self._random.shuffle(peers)
        for peer in peers:
            if free <= 0:
                break
            if self.busy_until.get(peer, now) > now:
                continue
            self.busy_until.pop(peer, None)
            batch: list[TaskState] = []
            total = 0
            for ts in self.pending.get(peer, {}).values():
                if batch and total + ts.nbytes > self.max_nbytes:
                    break
                batch.append(ts)
                total += ts.nbytes
            if not batch:  # all of it went to another peer a moment ago
                continue
            for ts in batch:
                self.remove(ts)
            self.in_flight[peer] = batch
            detour = self.detour_until.get(peer, now) > now
            if detour:
                self.on_detour.add(peer)
            requests.append((Gather(peer, [ts.key for ts in batch], total, detour, self.works(peer)), batch))
            free -= 1
        return requests

    def works(self, peer: str) -> dict[Key, bytes]:
        """What is meant by the keys of the request to ``peer``, where they do not say it."""
        return {ts.key: ts.work for ts in self.in_flight.get(peer, ()) if ts.work}

    def answered(self, peer: str) -> list[TaskState]:
        """The tasks of the request to ``peer``, which is over."""
        self.on_detour.discard(peer)
        return self.in_flight.pop(peer, [])

    def take_detour(self, peer: str, now: float) -> bool:
        """This peer could not be reached: ask it through the scheduler for a while. False where that was done."""
        if peer in self.on_detour:
            return False
        for other in [other for other, until in self.detour_until.items() if until <= now]:
            del self.detour_until[other]
        self.detour_until[peer] = now + self.detour_time
        return True

    def busy(self, peer: str, now: float) -> None:
        """Leave this peer alone for a while."""
        self.busy_until[peer] = now + self.busy_delay

    def wake_at(self) -> float | None:
        """When to look again, if nothing else happens before."""
        times = [self.busy_until[peer] for peer in self.pending if peer in self.busy_until]
        return min(times, default=None)
