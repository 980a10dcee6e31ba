"""Events: a flag that all of the network can wait for."""

from __future__ import annotations

import uuid
from typing import Any

from distributed.coordination.handle import Handle, positive
from distributed.coordination.parking import Parking, Waiting

# ---------------------------------------------------------------- scheduler


class Flags:
    """Which events are set, and who waits for one. Pure."""

    def __init__(self) -> None:
        self.set_names: set[Any] = set()
        self.waiting = Waiting()

    def wait(self, name: Any, ticket: int) -> bool:
        """Whether it is set; else the ticket waits."""
        if name in self.set_names:
            return True
        self.waiting.add(name, ticket)
        return False

    def set(self, name: Any) -> list[int]:
        """Tickets that are granted by this."""
        self.set_names.add(name)
        return self.waiting.take(name)

    def clear(self, name: Any) -> None:
        self.set_names.discard(name)


class SchedulerEvents:
    """The scheduler's half."""

    def __init__(self, scheduler: Any) -> None:
        self.flags = Flags()
        self.parking = Parking()

    async def event_wait(self, name: Any, timeout: float | None = None) -> bool:
        ticket = self.parking.ticket()
        if self.flags.wait(name, ticket):
            return True
        try:
            return await self.parking.wait(ticket, timeout)
        finally:
            self.flags.waiting.withdraw(name, ticket)

    def event_set(self, name: Any) -> None:
        self.parking.grant(self.flags.set(name))

    def event_clear(self, name: Any) -> None:
        self.flags.clear(name)

    def event_is_set(self, name: Any) -> bool:
        return name in self.flags.set_names


# ---------------------------------------------------------------- client


class Event(Handle):
    """A flag, at first not set. What one sets, all see.

    Parameters
    ----------
    name : str, optional
        Handles with the same name are the same event. Default: a name of its own.
    client : Client, optional
        Default: the current one.

    Examples
    --------
    >>> event = Event("go")  # doctest: +SKIP
    >>> event.wait(timeout="5s")  # doctest: +SKIP
    """

    def __init__(self, name: str | None = None, client: Any = None) -> None:
        super().__init__(client)
        self.name = name or f"event-{uuid.uuid4().hex}"

    def wait(self, timeout: Any = None) -> Any:
        """Wait until it is set: True, or False after ``timeout`` (seconds, or a text such as "5s")."""
        return self.sync(self._call, "event_wait", timeout=positive(timeout), name=self.name)

    def set(self) -> Any:
        """Set it; wakes all who wait."""
        return self.order(self._call, "event_set", name=self.name)

    def clear(self) -> Any:
        """Take it back: who waits from now on waits for the next :meth:`set`."""
        return self.order(self._call, "event_clear", name=self.name)

    def is_set(self) -> Any:
        """Whether it is set."""
        return self.sync(self._call, "event_is_set", name=self.name)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name,)

    def __repr__(self) -> str:
        return f"<Event {self.name!r}>"
