"""What is to be said to whom at the end of this turn: messages whose columns are still open.

A message of thousands of tasks grows here by one append a column and task. Messages to one peer keep the order in
which they were begun, so what contradicts each other (in memory, then lost) is told in the right order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from distributed.protocol.messages import (
    FreeKeys,
    Key,
    KeysTaken,
    Message,
    StealTasks,
    TaskError,
    TasksCancelled,
    TasksErredForClient,
    TasksInMemory,
    TasksLost,
    TasksRefused,
)
from distributed.protocol.payload import Payload


class Outbox:
    """Messages by peer: the address of a worker, the name of a client."""

    __slots__ = ("_arriving", "_closed", "_messages", "heard", "heard_of", "nfrees")

    def __init__(self) -> None:
        self._messages: dict[str, list[Message]] = {}
        self._closed: dict[str, list[Message]] = {}  # what was to be said before a client was heard again
        self.heard_of: dict[str, int] = {}  # the last number that came from a client
        self.heard: dict[str, int] = {}  # ReplicasAdded that came from a worker since it registered
        self.nfrees = 0  # FreeKeys that were begun, for whomever
        # Data that is being handed to a worker: how many times at once, and whether a FreeKeys for it was held back.
        self._arriving: dict[tuple[str, Key], tuple[int, bool]] = {}

    def __bool__(self) -> bool:
        return bool(self._messages or self._closed)

    def hear(self, client: str, number: int) -> None:
        """A client says what keys stand for: what was to be said to it until now is about what it said before."""
        if self.heard_of.get(client) != number:
            self.heard_of[client] = number
            messages = self._messages.pop(client, None)
            if messages:
                self._closed.setdefault(client, []).extend(messages)

    def send(self, peer: str, message: Message) -> None:
        """Add a message of its own."""
        messages = self._messages.get(peer)
        if messages is None:
            self._messages[peer] = [message]
        else:
            messages.append(message)

    def in_memory(self, client: str) -> TasksInMemory:
        """The open message of results for a client."""
        last = self._last(client)
        if type(last) is TasksInMemory:
            return last
        message = TasksInMemory([], [], [], [], heard=self.heard_of.get(client, 0))
        self.send(client, message)
        return message

    def erred(self, client: str, key: Key, error: TaskError, work: bytes) -> None:
        message = self._last(client)
        if type(message) is not TasksErredForClient:
            message = TasksErredForClient([], [], self.heard_of.get(client, 0))
            self.send(client, message)
        _add_work(message, work)
        message.keys.append(key)
        message.errors.append(error)

    def lost(self, client: str, key: Key) -> None:
        last = self._last(client)
        if type(last) is TasksLost:
            last.keys.append(key)
        else:
            self.send(client, TasksLost([key], self.heard_of.get(client, 0)))

    def taken(self, client: str, key: Key, work: bytes) -> None:
        last = self._last(client)
        if type(last) is KeysTaken:
            last.keys.append(key)
            last.works.append(work)
        else:
            self.send(client, KeysTaken([key], [work], self.heard_of.get(client, 0)))

    def cancelled(self, client: str, key: Key, reason: str, msg: str = "") -> None:
        last = self._last(client)
        if type(last) is TasksCancelled and last.reason == reason and last.msg == msg:
            last.keys.append(key)
        else:
            self.send(client, TasksCancelled([key], reason, msg, self.heard_of.get(client, 0)))

    def refused(self, client: str, key: Key, missing: Key) -> None:
        last = self._last(client)
        if type(last) is TasksRefused:
            last.keys.append(key)
            last.missing.append(missing)
        else:
            self.send(client, TasksRefused([key], [missing], self.heard_of.get(client, 0)))

    def data_arrives(self, worker: str, keys: Iterable[Key]) -> None:
        """Data is being handed to a worker on a connection of its own: a FreeKeys begun from here on would hit it."""
        for key in keys:
            count, held_back = self._arriving.get((worker, key), (0, False))
            self._arriving[worker, key] = count + 1, held_back

    def data_arrived(self, worker: str, keys: Iterable[Key]) -> list[Key]:
        """It is there, or never will be. Gives the keys of which a FreeKeys was held back meanwhile."""
        due = []
        for key in keys:
            count, held_back = self._arriving.pop((worker, key))
            if count > 1:
                self._arriving[worker, key] = count - 1, held_back
            elif held_back:
                due.append(key)
        return due

    def arrives_at(self, worker: str) -> bool:
        """Whether data is being handed to this worker."""
        return bool(self._arriving) and any(address == worker for address, _ in self._arriving)

    def free(self, worker: str, key: Key) -> None:
        if self._arriving and (worker, key) in self._arriving:
            self._arriving[worker, key] = self._arriving[worker, key][0], True
            return
        last = self._last(worker)
        if type(last) is FreeKeys:
            last.keys.append(key)
        else:
            self.nfrees += 1
            self.send(worker, FreeKeys([key], self.heard.get(worker, 0), self.nfrees))

    def steal(self, worker: str, keys: list[Key]) -> None:
        self.send(worker, StealTasks(keys))

    def take(self, peer: str) -> list[Message]:
        """What was to be said to a peer that is none."""
        return self._messages.pop(peer, [])

    def forget_peer(self, peer: str) -> None:
        """Drop what was to be said to a peer that is gone."""
        self._messages.pop(peer, None)
        self._closed.pop(peer, None)
        self.heard.pop(peer, None)
        self.heard_of.pop(peer, None)

    def drain(self) -> Iterator[tuple[str, list[Message]]]:
        """Hand everything over and begin anew."""
        messages, self._messages = self._messages, {}
        if self._closed:
            closed, self._closed = self._closed, {}
            for client, earlier in closed.items():
                messages[client] = earlier + messages.get(client, [])
        return iter(messages.items())

    def _last(self, peer: str) -> Message | None:
        messages = self._messages.get(peer)
        return messages[-1] if messages else None


def add_result(
    message: TasksInMemory, key: Key, value: Payload | None, typename: str, worker: str, work: bytes
) -> None:
    """Append one result to an open message."""
    if work or message.works:
        _add_work(message, work)
    message.keys.append(key)
    message.values.append(value)
    message.types.append(typename)
    message.workers.append(worker)


def _add_work(message: TasksInMemory | TasksErredForClient, work: bytes) -> None:
    """Say what the key stands for that is appended next."""
    if work or message.works:
        message.works += [b""] * (len(message.keys) - len(message.works))
        message.works.append(work)
