"""``gather``: results back to the user, small ones from the stream, others straight from the workers."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from distributed.client.errors import FutureCancelledError, failure_of
from distributed.client.future import Future
from distributed.client.owning import own
from distributed.client.state.records import FAILED, ClientTask
from distributed.exceptions import CommClosedError
from distributed.loops import outcome_of, post, seconds
from distributed.protocol.messages import Key
from distributed.protocol.payload import Payload, unpack
from distributed.protocol.unpickling import STACK_GLOBAL
from distributed.threadstate import awaiting

if TYPE_CHECKING:
    from distributed.client.session import Session

#: Keys asked of one worker at once.
BATCH = 2_000
#: Rounds without any progress, with growing pauses (about a minute in all), before a result counts as unreachable.
PATIENCE = 30


class GatherMixin:
    """The part of ``Client`` that brings results home."""

    _session: Session
    _pool: Any
    direct_to_workers: bool | None

    def gather(
        self,
        futures: Any,
        errors: str = "raise",
        direct: bool | None = None,
        asynchronous: bool | None = None,
    ) -> Any:
        """Wait for futures and return their results.

        Parameters
        ----------
        futures : Future, or nested lists, tuples, sets and dicts with futures in them
        errors : {"raise", "skip"}, default "raise"
            Raise the first error, or leave failed ones out of lists (None in their place elsewhere).
        direct : bool, optional
            True: only straight from the workers; False: only through the scheduler. Default: straight, and through
            the scheduler what cannot be reached.

        Returns
        -------
        results, in the shape of ``futures``

        Examples
        --------
        >>> client.gather({"x": client.submit(abs, -1)})  # doctest: +SKIP
        {'x': 1}
        """
        if errors not in ("raise", "skip"):
            raise ValueError(f"errors= must be 'raise' or 'skip', not {errors!r}")
        if direct is None:
            direct = self.direct_to_workers
        if asynchronous is None:
            asynchronous = self.asynchronous  # type: ignore[attr-defined]
        if asynchronous:
            return self._gather(futures, errors, direct)
        tasks, _held = tasks_of(futures, self)
        if not tasks:
            return futures
        self._session.wait(tasks.values(), None, eager=errors == "raise")
        payloads = self._payloads_here(tasks)
        missing = _missing(tasks, payloads, errors)
        if missing:
            fetched = self.sync(  # type: ignore[attr-defined]
                self._fetch, missing, errors, direct, asynchronous=False
            )
            payloads.update(fetched)
        return assemble(futures, unpack_all(payloads), errors)

    async def _gather(self, futures: Any, errors: str = "raise", direct: bool | None = None) -> Any:
        tasks, _held = tasks_of(futures, self)
        if not tasks:
            return futures
        await self._session.wait_async(tasks.values(), eager=errors == "raise")
        payloads = self._payloads_here(tasks)
        missing = _missing(tasks, payloads, errors)
        if missing:
            payloads.update(await self._fetch(missing, errors, direct))
        return assemble(futures, unpack_all(payloads), errors)

    def _payloads_here(self, tasks: dict[Key, ClientTask]) -> dict[Key, Payload]:
        """Results that came along with their completion."""
        payloads: dict[Key, Payload] = {}
        for key, task in tasks.items():
            value = task.value
            if value is not None and task.status == "finished":
                payloads[key] = value
        return payloads

    async def _fetch(
        self, tasks: list[ClientTask], errors: str = "raise", direct: bool | None = None
    ) -> dict[Key, Payload]:
        """Payloads of tasks, waiting for those that are computed (again).

        A result that is lost on the way is asked for elsewhere, and waited for if it has to be made again.
        """
        session = self._session
        payloads: dict[Key, Payload] = {}
        left = tasks
        idle = 0
        while left:
            await session.wait_async(left, eager=errors == "raise")
            here: list[ClientTask] = []
            for task in left:
                status = task.status
                if status in FAILED and errors == "raise":
                    raise failure_of(task)
                if status == "finished" and task.value is not None:
                    payloads[task.key] = task.value
                elif status == "finished":
                    here.append(task)
            got = await self._fetch_once(here, direct)
            payloads.update(got)
            left = [task for task in left if task.key not in payloads]
            dropped = {task: None for task in left if not session.state.is_wanted(task.key)}
            if errors != "raise":
                left = [task for task in left if task.status not in FAILED and task not in dropped]
            elif any(task.status not in FAILED for task in dropped):
                raise FutureCancelledError(
                    next(iter(dropped)).key, "the future was released while it was waited for"
                )
            if left and not got and here:
                idle += 1
                if idle > PATIENCE:
                    raise CommClosedError(
                        f"no worker delivers the result of {left[0].key}, though the scheduler says that one has it "
                        f"({len(left)} results missing)"
                    )
                await asyncio.sleep(min(0.02 * 1.5**idle, 2.0))
            else:
                idle = 0
        return payloads

    async def _fetch_once(self, tasks: list[ClientTask], direct: bool | None) -> dict[Key, Payload]:
        if not tasks:
            return {}
        got: dict[Key, Payload] = {}
        if direct is not False:
            by_worker: dict[str, list[ClientTask]] = {}
            for task in tasks:
                by_worker.setdefault(task.worker, []).append(task)
            batches = [
                (worker, held[i : i + BATCH])
                for worker, held in by_worker.items()
                if worker
                for i in range(0, len(held), BATCH)
            ]
            for part in await asyncio.gather(*(self._get_data(*batch) for batch in batches)):
                got.update(part)
        missing = [task.key for task in tasks if task.key not in got]
        if missing and not direct:
            more = _works_of(task for task in tasks if task.key not in got)
            reply = await self._session.call("gather", keys=missing, **more)
            got.update((key, payload) for key, payload in reply.get("data") or ())
        return got

    async def _get_data(self, worker: str, tasks: list[ClientTask]) -> dict[Key, Payload]:
        """What one worker holds of these results; nothing if it cannot be reached."""
        keys = [task.key for task in tasks]
        more = _works_of(tasks)
        pause = 0.01
        while True:
            try:
                connection = await self._pool.connect(worker)
                reply = await connection.call("get_data", keys=keys, who=self.id, **more)  # type: ignore[attr-defined]
            except (OSError, TimeoutError):
                return {}
            if reply["status"] != "busy":
                return dict(reply["data"])
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.5)

    # ------------------------------------------------------------ one future

    def _result_sync(self, future: Future, timeout: float | str | None) -> Any:
        task = future._task
        if task.status == "pending" and not self._session.wait((task,), seconds(timeout)):
            raise TimeoutError(f"{task.key} is not done within {timeout} s")
        payload = task.value
        if payload is None or task.status != "finished":
            if task.status in FAILED:
                raise failure_of(task)
            payload = self.sync(  # type: ignore[attr-defined]
                self._fetch,
                [task],
                "raise",
                self.direct_to_workers,
                asynchronous=False,
                callback_timeout=timeout,
            )[task.key]
        return unpack(payload)

    async def _result(self, future: Future, timeout: float | str | None = None) -> Any:
        task = future._task
        if task.status == "pending" and not await self._session.wait_async((task,), seconds(timeout)):
            raise TimeoutError(f"{task.key} is not done within {timeout} s")
        payload = task.value
        if payload is None or task.status != "finished":
            if task.status in FAILED:
                raise failure_of(task)
            payload = (await self._fetch([task], "raise", self.direct_to_workers))[task.key]
        return unpack(payload)

    async def _await(self, future: Future) -> Any:
        """``await future`` on whatever loop the caller lives."""
        inner = self._session.loop.asyncio_loop
        if asyncio.get_running_loop() is inner:
            return await self._result(future)
        with awaiting(asyncio.get_running_loop()):
            return await outcome_of(post(self._session.loop, self._result(future)))

    async def _wait_tasks(self, tasks: list[ClientTask], timeout: float | str | None = None) -> None:
        """Wait until all are done. Raises ``TimeoutError``."""
        if not await self._session.wait_async(tasks, seconds(timeout)):
            raise TimeoutError(f"{tasks[0].key} is not done within {timeout} s")


def _works_of(tasks: Iterable[ClientTask]) -> dict[str, Any]:
    """What is meant by keys that do not say it themselves, as a keyword of the question for them."""
    works = [[task.key, task.work] for task in tasks if task.work]
    return {"works": works} if works else {}


def _failure_meanwhile(task: ClientTask) -> BaseException:
    """Why there is no result any more, though there was one as it was asked for."""
    if task.status in FAILED:
        return failure_of(task)
    return FutureCancelledError(task.key, "the future was released while its result was fetched")


def tasks_of(futures: Any, client: Any) -> tuple[dict[Key, ClientTask], list[Future]]:
    """The records of all futures in a nested structure, by key; and what must live as long as they are needed."""
    held: list[Future] = []
    if type(futures) is list and all(type(future) is Future for future in futures):
        tasks = {}
        for future in futures:
            if future._client is not client:
                future = own(future, client)
                held.append(future)
            tasks[future.key] = future._task
        if len(tasks) < len(futures):
            # Of two works under one key, one has ended without an outcome: that is what a caller has to hear.
            tasks |= {future.key: future._task for future in futures if future._task.status in FAILED}
        return tasks, held
    found: dict[Key, ClientTask] = {}
    stack = [futures]
    while stack:
        obj = stack.pop()
        if isinstance(obj, Future):
            if obj._client is not client:
                obj = own(obj, client)
                held.append(obj)
            have = found.setdefault(obj.key, obj._task)
            if have is not obj._task and obj._task.status in FAILED:  # as above
                found[obj.key] = obj._task
        elif isinstance(obj, dict):
            stack.extend(obj.values())
        elif isinstance(obj, list | tuple | set | frozenset):
            stack.extend(obj)
    return found, held


def _missing(tasks: dict[Key, ClientTask], payloads: dict[Key, Payload], errors: str) -> list[ClientTask]:
    """Those whose results are still to be fetched. Raises what one of them failed with, unless failures are skipped."""
    missing = [task for key, task in tasks.items() if key not in payloads]
    failed = [task for task in missing if task.status in FAILED]
    if failed and errors == "raise":
        raise failure_of(failed[0])
    return [task for task in missing if task.status not in FAILED] if failed else missing


def unpack_all(payloads: dict[Key, Payload]) -> dict[Key, Any]:
    """Unpickle every result once."""
    loads, names = pickle.loads, STACK_GLOBAL
    return {
        key: loads(payload) if type(payload) is bytes and names not in payload else unpack(payload)
        for key, payload in payloads.items()
    }


def assemble(futures: Any, values: dict[Key, Any], errors: str) -> Any:
    """``futures`` with results in place of futures."""
    if type(futures) is list and len(values) >= len(futures):
        try:
            return [values[future.key] for future in futures]
        except (AttributeError, KeyError):
            pass  # nested, or with other things between
    return _fill(futures, values, errors == "skip")


def _fill(obj: Any, values: dict[Key, Any], skip: bool) -> Any:
    if isinstance(obj, Future):
        return values.get(obj.key) if skip else values[obj.key]
    if isinstance(obj, dict):
        return {name: _fill(value, values, skip) for name, value in _kept(obj.items(), values, skip)}
    if isinstance(obj, list | set | frozenset):
        kept = [
            _fill(part, values, skip)
            for part in obj
            if not (skip and isinstance(part, Future) and part.key not in values)
        ]
        return kept if type(obj) is list else type(obj)(kept)
    if isinstance(obj, tuple):
        parts = [_fill(part, values, skip) for part in obj]
        return type(obj)(*parts) if hasattr(obj, "_fields") else tuple(parts)
    return obj


def _kept(items: Iterable[tuple[Any, Any]], values: dict[Key, Any], skip: bool) -> Iterable[tuple[Any, Any]]:
    for name, value in items:
        if not (skip and isinstance(value, Future) and value.key not in values):
            yield name, value
