"""Tasks whose result nobody waits for."""

from __future__ import annotations

from typing import Any

from distributed.client.future import Future, futures_of
from distributed.forks import module_lock

_futures: dict[int, Future] = {}
_lock = module_lock()


def fire_and_forget(obj: Any) -> None:
    """Make sure that tasks run, even when nobody holds a future on them.

    They are kept until they are done or their client is closed.

    Parameters
    ----------
    obj : Future, or a nested structure or dask collection with futures in it
    """
    for future in futures_of(obj):
        client = future._bound()
        mine = Future(future.key, client)  # a handle of our own: the user may release theirs
        with _lock:
            _futures[id(mine)] = mine

        def forget(number: int = id(mine)) -> None:
            with _lock:
                _futures.pop(number, None)

        client._session.watch((mine._task,), forget)
