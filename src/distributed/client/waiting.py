"""Wait for futures without taking their results."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from distributed.client.completion import as_completed
from distributed.client.errors import FutureCancelledError
from distributed.client.future import Future, futures_of
from distributed.client.state.records import ALL, ANY
from distributed.loops import seconds

ALL_COMPLETED = "ALL_COMPLETED"
FIRST_COMPLETED = "FIRST_COMPLETED"


class DoneAndNotDoneFutures(NamedTuple):
    """What :func:`wait` found."""

    done: set[Future]
    not_done: set[Future]


def wait(fs: Any, timeout: float | str | None = None, return_when: str = ALL_COMPLETED) -> Any:
    """Wait until all futures, or the first, are done; failed ones are done too.

    Parameters
    ----------
    fs : Future, or a nested structure or dask collection with futures in it
    timeout : float or str, optional
        Seconds, or a text such as "10s".
    return_when : {"ALL_COMPLETED", "FIRST_COMPLETED"}

    Returns
    -------
    DoneAndNotDoneFutures
        Named pair of sets, ``done`` and ``not_done``.

    Raises
    ------
    TimeoutError
        Not all (or not one) are done in time.
    CancelledError
        One of them was cancelled.
    """
    if timeout is not None and not isinstance(timeout, int | float | str):
        raise TypeError(
            "timeout= must be a number of seconds; wait takes one collection of futures: wait([a, b])"
        )
    if return_when not in (ALL_COMPLETED, FIRST_COMPLETED):
        raise NotImplementedError(
            f"return_when= must be ALL_COMPLETED or FIRST_COMPLETED, not {return_when!r}"
        )
    futures = futures_of(fs)
    if not futures:
        return DoneAndNotDoneFutures(set(), set())
    client = futures[0]._bound()
    if any(future._bound()._session is not client._session for future in futures):
        return _wait_for_several(client, futures, seconds(timeout), return_when)
    if client.asynchronous:
        return _wait(client, futures, seconds(timeout), return_when)
    tasks = [future._task for future in futures]
    mode = ALL if return_when == ALL_COMPLETED else ANY
    if not client._session.wait(tasks, seconds(timeout), mode=mode):
        raise TimeoutError(_late(futures, timeout))
    return _sorted(futures)


async def _wait(
    client: Any, futures: list[Future], timeout: float | None, return_when: str
) -> DoneAndNotDoneFutures:
    tasks = [future._task for future in futures]
    mode = ALL if return_when == ALL_COMPLETED else ANY
    if not await client._session.wait_async(tasks, timeout, mode=mode):
        raise TimeoutError(_late(futures, timeout))
    return _sorted(futures)


def _wait_for_several(client: Any, futures: list[Future], timeout: float | None, return_when: str) -> Any:
    """Futures of several clients, maybe of several networks."""
    done = as_completed(futures, timeout=timeout)
    ndone = len(futures) if return_when == ALL_COMPLETED else 1
    if client.asynchronous:
        return _wait_async(done, ndone, futures)
    for _ in zip(range(ndone), done, strict=False):
        pass
    return _sorted(futures)


async def _wait_async(done: as_completed, ndone: int, futures: list[Future]) -> DoneAndNotDoneFutures:
    for _ in range(ndone):
        await anext(done)
    return _sorted(futures)


def _late(futures: list[Future], timeout: Any) -> str:
    late = [future for future in futures if not future.done()]
    return f"{len(late)} of {len(futures)} futures are not done within {timeout} s"


def _sorted(futures: Iterable[Future]) -> DoneAndNotDoneFutures:
    done: set[Future] = set()
    not_done: set[Future] = set()
    for future in futures:
        status = future.status
        if status in ("cancelled", "lost"):
            raise FutureCancelledError(future.key, future._task.reason or status)
        (not_done if status == "pending" else done).add(future)
    return DoneAndNotDoneFutures(done, not_done)
