"""Semaphores: at most so many may do something at a time, anywhere in the network.

Every acquisition is a *lease* of a client. A lease ends when it is released, when the worker whose task holds it
leaves the network, and when its client is closed or stays away for ``distributed.scheduler.locks.lease-timeout``.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable, Hashable
from typing import Any

from distributed.coordination.handle import Handle, positive
from distributed.coordination.parking import Departures, Owner, Parking, hashable

# ---------------------------------------------------------------- scheduler


class Leases:
    """One semaphore's book: who has a lease, who waits for one, in their order. Pure."""

    def __init__(self, max_leases: int) -> None:
        self.max_leases = max_leases
        self.held: dict[str, Owner] = {}
        self.waiting: dict[int, tuple[str, Owner]] = {}

    def acquire(self, ticket: int, lease: str, owner: Owner) -> bool:
        """Whether the lease is held now; else the ticket waits for its turn."""
        if lease in self.held:  # asked again, because the answer got lost
            return True
        if len(self.held) < self.max_leases:
            self.held[lease] = owner
            return True
        self.waiting[ticket] = lease, owner
        return False

    def release(self, lease: str) -> list[int]:
        """Tickets that are granted by this."""
        self.held.pop(lease, None)
        return self._next()

    def withdraw(self, ticket: int) -> None:
        """This ticket waits no longer."""
        self.waiting.pop(ticket, None)

    def drop(self, gone: Callable[[Owner], bool]) -> list[int]:
        """Owners are gone: end their leases and their waiting. Tickets that are granted by this."""
        self.waiting = {t: entry for t, entry in self.waiting.items() if not gone(entry[1])}
        self.held = {lease: owner for lease, owner in self.held.items() if not gone(owner)}
        return self._next()

    def _next(self) -> list[int]:
        granted = []
        while self.waiting:
            ticket, (lease, owner) = next(iter(self.waiting.items()))
            if lease not in self.held:
                if len(self.held) >= self.max_leases:
                    break
                self.held[lease] = owner
            del self.waiting[ticket]
            granted.append(ticket)
        return granted


class SchedulerSemaphores:
    """The scheduler's half: books by name, and the calls that wait."""

    def __init__(self, scheduler: Any) -> None:
        self.books: dict[Hashable, Leases] = {}
        self.parking = Parking()
        departures = Departures(scheduler, self._drop)
        self.worker_gone = departures.worker_gone
        self.client_gone = departures.client_gone
        self.client_lost = departures.client_lost

    async def semaphore_acquire(
        self, name: Any, max_leases: int, lease: str, owner: list[str], timeout: float | None = None
    ) -> bool:
        book = self._book(name, max_leases)
        ticket = self.parking.ticket()
        if book.acquire(ticket, lease, Owner(*owner)):
            return True
        try:
            await self.parking.wait(ticket, timeout)
        finally:
            book.withdraw(ticket)
        if lease not in book.held and self.books.get(hashable(name)) is not book:
            raise RuntimeError(f"the semaphore or lock {name!r} was closed while somebody waited for it")
        return lease in book.held

    def semaphore_release(self, name: Any, lease: str) -> bool:
        key = hashable(name)
        book = self.books.get(key)
        if book is None or lease not in book.held:
            return False
        self.parking.grant(book.release(lease))
        self._discard_if_idle(key, book)
        return True

    def semaphore_value(self, name: Any, max_leases: int | None = None) -> int:
        """Number of leases; with ``max_leases`` it is compared to what the semaphore was made with."""
        if max_leases is not None:
            return len(self._book(name, max_leases).held)
        book = self.books.get(hashable(name))
        return 0 if book is None else len(book.held)

    def semaphore_close(self, name: Any) -> None:
        book = self.books.pop(hashable(name), None)
        if book is not None:
            waiting, book.waiting = list(book.waiting), {}
            book.held.clear()
            self.parking.grant(waiting)

    def _book(self, name: Any, max_leases: int) -> Leases:
        key = hashable(name)
        book = self.books.get(key)
        if book is None:
            book = self.books[key] = Leases(max_leases)
        elif book.max_leases != max_leases:
            raise ValueError(f"Inconsistent max leases: {max_leases}, expected: {book.max_leases}")
        return book

    def _discard_if_idle(self, key: Hashable, book: Leases) -> None:
        """Locks are often made for one use: their books must not pile up. A semaphore's remembers its size."""
        if not book.held and not book.waiting and isinstance(key, tuple) and key[0] == "lock":
            self.books.pop(key, None)

    def _drop(self, gone: Callable[[Owner], bool]) -> None:
        for key, book in list(self.books.items()):
            self.parking.grant(book.drop(gone))
            self._discard_if_idle(key, book)


