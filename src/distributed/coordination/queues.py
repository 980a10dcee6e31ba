"""Queues: values and futures from anywhere to anywhere in the network, in order."""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from typing import Any, NamedTuple

from distributed.coordination.handle import Handle, positive
from distributed.coordination.parking import Parking
from distributed.coordination.values import KeyHolder, pack_value, unpack_value
from distributed.protocol.messages import Key
from distributed.protocol.payload import Payload

# ---------------------------------------------------------------- scheduler


class Item(NamedTuple):
    """A value in a queue and the keys of the futures in it."""

    payload: Payload
    keys: list[Key]


class Line:
    """One queue's book: items, those who wait to put one, those who wait to get some. Pure.

    A getter is given its ``n`` items together, when there are as many; getters are served in their order.
    """

    def __init__(self, maxsize: int) -> None:
        self.maxsize = maxsize
        self.nhandles = 0
        self.items: deque[Item] = deque()
        self.putters: dict[int, Item] = {}
        self.getters: dict[int, int] = {}
        self.got: dict[int, list[Item]] = {}

    def put(self, ticket: int, item: Item) -> list[int] | None:
        """Tickets that are granted by this; None if the queue is full: the ticket waits."""
        if self.maxsize > 0 and len(self.items) >= self.maxsize:
            self.putters[ticket] = item
            # a getter of more than there is room for must not wait for those who wait for it
            return self._serve() if self.getters else None
        self.items.append(item)
        return self._serve()

    def get(self, ticket: int, n: int) -> list[int]:
        """Tickets that are granted by this, maybe this one: its items are in ``got``."""
        self.getters[ticket] = n
        return self._serve()

    def get_all(self) -> tuple[list[Item], list[int]]:
        """Everything that is there, and the tickets that are granted by taking it."""
        items = list(self.items)
        self.items.clear()
        return items, self._serve()

    def withdraw(self, ticket: int) -> list[int]:
        """Whoever has this ticket is gone: what it was given goes back to the front. Tickets granted by this."""
        self.putters.pop(ticket, None)
        self.getters.pop(ticket, None)
        self.items.extendleft(reversed(self.got.pop(ticket, [])))
        return self._serve()

    def _serve(self) -> list[int]:
        granted: list[int] = []
        while True:
            while self.putters and (self.maxsize <= 0 or len(self.items) < self.maxsize):
                granted.append(self._admit())
            if not self.getters:
                return granted
            ticket, n = next(iter(self.getters.items()))
            if len(self.items) + len(self.putters) < n:
                return granted
            while len(self.items) < n:
                granted.append(self._admit())
            del self.getters[ticket]
            self.got[ticket] = [self.items.popleft() for _ in range(n)]
            granted.append(ticket)

    def _admit(self) -> int:
        ticket = next(iter(self.putters))
        self.items.append(self.putters.pop(ticket))
        return ticket


class SchedulerQueues:
    """The scheduler's half."""

    def __init__(self, scheduler: Any) -> None:
        self.lines: dict[Any, Line] = {}
        self.parking = Parking()
        self.holder = KeyHolder(scheduler, "queues")

    def _line(self, name: Any, maxsize: int = 0) -> Line:
        line = self.lines.get(name)
        if line is None:
            line = self.lines[name] = Line(maxsize)
        return line

    def queue_create(self, name: Any, maxsize: int = 0) -> None:
        """A handle more on this queue; ``maxsize`` counts for the first."""
        self._line(name, maxsize).nhandles += 1

    async def queue_put(
        self,
        name: Any,
        payload: Payload,
        keys: list[Key],
        maxsize: int = 0,
        timeout: float | None = None,
    ) -> bool:
        line = self._line(name, maxsize)
        self.holder.hold(keys)
        ticket = self.parking.ticket()
        granted = line.put(ticket, Item(payload, keys))
        if granted is not None:
            self.parking.grant(granted)
        if ticket not in line.putters:
            return True
        try:
            return await self.parking.wait(ticket, timeout)
        except asyncio.CancelledError:
            if ticket in line.putters:
                raise
            return True  # the caller's connection broke just after there was room: it is told when it is back
        finally:
            if ticket in line.putters:
                self.parking.grant(line.withdraw(ticket))
                self.holder.release(keys)

    async def queue_get(
        self,
        name: Any,
        client: str,
        n: int | None = 1,
        maxsize: int = 0,
        timeout: float | None = None,
    ) -> list[list[Any]] | None:
        """[payload, keys] of ``n`` values, or (None) of all that are there now; None after the timeout."""
        line = self._line(name, maxsize)
        if n is None:
            items, granted = line.get_all()
            self.parking.grant(granted)
        else:
            ticket = self.parking.ticket()
            self.parking.grant(line.get(ticket, n))
            if ticket not in line.got:
                try:
                    await self.parking.wait(ticket, timeout)
                except BaseException:  # the caller is gone
                    self.parking.grant(line.withdraw(ticket))
                    raise
            if ticket not in line.got:
                self.parking.grant(line.withdraw(ticket))
                return None
            items = line.got.pop(ticket)
        for item in items:
            self.holder.share(client, item.keys)
            self.holder.release(item.keys)
        return [list(item) for item in items]

    def queue_qsize(self, name: Any) -> int:
        line = self.lines.get(name)
        return 0 if line is None else len(line.items)

    def queue_release(self, name: Any) -> None:
        """A handle less; with the last one the queue and what is in it are forgotten."""
        line = self.lines.get(name)
        if line is None:
            return
        line.nhandles -= 1
        if line.nhandles <= 0 and not line.putters and not line.getters:
            del self.lines[name]
            for item in line.items:
                self.holder.release(item.keys)


