"""What every part of the scheduler's shell stands on: the state machine, the streams to its peers, the turns.

One turn: whatever workers and clients said is handed to the machine, message by message; at the turn's end one
:meth:`SchedulerBase.flush` asks it what is to be said, and writes one frame a peer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterable
from typing import Any

from distributed.core import Connection, Server
from distributed.core.pulse import Pulse
from distributed.exceptions import CommClosedError, RemoteError
from distributed.protocol.messages import ClientEvent, Message, PeersGone
from distributed.scheduler.partings import Partings, failed, lost_midway
from distributed.scheduler.state import SchedulerState, WorkerState, errors, shortage

logger = logging.getLogger("distributed.scheduler")


def _not_heard(messages: list[Message]) -> None:
    """Of somebody who was let go of."""


class SchedulerBase(Server):
    """The machine and its connections.

    Parameters
    ----------
    state : SchedulerState
    validate : bool
        Check all invariants of the machine at the end of every turn. Slow.
    **kwargs
        As for :class:`~distributed.core.Server`.
    """

    validate: bool = False

    def __init__(self, state: SchedulerState, *, validate: bool = False, **kwargs: Any) -> None:
        super().__init__(unpickle=False, **kwargs)
        self.state = state
        self.validate = validate
        self.services: dict[str, Any] = {}
        self.time_started = time.time()
        self._streams: dict[str, Connection] = {}
        self._flush_scheduled = False
        self._workers_changed = Pulse()
        self._nannies: dict[str, Connection] = {}
        self._copies_settled = Pulse()
        self._retired: dict[str, asyncio.Event] = {}
        self._announced: dict[str, None] = {}
        self._announced_version = -1
        self.partings = Partings(self)

    def begin_turn(self) -> float:
        if not self._flush_scheduled:
            self.schedule_flush()
        return time.monotonic()

    def schedule_flush(self) -> None:
        """Call :meth:`flush` at the end of this turn of the loop."""
        if not self._flush_scheduled and self.loop is not None:
            self._flush_scheduled = True
            self.loop.call_soon(self.flush)

    def unbind(self, peer: str) -> Connection | None:
        """A peer's stream, if there is one: it is its stream no longer, and what still comes on it is not heard."""
        stream = self._streams.pop(peer, None)
        if stream is not None:
            stream.on_stream = _not_heard
        return stream

    def flush(self) -> None:
        """Say everything that is to be said, one frame a peer."""
        self._flush_scheduled = False
        state = self.state
        if state.parted:
            self.partings.carry_out()
        if state.workers_version != self._announced_version or state.vanished:
            self._announce_workers()
        for peer, messages in state.drain(time.monotonic()):
            stream = self._streams.get(peer)
            if stream is None:
                continue
            try:
                stream.send_all(messages)
            except CommClosedError:
                logger.debug("%s is gone; its on_close comes next", peer)
        if state.notices or type(state.log) is not deque:
            self.tell_extensions()
        if state.orders_settled:
            state.orders_settled = False
            self._copies_settled.give()
        if state.unfinished:
            self.schedule_flush()
        if self.validate:
            state.validate()
        if self._retired:
            leaving = {ws.address for ws in state.who_leaves() if ws.address not in state.retired}
            for address in [address for address in self._retired if address not in leaving]:
                self._retired.pop(address).set()

    def tell_extensions(self) -> None:
        """Hand on what the machine noted in this turn; see :mod:`distributed.scheduler.extending`."""

    def _announce_workers(self) -> None:
        """Tell the clients which workers came and went: they name them to the scheduler that comes after this one."""
        workers = self.state.workers
        joined = [address for address in workers if address not in self._announced]
        left = [address for address in self._announced if address not in workers]
        self._announced = dict.fromkeys(workers)
        self._announced_version = self.state.workers_version
        vanished, self.state.vanished = self.state.vanished, []
        vanished = [address for address in vanished if address not in workers]
        if vanished:
            for address in vanished:
                self.pool.remove(address, reason="it is in the network no longer")
            for address in workers:
                self.state.outbox.send(address, PeersGone(vanished))
        if joined or left:
            for client in self.state.clients:
                self.state.outbox.send(client, ClientEvent("workers", {"joined": joined, "left": left}))

    async def _answer(self, address: str, op: str, kwargs: dict[str, Any]) -> dict[str, Any]:
        """What somebody answers to a call, or how it failed, in a dictionary with ``status``."""
        try:
            return {"status": "OK", "result": await self._call(address, op, kwargs)}
        except RemoteError as error:
            return {
                "status": "error",
                "text": error.text,
                "exception": error.exception,
                "traceback": error.traceback,
            }
        except CommClosedError as error:
            return lost_midway(address, op, error)
        except OSError as error:
            return failed(f"{address}: {error}")

    async def _call(self, address: str, op: str, kwargs: dict[str, Any]) -> Any:
        connection = await self.pool.connect(address)
        return await connection.request(op, kwargs)

    def valid_workers_downscaling(self, workers: list[WorkerState]) -> list[WorkerState]:
        """Those of these that may be closed, if plugins have a say; see :mod:`distributed.scheduler.extending`."""
        return workers

    def call_hooks(self, hook: str, *args: Any, **kwargs: Any) -> None:
        """Call a hook of all plugins; see :mod:`distributed.scheduler.extending`."""

    def send_to_peer(self, peer: str, message: Message) -> None:
        """One message of the shell's own to a worker or client, behind what the machine has to say.

        Raises TypeError for anything else, such as the dictionaries that other schedulers send: it would take the
        messages with it that leave in the same frame.
        """
        if not isinstance(message, Message):
            raise TypeError(f"peers understand distributed.protocol.messages, not a {type(message).__name__}")
        self.flush()
        stream = self._streams.get(peer)
        if stream is not None and not stream.closed:
            stream.send(message)

    def note_workers_changed(self) -> None:
        self._workers_changed.give()

    async def wait_for_workers_changed(self, timeout: float | None) -> None:
        """Until a worker comes or goes, or ``timeout`` seconds have passed (None: no limit)."""
        await self._workers_changed.wait(timeout)

    async def mustered(self) -> None:
        """After a restart: until the workers are back that the clients knew, or their time is up."""
        while self.state.awaited:
            await self.wait_for_workers_changed(1.0)

    async def wait_until_retired(self, address: str) -> None:
        """Until a worker that is being retired has nothing left that only it has, or is not being retired any more."""
        ws = self.state.workers.get(address)
        if ws in self.state.who_leaves() and address not in self.state.retired:
            await self._retired.setdefault(address, asyncio.Event()).wait()

    def why_none_takes_data(self, workers: Iterable[Any] | None) -> str:
        """Why no worker, or none of these, may be given data, and what to do."""
        paused = [ws for ws in self.select_workers(workers) if ws in self.state.paused]
        paused = paused or [ws for ws in self.select_workers(workers) if shortage.room(ws) <= 0]
        if paused:
            full = ", ".join(map(errors.fullness, paused[:3]))
            return f"no worker takes data: {full}; release futures that are not needed, or add workers"
        who = (
            "no workers are running" if workers is None else f"none of the workers {list(workers)} is running"
        )
        return f"{who}; start some, or wait for them with client.wait_for_workers"

    def select_workers(self, workers: Iterable[Any] | None) -> list[WorkerState]:
        """Records of the workers with these addresses or names; all if None; unknown ones are left out."""
        if workers is None:
            return list(self.state.workers.values())
        wanted = {str(worker) for worker in ([workers] if isinstance(workers, str) else workers)}
        return [ws for ws in self.state.workers.values() if ws.address in wanted or str(ws.name) in wanted]