# ---------------------------------------------------------------- client


class Semaphore(Handle):
    """Lets at most ``max_leases`` holders in at a time, over all clients and tasks.

    Parameters
    ----------
    max_leases : int
        Must be the same in all handles of this name.
    name : str, optional
        Handles with the same name are the same semaphore. Default: a name of its own.
    scheduler_rpc : Client, optional
        The client to speak through. Default: the current one.
    loop : optional
        Known to users of the field; without a meaning.

    Examples
    --------
    >>> with Semaphore(2, "database"):  # doctest: +SKIP
    ...     query()
    """

    def __init__(
        self, max_leases: int = 1, name: str | None = None, scheduler_rpc: Any = None, loop: Any = None
    ) -> None:
        if not isinstance(max_leases, int) or max_leases < 1:
            raise ValueError(f"max_leases must be a whole number of at least 1, not {max_leases!r}")
        super().__init__(scheduler_rpc if hasattr(scheduler_rpc, "sync") else None)
        self.name = name or f"semaphore-{uuid.uuid4().hex}"
        self.max_leases = max_leases
        self._leases: deque[str] = deque()
        self._closed = False

    @property
    def _ident(self) -> Any:
        return self.name

    def acquire(self, timeout: Any = None) -> Any:
        """Wait for a lease.

        Parameters
        ----------
        timeout : float or str, optional
            Seconds, or a text such as "5s"; default: as long as it takes.

        Returns
        -------
        bool
            Whether it was acquired in time.
        """
        return self.sync(self._acquire, positive(timeout))

    async def _acquire(self, timeout: float | None) -> bool:
        if self._closed:
            raise RuntimeError(f"{self!r} was closed")
        lease = uuid.uuid4().hex
        request = {
            "name": self._ident,
            "max_leases": self.max_leases,
            "lease": lease,
            "owner": self._owner,
        }
        acquired: bool = await self._call("semaphore_acquire", timeout=timeout, **request)
        if acquired:
            self._leases.append(lease)
            # a scheduler that was started anew hears of it when the client is back
            self.client.held[lease] = "semaphore_acquire", {**request, "timeout": 0.0}
        return acquired

    def release(self) -> Any:
        """Give one lease back. True; False if it had ended before. Raises RuntimeError when this holds none."""
        try:
            lease = self._leases.popleft()
        except IndexError:
            raise RuntimeError("Released too often") from None
        self.client.held.pop(lease, None)
        return self.order(self._call, "semaphore_release", name=self._ident, lease=lease)

    def get_value(self) -> Any:
        """Number of leases that are held now, by anybody."""
        return self.sync(self._call, "semaphore_value", name=self._ident)

    def register(self, **kwargs: Any) -> Any:
        """Make it known to the scheduler now. Raises ValueError if it exists with another ``max_leases``."""
        return self.sync(self._register)

    async def _register(self) -> None:
        await self._call("semaphore_value", name=self._ident, max_leases=self.max_leases)

    def close(self) -> Any:
        """Forget it in the scheduler: all leases end, those who wait get a RuntimeError."""
        self._closed = True
        for lease in self._leases:
            self.client.held.pop(lease, None)
        self._leases.clear()
        return self.order(self._call, "semaphore_close", name=self._ident)

    def __enter__(self) -> Any:
        self.acquire()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.release()

    async def __aenter__(self) -> Any:
        await self.acquire()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.release()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.max_leases, self.name)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}, holds {len(self._leases)}>"
