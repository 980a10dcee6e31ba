"""Tasks that shall run to their end whatever becomes of this client: the scheduler wants them itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from distributed.client.state.records import ClientTask

if TYPE_CHECKING:
    from distributed.client.state.machine import ClientState


def fire(state: ClientState, tasks: Iterable[ClientTask]) -> None:
    """Tell of those of these that are not done, once they have been submitted."""
    keys = []
    for task in tasks:
        have = state.tasks.get(task.key)
        if have is not None and have.status == "pending":
            state._tell_if_unknown(have)
            state.fired[have.key] = None
            keys.append(have.key)
    if keys:
        state._outbox.fire(keys)


def fire_again(state: ClientState) -> None:
    """The scheduler may know nothing of it."""
    fire(state, [state.tasks[key] for key in state.fired if key in state.tasks])


__all__ = ["fire", "fire_again"]
