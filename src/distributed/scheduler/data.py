"""Operations of the scheduler that move data: for clients that cannot or will not talk to workers themselves.

Payloads pass through as they came; nothing is unpickled here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from distributed.exceptions import CommClosedError, ConnectError, RemoteError, WorkersFullError
from distributed.protocol.messages import Key
from distributed.protocol.payload import Payload, nbytes, pack
from distributed.scheduler.base import SchedulerBase
from distributed.scheduler.state import shortage

if TYPE_CHECKING:
    from distributed.scheduler.state import WorkerState


class DataOperations(SchedulerBase):
    """``gather``, ``scatter``, ``add_data``; mixed into :class:`~distributed.scheduler.server.Scheduler`."""

    def data_handlers(self) -> dict[str, Any]:
        return {"gather": self.gather, "scatter": self.scatter, "add_data": self.add_data}

    async def gather(
        self, keys: list[Key], serializers: Any = None, works: Iterable[tuple[Key, bytes]] = ()
    ) -> dict[str, Any]:
        """Bring results here and on to the caller. ``serializers`` is not used.

        ``works``: what is meant by some of the keys; where they stand for other work now, that is missing.

        Returns
        -------
        dict
            ``{"status": "OK", "data": [[key, payload], ...]}``, or ``{"status": "error", "keys": [...]}`` with
            those that no worker delivered: they are being computed again, or gone. ``immovable`` as in the answer of
            ``get_data``: those that no holder could hand out.
        """
        data: list[Any] = []
        stuck: dict[Key, tuple[Any, Any]] = {}  # the payload that says so, and who has it and why
        missing = list(keys)
        tried: dict[Key, set[str]] = {}
        meant = dict(works)
        while missing:
            plan: dict[str, list[Key]] = {}
            for key in missing:
                ts = self.state.tasks.get(key)
                holders = [ws.address for ws in ts.who_has] if ts is not None else []
                if ts is not None and ts.work and meant.setdefault(key, ts.work) != ts.work:
                    continue
                untried = [address for address in holders if address not in tried.setdefault(key, set())]
                if untried:
                    tried[key].add(untried[0])
                    plan.setdefault(untried[0], []).append(key)
            if not plan:
                break
            answers = await asyncio.gather(
                *(
                    self._get_data(address, batch, [(key, meant[key]) for key in batch if key in meant])
                    for address, batch in plan.items()
                )
            )
            found: list[Any] = []
            for (address, batch), answer in zip(plan.items(), answers, strict=True):
                if answer is None:
                    continue
                pairs = answer["data"]
                refused = {entry[0]: entry for entry in answer.get("immovable") or ()}
                stuck.update((pair[0], (pair, refused[pair[0]])) for pair in pairs if pair[0] in refused)
                found += [pair for pair in pairs if pair[0] not in refused]
                if len(pairs) < len(batch):
                    here = {pair[0] for pair in pairs}
                    gone = [key for key in batch if key not in here and self._still_means(key, meant)]
                    self.state.not_delivered(address, gone, time.monotonic())
                    self.schedule_flush()
            data += found
            delivered = {pair[0] for pair in found}
            missing = [key for key in missing if key not in delivered]
        refusals = [stuck[key] for key in missing if key in stuck]
        missing = [key for key in missing if key not in stuck]
        if missing:
            return {"status": "error", "keys": missing}
        reply = {"status": "OK", "data": data + [pair for pair, _ in refusals]}
        return {**reply, "immovable": [entry for _, entry in refusals]} if refusals else reply

    def _still_means(self, key: Key, meant: Mapping[Key, bytes]) -> bool:
        ts = self.state.tasks.get(key)
        return ts is not None and ts.work == meant.get(key, b"")

    async def _get_data(
        self, address: str, keys: list[Key], works: list[tuple[Key, bytes]]
    ) -> dict[str, Any] | None:
        """The answer of a worker to ``get_data``; None if it could not be asked, or is busy."""
        question = {"keys": keys, "who": "scheduler", **({"works": works} if works else {})}
        try:
            answer = await self.pool(address).get_data(**question)
        except (CommClosedError, ConnectError):
            stream = self._streams.get(address)
            if stream is None:
                return None
            try:  # it came here, though there is no way to it
                answer = await stream.request("get_data", question)
            except CommClosedError:
                return None
        return answer if answer["status"] == "OK" else None

    async def scatter(
        self,
        keys: list[Key] | None = None,
        payloads: list[Payload] | None = None,
        workers: Iterable[str] | None = None,
        client: str | None = None,
        broadcast: bool | int = False,
        timeout: float | None = 5.0,
        data: Mapping[Key, Any] | None = None,
        works: Iterable[tuple[Key, bytes]] = (),
        number: int = 0,
    ) -> list[list[Any]]:
        """Hand data to workers, spread over their threads, or (``broadcast``) a copy to all or to that many.

        Parameters
        ----------
        keys, payloads : list
            The data as it travels, pickled already.
        workers : iterable of str, optional
            Default: all.
        client : str, optional
            Who holds futures on it; what nobody holds futures on is forgotten.
        broadcast : bool or int
            A copy to each, or to so many.
        timeout : float
            Seconds to wait for a worker.
        works : iterable of (key, bytes)
            What keys stand for that somebody chose. Where one stands for other work that is needed, its data is not
            taken, and its client is told.
        number : int
            The client's number of this.
        data : mapping, optional
            In place of keys and payloads, for code inside the scheduler: objects by key, pickled here.

        Returns
        -------
        list of [key, [address, ...]]

        Raises
        ------
        TimeoutError
            When no worker is there, or has memory for it, within ``timeout`` seconds.
        WorkersFullError
            When more workers than ``distributed.scheduler.allowed-failures`` were lost as they took it.
        """
        if data is not None:
            keys, payloads = list(data), [pack(value) for value in data.values()]
        elif keys is None or payloads is None:
            raise TypeError("scatter needs keys= and payloads=, or data=")
        meant = dict(works)
        taken, named = self.state.name_data(client, meant, number, time.monotonic())
        try:
            await self.mustered()
            deadline = time.monotonic() + (5.0 if timeout is None else timeout)
            left = {key: payload for key, payload in zip(keys, payloads, strict=True) if key not in taken}
            who_has: dict[Key, list[str]] = {}
            failed: set[str] = set()  # processes that were lost before they had taken what was for them
            losses = 0  # in a row
            while left:
                targets = await self._receivers(workers, deadline, failed)
                placed = self._place(list(left), list(left.values()), targets, broadcast)
                who_has |= await self._hand_over(placed, targets, client, failed, meant)
                losses = 0 if any(key in who_has for key in left) else losses + 1
                left = {key: payload for key, payload in left.items() if key not in who_has}
                if losses > self.state.settings.allowed_failures:
                    raise WorkersFullError(_too_large(left, losses, targets))
        finally:
            self.state.data_named(named, time.monotonic())
            self.schedule_flush()
        return [[key, who_has[key]] for key in dict.fromkeys(keys) if key in who_has]

    async def _hand_over(
        self,
        placed: dict[str, list[Any]],
        targets: list[WorkerState],
        client: str | None,
        failed: set[str],
        works: Mapping[Key, bytes],
    ) -> dict[Key, list[str]]:
        """Give workers data; who has what of it. Workers that are lost meanwhile are noted in ``failed``."""
        stream = None if client is None else self._streams.get(client)
        nfrees = {
            address: self.state.scatter_begun(address, [key for key, _ in pairs], time.monotonic())
            for address, pairs in placed.items()
        }
        since = self.state.next_seq
        answers: list[Any] = []
        try:
            answers += await asyncio.gather(
                *(
                    self.pool(address).update_data(
                        data=pairs,
                        nfrees=nfrees[address],
                        works=[(key, works[key]) for key, _ in pairs if key in works],
                        since=since,
                    )
                    for address, pairs in placed.items()
                ),
                return_exceptions=True,
            )
            if client is not None and self._streams.get(client) is not stream:
                client = None  # it lost this call with its connection: nobody holds futures on the data
            who_has = self._taken_in(placed, answers, targets, client, works)
        finally:
            for address, pairs in placed.items():
                self.state.scatter_ended(address, [key for key, _ in pairs], time.monotonic())
            self.schedule_flush()
        there = {address for addresses in who_has.values() for address in addresses}
        for (address, pairs), answer in zip(placed.items(), answers, strict=True):
            if isinstance(answer, BaseException) and not isinstance(answer, OSError):
                raise RemoteError(f"scatter: {len(pairs)} items could not be handed to {address}: {answer}")
            if address not in there:
                failed |= {ws.server_id for ws in targets if ws.address == address}
        return who_has

    def _place(
        self, keys: list[Key], payloads: list[Payload], targets: list[WorkerState], broadcast: bool | int
    ) -> dict[str, list[Any]]:
        """Which worker gets which pairs of key and payload; what it has no room for now is left out.

        While it takes some in they may be there twice. One is not too much for whoever is not paused.
        """
        ncopies = len(targets) if broadcast is True else max(1, int(broadcast))
        chosen = self.state.spread.place(targets, map(nbytes, payloads), ncopies)
        placed: dict[str, list[Any]] = {}
        room = {ws: shortage.room(ws) / 2 for ws in targets}
        for key, payload, receivers in zip(keys, payloads, chosen, strict=True):
            size = nbytes(payload)
            if any(ws.address in placed and room[ws] < size for ws in receivers):
                continue
            for ws in receivers:
                room[ws] -= size
                placed.setdefault(ws.address, []).append([key, payload])
        return placed

    def _taken_in(
        self,
        placed: dict[str, list[Any]],
        answers: list[Any],
        targets: list[WorkerState],
        client: str | None,
        works: Mapping[Key, bytes],
    ) -> dict[Key, list[str]]:
        """Note what workers took in; who has what of it."""
        present = {address: ws.server_id for address, ws in self.state.workers.items()}
        here = {ws.address for ws in targets if present.get(ws.address) == ws.server_id}
        who_has: dict[Key, list[str]] = {}
        for (address, pairs), answer in zip(placed.items(), answers, strict=True):
            if isinstance(answer, BaseException) or address not in here:
                # It may have them all the same, and be on its way back without having named these.
                self.state.note_strays(address, [key for key, _ in pairs], time.monotonic())
                continue
            self.add_data(client, address, [[*entry, works.get(entry[0], b"")] for entry in answer["data"]])
            for key, _ in pairs:
                who_has.setdefault(key, []).append(address)
        return who_has

    def add_data(self, client: str | None, worker: str, data: list[Any]) -> None:
        """``data`` ([[key, nbytes, type, work], …]) came into a worker's memory; ``client`` holds futures on it."""
        self.state.add_data(worker, client, [tuple(entry) for entry in data], time.monotonic())
        self.schedule_flush()

    async def _receivers(
        self, workers: Iterable[str] | None, deadline: float, failed: set[str]
    ) -> list[WorkerState]:
        while True:
            chosen = [ws for ws in self.select_workers(workers) if ws.server_id not in failed]
            targets = [ws for ws in chosen if ws.status == "running" and shortage.room(ws) > 0]
            if targets:
                return targets
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"scatter: {self.why_none_takes_data(workers)}")
            await self.wait_for_workers_changed(min(left, 0.5))  # heartbeats wake nobody


def _too_large(left: Mapping[Key, Payload], losses: int, targets: list[WorkerState]) -> str:
    """Why nobody takes it."""
    limits = {f"{ws.memory_limit / 2**20:.0f} MiB" if ws.memory_limit else "none" for ws in targets}
    return (
        f"scatter: {losses} workers after one another were lost as they took in the next of {len(left)} items, "
        f"{sum(map(nbytes, left.values())) / 2**20:.0f} MiB in all; their memory limit: {', '.join(sorted(limits))}. "
        "Scatter smaller pieces, give workers more memory (memory_limit=), or look at their logs"
    )
