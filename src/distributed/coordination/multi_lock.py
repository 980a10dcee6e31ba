"""Several locks at once, without the deadlock that taking them one by one invites."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from distributed.coordination.handle import Handle, positive
from distributed.coordination.parking import Departures, Owner, Parking

# ---------------------------------------------------------------- scheduler


class _Request:
    __slots__ = ("granted", "names", "nlocks", "owner", "ticket")

    def __init__(self, ticket: int, owner: Owner, names: list[Any], nlocks: int) -> None:
        self.ticket = ticket
        self.owner = owner
        self.names = names
        self.nlocks = nlocks
        self.granted = False


class LockTable:
    """Queues of requests, one a lock. Pure.

    A request joins the queues of all its locks in one step, so two requests stand in the same order in every queue
    that they share: the oldest is never blocked by a younger one that waits. It is granted when it is first in
    ``nlocks`` of its queues, and leaves the others then.
    """

    def __init__(self) -> None:
        self.requests: dict[str, _Request] = {}
        self.queues: dict[Any, list[str]] = {}

    def acquire(self, ticket: int, ident: str, owner: Owner, names: list[Any], nlocks: int) -> bool:
        """Whether the locks are held now; else the ticket waits."""
        request = self.requests.get(ident)
        if request is not None:  # asked again, because the answer got lost
            request.ticket = ticket
            return request.granted
        self.requests[ident] = _Request(ticket, owner, list(dict.fromkeys(names)), nlocks)
        for name in self.requests[ident].names:
            self.queues.setdefault(name, []).append(ident)
        return bool(self._grant([ident]))

    def release(self, ident: str) -> list[int]:
        """Let go of the locks, or stop waiting for them. Tickets that are granted by this."""
        request = self.requests.pop(ident, None)
        return [] if request is None else self._leave(ident, request.names)

    def holds(self, ident: str) -> bool:
        request = self.requests.get(ident)
        return request is not None and request.granted

    def drop(self, gone: Callable[[Owner], bool]) -> list[int]:
        """Owners are gone. Tickets that are granted by this."""
        granted: list[int] = []
        for ident in [ident for ident, request in self.requests.items() if gone(request.owner)]:
            granted += self.release(ident)
        return granted

    def _leave(self, ident: str, names: list[Any]) -> list[int]:
        first: dict[str, None] = {}
        for name in names:
            queue = self.queues[name]
            was_first = queue[0] == ident
            queue.remove(ident)
            if not queue:
                del self.queues[name]
            elif was_first:
                first[queue[0]] = None
        return self._grant(list(first))

    def _grant(self, idents: list[str]) -> list[int]:
        tickets: list[int] = []
        for ident in idents:
            request = self.requests.get(ident)
            if request is None or request.granted:
                continue
            mine = [name for name in request.names if self.queues[name][0] == ident]
            if len(mine) < request.nlocks:
                continue
            request.granted = True
            tickets.append(request.ticket)
            keep = set(mine[: request.nlocks])
            spare = [name for name in request.names if name not in keep]
            request.names = [name for name in request.names if name in keep]
            tickets += self._leave(ident, spare)
        return tickets


class SchedulerMultiLocks:
    """The scheduler's half."""

    def __init__(self, scheduler: Any) -> None:
        self.table = LockTable()
        self.parking = Parking()
        departures = Departures(scheduler, lambda gone: self.parking.grant(self.table.drop(gone)))
        self.worker_gone = departures.worker_gone
        self.client_gone = departures.client_gone
        self.client_lost = departures.client_lost

    async def multi_lock_acquire(
        self, ident: str, owner: list[str], names: list[Any], nlocks: int, timeout: float | None = None
    ) -> bool:
        ticket = self.parking.ticket()
        if self.table.acquire(ticket, ident, Owner(*owner), names, nlocks):
            return True
        try:
            return await self.parking.wait(ticket, timeout)
        finally:
            if not self.table.holds(ident):
                self.parking.grant(self.table.release(ident))

    def multi_lock_release(self, ident: str) -> None:
        self.parking.grant(self.table.release(ident))


# ---------------------------------------------------------------- client


class MultiLock(Handle):
    """Several locks that are taken together, in one step.

    Parameters
    ----------
    names : list of str
        Names of the locks. MultiLocks with names in common exclude each other.
    client : Client, optional
        Default: the current one.

    Examples
    --------
    >>> with MultiLock(["x", "y"]):  # doctest: +SKIP
    ...     move_from_x_to_y()
    """

    def __init__(self, names: Any = None, client: Any = None) -> None:
        super().__init__(client)
        self.names = list(names) if names is not None else [f"multi-lock-{uuid.uuid4().hex}"]
        self.id = uuid.uuid4().hex
        self._locked = False

    def acquire(self, blocking: bool = True, timeout: Any = None, num_locks: int | None = None) -> Any:
        """Wait for the locks.

        Parameters
        ----------
        blocking : bool
            False: do not wait.
        timeout : float or str, optional
            Seconds, or a text such as "5s".
        num_locks : int, optional
            Enough to have; default: all.

        Returns
        -------
        bool
            Whether they were acquired.
        """
        if not blocking:
            if timeout is not None:
                raise ValueError("can't specify a timeout for a non-blocking call")
            timeout = 0
        wanted = len(self.names) if num_locks is None else num_locks
        if not 1 <= wanted <= len(set(self.names)):
            raise ValueError(f"num_locks must be between 1 and {len(set(self.names))}, not {wanted!r}")
        return self.sync(self._acquire, positive(timeout), wanted)

    async def _acquire(self, timeout: float | None, nlocks: int) -> bool:
        request = {"ident": self.id, "owner": self._owner, "names": self.names, "nlocks": nlocks}
        acquired: bool = await self._call("multi_lock_acquire", timeout=timeout, **request)
        self._locked = acquired
        if acquired:
            # a scheduler that was started anew hears of it when the client is back
            self.client.held[self.id] = "multi_lock_acquire", {**request, "timeout": 0.0}
        return acquired

    def release(self) -> Any:
        """Let go. Raises ValueError when it is not acquired."""
        if not self._locked:
            raise ValueError("Lock is not yet acquired")
        self._locked = False
        self.client.held.pop(self.id, None)
        return self.order(self._call, "multi_lock_release", ident=self.id)

    def locked(self) -> bool:
        """Whether this handle holds its locks."""
        return self._locked

    def __enter__(self) -> MultiLock:
        self.acquire()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.release()

    async def __aenter__(self) -> MultiLock:
        await self.acquire()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.release()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.names,)

    def __repr__(self) -> str:
        return f"<MultiLock {self.names!r}{', held' if self._locked else ''}>"
