"""Partings, carried out: who left the books is told to stop or hung up on, and his nanny has him replaced."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from distributed.core import Connection
from distributed.exceptions import CommClosedError, UnknownOutcomeError
from distributed.protocol.errors import pack_error
from distributed.protocol.messages import CloseWorker
from distributed.scheduler.state.partings import Parting

if TYPE_CHECKING:
    from distributed.scheduler.base import SchedulerBase
    from distributed.scheduler.state import WorkerState

#: Seconds a worker that can hear gets to close before its nanny kills it.
CLOSING = 2.0
#: Seconds for a nanny to have another worker running.
REPLACING = 120.0


def failed(text: str) -> dict[str, Any]:
    """The answer of somebody who does not answer."""
    return {"status": "error", "text": text, "exception": None, "traceback": None}


def lost_midway(address: str, op: str, error: Exception) -> dict[str, Any]:
    """The answer of somebody who was lost while he carried something out."""
    text = f"{address} was lost while it carried out {op!r}: that may or may not have been done ({error})"
    packed = pack_error(UnknownOutcomeError(text))
    return {
        "status": "error",
        "text": text,
        "exception": packed.exception,
        "traceback": packed.traceback,
        "lost": True,
    }


class Partings:
    """What a scheduler does about workers that its machine has let go of.

    Attributes
    ----------
    answers : dict of str to asyncio.Task
        What nannies say that were told to replace a worker, by the address of that worker.
    task_clients : dict of str to str
        Of clients that serve the tasks of a worker, whose connections are open: the address of that worker.
    """

    def __init__(self, hub: SchedulerBase) -> None:
        self._hub = hub
        self.answers: dict[str, asyncio.Task[dict[str, Any]]] = {}
        self.task_clients: dict[str, str] = {}

    def carry_out(self) -> None:
        """Do what the machine decided. Before anybody else can register at these addresses."""
        hub = self._hub
        parted, hub.state.parted = hub.state.parted, []
        for ws, parting, reason in parted:
            stream = hub.unbind(ws.address)
            if stream is not None and not stream.closed:
                self._part_from(stream, parting, reason)
            if parting.unheard:
                self._part_from_clients(ws.address, reason)
            if parting.ordered and ws.extra.get("nanny"):
                self._order(ws, parting, reason)
        if parted:
            hub.note_workers_changed()

    def _part_from(self, stream: Connection, parting: Parting, reason: str) -> None:
        if parting.unheard:
            stream.abort(CommClosedError(f"the scheduler lets go of this worker: {reason}"))
            return
        with contextlib.suppress(CommClosedError):
            if parting.stop:
                stream.send(CloseWorker(reason, nanny=parting.for_good))
            self._hub.spawn(stream.close(), name=f"hang up on {stream.peer_address}")

    def _part_from_clients(self, worker: str, reason: str) -> None:
        """The clients of a worker's tasks are in its process: if that lives after all, they come back as it does."""
        for client in [client for client, address in self.task_clients.items() if address == worker]:
            stream = self._hub._streams.get(client)
            if stream is not None:
                stream.abort(
                    CommClosedError(f"the scheduler lets go of {worker}, whose tasks this serves: {reason}")
                )

    def _order(self, ws: WorkerState, parting: Parting, reason: str) -> None:
        kwargs = {
            "pid": ws.extra["pid"],
            "timeout": CLOSING if parting.stop else 0.0,
            "reason": reason,
            "by_force": parting.stop or parting.by_force,
        }
        coroutine = self._ask(ws.extra["nanny"], kwargs)
        task = self._hub.spawn(coroutine, name=f"replace {ws.address}")
        self.answers[ws.address] = task
        task.add_done_callback(lambda _: self._forget(ws.address, task))

    async def _ask(self, nanny: str, kwargs: dict[str, Any]) -> dict[str, Any]:
        try:
            async with asyncio.timeout(REPLACING):
                return await self._hub._answer(nanny, "replace_worker", kwargs)
        except TimeoutError:
            return failed(f"the nanny at {nanny} does not answer for {REPLACING:g} s")

    def _forget(self, address: str, task: asyncio.Task[dict[str, Any]]) -> None:
        if self.answers.get(address) is task:
            del self.answers[address]
