"""Wake-ups for whoever waits until something has changed, to look again."""

from __future__ import annotations

import asyncio


class Pulse:
    """A signal that is not kept: it wakes those who wait as it is given, and nobody else.

    For waits on a condition over state that the same loop changes: look, and if it does not hold, wait, and look again.
    """

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next: asyncio.Event | None = None

    def give(self) -> None:
        """Wake all who wait. Free of cost where nobody does."""
        if self._next is not None:
            self._next.set()
            self._next = None

    async def wait(self, timeout: float | None = None) -> None:
        """Until the next :meth:`give`, or until ``timeout`` seconds have passed: the caller looks in either case."""
        if self._next is None:
            self._next = asyncio.Event()
        try:
            await asyncio.wait_for(self._next.wait(), timeout)
        except TimeoutError:
            return


__all__ = ["Pulse"]