# ---------------------------------------------------------------- client


class Queue(Handle):
    """Values from anywhere to anywhere in the network, first in, first out.

    Futures in the values stay alive as long as they lie in the queue; large data should travel as futures.

    Parameters
    ----------
    name : str, optional
        Handles with the same name are the same queue. Default: a name of its own.
    client : Client, optional
        Default: the current one.
    maxsize : int
        Values that may lie in it; 0: any number. What its first handle says counts.

    Examples
    --------
    >>> queue = Queue("results")  # doctest: +SKIP
    >>> queue.put(client.submit(sum, [1, 2]))  # doctest: +SKIP
    >>> queue.get().result()  # doctest: +SKIP
    3
    """

    def __init__(self, name: str | None = None, client: Any = None, maxsize: int = 0) -> None:
        super().__init__(client)
        self.name = name or f"queue-{uuid.uuid4().hex}"
        self.maxsize = maxsize
        self._created = False

    async def _create(self) -> None:
        if not self._created:
            self._created = True
            await self._call("queue_create", name=self.name, maxsize=self.maxsize)

    def put(self, value: Any, timeout: Any = None, **kwargs: Any) -> Any:
        """Append a value; waits while the queue is full.

        Parameters
        ----------
        value : object
            Anything that can be pickled, with futures in it or not.
        timeout : float or str, optional
            Seconds, or a text such as "5s"; then TimeoutError is raised.
        """
        return self.sync(self._put, value, positive(timeout), **kwargs)

    async def _put(self, value: Any, timeout: float | None) -> None:
        await self._create()
        payload, keys, _held = pack_value(self.client, value)
        put = await self._call(
            "queue_put", name=self.name, payload=payload, keys=keys, maxsize=self.maxsize, timeout=timeout
        )
        if not put:
            raise TimeoutError(f"the queue {self.name!r} was full for {timeout:g} s")

    def get(self, timeout: Any = None, batch: bool | int = False, **kwargs: Any) -> Any:
        """Take the first value; waits while the queue is empty.

        Parameters
        ----------
        timeout : float or str, optional
            Seconds, or a text such as "5s"; then TimeoutError is raised.
        batch : bool or int
            True: a list of all that is there now, maybe none. A number: a list of so many, when there are as many.
        """
        return self.sync(self._get, positive(timeout), batch, **kwargs)

    async def _get(self, timeout: float | None, batch: bool | int) -> Any:
        await self._create()
        n = 1 if batch is False else None if batch is True else int(batch)
        items = await self._call(
            "queue_get", name=self.name, client=self.client.id, n=n, maxsize=self.maxsize, timeout=timeout
        )
        if items is None:
            raise TimeoutError(f"the queue {self.name!r} was empty for {timeout:g} s")
        values = [unpack_value(self.client, payload, keys) for payload, keys in items]
        return values[0] if batch is False else values

    def qsize(self, **kwargs: Any) -> Any:
        """Number of values in the queue."""
        return self.sync(self._call, "queue_qsize", name=self.name, **kwargs)

    def close(self) -> Any:
        """This handle is not needed any more; with the last one the queue is forgotten."""
        return self.order(self._close)

    async def _close(self) -> None:
        await self._create()
        self._created = False
        await self._call("queue_release", name=self.name)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name, None, self.maxsize)

    def __repr__(self) -> str:
        return f"<Queue {self.name!r}>"
