"""What became of futures, as their users saw it: a future never has the outcome of one work, and then another's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from distributed.client.state import ClientTask
from distributed.testing.simulation.workloads import RAISED

#: Whether it has a value; what failed, if not; the value, or the arguments of what raised, as far as they are known.
Outcome = tuple[bool, Any, bytes | None]


def outcome_of(task: ClientTask) -> Outcome | None:
    """None as long as its work has none: other errors than a task's own are no outcome of the work."""
    if task.status == "finished":
        return True, None, None if task.value is None else bytes(task.value)
    if task.status == "error" and task.error is not None and task.error.exception_text == RAISED:
        return False, task.error.blamed_key, bytes(task.error.exception)
    return None


class Outcomes:
    """The first outcome of every future of a client on keys that are used again."""

    def __init__(self) -> None:
        self.first: dict[ClientTask, Outcome] = {}

    def look(self, tasks: Iterable[ClientTask]) -> None:
        """Raises ``AssertionError`` naming the future that has changed its work."""
        for task in tasks:
            now = outcome_of(task)
            if now is None:
                continue
            value, blamed, what = before = self.first.setdefault(task, now)
            same = value == now[0] and (blamed != now[1] or what == now[2] or None in (what, now[2]))
            assert same, f"the future on {task.key} had {before}, and now {now}"
            if what is None:
                self.first[task] = now


__all__ = ["Outcomes", "outcome_of"]
