"""Exceptions as payloads, with their causes and tracebacks, and back."""

from __future__ import annotations

import traceback as tb_module
from collections.abc import Iterator
from types import FrameType, FunctionType, TracebackType
from typing import Any, NamedTuple

from distributed.exceptions import RemoteError
from distributed.protocol.payload import Payload, pack, unpack

#: Longest text of an exception that travels beside it.
MAX_TEXT = 10_000


class PackedError(NamedTuple):
    """An exception ready to travel.

    ``exception`` is None when it cannot be pickled and unpickled; ``traceback`` when it has none. The texts
    are for people and for parties that do not unpickle.
    """

    exception: Payload | None
    traceback: Payload | None
    exception_text: str
    traceback_text: str


def pack_error(exc: BaseException, traceback: TracebackType | None = None) -> PackedError:
    """Pack an exception with its causes and traceback. Never raises.

    Parameters
    ----------
    exc : BaseException
        What was raised.
    traceback : traceback, optional
        The part of the traceback to show; all of it by default.
    """
    traceback = exc.__traceback__ if traceback is None else traceback
    return PackedError(
        _pack_exception(exc),
        _pack_traceback(traceback),
        exception_text(exc),
        "".join(tb_module.format_tb(traceback)) if traceback is not None else "",
    )


def exception_text(exc: BaseException) -> str:
    """One line that says what was raised, whatever the exception's own ``__repr__`` does."""
    try:
        text = repr(exc)
    except Exception as other:
        text = f"{type(exc).__name__} (its repr raises {type(other).__name__})"
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 3] + "..."


def unpack_error(
    exception: Payload | None, traceback: Payload | None = None, text: str = ""
) -> BaseException:
    """The exception to raise here; a RemoteError with its text where it cannot be rebuilt or would end this process."""
    exc: Any = None
    if exception is not None:
        try:
            exc = unpack(exception)
        except BaseException as problem:
            text = f"{text} (it cannot be unpickled here: {exception_text(problem)})"
    if not isinstance(
        exc, Exception
    ):  # also KeyboardInterrupt and its like: they were meant for the other process
        exc = RemoteError(text or "the remote side failed without a word", exception, traceback)
    tb = unpack_traceback(traceback)
    if tb is not None:
        exc = exc.with_traceback(tb)
    assert isinstance(exc, BaseException)
    return exc


def unpack_traceback(traceback: Payload | None) -> TracebackType | None:
    """The traceback in a payload; None where there is none or it cannot be rebuilt."""
    if traceback is None:
        return None
    try:
        found = unpack(traceback)
    except Exception:
        return None  # the exception itself matters more, and its text has come along
    return found if isinstance(found, TracebackType) else None


class _Exception:
    """Pickles as an exception together with what plain pickling drops: cause, context and their tracebacks.

    It takes the exception apart itself, so that neither a constructor with other parameters than ``args`` nor what
    other packages have registered for pickling exceptions (dask does) makes a difference.
    """

    def __init__(
        self, exc: BaseException, *, chained: bool = True, state: bool = True, depth: int = 0
    ) -> None:
        self.exc = exc
        self.chained = chained
        self.state = state
        self.depth = depth

    def __reduce__(self) -> tuple[Any, ...]:
        exc = self.exc
        reduced = exc.__reduce_ex__(5)
        call = reduced[:2] if isinstance(reduced, tuple) else (type(exc), exc.args)
        state = reduced[2] if isinstance(reduced, tuple) and len(reduced) > 2 and self.state else None
        others: list[_Exception | None] = [None, None]
        if self.chained and self.depth < _MAX_CHAIN:
            context = None if exc.__suppress_context__ else exc.__context__
            others = [
                None if other is None else _Exception(other, depth=self.depth + 1)
                for other in (exc.__cause__, context)
            ]
        own = None if self.depth == 0 else _traceback_dict(exc.__traceback__)
        return _rebuild_exception, (type(exc), exc.args, call, state, own, *others, exc.__suppress_context__)


_MAX_CHAIN = 20


def _rebuild_exception(
    cls: type[BaseException],
    args: tuple[Any, ...],
    call: tuple[Any, tuple[Any, ...]],
    state: Any,
    traceback: dict[str, Any] | None,
    cause: BaseException | None,
    context: BaseException | None,
    suppress_context: bool,
) -> BaseException:
    try:
        exc: BaseException = call[0](*call[1])
    except Exception:  # its constructor takes something else than its args
        exc = cls.__new__(cls, *args)
    if state:
        exc.__setstate__(state)
    if traceback is not None:
        exc.__traceback__ = _rebuild_traceback(traceback)
    exc.__cause__ = cause
    exc.__context__ = context
    exc.__suppress_context__ = suppress_context
    return exc


class _Traceback:
    def __init__(self, traceback: TracebackType) -> None:
        self.traceback = traceback

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_traceback, (_traceback_dict(self.traceback),)


def _traceback_dict(traceback: TracebackType | None) -> dict[str, Any] | None:
    if traceback is None:
        return None
    import tblib

    return dict(tblib.Traceback(traceback).as_dict())


def _rebuild_traceback(traceback: dict[str, Any]) -> TracebackType | None:
    """The traceback that :func:`_traceback_dict` took apart; its frames hold nothing and were called by nobody.

    A frame that ran here would hold, through its callers, the exception that the traceback is of: such a cycle keeps
    all that its user has at hand until Python happens to collect it.
    """
    parts: list[dict[str, Any]] = []
    part: dict[str, Any] | None = traceback
    while part is not None:
        parts.append(part)
        part = part["tb_next"]
    tb: TracebackType | None = None
    for part in reversed(parts):
        frame, line = part["tb_frame"], part["tb_lineno"]
        tb = TracebackType(tb, _idle_frame(frame["f_code"], frame["f_globals"], line), 0, line)
    return tb


def _never() -> Iterator[None]:
    yield


_CODE = _never.__code__.replace(
    # all of it is on the first line, without columns (entry 13 of Objects/locations.md in Python's sources)
    co_linetable=bytes([0x80 | 13 << 3 | 0, 0] * (len(_never.__code__.co_code) // 2))
)


def _idle_frame(code: dict[str, Any], names: dict[str, Any], line: int) -> FrameType:
    """A frame that says where it is: that of a generator which never started."""
    name = code["co_name"]
    named = _CODE.replace(
        co_filename=code["co_filename"], co_name=name, co_qualname=name, co_firstlineno=max(line, 1)
    )
    frame: FrameType = FunctionType(named, dict(names))().gi_frame
    return frame


def _pack_exception(exc: BaseException) -> Payload | None:
    # First all of it; then without the causes, one of which may be what cannot be pickled; then without attributes.
    for chained, state in ((True, True), (False, True), (False, False)):
        try:
            payload = pack(_Exception(exc, chained=chained, state=state))
            if isinstance(unpack(payload), BaseException):
                return payload
        except Exception:
            continue
    return None


def _pack_traceback(traceback: TracebackType | None) -> Payload | None:
    if traceback is None:
        return None
    try:
        return pack(_Traceback(traceback))
    except Exception:
        return None  # its text travels anyway
