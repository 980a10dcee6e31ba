"""Answers: what a caller was told already, for the case that it asks again because its connection broke.

A caller numbers what it orders. An order that comes a second time under its number is not carried out a second time:
it gets the answer of the first, or waits for it. What the caller has an answer to is forgotten with its next order.
"""

from __future__ import annotations

import asyncio
import itertools
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributed.protocol.messages import Reply, ReplyError, Request


class Answers:
    """Of one caller, as long as the party that answers remembers it.

    Attributes
    ----------
    name : str
        Of this memory. Where a caller that returns finds another, what it had ordered may or may not have been done.
    """

    def __init__(self) -> None:
        self.name = uuid.uuid4().hex
        self._known: dict[int, asyncio.Future[Reply | ReplyError | None]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def begin(self, request: Request) -> asyncio.Future[Reply | ReplyError | None] | None:
        """The answer, maybe yet to come, of an order that was here before; None if it is to be carried out now."""
        for number in [number for number in self._known if number < request.settled]:
            del self._known[number]
        before = self._known.get(request.once)
        if before is None:
            self._known[request.once] = asyncio.get_running_loop().create_future()
        return before

    def end(self, request: Request, answer: Reply | ReplyError | None) -> None:
        """It was answered; None: its connection broke before it came to an end."""
        known = self._known.get(request.once)
        if known is not None and not known.done():
            known.set_result(answer)

    def begin_again(self, request: Request) -> None:
        """An order that was broken off is carried out after all."""
        self._known[request.once] = asyncio.get_running_loop().create_future()


class Callers:
    """The memory of one party for all its callers."""

    def __init__(self, owner: object = None) -> None:
        self.answers: dict[str, Answers] = {}

    def of(self, client: str) -> Answers:
        """What this caller was answered."""
        if client not in self.answers:
            self.answers[client] = Answers()
        return self.answers[client]

    def client_gone(self, client: str) -> None:
        """It will not come back."""
        self.answers.pop(client, None)


class Orders:
    """The caller's side: numbers of its orders, and which of them have no answer yet."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._open: set[int] = set()
        self._next = 1

    def begin(self) -> int:
        """The number of a new order."""
        number = next(self._numbers)
        self._next = number + 1
        self._open.add(number)
        return number

    def end(self, number: int) -> None:
        """It has its answer, or nobody waits for one any more."""
        self._open.discard(number)

    @property
    def settled(self) -> int:
        """Orders with smaller numbers are answered."""
        return min(self._open, default=self._next)
