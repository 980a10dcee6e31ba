"""Errors that the scheduler itself finds, as the clients will see them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from distributed.exceptions import (
    ImmovableDataError,
    KilledWorker,
    LostDataError,
    NoValidWorkerError,
    NoWorkerError,
    WorkersFullError,
)
from distributed.protocol.messages import Key, TaskError
from distributed.protocol.payload import pack
from distributed.scheduler.state import immovable

if TYPE_CHECKING:
    from distributed.scheduler.state.records import TaskState, WorkerState


def task_error(exception: Exception, key: Key, erred_on: list[str] | None = None) -> TaskError:
    """An error without a traceback: nothing of the user's raised it."""
    return TaskError(
        exception=pack(exception),
        exception_text=f"{type(exception).__name__}: {exception}",
        erred_on=erred_on or [],
        blamed_key=key,
    )


def killed_worker(ts: TaskState, address: str, deaths: Iterable[str], allowed_failures: int) -> TaskError:
    """The task was running on too many workers as they died; ``deaths`` says of each who and how."""
    return task_error(KilledWorker(ts.key, address, allowed_failures, "; ".join(deaths)), ts.key, [address])


def not_deliverable(ts: TaskState, deaths: list[str]) -> TaskError:
    """Workers that held the result ran nothing, and were ended for their memory."""
    return task_error(
        WorkersFullError(
            f"the result of {ts.key!r} ({ts.nbytes / 2**20:.0f} MiB) cannot be handed out: {len(deaths)} workers that "
            f"held it ran out of memory: {'; '.join(deaths)}. While it is sent it may be there twice. Make the pieces "
            "smaller, take results one by one and release them, or give workers more memory (memory_limit=)"
        ),
        ts.key,
    )


def no_memory(ts: TaskState, paused: list[WorkerState], patience: float) -> TaskError:
    """No worker has memory for it, and nobody lets go of any."""
    others = f", and {len(paused) - 3} more" if len(paused) > 3 else ""
    return task_error(
        WorkersFullError(
            f"{ts.key!r} finds no worker with memory: {', '.join(map(fullness, paused[:3]))}{others}, and nothing was "
            f"released for {patience:g} s (distributed.scheduler.shortage-patience). Release futures that are not "
            "needed, take results one by one, make the pieces smaller, or give workers more memory (memory_limit=)"
        ),
        ts.key,
    )


def fullness(ws: WorkerState) -> str:
    """How full a worker's memory is, in words."""
    memory = ws.metrics.get("memory") or 0
    return (
        f"{ws.address} is paused at {memory / 2**20:.0f} MiB of its limit of {ws.memory_limit / 2**20:.0f} MiB, "
        f"{ws.nbytes / 2**20:.0f} MiB of them results"
    )


def never_came(ts: TaskState) -> TaskError:
    """After a restart of the scheduler no worker brought this result and no client its task."""
    return task_error(
        LostDataError(
            f"after the scheduler was started again no worker came with {ts.key!r}, and no client that could say how "
            "to compute it"
        ),
        ts.key,
    )


def lost_actor(ts: TaskState) -> TaskError:
    """The worker that an actor lived on is gone."""
    return task_error(
        LostDataError(f"the worker that held the actor {ts.key!r} was lost, and with it the actor's state"),
        ts.key,
    )


def immovable_data(ts: TaskState) -> TaskError:
    """What the task needs cannot be brought together on a worker that may run it."""
    return task_error(ImmovableDataError(immovable.why_stranded(ts)), ts.key)


def no_worker(ts: TaskState, limit: float, why: str, *, any_there: bool) -> TaskError:
    """Nobody ran the task for as long as is waited; ``why`` nobody will."""
    if any_there:
        error: Exception = NoValidWorkerError(
            f"no worker may run {ts.key!r} for {limit:g} s (distributed.scheduler.no-workers-timeout): look at its "
            "workers=, resources= and what it depends on, and at the workers that there are"
        )
    elif why:
        error = NoWorkerError(
            f"nobody can run {ts.key!r}: there are no workers, and the last nanny has given up: {why}. Start workers, "
            "then call client.retry"
        )
    else:
        error = NoWorkerError(
            f"nobody can run {ts.key!r}: there are no workers for {limit:g} s "
            "(distributed.scheduler.no-workers-timeout). Start some, then call client.retry"
        )
    return task_error(error, ts.key)


def lost_data(ts: TaskState) -> TaskError:
    """The last copy of data that cannot be computed again is gone."""
    return task_error(
        LostDataError(
            f"{ts.key!r} was scattered to workers that are gone, or what it was computed from became more than "
            "distributed.scheduler.lineage-limit and was forgotten: it cannot be computed again. Scatter it again, or "
            "scatter it with broadcast=True to keep copies"
        ),
        ts.key,
    )
