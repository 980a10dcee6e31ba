"""The client's shell: one connection to the scheduler, and one loop that alone touches the state.

User threads append events to a deque and wake the loop once a batch; the loop takes them in order, lets the state
machine answer, sends what it says and wakes whoever waited.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from contextvars import ContextVar
from typing import Any, TypeVar

from distributed.client.repeating import REPEATABLE, is_question, unknown_outcome
from distributed.client.state import ClientState, ClientTask, Waiter, works
from distributed.client.state.records import ALL, EACH, ENDED
from distributed.core.answers import Orders
from distributed.core.backoff import reconnect_pause
from distributed.exceptions import CommClosedError
from distributed.loops import Loop, seconds, sync
from distributed.protocol.messages import CLOSING, ClientHeartbeat, CloseClient, Message
from distributed.threadstate import awaiting
from distributed.waits import LeftBehind, LoopStoppedError, Wait

logger = logging.getLogger(__name__)

#: Events taken in one turn of the loop, and tasks of one event (``submit`` cuts larger ones): together they bound
#: how long other things wait.
EVENTS_A_TURN = 2_000
TASKS_A_TURN = 10_000
#: Seconds between looks for released futures while there is work; releases wake nobody.
LINGER = 0.01

_running_loop = asyncio._get_running_loop

T = TypeVar("T")

#: Whether this task is one of :meth:`Session.in_turn`: they begin in the order in which they were given.
_in_turn: ContextVar[bool] = ContextVar("distributed-in-turn", default=False)


class Session:
    """Events in, messages out; and the connection they need.

    Parameters
    ----------
    connect : callable
        Coroutine function that gives a new registered connection to the scheduler; it gets the session.
    loop : Loop
        The loop that owns the state.
    reconnect_timeout : float
        Seconds that the scheduler may stay away.
    heartbeat_interval : float
        Seconds between signs of life.
    """

    def __init__(
        self,
        connect: Callable[[Session], Any],
        loop: Loop,
        *,
        reconnect_timeout: float = 60.0,
        heartbeat_interval: float = 5.0,
    ) -> None:
        self.state = ClientState()
        self.loop = loop
        self.connection: Any = None
        self.address = ""
        self._nbeginning = 0
        self.status = "newly-created"
        self.failure = ""
        self.closed_because = "this client is closed: make a new Client"
        self.scheduler_id: str | None = None
        self._answers = ""  # the name of the memory of our orders that the scheduler has
        self._orders = Orders()
        self.workers: dict[str, None] = {}
        self._joined = asyncio.Event()
        self.on_event: Callable[[str, Any], None] = _ignore
        self.on_left: Callable[[str], None] = _nothing_asked
        self._connect: Callable[[Session], Any] | None = connect
        self._asyncio_loop = loop.asyncio_loop
        self._events: deque[Any] = deque()
        self._awake = False
        self._lingering = False
        self._frees_names = False  # whether an event may be the release of a name
        self._reconnect_timeout = reconnect_timeout
        self._heartbeat_interval = heartbeat_interval
        self._heartbeat: asyncio.TimerHandle | None = None
        self._reconnecting: asyncio.Task[None] | None = None
        self._connected = asyncio.Event()

    # ------------------------------------------------------------ any thread

    def post(self, handle: Callable[..., Any], *args: Any) -> None:
        """Have the loop call ``handle(*args)``, after everything posted before."""
        self._events.append((handle, args))
        if not self._awake:
            self._wake()

    def submit(self, tasks: Iterable[ClientTask], wanted: bool = True) -> None:
        """Tasks of one message's size at most, each counted as one future."""
        self._events.append((self.state.handle_submit, (tasks, wanted)))
        if not self._awake:
            self._wake()

    def want(self, task: ClientTask) -> ClientTask:
        """Count a new future on a key; the record to read its status from."""
        known = self.state.tasks.get(task.key)
        if known is not None and known.status not in ("cancelled", "lost"):
            if task.work and known.work and task.work != known.work:
                task.reason = "the key stands for other work by now"
                task.nfutures = -1
                task.status = "cancelled"
                return task
            task = known
        self.post(self.state.handle_want, (task,))
        return task

    def hold(self, task: ClientTask) -> ClientTask | None:
        """Count a new future on a key if this client has it, else do nothing; the record to release, if any."""
        known = self.state.tasks.get(task.key)
        if known is None or known.status in ENDED:
            known = ClientTask(task.key, work=task.work)
        elif task.work and known.work and task.work != known.work:
            return None
        self.post(works.hold, self.state, known)
        return known

    def release(self, task: ClientTask) -> None:
        """One future less. Called by the garbage collector: any thread, any moment.

        A name can come to stand for other work, of other clients too: that it is free is told at once.
        """
        self._events.append(task)
        if task.named or task.deps or task.call is None:
            self._frees_names = True
            if not self._awake:
                self._wake()
        elif not self._lingering and not self._awake:
            self._wake()

    def wait(
        self, tasks: Iterable[ClientTask], timeout: float | None, *, mode: str = ALL, eager: bool = False
    ) -> bool:
        """Block this thread until all (or any) of the tasks are done. False after ``timeout`` seconds."""
        here = Wait(self.loop)
        waiter = Waiter(mode, here.wake, eager=eager)
        self.post(self.state.handle_wait, waiter, tasks)
        try:
            return here.until(timeout)
        finally:
            if not here.done:
                waiter.abandon()

    def check_loop(self) -> None:
        """Raise where nothing can arrive any more."""
        if not self._asyncio_loop.is_running():
            behind = isinstance(self.loop.asyncio_loop, LeftBehind)
            raise LoopStoppedError(
                self.closed_because
                if behind
                else "the client's event loop stopped: nothing can arrive any more"
            )

    def check_open(self) -> None:
        """Raise unless work can be submitted."""
        if self.status == "closed":
            raise RuntimeError(self.closed_because)
        if self.failure:
            raise CommClosedError(self.failure)

    def leave_behind(self) -> None:
        """In a child: the parent goes on with it."""
        inner: Any = self.loop.asyncio_loop
        if isinstance(inner, LeftBehind):  # else the user's own, which may still turn here
            self._asyncio_loop = inner  # type: ignore[assignment]
            self.closed_because = inner.text
        self.status = "closed"
        self.connection = None
        self._events = deque()
        self._awake = self._lingering = True  # nobody is to be woken

    def _wake(self) -> None:
        self._awake = True
        try:
            if _running_loop() is self._asyncio_loop:
                self._asyncio_loop.call_soon(self._turn)
            else:
                self._asyncio_loop.call_soon_threadsafe(self._turn)
        except RuntimeError:  # the loop is closed: nobody will look at events any more
            self._awake = False

    # ------------------------------------------------------------ on the loop

    async def wait_async(
        self,
        tasks: Iterable[ClientTask],
        timeout: float | None = None,
        *,
        mode: str = ALL,
        eager: bool = False,
    ) -> bool:
        """Coroutine of :meth:`wait`."""
        future = self._asyncio_loop.create_future()

        def wake() -> None:
            if not future.done():
                future.set_result(None)

        waiter = Waiter(mode, wake, eager=eager)
        self.post(self.state.handle_wait, waiter, tasks)
        try:
            with awaiting(self._asyncio_loop):
                await (future if timeout is None else asyncio.wait_for(future, timeout))
            return True
        except TimeoutError:
            return False
        finally:
            waiter.abandon()

    def watch(self, tasks: Iterable[ClientTask], wake: Callable[[], Any]) -> Waiter:
        """A waiter whose ``wake`` is called each time some of the tasks are done, with their keys in ``ready``."""
        if self.status == "closed":
            self.check_loop()
        waiter = Waiter(EACH, wake)
        self.post(self.state.handle_wait, waiter, tasks)
        return waiter

    def flush(self) -> None:
        """Take the events of this moment now: for coroutines that need their effect before they go on."""
        taken: list[int] = []
        self._events.append((taken.append, (1,)))
        while not taken:
            self._turn()

    def settle(self) -> None:
        """From any thread: return when what this thread posted before has taken effect."""
        if _running_loop() is self._asyncio_loop:
            self.flush()
        else:
            sync(self.loop, self.flush)

    def tell_freed_names(self) -> None:
        """From any thread: have the scheduler told which names are free, before others hear of what happens next."""
        if self._frees_names and self.status == "running":
            with contextlib.suppress(RuntimeError):  # the loop has ended: the scheduler knows by that
                self.settle()

    def _turn(self) -> None:
        self._awake = self._frees_names = False
        events = self._events
        handle_release = self.state.handle_release
        nevents = min(len(events), EVENTS_A_TURN)
        ntasks = 0
        releases: list[ClientTask] = []
        while nevents and ntasks < TASKS_A_TURN:
            nevents -= 1
            event = events.popleft()
            if type(event) is ClientTask:
                releases.append(event)
                continue
            if releases:
                handle_release(releases)
                releases = []
            handle, args = event
            try:
                handle(*args)
            except Exception:
                logger.exception("a client's event failed: %s", handle)
            if args and type(args[0]) is list:
                ntasks += len(args[0])
        if releases:
            handle_release(releases)
        if self.state.parked or self.state.unpinning:
            self.state.drop_parked()
        self._send()
        if (events or self.state.parked or self.state.unpinning) and not self._awake:
            self._wake()
        elif not self._lingering and self.state.tasks:
            self._lingering = True
            self._asyncio_loop.call_later(LINGER, self._linger)

    def _linger(self) -> None:
        """While there is work, releases are collected here instead of waking the loop one by one."""
        self._lingering = False
        if self._events and not self._awake:
            self._turn()

    def _send(self) -> None:
        state = self.state
        connection = self.connection
        if connection is not None and self.status == "running":
            messages = state.drain()
            if messages:
                # where it is closed, on_close comes next, and then everything is told again
                with contextlib.suppress(CommClosedError):
                    connection.send_all(messages)
        if state.taken:
            self._warn_of_taken()
        if state._woken:
            for waiter in state.take_woken():
                try:
                    waiter.wake()
                except Exception:
                    logger.exception("waking %s failed", waiter.wake)

    def _warn_of_taken(self) -> None:
        taken, self.state.taken = self.state.taken, []
        more = f" (and {len(taken) - 1} other keys)" if len(taken) > 1 else ""
        logger.warning(
            "the key %r%s was submitted with other work than it stands for: futures on it, or on what was computed "
            "from it, are still held, so the new future has that one's result. Release or cancel them before, or "
            "choose another key",
            taken[0],
            more,
        )

    # ------------------------------------------------------------ the connection

    def forget_client(self) -> None:
        """The client is closed, and is not referred to from here any more."""
        self.on_event = _ignore
        self.on_left = _nothing_asked
        self._connect = None

    async def open(self, patience: float = 0.0) -> None:
        """Connect for the first time. Raises what connecting raises.

        Tries again for ``patience`` seconds where the scheduler dies as this registers.
        """
        assert self._connect is not None
        start = self._asyncio_loop.time()
        while True:
            try:
                connection = await self._connect(self)
                break
            except CommClosedError:
                since = self._asyncio_loop.time() - start
                if since >= patience:
                    raise
                await asyncio.sleep(reconnect_pause(since))
        self._attach(connection)
        self.status = "running"
        self._connected.set()
        self._beat()
        self._send()

    def _attach(self, connection: Any) -> None:
        self.connection = connection
        connection.on_stream = self._on_stream
        connection.on_close.append(lambda *_: self._on_close(connection))
        if connection.closed:  # before anybody listened
            self._asyncio_loop.call_soon(self._on_close, connection)

    def network(self) -> dict[str, Any] | None:
        """What this client knows of the network, for a scheduler that may know nothing; None before the first time."""
        if self.scheduler_id is None:
            return None
        return {"scheduler_id": self.scheduler_id, "workers": list(self.workers)}

    def joined(self, scheduler_id: str, workers: Iterable[str], answers: str = "") -> None:
        """Registered at a scheduler that has these workers, and remembers our orders under this name."""
        self._answers = answers or scheduler_id
        if scheduler_id == self.scheduler_id or self.scheduler_id is None:
            before, self.workers = self.workers, dict.fromkeys(workers)
            for address in before.keys() - self.workers.keys():
                self.on_left(address)
        else:  # restarted: those that have not come back yet are still part of the network
            self.workers.update(dict.fromkeys(workers))
        self.scheduler_id = scheduler_id
        self._wake_counters()

    def _workers_changed(self, joined: Iterable[str], left: Iterable[str]) -> None:
        self.workers.update(dict.fromkeys(joined))
        for address in left:
            self.workers.pop(address, None)
            self.on_left(address)
        self._wake_counters()

    def _wake_counters(self) -> None:
        self._joined.set()
        self._joined = asyncio.Event()

    async def at_least(self, n: int) -> None:
        """Until the network has so many workers; ends with an error when the connection is given up."""
        while len(self.workers) < n:
            if self.failure:
                raise CommClosedError(self.failure)
            await self._joined.wait()

    def _on_stream(self, messages: list[Message]) -> None:
        handle = self.state.handle_message
        for message in messages:
            handle(message)
        if self.state.topics:
            topics, self.state.topics = self.state.topics, []
            for event in topics:
                if event.topic == CLOSING:
                    self._dismissed(str(event.data))
                    return
                if event.topic == "workers":
                    self._workers_changed(**event.data)
                    continue
                try:
                    self.on_event(event.topic, event.data)
                except BaseException:  # a user's handler ends nothing of ours
                    logger.exception("a handler of the topic %r failed", event.topic)
        self._send()
        if self.state.parked and not self._awake:
            self._wake()

    def _beat(self) -> None:
        if self.status == "running":
            with contextlib.suppress(CommClosedError):
                self.connection.send(ClientHeartbeat())
        if self.status not in ("closed", "closing", "lost"):
            self._heartbeat = self._asyncio_loop.call_later(self._heartbeat_interval, self._beat)

    def _on_close(self, connection: Any) -> None:
        if connection is not self.connection or self.status in ("closing", "closed"):
            return
        self.status = "connecting"
        self.connection = None
        self._connected.clear()
        logger.info("lost the connection to the scheduler, connecting again")
        self._reconnecting = self._asyncio_loop.create_task(self._reconnect())

    async def _reconnect(self) -> None:
        """Try again with growing, jittered pauses until the timeout."""
        start = self._asyncio_loop.time()
        deadline = start + self._reconnect_timeout
        error: Exception | None = None
        while self._connect is not None and self._asyncio_loop.time() < deadline:
            try:
                connection = await self._connect(self)
            except Exception as failure:
                error = failure
                now = self._asyncio_loop.time()
                await asyncio.sleep(max(min(reconnect_pause(now - start), deadline - now), 0))
                continue
            self._attach(connection)
            self.state.reconnected()
            self.status = "running"
            self._connected.set()
            self._send()
            return
        detail = f" ({error})" if error is not None else ""
        self.give_up(f"the scheduler stayed away for {self._reconnect_timeout:g} s{detail}")

    def _dismissed(self, reason: str) -> None:
        """The network has ended, because somebody wanted it to: there is nobody to come back to."""
        connection, self.connection = self.connection, None
        self.give_up(f"the scheduler at {connection.peer_address} has closed the network: {reason}")
        connection.abort(CommClosedError(self.failure))

    def give_up(self, reason: str) -> None:
        """There will be no connection any more: end everything that waits with this reason."""
        self.failure = reason
        self._wake_counters()
        self.status = "closed" if self.status in ("closing", "closed") else "lost"
        self.state.abandon(reason)
        self._connected.set()
        self._turn()

    async def call(self, op: str, /, **kwargs: Any) -> Any:
        """Call an operation of the scheduler, waiting for the connection if it is being renewed.

        Where the connection breaks before the answer came, it is asked again, if that is safe: see
        :mod:`distributed.client.repeating`. A ``timeout`` among the arguments is what is left of it then.
        """
        if self._nbeginning and not _in_turn.get():
            await asyncio.sleep(0)  # orders that were given before and not awaited go first
        question = is_question(op, kwargs)
        repeatable = question or op in REPEATABLE
        order = 0 if question else self._orders.begin()
        limit = kwargs.get("timeout")
        deadline = self._asyncio_loop.time() + limit if isinstance(limit, int | float) else None
        asked = ""  # the memory in which the answer may lie
        try:
            while True:
                self._check_asked(op, asked)
                await self._connected.wait()
                self._check_asked(op, asked)
                self.flush()  # what was submitted before this call is on the stream before it
                if asked not in ("", self._answers) and not repeatable:
                    raise unknown_outcome(op, kwargs)
                if asked and deadline is not None:
                    kwargs["timeout"] = max(0.0, deadline - self._asyncio_loop.time())
                connection = self.connection
                try:
                    with awaiting(self._asyncio_loop):
                        return await connection.request(
                            op, kwargs, once=order, settled=self._orders.settled, again=repeatable
                        )
                except CommClosedError:
                    # it may have been raised by the operation itself, about somebody else
                    if not connection.closed:
                        raise
                    if self.status in ("closing", "closed"):
                        raise CommClosedError(f"the client was closed before {op!r} was answered") from None
                    asked = self._answers
                    await asyncio.sleep(0)  # on_close has been called by now, or is called next
        finally:
            self._orders.end(order)

    def _check_asked(self, op: str, asked: str) -> None:
        """As :meth:`check_open`; where the scheduler stayed away, it says that the answer was under way."""
        if asked and self.failure and self.status != "closed":
            raise CommClosedError(f"{self.failure}; whether {op!r} was carried out before is not known")
        self.check_open()

    def in_turn(self, coroutine: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        """The same for a task that begins with the next turn of the loop; calls from now on wait for it to begin."""
        self._nbeginning += 1

        async def run() -> T:
            self._nbeginning -= 1
            _in_turn.set(True)
            return await coroutine

        return run()

    async def close(self, timeout: float | str | None = None) -> None:
        """Say goodbye and disconnect; what is pending ends as lost."""
        if self.status == "closed":
            return
        was_running = self.status == "running"
        self.flush()
        self.status = "closing"
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        if self._reconnecting is not None and not self._reconnecting.done():
            self._reconnecting.cancel()
        connection = self.connection
        if connection is not None and was_running:
            with contextlib.suppress(CommClosedError, TimeoutError):
                if self.state.fired:
                    await self._delivered(connection, seconds(timeout))
                connection.send(CloseClient())
                await asyncio.wait_for(connection.close(), seconds(timeout))
        self.connection = None
        self.give_up("the client was closed")

    async def _delivered(self, connection: Any, patience: float | None) -> None:
        """Until the scheduler has taken all that it was told; no longer where it takes nothing for so many seconds."""
        answer = asyncio.ensure_future(connection.request("ping", {}))
        while not answer.done():
            left = connection.write_buffer_nbytes
            await asyncio.wait([answer], timeout=patience)
            if not answer.done() and connection.write_buffer_nbytes >= left:
                answer.cancel()
        if not answer.cancelled():
            answer.exception()  # that it is known is all that matters


def _nothing_asked(address: str) -> None:
    """Nobody has a connection of his own to workers."""


def _ignore(topic: str, data: Any) -> None:
    """Nobody listens to events."""
