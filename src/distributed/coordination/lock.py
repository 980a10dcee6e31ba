"""Locks: one at a time, anywhere in the network. A lock is a semaphore of one lease."""

from __future__ import annotations

import weakref
from typing import Any

from distributed.coordination.handle import positive
from distributed.coordination.semaphore import Semaphore
from distributed.forks import module_lock
from distributed.threadstate import thread_state


class Lock(Semaphore):
    """Lets one holder in at a time, over all clients and tasks.

    A lock belongs to the handle that acquired it, and is free again when that one's worker or client is gone.

    Parameters
    ----------
    name : str, optional
        Handles with the same name are the same lock. Default: a name of its own.
    scheduler_rpc : Client, optional
        The client to speak through. Default: the current one.
    loop : optional
        Known to users of the field; without a meaning.

    Examples
    --------
    >>> lock = Lock("file.nc")  # doctest: +SKIP
    >>> lock.acquire(timeout=1)  # doctest: +SKIP
    True
    >>> lock.release()  # doctest: +SKIP
    """

    def __init__(self, name: str | None = None, scheduler_rpc: Any = None, loop: Any = None) -> None:
        super().__init__(1, name, scheduler_rpc, loop)

    @property
    def _ident(self) -> Any:
        return ("lock", self.name)

    def acquire(  # type: ignore[override]  # as threading.Lock has it
        self, blocking: bool = True, timeout: Any = None
    ) -> Any:
        """Wait for the lock.

        Parameters
        ----------
        blocking : bool
            False: do not wait.
        timeout : float or str, optional
            Seconds, or a text such as "5s"; default: as long as it takes.

        Returns
        -------
        bool
            Whether it was acquired.
        """
        if not blocking:
            if timeout is not None:
                raise ValueError("can't specify a timeout for a non-blocking call")
            timeout = 0
        return self.sync(self._acquire, positive(timeout))

    def locked(self) -> Any:
        """Whether somebody holds the lock."""
        return self.sync(self._locked)

    async def _locked(self) -> bool:
        value: int = await self._call("semaphore_value", name=self._ident)
        return value > 0

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (type(self), self.name)


_handles: weakref.WeakValueDictionary[tuple[Any, ...], Lock] = weakref.WeakValueDictionary()
_handles_lock = module_lock()


def _unpickled(cls: type[Lock], name: str) -> Lock:
    """The one handle on this lock among a worker's tasks, as long as one of them has it.

    Programs that take several locks order them by identity, so that no two tasks wait for each other; xarray does.
    """
    worker = getattr(thread_state, "execution_state", {}).get("worker")
    key = (cls, name, id(worker))
    with _handles_lock:
        handle = _handles.get(key)
        if handle is None:
            handle = _handles[key] = cls(name)
        return handle
