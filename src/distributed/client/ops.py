"""Questions to the scheduler, orders to all workers."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from distributed.client.future import futures_of
from distributed.client.options import worker_names
from distributed.exceptions import WorkerStartTimeoutError
from distributed.loops import seconds
from distributed.protocol.errors import unpack_error
from distributed.protocol.payload import pack, unpack

if TYPE_CHECKING:
    from distributed.client.session import Session
    from distributed.protocol.messages import Key


#: Operations that answer by pairs, since not every key can stand in a message's map: here they are dicts.
PAIRS = frozenset({"who_has", "has_what", "nbytes", "processing", "get_task_status"})


class SchedulerProxy:
    """``await client.scheduler.operation(**kwargs)``: any operation of the scheduler."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __repr__(self) -> str:
        return f"<operations of {self.address}>"

    @property
    def address(self) -> str:
        """The scheduler's address."""
        return self._session.address

    addr = address

    def __getattr__(self, op: str) -> Callable[..., Any]:
        if op.startswith("_"):
            raise AttributeError(op)

        async def call(**kwargs: Any) -> Any:
            answer = await self._session.call(op, **kwargs)
            return dict(answer) if op in PAIRS else answer

        call.__name__ = op
        return call


class OperationsMixin:
    """The part of ``Client`` that asks and orders."""

    _session: Session
    sync: Callable[..., Any]
    order: Callable[..., Any]
    asynchronous: bool
    _info: dict[str, Any]
    _asking: asyncio.Future[None] | None = None

    async def _call(self, op: str, /, **kwargs: Any) -> Any:
        return await self._session.call(op, **kwargs)

    # ------------------------------------------------------------ who, what, where

    def who_has(self, futures: Any = None, **kwargs: Any) -> Any:
        """Addresses of the workers that hold each result.

        Parameters
        ----------
        futures : futures, optional
            Default: everything.

        Returns
        -------
        dict
            Key to list of addresses.
        """
        keys = None if futures is None else keys_of(futures)
        return self.sync(self._who_has, keys, **kwargs)

    async def _who_has(self, keys: Any) -> dict[Any, list[str]]:
        return {key: list(addresses) for key, addresses in await self._call("who_has", keys=keys)}

    def has_what(self, workers: Any = None, **kwargs: Any) -> Any:
        """Keys that each worker holds: dict from address to list of keys."""
        return self.sync(self._has_what, _names(workers), **kwargs)

    async def _has_what(self, workers: Any) -> dict[str, list[Any]]:
        return {address: list(keys) for address, keys in await self._call("has_what", workers=workers)}

    def nthreads(self, workers: Any = None, **kwargs: Any) -> Any:
        """Threads of each worker: dict from address to number."""
        return self.sync(self._call, "ncores", workers=_names(workers), **kwargs)

    ncores = nthreads

    def processing(self, workers: Any = None) -> Any:
        """Keys of the tasks that each worker runs or has queued: dict from address to tuple of keys."""
        return self.sync(self._processing, _names(workers))

    async def _processing(self, workers: Any) -> dict[str, tuple[Any, ...]]:
        reply = await self._call("processing", workers=workers)
        pairs = reply.items() if isinstance(reply, dict) else reply
        return {address: tuple(keys) for address, keys in pairs}

    def nbytes(self, keys: Any = None, summary: bool = True, **kwargs: Any) -> Any:
        """Sizes of results in bytes, by key, or with ``summary`` by the prefix of keys."""
        return self.sync(self._nbytes, keys, summary, **kwargs)

    async def _nbytes(self, keys: Any, summary: bool) -> dict[Any, int]:
        reply = await self._call("nbytes", keys=None if keys is None else keys_of(keys))
        sizes = dict(reply.items() if isinstance(reply, dict) else reply)
        if not summary:
            return sizes
        from dask.utils import key_split

        sums: dict[Any, int] = {}
        for key, size in sizes.items():
            prefix = key_split(key)
            sums[prefix] = sums.get(prefix, 0) + size
        return sums

    def scheduler_info(self, n_workers: int = -1, **kwargs: Any) -> Any:
        """What the scheduler tells about itself and (up to ``n_workers`` of) its workers.

        Returns
        -------
        SchedulerInfo
            A dict. That of an asynchronous client is what was last heard, and asks for more behind it; ``await`` it to
            have it fresh.
        """
        from distributed.objects import SchedulerInfo

        if not self.asynchronous or kwargs:
            return self.sync(self._scheduler_info, n_workers, **kwargs)
        info = SchedulerInfo(self._info)
        there = self._session.workers
        known = {address: worker for address, worker in info.get("workers", {}).items() if address in there}
        info["workers"] = _some(known, n_workers)
        info.fresh = functools.partial(self._scheduler_info, n_workers)
        if self._asking is None or self._asking.done():
            self._asking = asyncio.ensure_future(self._ask_again())
        return info

    async def _ask_again(self) -> None:
        with contextlib.suppress(OSError):  # the next one asks again
            await self._scheduler_info()

    async def _scheduler_info(self, n_workers: int = -1) -> dict[str, Any]:
        from distributed.objects import SchedulerInfo

        info = self._info = await self._call("identity")
        return SchedulerInfo({**info, "workers": _some(info.get("workers", {}), n_workers)})

    def wait_for_workers(self, n_workers: int, timeout: float | str | None = None) -> Any:
        """Wait until there are at least ``n_workers`` workers. Raises ``TimeoutError`` after ``timeout`` seconds."""
        if not isinstance(n_workers, int) or isinstance(n_workers, bool) or n_workers < 1:
            raise ValueError(f"n_workers must be a positive number, not {n_workers!r}")
        return self.sync(self._wait_for_workers, n_workers, timeout)

    async def _wait_for_workers(self, n_workers: int, timeout: float | str | None = None) -> None:
        limit = seconds(timeout)
        try:
            await asyncio.wait_for(self._session.at_least(n_workers), limit)
        except TimeoutError:
            raise WorkerStartTimeoutError(len(self._session.workers), n_workers, limit or 0) from None
        await self._ask_again()  # who asks for them next shall find them

    # ------------------------------------------------------------ run something everywhere

    def run(
        self,
        function: Callable[..., Any],
        *args: Any,
        workers: Any = None,
        wait: bool = True,
        nanny: bool = False,
        on_error: str = "raise",
        **kwargs: Any,
    ) -> Any:
        """Run a function at once in every worker process, outside of any task.

        A parameter ``dask_worker`` of the function gets the worker itself.

        Parameters
        ----------
        function : callable or coroutine function
        workers : iterable of str, optional
            Default: all.
        wait : bool, default True
            Wait for the results.
        nanny : bool, default False
            Run it in the nannies instead.
        on_error : {"raise", "return", "ignore"}
            Raise the first error, return errors in place of results, or leave them out.

        Returns
        -------
        dict
            Worker's address to result.
        """
        if on_error not in ("raise", "return", "ignore"):
            raise ValueError(f"on_error= must be 'raise', 'return' or 'ignore', not {on_error!r}")
        asynchronous = kwargs.pop("asynchronous", None)
        return self.sync(
            self._run,
            function,
            args,
            kwargs,
            _names(workers),
            wait,
            nanny,
            on_error,
            asynchronous=asynchronous,
        )

    async def _run(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        workers: list[str] | None,
        wait: bool,
        nanny: bool,
        on_error: str,
    ) -> Any:
        reply = await self._call(
            "broadcast",
            op="run",
            kwargs={"function": pack(function), "args": pack(args), "kwargs": pack(kwargs), "wait": wait},
            workers=workers,
            nanny=nanny,
            on_error="return",
        )
        results: dict[str, Any] = {}
        for address, outcome in reply:
            if outcome.get("status") == "OK":
                result = outcome.get("result")
                results[address] = unpack(result) if wait and result is not None else None
                continue
            if on_error != "ignore":
                error = unpack_error(
                    outcome.get("exception"), outcome.get("traceback"), outcome.get("text", "")
                )
                if on_error == "raise":
                    try:
                        raise error
                    finally:
                        del error  # no cycle through the traceback
                results[address] = error
        return results if wait else None

    def run_on_scheduler(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run a function in the scheduler's process and return its result.

        A parameter ``dask_scheduler`` of the function gets the scheduler itself.
        """
        return self.sync(self._run_on_scheduler, function, args, kwargs)

    async def _run_on_scheduler(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        wait = kwargs.pop("wait", True)
        reply = await self._call(
            "run_function", function=pack(function), args=pack(args), kwargs=pack(kwargs), wait=wait
        )
        return unpack(reply) if reply is not None else None

    # ------------------------------------------------------------ futures

    def cancel(
        self,
        futures: Any,
        asynchronous: bool | None = None,
        force: bool = False,
        reason: str | None = None,
        msg: str | None = None,
    ) -> Any:
        """Give results up: their futures become ``cancelled``, and what nobody else wants is not computed.

        Parameters
        ----------
        futures : futures, or a nested structure with futures
        force : bool, default False
            Also for other clients that want the same keys.
        reason, msg : str, optional
            Told to whoever waits for them.
        """
        return self._said_now(
            "handle_cancel", futures, force, reason or "", msg or "", asynchronous=asynchronous
        )

    def retry(self, futures: Any, asynchronous: bool | None = None) -> Any:
        """Run failed tasks again, and with them the failed tasks that they depend on."""
        return self._said_now("handle_retry", futures, asynchronous=asynchronous)

    def _said_now(self, event: str, futures: Any, *args: Any, asynchronous: bool | None) -> Any:
        """An event that has taken effect when this returns, even if what it returns is not awaited.

        Futures of other clients are those clients' affair: they hear of it.
        """
        session = self._session
        keys: dict[Session, list[Key]] = {session: []}
        for future in futures_of(futures):
            owner = future._client
            keys.setdefault(session if owner is None else owner._session, []).append(future.key)
        for holder, held in keys.items():
            holder.post(getattr(holder.state, event), held, *args)
        if asynchronous or (asynchronous is None and self.asynchronous):
            if asyncio._get_running_loop() is session.loop.asyncio_loop:
                session.flush()
            return self.order(_nothing, asynchronous=True)
        for holder in keys:
            holder.settle()
        return None

    # ------------------------------------------------------------ workers

    def retire_workers(self, workers: Any = None, close_workers: bool = True, **kwargs: Any) -> Any:
        """Let workers go, their data moved to others before."""
        return self.sync(
            self._call, "retire_workers", workers=_names(workers), close_workers=close_workers, **kwargs
        )

    def restart(self, timeout: float | str | None = None, wait_for_workers: bool = True) -> Any:
        """Forget all tasks and restart all workers; every future is cancelled."""
        return self.sync(self._restart, timeout, wait_for_workers)

    async def _restart(self, timeout: float | str | None, wait_for_workers: bool) -> Any:
        limit = seconds(timeout)
        before = len(await self._call("ncores", workers=None))
        session = self._session
        session.post(
            session.state.handle_cancel, list(session.state.tasks), False, "the network was restarted"
        )
        session.flush()
        await self._call("restart", timeout=60.0 if limit is None else limit)
        if wait_for_workers and before:
            await self._wait_for_workers(before, 60.0 if limit is None else limit)
        return self

    def get_versions(self, check: bool = False, packages: Any = None) -> Any:
        """Versions of Python and packages here, on the scheduler and on the workers.

        Parameters
        ----------
        check : bool, default False
            Raise ``ValueError``, naming the packages, if they differ.
        packages : list of str, optional
            Distributions to report besides the usual ones.
        """
        return self.sync(self._get_versions, check, packages)

    async def _get_versions(self, check: bool = False, packages: Any = None) -> dict[str, Any]:
        from distributed.core.versions import get_versions, mismatch

        names = None if packages is None else [str(name) for name in packages]
        workers = await self._call(
            "broadcast", op="versions", kwargs={"packages": names}, workers=None, on_error="return"
        )
        found = {
            "client": get_versions(names),
            "scheduler": await self._call("versions", packages=names),
            "workers": {address: outcome.get("result") for address, outcome in workers},
        }
        if check:
            parties = {"client": found["client"], "scheduler": found["scheduler"], **found["workers"]}
            text = mismatch({party: versions["packages"] for party, versions in parties.items() if versions})
            if text:
                raise ValueError(text)
        return found


def _some(workers: dict[str, Any], n_workers: int) -> dict[str, Any]:
    return dict(workers) if n_workers < 0 else dict(list(workers.items())[:n_workers])


def keys_of(futures: Any) -> list[Any]:
    """Keys of futures, or of a collection's futures; keys themselves are taken as they are."""
    found = [future.key for future in futures_of(futures)]
    if found or not isinstance(futures, Iterable):
        return found
    return [futures] if isinstance(futures, str) else list(futures)


def _names(workers: Any) -> list[str] | None:
    return None if workers is None else list(worker_names(workers))


async def _nothing() -> None:
    return None
