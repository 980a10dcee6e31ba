"""After a restart: who was there before, and is waited for before anything is given out.

A client that comes back to a scheduler it does not know names the workers it knew. What it submits again is mostly
finished, or running, on those workers; given to the first worker that returns it would be done twice. So nothing is
given out until they have registered, or their time is up.
"""

from __future__ import annotations

from collections.abc import Iterable

from distributed.protocol.messages import ClientEvent
from distributed.scheduler.state import errors, lifecycle
from distributed.scheduler.state.index import Index


def expect(s: Index, addresses: Iterable[str]) -> None:
    """Wait for these workers, unless they are here, for ``settings.muster`` seconds from now."""
    s.complete_at = s.now + s.settings.muster
    for address in addresses:
        if address not in s.workers and address not in s.awaited:
            s.awaited[address] = s.now + s.settings.muster


def expire(s: Index) -> None:
    """Go on without the workers that did not come in time."""
    expired = [address for address, until in s.awaited.items() if until < s.now]
    for address in expired:
        del s.awaited[address]
    s.vanished += expired
    if expired:
        for client in s.clients:
            s.outbox.send(client, ClientEvent("workers", {"joined": [], "left": expired}))
    if s.reprieved and not s.incomplete():
        lifecycle.end_reprieve(s)
    if s.promised and not s.incomplete():
        for ts in [ts for ts in s.promised if ts.key not in s.unclaimed and ts not in s.arriving]:
            if ts in s.promised:
                lifecycle.to_erred(s, ts, errors.never_came(ts))
