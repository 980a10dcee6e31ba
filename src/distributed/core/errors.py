"""Exceptions as the dictionaries that ``distributed.core.error_message`` and ``clean_exception`` are known for."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from distributed.exceptions import RemoteError
from distributed.protocol.errors import pack_error, unpack_traceback
from distributed.protocol.payload import Payload, Serialized, unpack


def error_message(e: BaseException, status: str = "error") -> dict[str, Any]:
    """An exception as a dictionary that can travel: ``status exception traceback exception_text traceback_text``."""
    packed = pack_error(e)
    return {"status": status, **packed._asdict()}


def clean_exception(
    exception: BaseException | Payload | str | None,
    traceback: TracebackType | Payload | str | None = None,
    **kwargs: Any,
) -> tuple[type[BaseException | None], BaseException | None, TracebackType | None]:
    """Type, exception and traceback, ready to be raised, from their packed form.

    Examples
    --------
    >>> try:
    ...     1 / 0
    ... except ZeroDivisionError as exc:
    ...     message = error_message(exc)
    >>> clean_exception(**message)[:2]
    (<class 'ZeroDivisionError'>, ZeroDivisionError('division by zero'))
    """
    if isinstance(exception, (bytes, bytearray, memoryview, Serialized)):
        try:
            exception = unpack(exception)
        except Exception:
            exception = kwargs.get("exception_text") or "an exception that cannot be unpickled here"
    if isinstance(exception, str):
        exception = RemoteError(exception)
    if isinstance(traceback, (bytes, bytearray, memoryview, Serialized)):
        traceback = unpack_traceback(traceback)
    if not isinstance(traceback, TracebackType):
        traceback = None
    return type(exception), exception, traceback  # type: ignore[return-value]
