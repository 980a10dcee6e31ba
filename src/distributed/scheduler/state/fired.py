"""Tasks whose results nobody waits for: the scheduler itself wants them until they are done.

It does so as a client does, so nothing else has to know of them. What is said to that client tells which are done.
"""

from __future__ import annotations

from distributed.protocol.messages import FireAndForget, TasksErredForClient, TasksInMemory
from distributed.scheduler.state import client_events, lifecycle
from distributed.scheduler.state.index import Index
from distributed.scheduler.state.records import PENDING_STATES, ClientState

#: The name of the client that is none.
HOLDER = "fire-and-forget"


def fire(s: Index, cs: ClientState, msg: FireAndForget) -> None:
    """From now on these run to their end, whatever becomes of the client."""
    holder = s.clients.get(HOLDER) or client_events.add_client(s, HOLDER)
    for key in msg.keys:
        ts = s.tasks.get(key)
        if ts is not None and ts.state in PENDING_STATES:
            client_events.want(s, ts, holder)


def forget_done(s: Index) -> None:
    """At the end of the turn: let go of those that are done."""
    holder = s.clients.get(HOLDER)
    if holder is None:
        return
    for message in s.outbox.take(HOLDER):
        if not isinstance(message, TasksInMemory | TasksErredForClient):
            continue
        for key in message.keys:
            ts = s.tasks.get(key)
            if ts is not None and ts in holder.wants_what and ts.state not in PENDING_STATES:
                client_events.unwant(ts, holder)
                if not ts.needed:
                    lifecycle.release(s, ts)
    if not holder.wants_what:
        client_events.remove_client(s, HOLDER)


__all__ = ["HOLDER", "fire", "forget_done"]
