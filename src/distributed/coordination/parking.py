"""The scheduler's side of waiting: calls that are parked until a pure state object grants them, and whose they are."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Hashable, Iterable
from typing import Any, NamedTuple

from distributed import config


class Owner(NamedTuple):
    """Who holds or waits for something: a client and, for one inside a task, the address of its worker."""

    client: str
    worker: str = ""


class Parking:
    """Calls that wait.

    A call takes a :meth:`ticket`, gives it to the state object and waits for it; the state object answers later
    events with the tickets that they grant.
    """

    def __init__(self) -> None:
        self._calls: dict[int, asyncio.Future[None]] = {}
        self._tickets = itertools.count(1)

    def __len__(self) -> int:
        return len(self._calls)

    def ticket(self) -> int:
        return next(self._tickets)

    def tickets(self) -> list[int]:
        """Those of the calls that wait now."""
        return list(self._calls)

    async def wait(self, ticket: int, timeout: float | None) -> bool:
        """Until the ticket is granted. False after ``timeout`` seconds; cancelled when the caller is gone."""
        granted = self._calls[ticket] = asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait([granted], timeout=None if timeout is None else max(0.0, timeout))
            return granted.done()
        finally:
            del self._calls[ticket]

    def grant(self, tickets: Iterable[int]) -> None:
        for ticket in tickets:
            call = self._calls.get(ticket)
            if call is not None and not call.done():
                call.set_result(None)


class Waiting:
    """Tickets that wait for something to happen under a name. Pure."""

    def __init__(self) -> None:
        self._tickets: dict[Any, list[int]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._tickets.values()))

    def add(self, name: Any, ticket: int) -> None:
        self._tickets.setdefault(name, []).append(ticket)

    def withdraw(self, name: Any, ticket: int) -> None:
        """It waits no more; nothing where it did not."""
        tickets = self._tickets.get(name)
        if tickets is not None and ticket in tickets:
            tickets.remove(ticket)
            if not tickets:
                del self._tickets[name]

    def take(self, name: Any) -> list[int]:
        """It has happened: all that waited for it."""
        return self._tickets.pop(name, [])


class Departures:
    """Tells when an owner is gone for good: its worker left, or its client did or stayed away for too long.

    Parameters
    ----------
    scheduler : Scheduler
    forget : callable
        Called with a function that says of an :class:`Owner` whether it is gone.
    """

    def __init__(self, scheduler: Any, forget: Callable[[Callable[[Owner], bool]], None]) -> None:
        self._scheduler = scheduler
        self._forget = forget
        self._timeout = config.seconds("distributed.scheduler.locks.lease-timeout", 30.0) or 0.0
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def worker_gone(self, address: str) -> None:
        self._forget(lambda owner: owner.worker == address)

    def client_gone(self, client: str) -> None:
        timer = self._timers.pop(client, None)
        if timer is not None:
            timer.cancel()
        self._forget(lambda owner: owner.client == client)

    def client_lost(self, client: str) -> None:
        """Its connection broke. It may come back within the lease's time."""
        if client in self._scheduler.clients:  # else it has said goodbye
            timer = self._timers.pop(client, None)
            if timer is not None:
                timer.cancel()
            self._timers[client] = asyncio.get_running_loop().call_later(self._timeout, self._check, client)

    def _check(self, client: str) -> None:
        del self._timers[client]
        cs = self._scheduler.clients.get(client)
        if cs is None or cs.disconnected_at is not None:
            self.client_gone(client)


def hashable(name: Any) -> Hashable:
    """A name as it may be used in a dict: lists become tuples."""
    return tuple(map(hashable, name)) if isinstance(name, list) else name
