"""The client inside a task."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from distributed.client.current import as_current, get_client
from distributed.worker.context import rejoin, secede

if TYPE_CHECKING:
    from distributed.client.client import Client


@contextmanager
def worker_client(timeout: float | str | None = None, separate_thread: bool = True) -> Iterator[Client]:
    """Inside a task: submit more tasks and wait for them.

    Parameters
    ----------
    timeout : float or str, optional
        Seconds to connect to the scheduler.
    separate_thread : bool, default True
        Leave the worker's pool of threads meanwhile, so that others can use the place of this task. Say False only
        where nothing is waited for.

    Raises
    ------
    ValueError
        Outside of a task.

    Examples
    --------
    >>> def total(n):
    ...     with worker_client() as client:
    ...         return sum(client.gather(client.map(abs, range(n))))
    >>> client.submit(total, 3).result()  # doctest: +SKIP
    3
    """
    client = get_client(timeout=timeout)
    if separate_thread:
        secede()  # refuses outside of a task
    try:
        with as_current(client):
            yield client
    finally:
        if separate_thread:
            rejoin()


def local_client(*args: Any, **kwargs: Any) -> Any:
    """The old name of :func:`worker_client`."""
    warnings.warn("local_client has moved to worker_client", stacklevel=2)
    return worker_client(*args, **kwargs)
