"""Waiting for conditions, not for time."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Iterator
from typing import IO, Any

from distributed.protocol.messages import Key


def poll_for(
    predicate: Callable[[], Any],
    timeout: float = 15,
    fail_func: Callable[[], Any] | None = None,
    period: float = 0.05,
) -> None:
    """Return as soon as ``predicate()`` is true.

    Parameters
    ----------
    predicate : callable
    timeout : float
        Seconds after which the test fails.
    fail_func : callable, optional
        Called then, instead of the assertion.
    period : float
        Seconds between two looks.

    Raises
    ------
    AssertionError
        When it was not true in time.
    """
    deadline = time.monotonic() + timeout
    while not predicate():
        if time.monotonic() > deadline:
            _failed(predicate, timeout, fail_func)
            return
        time.sleep(period)


async def async_poll_for(
    predicate: Callable[[], Any],
    timeout: float = 15,
    fail_func: Callable[[], Any] | None = None,
    period: float = 0.05,
) -> None:
    """As :func:`poll_for`, for coroutines. The first looks come at shorter intervals than ``period``."""
    deadline = time.monotonic() + timeout
    pause = min(0.001, period)
    while not predicate():
        if time.monotonic() > deadline:
            _failed(predicate, timeout, fail_func)
            return
        await asyncio.sleep(pause)
        pause = min(2 * pause, period)


def _failed(predicate: Callable[[], Any], timeout: float, fail_func: Callable[[], Any] | None) -> None:
    if fail_func is not None:
        fail_func()
        return
    name = getattr(predicate, "__qualname__", repr(predicate))
    raise AssertionError(f"condition {name} did not come true within {timeout:g} s")


async def wait_for_state(
    key: Key, state: str | Collection[str], dask_worker: Any, *, interval: float = 0.01
) -> None:
    """Return as soon as a task is in a state.

    Parameters
    ----------
    key : str
    state : str or collection of str
        Any of these.
    dask_worker : Worker or Scheduler
        Whose record of the task is looked at. By this name, ``client.run(wait_for_state, key, "executing")`` gives
        it by itself.
    interval : float
        Seconds between two looks.
    """
    wanted = {state} if isinstance(state, str) else set(state)
    while (now := _state_of(key, dask_worker)) not in wanted:
        try:
            await asyncio.sleep(interval)
        except asyncio.CancelledError as error:
            error.add_note(f"waited for {key!r} on {dask_worker!r} to be {sorted(wanted)}; it is {now}")
            raise


def _state_of(key: Key, party: Any) -> str | None:
    task = party.tasks.get(key)
    return None if task is None else task.state


async def wait_for_cancelled(key: Key, dask_worker: Any) -> None:
    """Return as soon as a task is unknown there."""
    await async_poll_for(lambda: key not in dask_worker.tasks, timeout=float("inf"), period=0.01)


def wait_for_log_line(match: bytes, stream: IO[bytes] | None, max_lines: int | None = 10) -> bytes:
    """Read lines of a program's output until one contains ``match``.

    Parameters
    ----------
    match : bytes
    stream : binary stream
    max_lines : int, optional
        Lines after which the test fails; None: read until the end.

    Returns
    -------
    bytes
        That line.

    Raises
    ------
    AssertionError
        When there is none.
    """
    if stream is None:
        raise ValueError("there is no output to read: start the program with capture_output=True")
    seen: list[bytes] = []
    while max_lines is None or len(seen) < max_lines:
        line = stream.readline()
        if not line:
            break
        if match in line:
            return line
        seen.append(line)
    text = b"".join(seen).decode(errors="replace")
    raise AssertionError(f"{match!r} is not in the output:\n{text}")


@contextlib.contextmanager
def freeze_batched_send(connection: Any) -> Iterator[list[Any]]:
    """Inside, no stream message leaves on this connection; afterwards all of them leave in order. Calls go on.

    Parameters
    ----------
    connection : Connection
        For example ``worker.stream``.

    Yields
    ------
    list
        The messages that are held back so far.
    """
    held: list[Any] = []

    def send(message: Any) -> None:
        held.append(message)

    connection.send, connection.send_all = send, held.extend
    try:
        yield held
    finally:
        del connection.send, connection.send_all
        if held and not connection.closed:
            connection.send_all(held)
