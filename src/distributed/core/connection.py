"""One connection between two parties: calls both ways, a batch of stream messages a turn of the loop."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import logging
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from time import monotonic
from typing import Any, TypeAlias

import msgspec

from distributed.comm.core import Comm
from distributed.core.answers import Answers
from distributed.exceptions import CommClosedError, ProtocolError, RemoteError, UnknownOutcomeError
from distributed.protocol.codec import halves
from distributed.protocol.errors import pack_error, unpack_error
from distributed.protocol.messages import Message, Reply, ReplyError, Request, SubmitGraph, SubmitTasks
from distributed.protocol.payload import Pickled, pack, unpack

logger = logging.getLogger("distributed.core")

Handler: TypeAlias = Callable[..., Any]
OnStream: TypeAlias = Callable[[list[Message]], None]

#: Stream messages kept for a connection that nobody has bound to a stream yet.
MAX_UNBOUND_MESSAGES = 10_000

_CALLS = frozenset({Request, Reply, ReplyError})

#: Messages of thousands of tasks, which take milliseconds each, to decode and to handle. Several of them hold the loop
#: for ``LONG_TURN`` seconds at most: then nothing more is received until those that are here have been handled. A frame
#: is decoded in one step, so none holds more than so many tasks and one message.
_LONG = frozenset({SubmitGraph, SubmitTasks})
LONG_TURN = 0.02
TASKS_A_FRAME = 1_000


class Connection:
    """Calls and stream messages over one comm. To be used on the comm's loop only.

    Parameters
    ----------
    comm : Comm
        An open connection; this takes it over.
    handlers : mapping of str to callable, optional
        Operations that the other side may call. A handler gets the call's keyword arguments, and this
        connection if it has a parameter ``comm``. It may be sync (answered in the same turn) or async (a task
        each).
    unpickle : bool, default True
        Whether exceptions of the other side are rebuilt. A scheduler does not: it gets RemoteError with the
        packed exception inside.

    Attributes
    ----------
    on_stream : callable or None
        Called with lists of stream messages in their order. Messages that arrive before it is set are kept
        for it.
    on_close : list of callables
        Each called once with this connection when it is closed, whoever closed it.
    reason : Exception or None
        Why it was closed; None while open, or when this side closed it.
    answers : Answers or None
        What the other side was answered before, over earlier connections too.
    """

    def __init__(
        self, comm: Comm, *, handlers: Mapping[str, Handler] | None = None, unpickle: bool = True
    ) -> None:
        self.comm = comm
        self.handlers: Mapping[str, Handler] = {} if handlers is None else handlers
        self.on_close: list[Callable[[Connection], None]] = []
        self.reason: Exception | None = None
        self.answers: Answers | None = None
        self._unpickle = unpickle
        self._loop = asyncio.get_running_loop()
        self._on_stream: OnStream | None = None
        self._unbound: list[Message] = []
        self._held: deque[Message] = deque()
        self._turn_ends = 0.0
        self._batch: list[Message] = []
        self._flushing = False
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._ids = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        comm.start(self._on_messages, self._on_comm_closed)

    @property
    def local_address(self) -> str:
        """Address of this end."""
        return self.comm.local_address

    @property
    def peer_address(self) -> str:
        """Address of the other end."""
        return self.comm.peer_address

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._closed or self.comm.closed

    @property
    def idle(self) -> bool:
        """Whether no call is under way in either direction, and nothing waits to be sent."""
        return not (self._calls or self._tasks or self._batch or self.comm.write_buffer_nbytes)

    @property
    def write_buffer_nbytes(self) -> int:
        """Bytes sent that the system has not taken yet."""
        return self.comm.write_buffer_nbytes

    @property
    def on_stream(self) -> OnStream | None:
        return self._on_stream

    @on_stream.setter
    def on_stream(self, callback: OnStream | None) -> None:
        self._on_stream = callback
        if callback is not None and self._unbound:
            self._loop.call_soon(self._deliver_unbound)

    # ------------------------------------------------------------ sending

    def send(self, message: Message) -> None:
        """Append to this turn's batch; all of a turn leave as one frame. Raises CommClosedError."""
        if self._closed:
            raise self._closed_error()
        self._batch.append(message)
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def send_all(self, messages: list[Message]) -> None:
        """Append many to this turn's batch. Raises CommClosedError."""
        if self._closed:
            raise self._closed_error()
        self._batch += messages
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    async def drain(self) -> None:
        """Wait until the peer has taken most of what was sent. Raises CommClosedError."""
        self._flush()
        await self.comm.drain()

    def _flush(self) -> None:
        self._flushing = False
        batch, self._batch = self._batch, []
        if not batch or self._closed:
            return
        if len(batch) > 1 and not _LONG.isdisjoint(map(type, batch)):
            for part in _apart(batch):
                self._write(part)
        else:
            self._write(batch)

    def _write(self, batch: list[Message]) -> None:
        try:
            self.comm.write(batch)
        except CommClosedError:
            return  # on_close tells everybody who waits
        except Exception as exc:
            # One message of the batch cannot be encoded, or all of them are too much for one frame.
            if len(batch) > 1:
                middle = len(batch) // 2
                self._write(batch[:middle])
                self._write(batch[middle:])
            elif isinstance(exc, ProtocolError) and (parts := halves(batch[0])):
                for part in parts:
                    self._write([part])
            else:
                self._unsendable(batch[0], exc)

    def _unsendable(self, message: Message, exc: Exception) -> None:
        if isinstance(message, Request):
            waiter = self._calls.pop(message.id, None)
            if waiter is not None and not waiter.done():
                waiter.set_exception(exc)
            elif not message.id:
                logger.error("the call %s of %s cannot be sent: %s", message.op, self.peer_address, exc)
            return
        elif isinstance(message, Reply):
            if not message.packed and isinstance(exc, TypeError):
                with contextlib.suppress(Exception):  # what cannot be pickled either is told below
                    self._write([Reply(message.id, pack(message.result), True)])
                    return
            text = f"the result of the call cannot be sent: {exc}"
            self._write([ReplyError(message.id, text, pack_error(type(exc)(text)).exception)])
            return
        # A stream with a message missing is worse than no stream: both sides would disagree from here on.
        logger.error("%s to %s cannot be sent: %s", type(message).__name__, self.peer_address, exc)
        self.abort(ProtocolError(f"a {type(message).__name__} could not be sent: {exc}"))

    # ------------------------------------------------------------ calls

    async def call(self, op: str, /, *, timeout: float | None = None, **kwargs: Any) -> Any:
        """Call operation ``op`` of the other side and return its result.

        Parameters
        ----------
        op : str
            Name of the operation.
        timeout : float, optional
            Seconds after which TimeoutError is raised; forever by default. To pass the operation itself a
            parameter of this name, use :meth:`request`.
        **kwargs
            Its arguments: MessagePack-able values, and objects packed by ``protocol.payload.pack``.

        Raises
        ------
        CommClosedError
            The connection was closed before the answer came.
        TimeoutError
            No answer in time.
        RemoteError
            The operation failed, and its exception cannot be rebuilt here.
        Exception
            Whatever the operation raised.
        """
        return await self.request(op, kwargs, timeout=timeout)

    async def request(
        self,
        op: str,
        kwargs: dict[str, Any],
        *,
        timeout: float | None = None,
        once: int = 0,
        settled: int = 0,
        again: bool = False,
    ) -> Any:
        """As :meth:`call`, with the operation's arguments in a dict. The last three are those of ``Request``."""
        waiter: asyncio.Future[Any] = self._loop.create_future()
        ident = next(self._ids)
        self.send(Request(ident, op, kwargs, once, settled, again))
        self._calls[ident] = waiter
        try:
            if timeout is None:
                return await waiter
            try:
                async with asyncio.timeout(timeout):
                    return await waiter
            except TimeoutError:
                if waiter.cancelled() or not waiter.done():
                    raise TimeoutError(
                        f"{self.peer_address} did not answer {op!r} within {timeout:g} s"
                    ) from None
                raise
        finally:
            self._calls.pop(ident, None)
            del waiter  # no cycle through the traceback

    def notify(self, op: str, /, **kwargs: Any) -> None:
        """Call operation ``op`` without waiting for an answer. Raises CommClosedError."""
        self.send(Request(0, op, kwargs))

    # ------------------------------------------------------------ receiving

    def _on_messages(self, messages: list[Message]) -> None:
        if self._held or not _LONG.isdisjoint(map(type, messages)):
            self._held += messages
            if not self._turn_ends:
                self._turn_ends = monotonic() + LONG_TURN  # the loop's own time may stand still within a turn
                self._loop.call_soon(self._next_turn)
            self._work_off()
            if self._held:
                self.comm.pause_receiving()
        else:
            self._handle(messages)

    def _work_off(self) -> None:
        """Handle what takes long message by message until this turn has lasted long enough."""
        while self._held and monotonic() <= self._turn_ends:
            self._handle([self._held.popleft()])

    def _next_turn(self) -> None:
        """Others had the loop: go on."""
        self._turn_ends = 0.0
        if self._held:
            self._turn_ends = monotonic() + LONG_TURN
            self._loop.call_soon(self._next_turn)
            self._handle([self._held.popleft()])
            self._work_off()
            if not self._held:
                self.comm.resume_receiving()

    def _handle(self, messages: list[Message]) -> None:
        if _CALLS.isdisjoint(map(type, messages)):
            self._deliver(messages)
            return
        stream: list[Message] = []
        for message in messages:
            if type(message) not in _CALLS:
                stream.append(message)
                continue
            if stream:  # calls and stream messages keep their order
                self._deliver(stream)
                stream = []
            if self._closed:
                return
            if type(message) is Request:
                self._serve(message)
            else:
                self._answered(message)
        if stream:
            self._deliver(stream)

    def _deliver(self, messages: list[Message]) -> None:
        if self._closed:
            return
        if self._on_stream is None or self._unbound:
            self._unbound += messages
            if len(self._unbound) > MAX_UNBOUND_MESSAGES:
                what = type(self._unbound[0]).__name__
                self.abort(ProtocolError(f"{self.peer_address} streams {what} without being registered"))
            return
        try:
            self._on_stream(messages)
        except Exception as exc:
            logger.exception(
                "closing the connection to %s: a message could not be handled", self.peer_address
            )
            self.abort(exc)

    def _deliver_unbound(self) -> None:
        if self._on_stream is not None:
            messages, self._unbound = self._unbound, []
            if messages:
                self._deliver(messages)

    def _answered(self, message: Any) -> None:
        waiter = self._calls.pop(message.id, None)
        if waiter is None or waiter.done():
            return  # its caller has given up
        if type(message) is Reply:
            self._set_result(waiter, message)
            return
        if self._unpickle:
            exc = unpack_error(message.exception, message.traceback, message.text)
        else:
            exc = RemoteError(message.text, message.exception, message.traceback)
        if isinstance(exc, StopIteration):  # which no coroutine can raise
            exc = RemoteError(message.text, message.exception, message.traceback)
        waiter.set_exception(exc)

    def _set_result(self, waiter: asyncio.Future[Any], message: Reply) -> None:
        if not message.packed:
            waiter.set_result(message.result)
        elif not self._unpickle:
            waiter.set_result(Pickled(message.result))
        else:
            try:
                result = unpack(message.result)
            except Exception as exc:
                waiter.set_exception(RemoteError(f"the result of the call cannot be unpickled here: {exc!r}"))
            else:
                waiter.set_result(result)

    def _serve(self, request: Request) -> None:
        if request.once and self.answers is not None:
            before = self.answers.begin(request)
            if before is not None:
                self._spawn(self._answer_again(request, before, self.answers), request.op)
                return
        self._carry_out(request)

    async def _answer_again(
        self, request: Request, before: asyncio.Future[Reply | ReplyError | None], answers: Answers
    ) -> None:
        """An order that came over an earlier connection already."""
        answer = await asyncio.shield(before)
        if self._closed:
            return
        if answer is not None:
            self.send(msgspec.structs.replace(answer, id=request.id))
        elif request.again:
            answers.begin_again(request)
            self._carry_out(request)
        else:
            text = (
                f"the connection broke while {request.op!r} was carried out: that may or may not have been done "
                "to its end; look, and call again if it was not"
            )
            self._fail(request, UnknownOutcomeError(text))

    def _spawn(self, coroutine: Coroutine[Any, Any, None], op: str) -> None:
        task = self._loop.create_task(coroutine, name=f"handle {op}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _carry_out(self, request: Request) -> None:
        try:
            handler = self.handlers.get(request.op)
            if handler is None:
                raise AttributeError(f"{self.local_address} has no operation {request.op!r}")
            own = {"comm": self} if takes_comm(handler) else {}
            result = handler(**own, **request.kwargs)
        except BaseException as exc:  # nobody ends this process by a call that fails
            self._fail(request, exc)
            return
        if inspect.isawaitable(result):
            self._spawn(self._serve_async(request, result), request.op)
        else:
            self._reply(request, Reply(request.id, result))

    async def _serve_async(self, request: Request, awaitable: Awaitable[Any]) -> None:
        try:
            result = await awaitable
        except asyncio.CancelledError as exc:
            if self._closed:
                self._remember(request, None)
            else:  # it is not the closing of this connection that cancels: the caller waits
                self._fail(request, exc)
            raise
        except BaseException as exc:
            self._fail(request, exc)
        else:
            self._reply(request, Reply(request.id, result))

    def _reply(self, request: Request, answer: Reply | ReplyError) -> None:
        self._remember(request, answer)
        if request.id and not self._closed:
            self.send(answer)

    def _remember(self, request: Request, answer: Reply | ReplyError | None) -> None:
        if request.once and self.answers is not None:
            self.answers.end(request, answer)

    def _fail(self, request: Request, exc: BaseException) -> None:
        if not request.id and not isinstance(exc, asyncio.CancelledError):
            logger.error("%s, called by %s, failed", request.op, self.peer_address, exc_info=exc)
        elif request.id:
            packed = pack_error(exc)
            answer = ReplyError(request.id, packed.exception_text, packed.exception, packed.traceback)
            self._reply(request, answer)

    # ------------------------------------------------------------ closing

    async def close(self) -> None:
        """Send what is in the batch, then close and wait for it. Handlers still running are cancelled."""
        self._flush()
        await self.comm.close()
        self._shut(None)
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        if tasks:
            await asyncio.wait(tasks)

    def abort(self, reason: Exception | None = None) -> None:
        """Close at once. ``reason`` is what :attr:`reason` says afterwards."""
        self._shut(reason)
        self.comm.abort()

    def _on_comm_closed(self, reason: Exception | None) -> None:
        while self._held and not self._closed:  # said before it was closed
            self._handle([self._held.popleft()])
        self._shut(reason)

    def _shut(self, reason: Exception | None) -> None:
        if self._closed:
            return
        self._closed = True
        self.reason = reason
        self._batch.clear()
        self._unbound.clear()
        self._held.clear()
        calls, self._calls = self._calls, {}
        for waiter in calls.values():
            if not waiter.done():
                waiter.set_exception(self._closed_error())
        current = _current_task()
        for task in self._tasks:
            if task is not current:
                task.cancel()
        callbacks, self.on_close = self.on_close, []
        for callback in callbacks:
            try:
                callback(self)
            except Exception:
                logger.exception("a callback failed as the connection to %s was closed", self.peer_address)
        self._on_stream = None  # who listened may be what keeps this connection

    def _closed_error(self) -> CommClosedError:
        if isinstance(self.reason, CommClosedError):
            return type(self.reason)(*self.reason.args)
        why = f": {self.reason}" if self.reason is not None else ""
        return CommClosedError(f"the connection to {self.peer_address} is closed{why}")

    def __repr__(self) -> str:
        state = " closed" if self.closed else ""
        return f"<Connection{state} local={self.local_address} remote={self.peer_address}>"


def _apart(batch: list[Message]) -> Iterator[list[Message]]:
    """The same messages in parts that are decoded quickly: each ends where it has enough tasks."""
    part: list[Message] = []
    ntasks = 0
    for message in batch:
        part.append(message)
        if type(message) in _LONG:
            ntasks += len(message.keys)  # type: ignore[attr-defined]
            if ntasks >= TASKS_A_FRAME:
                yield part
                part, ntasks = [], 0
    if part:
        yield part


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


_takes_comm: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()


def takes_comm(handler: Handler) -> bool:
    """Whether a handler has a parameter ``comm``, to which the connection is given."""
    function = getattr(handler, "__func__", handler)
    try:
        return _takes_comm[function]
    except (KeyError, TypeError):
        pass
    try:
        found = "comm" in inspect.signature(function).parameters
    except (TypeError, ValueError):
        found = False
    try:
        _takes_comm[function] = found
    except TypeError:  # a callable that takes no weak references is asked each time
        return found
    return found
