"""Errors that futures raise."""

from __future__ import annotations

from concurrent.futures import CancelledError
from types import TracebackType
from typing import Any

from distributed.client.state.records import ClientTask
from distributed.exceptions import RemoteError
from distributed.protocol.errors import unpack_error, unpack_traceback

TimeoutError = TimeoutError


class FutureCancelledError(CancelledError):
    """The future was cancelled or released, or its scheduler is gone: there will be no result.

    Attributes
    ----------
    key : key of the task
    reason : str
        Why, in words.
    """

    def __init__(self, key: Any, reason: str = "", msg: str = "") -> None:
        self.key = key
        self.reason = reason or "unknown"
        self.msg = msg
        super().__init__(key, self.reason, msg)

    def __str__(self) -> str:
        return f"{self.key} cancelled for reason: {self.reason}" + (f"\n{self.msg}" if self.msg else "")


def remote_exception(task: ClientTask) -> BaseException:
    """The exception that a task raised, with the traceback of the user's frames where it arrived."""
    error = task.error
    if error is None:
        return RemoteError(f"task {task.key} failed, and the reason did not arrive")
    text = error.exception_text or f"task {task.key} failed"
    rebuilt = unpack_error(error.exception, error.traceback, text)
    if not isinstance(rebuilt, Exception):
        # SystemExit, KeyboardInterrupt and their like were meant for the process that ran the task, not for this one.
        rebuilt = RemoteError(text, error.exception, error.traceback)
    if isinstance(rebuilt, RemoteError) and error.traceback_text:
        rebuilt.add_note(f"on the worker:\n{error.traceback_text}")
    return rebuilt


def remote_traceback(task: ClientTask) -> TracebackType | None:
    """The traceback of the worker's frames, None where it did not arrive or cannot be rebuilt."""
    return None if task.error is None else unpack_traceback(task.error.traceback)


def failure_of(task: ClientTask) -> BaseException:
    """What to raise for a task that ended without a result."""
    if task.status == "error":
        return remote_exception(task)
    if task.status == "lost":
        return FutureCancelledError(task.key, task.reason or "the connection to the scheduler was lost")
    return FutureCancelledError(task.key, task.reason or "cancelled or released")
