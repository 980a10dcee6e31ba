"""The life of a server, in one word."""

from __future__ import annotations

import enum


class Status(enum.Enum):
    """What a scheduler, worker, nanny or cluster is doing."""

    undefined = "undefined"
    created = "created"
    init = "init"
    starting = "starting"
    running = "running"
    paused = "paused"
    stopping = "stopping"
    stopped = "stopped"
    closing = "closing"
    closing_gracefully = "closing_gracefully"
    closed = "closed"
    failed = "failed"
    dont_reply = "dont_reply"

    @property
    def alive(self) -> bool:
        """True from the start of work until closing begins."""
        return self in _ALIVE


_ALIVE = {Status.init, Status.starting, Status.running, Status.paused, Status.closing_gracefully}
