"""The part of the worker's shell that drives the machine: messages in, instructions carried out, messages out."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import time
from collections import deque
from collections.abc import Collection
from typing import Any

from distributed.comm.core import connect_timeout
from distributed.core import Connection, Server
from distributed.core.pulse import Pulse
from distributed.exceptions import CommClosedError, RPCClosed
from distributed.protocol.messages import Key, Message
from distributed.protocol.payload import nbytes
from distributed.worker.data import DataStore, Packed
from distributed.worker.executor import Executor
from distributed.worker.memory import WorkerMemoryManager
from distributed.worker.state import Close, Execute, Gather, HangUp, Instruction, TakeBack, WorkerState

logger = logging.getLogger("distributed.worker")

#: Seconds a peer may take to answer, besides one for every so many bytes asked for.
GATHER_TIMEOUT = 30.0
GATHER_NBYTES_PER_SECOND = 1_000_000
#: Seconds to connect to a peer, if the configuration allows more.
PEER_CONNECT = 10.0


class WorkerBase(Server):
    """Machine, store, threads and the stream to the scheduler, tied together. One turn: events, then :meth:`turn`."""

    state: WorkerState
    data: DataStore = None  # type: ignore[assignment]  # from __init__ on
    executor: Executor = None  # type: ignore[assignment]  # from the start on
    stream: Connection | None = None
    validate: bool = False
    memory_manager: WorkerMemoryManager
    _wake_handle: asyncio.TimerHandle | None = None

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.turned = Pulse()
        #: Between saying to the scheduler what is here and its answer: what comes meanwhile it would not know of.
        self.introducing = False
        self.introduced = Pulse()

    def turn(self) -> None:
        """Carry out what the machine wants, and send what it says. Call after every event."""
        now = time.monotonic()
        state = self.state
        if state.nbytes > self.memory_manager.look_beyond:
            self.memory_manager.look()
        while instructions := state.drain_instructions(now):
            for instruction in instructions:
                self._carry_out(instruction)
        if self.stream is not None:
            messages = state.outbox.drain()
            if messages:
                with contextlib.suppress(CommClosedError):  # its on_close starts the reconnection
                    self.stream.send_all(messages)
        if type(state.history) is not deque:
            self.tell_transitions()
        self.turned.give()
        if self.validate:
            state.validate()
        wake_at = state.wake_at()
        if wake_at is not None and self._wake_handle is None and self.loop is not None:
            self._wake_handle = self.loop.call_later(max(0.0, wake_at - now), self._wake_up)

    def change_status(self, status: str) -> None:
        """Take tasks and data (``running``), or not (``paused``), from now on; the scheduler is told."""
        raise NotImplementedError

    def tell_transitions(self) -> None:
        """Hand on what happened to tasks in this turn; see :mod:`distributed.worker.extending`."""

    def _wake_up(self) -> None:
        self._wake_handle = None
        self.turn()

    def _carry_out(self, instruction: Instruction) -> None:
        if isinstance(instruction, Execute):
            self.executor.submit(instruction.tasks)
        elif isinstance(instruction, TakeBack):
            self.state.taken_back(instruction, self.executor.take_back(instruction.tasks))
        elif isinstance(instruction, Gather):
            fetching = self.gather_dep(instruction.worker, instruction.keys, instruction.nbytes)
            self.spawn(fetching, name=f"gather from {instruction.worker}")
        elif isinstance(instruction, HangUp):
            for peer in instruction.peers:
                self.pool.remove(peer, reason="the scheduler has let go of this worker")
        else:
            assert isinstance(instruction, Close)
            self.close_as_told(instruction.reason, nanny=instruction.nanny)

    def close_as_told(self, reason: str, *, nanny: bool) -> None:
        """The scheduler wants this worker to stop."""
        raise NotImplementedError

    def on_messages(self, messages: list[Message]) -> None:
        """Stream messages of the scheduler."""
        now = time.monotonic()
        handle = self.state.handle
        for message in messages:
            handle(message, now)
        self.turn()

    def wake(self) -> None:
        """Called by threads: outcomes wait."""
        loop = self.loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
                loop.call_soon_threadsafe(self._on_outcomes)

    def _on_outcomes(self) -> None:
        outcomes = self.executor.drain()
        state = self.state
        if outcomes.seceded:
            state.tasks_seceded(outcomes.seceded)
        if outcomes.completed:
            state.tasks_completed(outcomes.completed)
        if outcomes.failed:
            state.tasks_failed(outcomes.failed)
        if outcomes.missing:
            state.tasks_missing(outcomes.missing)
        if outcomes.rescheduled:
            state.tasks_rescheduled(outcomes.rescheduled)
        self.turn()
        self.executor.go_on()

    async def gather_dep(
        self, worker: str, to_gather: Collection[Key], total_nbytes: int, *, stimulus_id: str = ""
    ) -> None:
        """Ask a peer for results that tasks here wait for; tell the machine how it went.

        This is the step that the machine orders for each peer; a class may override it to look on or to interfere.
        """
        peer, keys = worker, list(to_gather)
        patience = GATHER_TIMEOUT + total_nbytes / GATHER_NBYTES_PER_SECOND
        busy = unreachable = False
        detour = peer in self.state.fetching.on_detour
        begin = time.monotonic()
        results: list[tuple[Any, Packed, int]] | None = None
        immovable: list[Any] = []
        try:
            question: dict[str, Any] = {"keys": keys}
            works = self.state.fetching.works(peer)
            if works:
                question["works"] = list(works.items())
            answer = await (self._ask_by_detour if detour else self._ask_peer)(peer, question, patience)
            busy = answer["status"] == "busy"
            if answer["status"] == "OK":
                results = [(key, Packed(payload), nbytes(payload)) for key, payload in answer["data"]]
                immovable = answer.get("immovable") or []
        except OSError as error:  # also TimeoutError, and all that a broken connection raises
            # Else nobody is there, for whomever.
            unreachable = error.errno != errno.ECONNREFUSED and not isinstance(error, RPCClosed)
            how = (
                "through the scheduler" if detour else "; asking through the scheduler" if unreachable else ""
            )
            logger.info("could not fetch %d results from %s%s: %s", len(keys), peer, how, error)
        except asyncio.CancelledError:
            raise
        except Exception:
            logger.exception("could not fetch %d results from %s", len(keys), peer)
        now = time.monotonic()
        if results is not None:
            self.digest_metric("transfer-incoming-bytes", sum(size for _, _, size in results))
            self.digest_metric("transfer-incoming-seconds", now - begin)
            self.state.gathered(peer, results, now, immovable=immovable)
        else:
            self.state.gather_failed(peer, now, busy=busy, unreachable=unreachable)
        self.turn()

    async def _ask_peer(self, peer: str, question: dict[str, Any], patience: float) -> Any:
        connection = await self.pool.connect(peer, timeout=min(PEER_CONNECT, connect_timeout()))
        return await connection.call("get_data", timeout=patience, who=self.address, **question)

    async def _ask_by_detour(self, peer: str, question: dict[str, Any], patience: float) -> Any:
        """Have the scheduler fetch them, from this peer or whoever has them."""
        if self.stream is None:
            raise CommClosedError("there is no connection to the scheduler now")
        return await self.stream.request("gather", question, timeout=2 * patience)
