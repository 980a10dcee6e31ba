"""Messages to the scheduler while they are being built: in order, neighbours of a kind joined into columns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from distributed.client.state.records import Call, ClientTask, Function
from distributed.protocol.messages import (
    CancelKeys,
    DropFunctions,
    FireAndForget,
    Key,
    Message,
    PutFunctions,
    ReleaseKeys,
    RetryKeys,
    SubmitGraph,
    SubmitTasks,
    WantKeys,
)

#: Tasks of one message, and their arguments' bytes: bounds how long either side is busy with it.
MAX_TASKS = 10_000
MAX_NBYTES = 8 * 2**20
#: What a payload with out-of-band buffers counts for.
OUT_OF_BAND_COUNTS = 32 * 2**10
#: Functions that the scheduler is asked to remember for this client, and their bytes.
MAX_FUNCTIONS = 1_000
MAX_FUNCTION_NBYTES = 256 * 2**20


class Outbox:
    """What will be sent next. The order of different kinds of messages is the order of the events."""

    __slots__ = ("_call", "_put", "_put_nbytes", "messages", "numbered", "open_nbytes")

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.numbered = 0  # messages that said what keys stand for
        self.open_nbytes = 0  # arguments in the SubmitTasks at the end of messages
        self._call: Call | None = None  # of that message
        self._put: dict[bytes, Function] = {}  # what the scheduler knows, least recently used first
        self._put_nbytes = 0

    def submitting(self, call: Call, wanted: bool, named: bool = False, again: bool = False) -> SubmitTasks:
        """The open message that a task of this call is appended to."""
        if self.messages:
            last = self.messages[-1]
            if (
                type(last) is SubmitTasks
                and last.wanted is wanted
                and last.named is named
                and last.again is again
                and self._call is not None
                and self._call.same(call)
                and len(last.keys) < MAX_TASKS
                and self.open_nbytes < MAX_NBYTES
            ):
                return last
        self._put_function(call.function)
        self._call = call
        self.open_nbytes = 0
        message = SubmitTasks(call.function.id, call.name, [], [], None, call.options, wanted, named, again)
        self.messages.append(message)
        return message

    def number(self, message: SubmitTasks | SubmitGraph) -> int:
        """That of a message which says what keys stand for; the last so far."""
        if not message.number:
            self.numbered += 1
            message.number = self.numbered
        return message.number

    def add(self, message: SubmitTasks, task: ClientTask) -> None:
        """Append a task to the message that :meth:`submitting` gave."""
        if task.named or task.deps:
            task.told = task.told or self.number(message)
        message.keys.append(task.key)
        message.args.append(task.args)
        self.open_nbytes += len(task.args) if type(task.args) is bytes else OUT_OF_BAND_COUNTS
        if message.deps is not None:
            message.deps.append(list(task.deps))
        elif task.deps:
            message.deps = [[] for _ in message.keys]
            message.deps[-1] = list(task.deps)

    def graph(self, message: SubmitGraph, functions: Iterable[Function]) -> None:
        """A whole piece of a graph, behind the functions that it refers to."""
        for function in functions:
            self._put_function(function)
        self._call = None
        self.messages.append(message)

    def want(self, tasks: Iterable[ClientTask]) -> None:
        tasks = list(tasks)
        self._extend(WantKeys, [task.key for task in tasks])
        message: Any = self.messages[-1]
        if message.works or any(task.work for task in tasks):
            before = len(message.keys) - len(tasks) - len(message.works)
            message.works += [*[b""] * before, *[task.work for task in tasks]]
        if any(task.status == "error" for task in tasks):
            before = len(message.keys) - len(tasks) - len(message.errors)
            message.errors += [*[None] * before, *[task.error for task in tasks]]

    def release(self, keys: Iterable[Key]) -> None:
        self._extend(ReleaseKeys, keys)

    def retry(self, keys: Iterable[Key]) -> None:
        self._extend(RetryKeys, keys)

    def fire(self, keys: Iterable[Key]) -> None:
        self._extend(FireAndForget, keys)

    def cancel(self, keys: list[Key], force: bool, reason: str, msg: str) -> None:
        self.messages.append(CancelKeys(keys, force, reason, msg))

    def take(self) -> list[Message]:
        """Hand out everything and start anew."""
        messages, self.messages = self.messages, []
        self._call = None
        return messages

    def forget_functions(self) -> None:
        """The scheduler at the other end knows none of our functions."""
        self._put.clear()
        self._put_nbytes = 0

    def _extend(self, kind: Any, keys: Iterable[Key]) -> None:
        last: Any = self.messages[-1] if self.messages else None
        if type(last) is kind and len(last.keys) < MAX_TASKS:
            last.keys.extend(keys)
        else:
            self.messages.append(kind(list(keys)))

    def _put_function(self, function: Function) -> None:
        put = self._put
        if function.id in put:
            put[function.id] = put.pop(function.id)
            return
        put[function.id] = function
        self._put_nbytes += function.nbytes
        self.messages.append(PutFunctions([function.id], [function.blob]))
        dropped: list[bytes] = []
        while len(put) > 1 and (len(put) > MAX_FUNCTIONS or self._put_nbytes > MAX_FUNCTION_NBYTES):
            oldest = next(iter(put))
            self._put_nbytes -= put.pop(oldest).nbytes
            dropped.append(oldest)
        if dropped:
            self.messages.append(DropFunctions(dropped))
