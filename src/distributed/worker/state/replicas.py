"""The part of the worker's machine that gets results of other workers here: dependencies, replicas, scattered data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from distributed.protocol.messages import AcquireReplicas, Key, PeersGone
from distributed.worker.state.core import Core
from distributed.worker.state.instructions import HangUp
from distributed.worker.state.tasks import TaskState

NOTHING: Mapping[Any, Any] = MappingProxyType({})


class Replicas(Core):
    """Fetching and taking in."""

    def _handle_acquire_replicas(self, message: AcquireReplicas, now: float) -> None:
        works = dict(message.works)
        for key, nbytes, addresses in message.holders:
            work = works.get(key, b"")
            if key in self.data and self.tasks[key].work == work:
                self._tell(self.tasks[key])
            elif key in self.data and message.seq < self.tasks[key].since:
                self.outbox.replica_missing(key, [], work)
            elif self._want(key, nbytes, addresses, work):
                self.tasks[key].acquire = True
            else:
                self.outbox.replica_missing(key, addresses, work)

    def _tell(self, ts: TaskState) -> None:
        """Say that a copy is here."""
        self.outbox.replica_added(ts.key, ts.nbytes, ts.work)
        ts.told = self.outbox.nreplicas

    def _want(self, key: Key, nbytes: int, addresses: list[str], work: bytes = b"") -> bool:
        """See to it that the result of this work gets here. False: nobody can deliver it."""
        ts = self.tasks.get(key)
        if ts is not None and ts.work != work:
            self._make_way(ts)
            ts = None
        if ts is None:
            holders = self.fetching.candidates(addresses, [])
            if not holders:
                return False
            ts = self.tasks[key] = TaskState(
                key, state="released", nbytes=nbytes, holders=holders, failed=[], work=work
            )
            self._move(ts, "fetch")
            self.fetching.add(ts)
        elif ts.state in ("fetch", "flight"):
            known = set(ts.holders)
            ts.holders.extend(h for h in self.fetching.candidates(addresses, ts.failed) if h not in known)
            if ts.state == "fetch":
                self.fetching.add(ts)
        return True

    def gathered(
        self,
        worker: str,
        results: Iterable[tuple[Key, Any, int]],
        now: float,
        *,
        immovable: Iterable[tuple[Key, str, str]] = (),
    ) -> None:
        """``worker`` answered a Gather with these (key, value, nbytes); keys it left out it does not hold.

        ``immovable`` are (key, holder, reason) of those that their holder has and cannot hand out.
        """
        self._begin("gathered")
        asked = {ts.key: ts for ts in self.fetching.answered(worker)}
        for key, holder, reason in immovable:
            self.outbox.immovable(key, holder, reason)
            ts = asked.pop(key, None)
            if ts is not None:
                self._cannot_leave(ts, {worker, holder})
        for key, value, nbytes in results:
            ts = asked.pop(key, None)
            if ts is None or ts.state != "flight" or self.tasks.get(key) is not ts:
                continue
            if not ts.dependents and not ts.acquire:  # nobody waits for it any more
                self._forget(ts)
                continue
            self._into_memory(ts, value, nbytes, "")
            self._tell(ts)
        for ts in asked.values():
            self._not_delivered(ts, worker)

    def gather_failed(
        self, worker: str, now: float, *, busy: bool = False, unreachable: bool = False
    ) -> None:
        """``worker`` could not be asked, or (``busy``) wants to be asked later.

        ``unreachable``: there may be no way to it from here only. What no other worker holds is asked for through the
        scheduler, before it counts as lost.
        """
        self._begin("busy" if busy else "gather-failed")
        detour = unreachable and self.fetching.take_detour(worker, now)
        batch = self.fetching.answered(worker)
        if busy:
            self.fetching.busy(worker, now)
            for ts in batch:
                self._ask_again(ts)
            return
        for ts in [*batch, *self.fetching.pending.get(worker, {}).values()]:
            if not detour or (ts.holders and len(ts.holders) > 1):
                self._not_delivered(ts, worker)
            else:
                self._ask_again(ts)

    def _handle_peers_gone(self, message: PeersGone, now: float) -> None:
        """What was asked of them fails by itself; what was to be asked of them is not."""
        self._instructions.append(HangUp(message.addresses))
        for peer in message.addresses:
            for ts in list(self.fetching.pending.get(peer, {}).values()):
                self._not_delivered(ts, peer)

    def _ask_again(self, ts: TaskState) -> None:
        """Its request is over and brought nothing, but the same holder may be asked once more."""
        if ts.state == "flight" and self.tasks.get(ts.key) is ts:
            if ts.dependents or ts.acquire:
                self._move(ts, "fetch")
                self.fetching.add(ts)
            else:
                self._forget(ts)

    def _not_delivered(self, ts: TaskState, worker: str) -> None:
        """This holder does not count any more: try another, or give up."""
        if ts.state not in ("fetch", "flight") or self.tasks.get(ts.key) is not ts:
            return
        if ts.state == "fetch":
            self.fetching.lose(worker, ts)
        if worker in ts.holders:
            ts.holders.remove(worker)
        ts.failed.append(worker)
        if ts.holders and (ts.dependents or ts.acquire):
            if ts.state == "flight":
                self._move(ts, "fetch")
                self.fetching.add(ts)
            return
        self._forget(ts)

    def immovable(self, results: Iterable[tuple[Key, str]]) -> None:
        """These (key, reason) were asked for by somebody and cannot be pickled; the scheduler is told."""
        self._begin("immovable")
        for key, reason in results:
            self.outbox.immovable(key, self.address, reason)

    def _cannot_leave(self, ts: TaskState, holders: set[str]) -> None:
        """These holders have it and cannot hand it out, which is no fault of theirs: try another, or give up."""
        if ts.state != "flight" or self.tasks.get(ts.key) is not ts:
            return
        ts.holders = [holder for holder in ts.holders if holder not in holders]
        if ts.holders and (ts.dependents or ts.acquire):
            self._move(ts, "fetch")
            self.fetching.add(ts)
            return
        self._forget(ts)

    def scattered(
        self,
        items: Iterable[tuple[Key, Any, int, str]],
        nfrees: int = 0,
        works: Mapping[Key, bytes] = NOTHING,
        since: int = 0,
    ) -> None:
        """Data sent straight to this worker: (key, value, nbytes, type name).

        It came on a connection of its own. The scheduler had begun ``nfrees`` FreeKeys for this worker before; those of
        them that come later mean what was here before. So do orders
        that were written when tasks had lower numbers than ``since``.
        """
        self._begin("scattered")
        for key, value, nbytes, typename in items:
            ts = self.tasks.get(key)
            work = works.get(key, b"")
            if ts is not None and ts.work != work:
                self._make_way(ts)
                ts = None
            if ts is not None and ts.state == "memory":
                ts.spared, ts.since = nfrees, since
                self.nbytes += nbytes - ts.nbytes
                self.data[key] = value
                ts.nbytes, ts.type = nbytes, typename
                continue
            if ts is not None and ts.state in ("executing", "long-running"):
                self._discard(ts)
                del self.tasks[key]
                self._move(ts, "released")
                self._take_back([ts], "free")
                dependents, ts.dependents = ts.dependents, None
                ts = self.tasks[key] = TaskState(key, state="released", dependents=dependents, work=work)
            elif ts is None:
                ts = self.tasks[key] = TaskState(key, state="released", work=work)
            elif ts.state == "fetch":
                self.fetching.remove(ts)
            elif ts.waits:
                waits, ts.waits = ts.waits, None
                for dep in waits - {key}:
                    self._stop_waiting(key, dep)
            ts.spared, ts.since = nfrees, since
            ordered = ts.acquire
            self._into_memory(ts, value, nbytes, typename)
            if ordered:
                self._tell(ts)

    def _into_memory(self, ts: TaskState, value: Any, nbytes: int, typename: str) -> None:
        self.data[ts.key] = value
        self._move(ts, "memory")
        self.nbytes += nbytes
        ts.nbytes, ts.type = nbytes, typename
        ts.holders = ts.failed = ts.group = ts.args = None
        ts.deps = ()
        ts.acquire = False
        if ts.dependents:
            self._wake_dependents(ts)
