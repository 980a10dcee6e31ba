"""Workers that are silent or gone: what is asked before they count as dead, and what their nannies testify.

A worker without a nanny is judged by its connection and its heartbeats alone.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from dask.utils import parse_bytes

from distributed import config
from distributed.core import Connection, Status
from distributed.exceptions import CommClosedError, ProtocolError, RemoteError, SecurityError
from distributed.scheduler.control import Control
from distributed.scheduler.slow_peers import SlowPeers
from distributed.scheduler.state import Settings, WorkerState
from distributed.scheduler.state.partings import REPLACE, REPLACE_BY_FORCE

logger = logging.getLogger("distributed.scheduler")

#: Seconds for a nanny to say how its worker ended, once the connection to that was lost.
TESTIMONY = 1.0
#: Seconds for a nanny to say whether a silent worker lives.
VOUCHING = 5.0
#: Seconds between two looks for peers that do not read.
LOOK = 0.5


class Vigil(Control):
    """Mixed into :class:`~distributed.scheduler.server.Scheduler`."""

    settings: Settings

    def init_vigil(self) -> None:
        self._asked: set[WorkerState] = set()
        self._slow = SlowPeers(
            parse_bytes(config.get("distributed.scheduler.slow-peer-limit")),
            config.seconds("distributed.scheduler.slow-peer-patience", 10.0) or 10.0,
        )
        self._next_look = 0.0

    # ------------------------------------------------------------ a connection was lost

    def worker_lost(self, address: str, comm: Connection) -> None:
        """The connection to a worker is gone, and so is what it ran; its nanny is asked how that came about."""
        if self._streams.get(address) is not comm:
            return
        self.unbind(address)
        ws = self.state.workers.get(address)
        if ws is not None and self.status is Status.running:
            if ws.extra.get("nanny"):
                # Nothing more for it; but until it is known how it ended, what it ran stays where it is.
                self.state.suspend_worker(address, time.monotonic())
                self.spawn(self._inquire(ws), name=f"how did {address} end")
            else:
                self._bury(ws, "its connection was lost")
        self.note_workers_changed()

    async def _inquire(self, ws: WorkerState) -> None:
        reason = "its connection was lost"
        answer = await self._ask(ws, "worker_end", TESTIMONY, timeout=TESTIMONY / 2)
        if answer is not None:
            reason = answer["text"] if answer["returncode"] is not None else f"{reason}, {answer['text']}"
        memory = (answer or {}).get("memory") or ws.metrics.get("memory")
        if memory:
            reason += f", last memory {memory / 2**20:.0f} MiB"
        self._bury(ws, reason, over_limit=bool((answer or {}).get("over_limit")))

    def _bury(self, ws: WorkerState, reason: str, over_limit: bool = False) -> None:
        """Unless it has come back meanwhile."""
        if self.state.workers.get(ws.address) is ws and ws.address not in self._streams:
            logger.warning("Worker %s is gone: %s", ws.address, reason)
            self.state.remove_worker(ws.address, time.monotonic(), reason=reason, over_limit=over_limit)
            self.flush()

    # ------------------------------------------------------------ a worker is silent

    def check_worker_ttl(self) -> None:
        """Let time pass for the state machine; remove workers that were silent for too long and cannot be alive."""
        for address in self.state.tick(time.monotonic()):
            ws = self.state.workers[address]
            if ws in self._asked:
                continue
            if ws.extra.get("nanny") and time.monotonic() - ws.last_seen <= self.settings.worker_hang_limit:
                self._asked.add(ws)
                self.spawn(self._ask_whether_alive(ws), name=f"does {address} live")
            else:
                self._count_as_dead(ws)

    async def _ask_whether_alive(self, ws: WorkerState) -> None:
        try:
            alive = await self._ask(ws, "worker_lives", VOUCHING)
        finally:
            self._asked.discard(ws)
        if self.state.workers.get(ws.address) is not ws:
            return
        now = time.monotonic()
        silence = now - ws.last_seen
        if alive:
            if ws.last_vouched <= ws.last_seen:  # once a silence
                logger.warning(
                    "Worker %s is silent for %.0f s, but its nanny says that it runs: a task holds the interpreter?",
                    *(ws.address, silence),
                )
            self.state.vouch_for(ws.address, now)
        elif silence > self.settings.worker_ttl:  # it has not spoken meanwhile
            self._count_as_dead(ws)

    def _count_as_dead(self, ws: WorkerState) -> None:
        now = time.monotonic()
        silence = now - ws.last_seen
        logger.warning("Worker %s was silent for %.0f s: counted as dead", ws.address, silence)
        hopeless = silence > self.settings.worker_hang_limit
        self.state.remove_worker(
            ws.address,
            now,
            reason=f"it was silent for {silence:.0f} s",
            parting=REPLACE_BY_FORCE if hopeless else REPLACE,
        )
        self.flush()

    # ------------------------------------------------------------ a peer does not read

    def check_slow_peers(self, now: float) -> None:
        """Disconnect those for whom too much has been waiting for too long. They may come back, and are told anew."""
        if now < self._next_look:
            return
        self._next_look = now + LOOK
        waiting = [(peer, stream.write_buffer_nbytes) for peer, stream in self._streams.items()]
        for peer, nbytes in self._slow.look(waiting, now):
            what = f"{nbytes / 2**20:.0f} MiB wait for it and get no fewer for {self._slow.patience:g} s"
            logger.warning("Disconnecting %s, which does not read: %s", peer, what)
            self._streams[peer].abort(CommClosedError(f"{peer} does not read: {what}"))

    # ------------------------------------------------------------ nannies

    async def _ask(self, ws: WorkerState, op: str, patience: float, **kwargs: Any) -> Any:
        """A nanny's answer about its worker; None if there is none in time."""
        try:
            async with asyncio.timeout(patience):
                return await self._call(ws.extra["nanny"], op, {"pid": ws.extra["pid"], **kwargs})
        except (OSError, RemoteError, ProtocolError, SecurityError) as error:  # OSError: also TimeoutError
            logger.info("the nanny of %s does not say %s: %r", ws.address, op, error)
            return None
