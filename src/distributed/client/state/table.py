"""What an event does to the status of a client's task, as data."""

from __future__ import annotations

#: (status, event) -> status. Events: what the user does (submit, cancel, retry), what the scheduler says (memory,
#: erred, cancelled, lost) and ``abandoned``: the scheduler stayed away for too long.
TRANSITIONS: dict[tuple[str, str], str] = {
    ("pending", "memory"): "finished",
    ("finished", "memory"): "finished",
    ("error", "memory"): "finished",
    ("pending", "erred"): "error",
    ("finished", "erred"): "error",
    ("error", "erred"): "error",
    ("pending", "lost"): "pending",
    ("finished", "lost"): "pending",
    ("error", "lost"): "pending",
    ("pending", "cancelled"): "cancelled",
    ("finished", "cancelled"): "cancelled",
    ("error", "cancelled"): "cancelled",
    ("pending", "cancel"): "cancelled",
    ("finished", "cancel"): "cancelled",
    ("error", "cancel"): "cancelled",
    ("error", "retry"): "pending",
    ("lost", "submit"): "pending",
    # These three only where no future lived: the scheduler may have forgotten.
    ("cancelled", "submit"): "pending",
    ("finished", "submit"): "pending",
    ("error", "submit"): "pending",
    ("pending", "abandoned"): "lost",
}


def following(event: str) -> dict[str, str]:
    """Status before to status after, for one event."""
    return {start: finish for (start, what), finish in TRANSITIONS.items() if what == event}


__all__ = ["TRANSITIONS", "following"]
