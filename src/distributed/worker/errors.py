"""A task's exception, made fit to travel: it always arrives, as itself where that can be done."""

from __future__ import annotations

from collections.abc import Collection

from distributed.protocol.errors import exception_text, pack_error
from distributed.protocol.messages import TaskError
from distributed.protocol.payload import nbytes, pack

#: The pickle of an exception may have so many bytes; a longer one is replaced by its text.
MAX_NBYTES = 1_000_000


def task_error(exception: BaseException, *, skip: Collection[str] = ()) -> TaskError:
    """Pack an exception with its traceback.

    Parameters
    ----------
    exception : BaseException
        What the task raised. ``SystemExit``, ``KeyboardInterrupt`` and the like travel as a ``RuntimeError``
        that names them, so that they end neither the worker nor the client that asks for the result. So does
        an exception that cannot be pickled and unpickled again.
    skip : collection of str
        Files whose frames at the top of the traceback are not the user's.
    """
    tb = exception.__traceback__
    while tb is not None and tb.tb_next is not None and tb.tb_frame.f_code.co_filename in skip:
        tb = tb.tb_next
    if not isinstance(exception, Exception):
        text = f"the task raised {exception_text(exception)}"
        if isinstance(exception, SystemExit | KeyboardInterrupt):
            text += ", which would have ended its process"
        exception = RuntimeError(text)
    packed = pack_error(exception, tb)
    payload = packed.exception
    if payload is None or nbytes(payload) > MAX_NBYTES:
        why = "cannot be pickled" if payload is None else f"is too large to travel ({nbytes(payload)} bytes)"
        payload = pack(RuntimeError(f"{packed.exception_text} (the exception itself {why})"))
    return TaskError(payload, packed.traceback, packed.exception_text, packed.traceback_text)
