"""A scheduler that is to stop without loss: it takes nothing new, lets finish what it has, then ends the network."""

from __future__ import annotations

import logging
import time
from typing import Any

from distributed import config
from distributed.core import Status
from distributed.protocol.messages import Message, SubmitGraph, SubmitTasks, TasksCancelled
from distributed.scheduler.introspection import Introspection

logger = logging.getLogger("distributed.scheduler")

REFUSAL = "the scheduler is draining: it finishes what it has, takes nothing new, and stops"
#: Clients that workers make for their tasks: what those submit is part of what has to be finished.
_OF_WORKERS = "Client-worker-"


class Draining(Introspection):
    """Mixed into :class:`~distributed.scheduler.server.Scheduler`."""

    def init_draining(self) -> None:
        self.draining = False
        self._up_since = time.monotonic()
        self._done_at: float | None = None
        self._drain_patience = config.seconds("distributed.scheduler.drain-patience", 60.0) or 0.0

    def drain(self) -> dict[str, Any]:
        """Take no new tasks and clients from now on; stop when everything is done and fetched.

        Results that clients still want are kept for them for ``distributed.scheduler.drain-patience`` after the last
        task has ended.

        Returns
        -------
        dict
            ``tasks``: how many there are still, finished ones that somebody wants among them.
        """
        if not self.draining:
            self.draining = True
            logger.warning("Draining: %d tasks are left; nothing new is taken", len(self.state.tasks))
        return {"tasks": len(self.state.tasks)}

    def refuses_client(self, client: str) -> bool:
        """Whether this one may not register: it is new, and nothing new is taken."""
        return self.draining and client not in self.state.clients and not client.startswith(_OF_WORKERS)

    def refuses(self, client: str, message: Message) -> bool:
        """Whether a message is not handled, for it brings new tasks; its client is told so.

        What a client submits again because its connection broke is not new.
        """
        if not isinstance(message, SubmitTasks | SubmitGraph) or client.startswith(_OF_WORKERS):
            return False
        tasks = self.state.tasks
        new = [key for key in message.keys if key not in tasks]
        if new:
            # whatever the client said of them, this is the answer
            self.send_to_peer(client, TasksCancelled(new, "draining", REFUSAL, heard=message.number))
        return bool(new)

    def check_drained(self, now: float) -> bool:
        """Begin to close if everything is done."""
        if not self.draining or self.status is not Status.running or not self.is_idle or self.state.awaited:
            self._done_at = None
            return False
        if self._done_at is None:
            self._done_at = now
        wanted = any(cs.wants_what for cs in self.state.clients.values())
        if wanted and now - self._done_at < self._drain_patience:
            return False
        left = ", though clients did not fetch all results" if wanted else ""
        logger.warning("Drained: all tasks are done%s. Closing the network", left)
        self.spawn(self._end(), name="close after draining")
        return True

    async def _end(self) -> None:
        self.terminate(reason="it was drained")

    def health(self) -> dict[str, Any]:
        """What ``/health`` says: ``status`` ("ok", "draining" or another word for why not), and a few numbers."""
        status = "ok" if self.status is Status.running else self.status.name
        return {
            "status": "draining" if self.draining and status == "ok" else status,
            "workers": len(self.state.workers),
            "clients": len(self.state.clients),
            "tasks": len(self.state.tasks),
            "uptime": round(time.monotonic() - self._up_since, 3),
        }
