"""After a restart: who was there before, and is waited for before anything is given out.

A client that comes back to a scheduler it does not know names the workers it knew. What it submits again is mostly
finished, or running, on those workers; given to the first worker that returns it would be done twice. So nothing is given
out until they have registered, or their time is up.
"""

from __future__ import annotations

from collections.abc import Iterable

from distributed.scheduler.state.index import Index


def expect(s: Index, addresses: Iterable[str]) -> None:
    """Wait for these workers, unless they are here, for ``settings.muster`` seconds from now."""
    for address in addresses:
        if address not in s.workers and address not in s.awaited:
            s.awaited[address] = s.now + s.settings.muster


def expire(s: Index) -> None:
    """Go on without the workers that did not come in time."""
    for address in [address for address, until in s.awaited.items() if until < s.now]:
        del s.awaited[address]
