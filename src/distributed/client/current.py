"""Which client is meant when none is named: the innermost ``as_current``, the latest default one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from distributed.forks import in_child, module_lock
from distributed.threadstate import current_slot

if TYPE_CHECKING:
    from distributed.client.client import Client

_current: ContextVar[Client | None] = ContextVar("distributed-client", default=None)
_defaults: list[Client] = []  # newest last
_lock = module_lock()


def set_default(client: Client) -> None:
    with _lock:
        if client in _defaults:
            _defaults.remove(client)
        _defaults.append(client)
        _direct_dask(True)


def drop_default(client: Client) -> None:
    with _lock:
        if client in _defaults:
            _defaults.remove(client)
            if all(other.status == "closed" for other in _defaults):
                _direct_dask(False)


#: What dask's configuration names for a scheduler when it is to ask for a client.
_OURS = "dask.distributed"
_before: list[str | None] = []

#: What dask leaves out of the tracebacks of collections, as a pattern.
_OUR_FILES = r"distributed[\\/](client[\\/]\w+|loops)\.py"


def _direct_dask(here: bool) -> None:
    """Dask computes with the default client even where its configuration named another scheduler before."""
    import dask

    shorten = dask.config.get("admin.traceback.shorten", None) or []
    if shorten and _OUR_FILES not in shorten:
        dask.config.set({"admin.traceback.shorten": [*shorten, _OUR_FILES]})
    now = dask.config.get("scheduler", None)
    if here and now != _OURS:
        _before.append(now)
        dask.config.set({"scheduler": _OURS})
    elif not here and _before:
        before = _before.pop()
        _before.clear()
        if now == _OURS:  # else somebody has set something since, and will reset it
            dask.config.set({"scheduler": before})


def newest_default() -> Client | None:
    """The newest default client that is not closed."""
    with _lock:
        while _defaults:
            if _defaults[-1].status != "closed":
                return _defaults[-1]
            _defaults.pop()
    return None


def current_client(allow_global: bool = True) -> Client | None:
    """The client of this context, or (``allow_global``) the default one; None if there is none."""
    client = _current.get()
    if client is not None and client.status != "closed":
        return client
    return newest_default() if allow_global else None


@contextmanager
def as_current(client: Client) -> Iterator[None]:
    """Inside, ``client`` is the current one of this thread or coroutine."""
    import dask

    token = _current.set(client)
    directed = None
    if dask.config.get("scheduler", None) != _OURS:
        directed = dask.config.set(scheduler=_OURS)
    try:
        yield
    finally:
        _current.reset(token)
        if directed is not None:
            directed.__exit__(None, None, None)  # type: ignore[no-untyped-call]


@contextmanager
def temp_default_client(c: Client) -> Iterator[None]:
    """Inside, ``c`` is the default client."""
    set_default(c)
    try:
        with as_current(c):
            yield
    finally:
        drop_default(c)


def default_client(c: Client | None = None) -> Client:
    """``c`` if given, else the current client. Raises ``ValueError`` where there is none."""
    client = c if c is not None else current_client()
    if client is None:
        raise ValueError("no client: make one with distributed.Client(address) first")
    return client


def get_client(
    address: Any = None, timeout: float | str | None = None, resolve_address: bool = True
) -> Client:
    """The current client, or a new one for ``address``.

    Inside a task, that is the worker's client of its scheduler.

    Parameters
    ----------
    address : str, optional
        The scheduler's address. Default: that of the current client, or of this task's worker.
    timeout : float or str, optional
        Seconds to wait for a new connection.

    Raises
    ------
    ValueError
        When there is no client, no worker and no address.
    """
    if timeout is None:
        timeout = 5
    worker = _task_worker()
    own = getattr(worker, "_get_client", None)
    if own is not None and (not address or _same(worker.scheduler.address, address)):
        client: Client = own(timeout=timeout)
        return client
    found = current_client()
    if found is not None and (not address or _same(found.scheduler_address, address)):
        return found
    if address:
        from distributed.client.client import Client

        return Client(address, timeout=timeout)
    worker = _any_worker()
    if worker is not None and worker.nanny:  # a plugin, say, in a process that is there for the worker alone
        return worker._get_client(timeout=timeout)  # type: ignore[no-any-return]
    raise ValueError("no client: make one with distributed.Client(address) first, or give an address")


def _same(ours: str, other: Any) -> bool:
    ours = ours.removeprefix("tcp://")
    return bool(ours) and ours == str(other).removeprefix("tcp://")


def client_of_task() -> Client | None:
    """That of the worker whose task runs here; None outside of tasks."""
    own = getattr(_task_worker(), "_get_client", None)
    return None if own is None else own(timeout=5)


def _task_worker() -> Any:
    """The worker whose task runs here; None outside of tasks."""
    slot = current_slot()
    return None if slot is None else slot.executor.worker


def _any_worker() -> Any:
    """A worker of this process; None if there is none."""
    import sys

    module = sys.modules.get("distributed.worker")
    get_worker = getattr(module, "get_worker", None) if module is not None else None
    if get_worker is None:
        return None
    try:
        return get_worker()
    except ValueError:
        return None


def _in_child() -> None:
    """The parent's clients are nobody's default here; dask computes as it would without them."""
    import sys

    had, module = bool(_defaults), sys.modules.get("dask.config")
    _defaults.clear()
    _current.set(None)
    if had and module is not None and module.config.get("scheduler") == _OURS:
        before = _before[0] if _before else None
        if before is None:
            del module.config["scheduler"]
        else:
            module.config["scheduler"] = before
    _before.clear()


in_child(_in_child)
