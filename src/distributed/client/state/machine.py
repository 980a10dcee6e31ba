"""The client's state machine.

It owns the graph. Events of the user (submit, want, release, cancel, retry, wait) and messages of the scheduler go in;
messages to the scheduler (:meth:`ClientState.drain`) and satisfied waiters (:meth:`ClientState.take_woken`) come out.

Rules:

* What a task is, its *spec* (function, arguments, dependencies), is kept while a future on it lives or a kept task
  depends on it. So everything wanted can be submitted again, in order, to a scheduler that knows nothing
  (:meth:`ClientState.reconnected`).
* :data:`~distributed.client.state.table.TRANSITIONS` says what an event does to a status. A pair that is not there: the
  event is ignored.
* Whatever the scheduler knows of this client's wishes follows from the messages in their order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import Any

from distributed.client.state import fired, graphs, works
from distributed.client.state.graphs import GraphPiece
from distributed.client.state.outbox import MAX_NBYTES, MAX_TASKS, Outbox
from distributed.client.state.records import ANY, EACH, ENDED, FAILED, Call, ClientTask, Waiter, mirror
from distributed.client.state.table import TRANSITIONS, following
from distributed.client.state.validation import validate
from distributed.protocol.messages import (
    CancelAnswered,
    ClientEvent,
    Key,
    KeysTaken,
    LineageCut,
    Message,
    SubmitTasks,
    TasksCancelled,
    TasksErredForClient,
    TasksInMemory,
    TasksLost,
    TasksRefused,
)

#: Tasks that are forgotten in one go.
MAX_DROPPED = 10_000

#: Keys that the log of events remembers for :meth:`ClientState.story`.
LOG_NKEYS = 100_000

#: More than any number of a message.
ANY_NUMBER = 1 << 62

_MEMORY, _LOST = following("memory"), following("lost")


class ClientState:
    """The graph of one client and what is known about it. See the module for the rules."""

    def __init__(self) -> None:
        self.tasks: dict[Key, ClientTask] = {}
        self.topics: list[ClientEvent] = []
        self._outbox = Outbox()
        self._woken: list[Waiter] = []
        # Own cancellations that the scheduler has not answered yet. What it says of these keys up to its answer is
        # about an earlier submission than the present one.
        self._unanswered: dict[Key, int] = {}
        # Whether something may be kept here that the scheduler was not told of, or may have forgotten.
        self._some_unknown = False
        self._log: deque[tuple[int, str, list[Key]]] = deque()
        self._log_nkeys = 0
        self._stimulus = 0
        self.nconnections = 0
        #: What shall run to its end, as far as it is not known to be done.
        self.fired: dict[Key, None] = {}
        #: Dependencies of forgotten tasks, still to be counted off: the shell calls :meth:`drop_parked` turn by turn.
        self.parked: list[tuple[Key, ...]] = []
        #: Keys that were submitted with other work than they stand for; the shell says so to the user.
        self.taken: list[Key] = []
        self.pinned: dict[int, list[ClientTask]] = {}  # of graphs that are not complete yet
        self.unpinning: list[ClientTask] = []  # of graphs that have just been completed

    # ------------------------------------------------------------ events of the user

    def handle_submit(self, tasks: Iterable[ClientTask], wanted: bool = True) -> None:
        """Tasks to run, in order, each with its spec. ``wanted``: a future was made for each."""
        known = self.tasks
        outbox = self._outbox
        message: SubmitTasks | None = None
        call: Call | None = None
        for task in tasks:
            key = task.key
            have = known.setdefault(key, task)
            twin: ClientTask | None = None
            if task.nfutures < 0:  # cancelled, and other work took its place: its futures stay cancelled
                continue
            if have is not task:
                if have.status in ENDED or have.is_other(task):
                    have = works.other_work(self, have, task)
                    message = None
                if have is not task:
                    twin, task = task, have
                    self._join(have, twin)
            elif not task.nfutures and not task.ndependents:  # new, or dropped and back again
                task.status = "pending"
                task.value = task.error = task.waiters = task.twins = None
                task.known = False
                for dep in task.deps:
                    self._depend(dep)
            if wanted:
                if task.status == "cancelled" and task.nfutures:  # since its new future was made
                    task.nfutures += 1
                    continue
                if task.nfutures == 0 or task.status == "lost":
                    task.known = False  # the scheduler may have let it go
                    if task.shared:
                        works.not_shared(task)
                    if task.status != "pending":
                        self._set(task, "submit")
                task.nfutures += 1
            if twin is not None:
                mirror(task, twin)
            if task.known:
                continue
            if task.call is None or task.shared:  # what it says itself is not what the key stands for
                if task.status != "error":
                    self._tell(task)
                    message = None
                continue
            if task.deps or task.named:
                self._tell_dependencies(task)
                message = None
            if message is None or task.call is not call or len(message.keys) >= MAX_TASKS:
                call = task.call
                message = outbox.submitting(call, wanted, task.named, task.again)
            args = task.args
            if type(args) is bytes and message.deps is None and not task.deps and not task.named:  # add()
                message.keys.append(key)
                message.args.append(args)
                outbox.open_nbytes += len(args)
            else:
                outbox.add(message, task)
            if outbox.open_nbytes >= MAX_NBYTES:
                message = None
            task.known = True

    def handle_graph(self, tasks: Iterable[ClientTask], piece: GraphPiece) -> None:
        """The next piece of a graph. ``tasks``: those of the piece."""
        graphs.handle(self, piece)

    def handle_graph_end(self, graph: int) -> None:
        """No more pieces of this graph come, although it is not complete."""
        graphs.handle_end(self, graph)

    def handle_want(self, tasks: Iterable[ClientTask]) -> None:
        """Futures were made on keys that this client need not have submitted."""
        self.handle_submit(tasks, True)

    def handle_scatter(self, tasks: Collection[ClientTask]) -> None:
        """Data of the user that a call to the scheduler carries: it knows the keys and our interest by that."""
        works.scatter(self, tasks)

    def handle_release(self, tasks: Iterable[ClientTask]) -> None:
        """One future on each of these died."""
        released: list[Key] = []
        known = self.tasks
        for task in tasks:
            have = known.get(task.key)
            if have is None or have.nfutures == 0 or task.nfutures < 0:  # of work before this
                continue
            have.nfutures -= 1
            if have.nfutures == 0:
                released.append(have.key)
                if (self.pinned or self._some_unknown) and have.ndependents:
                    self._doubt(have)  # what keeps it here may not be there, or not yet
                if have.ndependents == 0:
                    self._drop(have)
                elif have.waiters is not None:
                    self._wake(have)  # nobody will tell us of it any more
        if released:
            self._outbox.release(released)

    def handle_cancel(
        self, keys: Iterable[Key], force: bool = False, reason: str = "", msg: str = ""
    ) -> None:
        """The user gives these up. Their status changes at once; the scheduler's answer changes nothing more."""
        cancelled: list[Key] = []
        for key in keys:
            task = self.tasks.get(key)
            if task is not None and task.nfutures and TRANSITIONS.get((task.status, "cancel")):
                task.reason = _sentence(reason, msg)
                self._doubt(task)
                self._set(task, "cancel")
                cancelled.append(key)
                self._unanswered[key] = self._unanswered.get(key, 0) + 1
        if cancelled:
            self._outbox.cancel(cancelled, force, reason, msg)

    def handle_retry(self, keys: Iterable[Key]) -> None:
        """Erred tasks shall run again."""
        retried: list[Key] = []
        for key in keys:
            task = self.tasks.get(key)
            if task is None or task.status != "error":
                continue
            for erred in self._closure(task):
                if erred.status == "error":
                    self._set(erred, "retry")
                    retried.append(erred.key)  # by name: the scheduler may have let go of what stands on it
                if not erred.known:
                    self._tell(erred)
        if retried:
            self._outbox.retry(retried)

    def handle_fire(self, tasks: Iterable[ClientTask]) -> None:
        """These shall run to their end even if this client goes."""
        fired.fire(self, tasks)

    def handle_wait(self, waiter: Waiter, tasks: Iterable[ClientTask]) -> None:
        """Count a waiter on these; one that has nothing to wait for is woken by the same turn."""
        known = self.tasks
        npending = ndone = 0
        failed = False
        for task in tasks:
            have = known.get(task.key)
            if have is not None and have.status == "pending" and have.nfutures:
                npending += 1
                waiters = have.waiters
                if waiters is None:
                    have.waiters = [waiter]
                else:
                    if len(waiters) >= 32:
                        waiters[:] = [other for other in waiters if not other.over]
                    waiters.append(waiter)
            else:
                ndone += 1
                failed = failed or have is None or have.status != "finished"
                if waiter.mode == EACH:
                    waiter.ready.append(task.key)
        if waiter.mode == EACH:
            if ndone:
                self._queue(waiter)
            return
        waiter.remaining = npending
        if npending == 0 or (waiter.mode == ANY and ndone) or (waiter.eager and failed):
            waiter.remaining = 0
            self._woken.append(waiter)
        elif waiter.mode == ANY:
            waiter.remaining = 1

    # ------------------------------------------------------------ messages of the scheduler

    def handle_message(self, message: Message) -> None:
        """One stream message of the scheduler."""
        handler = _HANDLERS.get(type(message))
        if handler is None:
            raise TypeError(f"a client does not understand {type(message).__name__} on its stream")
        self._stimulus += 1
        handler(self, message)

    def _on_memory(self, message: TasksInMemory) -> None:
        self._note("memory", message.keys)
        known = self.tasks
        unanswered = self._unanswered
        heard = message.heard if message.heard >= 0 else ANY_NUMBER
        if message.works:
            works.learn(self, message)
        for key, value, typename, worker in zip(
            message.keys, message.values, message.types, message.workers, strict=True
        ):
            task = known.get(key)
            if task is None:
                continue
            after = _MEMORY.get(task.status)
            if after is None or task.told > heard:
                continue
            if unanswered and key in unanswered:
                continue
            task.value = value
            task.type = typename
            task.worker = worker
            task.error = None
            task.status = after
            if not task.known:
                self._tell_if_unknown(task)
            if task.waiters is not None or task.twins is not None:
                self._changed(task)

    def _on_cancelled(self, message: TasksCancelled) -> None:
        self._note("cancelled", message.keys)
        for key in message.keys:
            task = self._meant(key, message.heard)
            if key in self._unanswered:
                continue
            if task is not None and TRANSITIONS.get((task.status, "cancelled")):
                task.reason = _sentence(message.reason, message.msg)
                self._doubt(task)
                self._set(task, "cancelled")

    def _on_cancel_answered(self, message: CancelAnswered) -> None:
        for key in message.keys:
            left = self._unanswered.get(key, 0) - 1
            if left > 0:
                self._unanswered[key] = left
            else:
                self._unanswered.pop(key, None)

    def _on_lost(self, message: TasksLost) -> None:
        self._note("lost", message.keys)
        for key in message.keys:
            task = self._meant(key, message.heard)
            if task is not None and task.status in _LOST and key not in self._unanswered:
                task.value = task.error = None
                task.worker = ""
                self._set(task, "lost")
                self._tell_if_unknown(task)

    def _on_event(self, message: ClientEvent) -> None:
        self.topics.append(message)

    # ------------------------------------------------------------ the connection

    def reconnected(self) -> None:
        """The connection is new, and the scheduler behind it may know nothing: tell it everything again.

        What is cancelled, and what only a failed task needed, stays here until it is asked for.
        """
        self.nconnections += 1
        self.drain()  # into the log: neither this nor all of what was sent before has arrived
        self._outbox.forget_functions()
        self._unanswered.clear()
        self._some_unknown = True
        for task in self.tasks.values():
            task.known = False
            task.told = 0
            task.again = task.named or bool(task.deps)
        for task in list(self.tasks.values()):
            if task.nfutures and task.status in ("pending", "finished"):
                self._tell_if_unknown(task)
        fired.fire_again(self)
        # What the scheduler may remember of us although we do not want it any more.
        released = {key for _, event, keys in self._log if event in ("release", "cancel") for key in keys}
        stale = [key for key in released if not self.is_wanted(key)]
        for i in range(0, len(stale), MAX_TASKS):
            self._outbox.release(stale[i : i + MAX_TASKS])

    def abandon(self, reason: str, keys: Iterable[Key] | None = None) -> None:
        """The scheduler will not come back, or not to these keys: what is pending and has a future ends as ``lost``."""
        some = self.tasks.values() if keys is None else [self.tasks[key] for key in keys if key in self.tasks]
        lost = [task for task in some if task.nfutures and task.status == "pending"]
        self._stimulus += 1
        self._note("abandoned", [task.key for task in lost])
        for task in lost:
            task.reason = reason
            self._set(task, "abandoned")
        if keys is None:
            self._outbox.take()

    # ------------------------------------------------------------ instructions

    def drain(self) -> list[Message]:
        """Messages for the scheduler since the last call, in order."""
        messages = self._outbox.take()
        if messages:
            self._stimulus += 1
            for message in messages:
                event = _SENT.get(type(message).__name__)
                if event is not None:
                    self._note(event, message.keys)  # type: ignore[attr-defined]
        return messages

    def take_woken(self) -> list[Waiter]:
        """Waiters satisfied since the last call."""
        woken, self._woken = self._woken, []
        for waiter in woken:
            waiter.queued = False
        return woken

    # ------------------------------------------------------------ looking at it

    @property
    def numbered(self) -> int:
        """How many times the scheduler was told what keys stand for."""
        return self._outbox.numbered

    def is_wanted(self, key: Key) -> bool:
        """Whether a future on this key lives, so that the scheduler will say what becomes of it."""
        task = self.tasks.get(key)
        return task is not None and task.nfutures > 0

    def story(self, *keys: Key) -> list[tuple[int, str, Key]]:
        """What happened to these keys, oldest first: number of the stimulus, event, key."""
        wanted = set(keys)
        return [
            (stimulus, event, key) for stimulus, event, batch in self._log for key in batch if key in wanted
        ]

    def validate(self) -> None:
        """Check everything that must hold between turns. Raises ``AssertionError``."""
        validate(self)

    # ------------------------------------------------------------ inside

    def _join(self, have: ClientTask, task: ClientTask) -> None:
        """Another record of a known key: it becomes a mirror of the first, once that has the status it should."""
        self._adopt(have, task)
        if have.twins is None:
            have.twins = []
        have.twins.append(task)

    def _meant(self, key: Key, heard: int) -> ClientTask | None:
        """The record that a message is about; None where it is about an earlier work of the key."""
        task = self.tasks.get(key)
        return None if task is None or task.told > heard >= 0 else task

    def _adopt(self, have: ClientTask, task: ClientTask) -> None:
        """How to compute a key that was known by name only."""
        if have.call is None and not have.work and task.call is not None:
            have.named = task.named
            have.call, have.args, have.deps = task.call, task.args, task.deps
            for dep in have.deps:
                self._depend(dep)
            have.known = False

    def _depend(self, key: Key) -> None:
        dep = self.tasks.get(key)
        if dep is None:
            dep = self.tasks[key] = ClientTask(key, known=False)
        dep.ndependents += 1

    def _drop(self, task: ClientTask) -> None:
        """Forget a task that nobody needs, and then what only it needed; the rest of a long list in later turns."""
        self._forget(task)
        if len(self.parked) == 1:
            self.drop_parked()

    def _forget(self, task: ClientTask) -> None:
        del self.tasks[task.key]
        if not self.tasks:
            self._some_unknown = False
        if task.waiters is not None:
            self._wake(task)
        task.twins = None
        self.parked.append(task.deps)

    def drop_parked(self) -> None:
        """Forget what only forgotten tasks needed, :data:`MAX_DROPPED` of them at most."""
        stack = self.parked
        left = MAX_DROPPED
        data: list[Key] = []  # what was wanted as a dependency, see _tell
        unpinning = self.unpinning
        while unpinning and left:
            left -= 1
            task = unpinning.pop()
            task.ndependents -= 1
            if not task.ndependents and not task.nfutures:
                self._forget(task)
        while stack and left:
            left -= 1
            for key in stack.pop():
                dep = self.tasks[key]
                dep.ndependents -= 1
                if dep.ndependents or (dep.nfutures and dep.status not in ENDED):
                    continue
                if dep.call is None or dep.shared:
                    data.append(key)
                if not dep.nfutures:
                    self._forget(dep)
                elif dep.deps:
                    stack.append(dep.deps)
                    dep.call, dep.args, dep.deps = None, None, ()
        if data:
            self._outbox.release(data)

    def _doubt(self, task: ClientTask) -> None:
        """The scheduler may have forgotten this task, and with it what it only kept for its sake."""
        self._some_unknown = True
        task.known = False
        stack = [task]
        while stack:
            for key in stack.pop().deps:
                dep = self.tasks[key]
                if dep.known and dep.nfutures == 0:
                    dep.known = False
                    stack.append(dep)

    def _closure(self, task: ClientTask) -> list[ClientTask]:
        """``task`` and all that it stands on and the scheduler was not told of, dependencies first."""
        order: list[ClientTask] = []
        seen: set[Key] = {task.key}
        stack = [(task, iter(task.deps))]
        while stack:
            current, deps = stack[-1]
            for key in deps:
                if key not in seen:
                    seen.add(key)
                    dep = self.tasks[key]
                    if not dep.known or dep.status == "error":
                        stack.append((dep, iter(dep.deps)))
                        break
            else:
                stack.pop()
                order.append(current)
        return order

    def _tell_dependencies(self, task: ClientTask) -> None:
        if any(not self.tasks[key].known for key in task.deps):
            for needed in self._closure(task)[:-1]:
                if not needed.known:
                    self._tell(needed)

    def _tell(self, task: ClientTask) -> None:
        """Submit one task, whose dependencies are known, to a scheduler that was not told of it."""
        task.known = True
        if task.call is None or task.shared:
            self._outbox.want((task,))  # data of somebody: as a dependency it must be wanted, too
            return
        wanted = task.nfutures > 0 and task.status not in ("cancelled", "lost")
        self._outbox.add(self._outbox.submitting(task.call, wanted, task.named, task.again), task)

    def _tell_if_unknown(self, task: ClientTask) -> None:
        """Have the scheduler know of our interest: what has erred is not told to one that comes, or comes back."""
        if task.nfutures and not task.known:
            for needed in self._closure(task):
                if not needed.known:
                    self._tell(needed)

    def _set(self, task: ClientTask, event: str) -> None:
        after = TRANSITIONS[task.status, event]
        if after != "error":
            task.error = None
        if after == "pending":
            task.value = None
        task.status = after
        if after in ENDED and not task.ndependents:
            works.let_go_of_deps(self, task)
        if task.waiters is not None or task.twins is not None:
            self._changed(task)

    def _changed(self, task: ClientTask) -> None:
        for twin in task.twins or ():
            mirror(task, twin)
        if task.status != "pending" and task.waiters is not None:
            self._wake(task)

    def _wake(self, task: ClientTask) -> None:
        waiters, task.waiters = task.waiters, None
        failed = task.status in FAILED
        for waiter in waiters or ():
            if waiter.mode == EACH:
                waiter.ready.append(task.key)
                self._queue(waiter)
            elif waiter.remaining > 0:
                waiter.remaining = 0 if waiter.eager and failed else waiter.remaining - 1
                if waiter.remaining == 0:
                    self._woken.append(waiter)

    def _queue(self, waiter: Waiter) -> None:
        if not waiter.queued and waiter.remaining >= 0:
            waiter.queued = True
            self._woken.append(waiter)

    def _note(self, event: str, keys: list[Key]) -> None:
        self._log.append((self._stimulus, event, keys))
        self._log_nkeys += len(keys)
        while self._log_nkeys > LOG_NKEYS and len(self._log) > 1:
            self._log_nkeys -= len(self._log.popleft()[2])


def _sentence(reason: str, msg: str) -> str:
    return ": ".join(part for part in (reason, msg) if part)


_HANDLERS: dict[type, Callable[[ClientState, Any], None]] = {
    TasksInMemory: ClientState._on_memory,
    TasksErredForClient: works.erred,
    TasksCancelled: ClientState._on_cancelled,
    TasksRefused: works.refused,
    CancelAnswered: ClientState._on_cancel_answered,
    TasksLost: ClientState._on_lost,
    KeysTaken: works.taken,
    LineageCut: works.cut,
    ClientEvent: ClientState._on_event,
}

_SENT = {
    "SubmitTasks": "submit",
    "SubmitGraph": "submit",
    "WantKeys": "want",
    "ReleaseKeys": "release",
    "CancelKeys": "cancel",
    "RetryKeys": "retry",
}

__all__ = ["TRANSITIONS", "ClientState"]
