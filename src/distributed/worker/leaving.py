"""Leaving. A worker hands over what only it has before it closes: at once, or when somebody can take over."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from distributed.core import Connection, Status
from distributed.exceptions import CommClosedError
from distributed.protocol.messages import WorkerClosing
from distributed.worker.base import logger

if TYPE_CHECKING:
    from distributed.worker.server import Worker


async def retire(worker: Worker, reason: str) -> None:
    """Finish what runs, and have what only this worker holds moved."""
    worker.status = Status.closing_gracefully
    logger.info("Worker at %s leaves: %s", worker.address, reason)
    try:
        await worker.scheduler.retire_workers(workers=[worker.address], close_workers=False, remove=False)
    except OSError as error:
        logger.warning("the scheduler could not be told that %s leaves: %s", worker.address, error)


async def when_replaceable(worker: Worker, reason: str) -> None:
    """Close when another worker has taken over; work until then."""
    logger.info("Worker at %s leaves when another can take over: %s", worker.address, reason)
    while worker.status in (Status.running, Status.paused):
        try:
            await worker.scheduler.retire_workers(
                workers=[worker.address], close_workers=False, remove=False, patient=True
            )
        except OSError as error:  # it is told to the scheduler that comes back
            logger.info("the scheduler could not be told that %s leaves: %s", worker.address, error)
            while worker.stream is None:
                await worker.turned.wait()
        else:
            break
    await worker.close(nanny=not worker.lifetime_restart, reason=reason)


async def take_back_registration(stream: Connection, error: BaseException) -> None:
    """The worker cannot start after all: no task that it was given meanwhile, and has not begun, is to blame."""
    with contextlib.suppress(CommClosedError):
        stream.send(WorkerClosing(f"it could not start: {error}"))
        await stream.close()
