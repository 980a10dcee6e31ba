"""Tasks whose result nobody waits for."""

from __future__ import annotations

from typing import Any

from distributed.client.future import Future, futures_of
from distributed.client.session import Session
from distributed.client.state.records import EACH, Waiter
from distributed.forks import in_child


class _Fired:
    """Futures of one client that are kept until they are done: a scheduler that is restarted is told of them again."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.futures: dict[Any, Future] = {}

    def start(self) -> None:
        """The futures are complete."""
        waiter = Waiter(EACH, lambda: self._done(ready))
        ready = waiter.ready
        session, tasks = self.session, [future._task for future in self.futures.values()]
        _all[id(self)] = self
        session.post(session.state.handle_fire, tasks)
        session.post(session.state.handle_wait, waiter, tasks)

    def _done(self, keys: list[Any]) -> None:
        for key in keys:
            self.session.state.fired.pop(key, None)
            self.futures.pop(key, None)
        keys.clear()
        if not self.futures:
            _all.pop(id(self), None)


_all: dict[int, _Fired] = {}
in_child(_all.clear)


def fire_and_forget(obj: Any) -> None:
    """Make sure that tasks run, even when nobody holds a future on them.

    The scheduler keeps them until they are done, also when their client is closed or killed.

    Parameters
    ----------
    obj : Future, or a nested structure or dask collection with futures in it

    Raises
    ------
    RuntimeError
        The client of one of them is closed.
    """
    fired: dict[Session, _Fired] = {}
    for future in futures_of(obj):
        client = future._bound()
        session = client._session
        session.check_open()
        if session not in fired:
            fired[session] = _Fired(session)
        # a handle of our own: the user may release theirs
        fired[session].futures[future.key] = Future(future.key, client)
    for some in fired.values():
        some.start()
