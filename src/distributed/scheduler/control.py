"""Operations of the scheduler that act on the network as a whole: broadcast, retire, restart, cancel, run here."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Awaitable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from distributed import config
from distributed.core.contained import contained
from distributed.exceptions import RemoteError
from distributed.protocol.messages import Key, RetryKeys
from distributed.protocol.payload import Payload, Pickled, pack, unpack
from distributed.scheduler.queries import Queries, worker_identity
from distributed.scheduler.state.partings import DISMISS, RENEW

if TYPE_CHECKING:
    from distributed.scheduler.state import WorkerState

logger = logging.getLogger("distributed.scheduler")


class Control(Queries):
    """Mixed into :class:`~distributed.scheduler.server.Scheduler`."""

    def control_handlers(self) -> dict[str, Any]:
        return {
            "broadcast": self.broadcast,
            "proxy": self.proxy,
            "run_function": self.run_function,
            "retire_workers": self.retire_workers,
            "cancel": self.cancel,
            "retry": self.retry,
            "restart": self.restart,
            "wait_for_workers": self.wait_for_workers,
        }

    async def wait_for_workers(self, n_workers: int, timeout: float | None = None) -> int:
        """Wait until there are ``n_workers`` workers, ``timeout`` seconds at most; how many there are then."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (there := len(self.state.workers)) < n_workers:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                break
            await self.wait_for_workers_changed(left)
        return there

    async def broadcast(
        self,
        op: str | None = None,
        kwargs: dict[str, Any] | None = None,
        workers: Iterable[str] | None = None,
        nanny: bool = False,
        on_error: str | None = None,
        *,
        msg: dict[str, Any] | None = None,
        hosts: Iterable[str] | None = None,
        serializers: Any = None,
    ) -> Any:
        """Call an operation of many workers (or of their nannies) at once.

        Parameters
        ----------
        op, kwargs : str, dict
            The operation and its arguments; or both in one dictionary ``msg={"op": ..., ...}``.
        workers, hosts : iterable of str, optional
            Which; default: all.
        on_error : {"return", "ignore", "raise"}
            With ``msg``, "raise" is the default.

        Returns
        -------
        list of [address, answer]
            An answer is ``{"status": "OK", "result": ...}`` or, unless ``on_error="ignore"``,
            ``{"status": "error", "text": ..., "exception": ..., "traceback": ...}``. With ``msg``: a dictionary of the
            results themselves by address.
        """
        if msg is not None:
            return await self._broadcast_message(dict(msg), workers, hosts, nanny, on_error or "raise")
        if op is None:
            raise TypeError("broadcast needs an operation: op= and kwargs=, or msg={'op': ..., ...}")
        await self.mustered()
        chosen = self.select_workers(workers)
        targets = [
            ws.extra["nanny"] if nanny else ws.address for ws in chosen if ws.extra.get("nanny") or not nanny
        ]
        answers = await asyncio.gather(*(self._answer(target, op, kwargs or {}) for target in targets))
        pairs: list[list[Any]] = [[target, answer] for target, answer in zip(targets, answers, strict=True)]
        return [pair for pair in pairs if on_error != "ignore" or pair[1]["status"] == "OK"]

    async def _broadcast_message(
        self,
        msg: dict[str, Any],
        workers: Iterable[str] | None,
        hosts: Iterable[str] | None,
        nanny: bool,
        on_error: str,
    ) -> dict[str, Any]:
        """For code inside the scheduler, that of plugins: results as objects, the first error is raised."""
        op = msg.pop("op")
        if hosts is not None:
            there = set(hosts)
            workers = [ws.address for ws in self.select_workers(workers) if ws.host in there]
        results: dict[str, Any] = {}
        for address, answer in await self.broadcast(op, msg, workers, nanny):
            if answer["status"] == "OK":
                result = answer["result"]
                results[address] = unpack(result.payload) if isinstance(result, Pickled) else result
            elif on_error == "raise":
                raise RemoteError(f"{address}: {answer['text']}", answer["exception"], answer["traceback"])
            elif on_error == "return":
                results[address] = RemoteError(answer["text"], answer["exception"], answer["traceback"])
        return results

    async def proxy(
        self,
        worker: str,
        op: str = "",
        kwargs: dict[str, Any] | None = None,
        *,
        msg: dict[str, Any] | None = None,
        serializers: Any = None,
    ) -> Any:
        """Call an operation of one worker for somebody who cannot reach it.

        ``msg`` is another way to say it: a dict with ``op`` and the arguments. ``serializers`` is not used.
        """
        if msg is not None:
            op, kwargs = msg["op"], {name: value for name, value in msg.items() if name != "op"}
        return await self._call(worker, op, kwargs or {})

    async def run_function(
        self,
        comm: Any = None,
        function: Payload = b"",
        args: Payload | None = None,
        kwargs: Payload | None = None,
        wait: bool = True,
    ) -> Payload | None:
        """Run a pickled function inside the scheduler: the explicit way for users to look and act here.

        A function with a parameter ``dask_scheduler`` is given the scheduler; a coroutine is awaited.
        """
        func = unpack_code(function)
        call_args = unpack(args) if args is not None else ()
        call_kwargs = unpack(kwargs) if kwargs is not None else {}
        if _wants(func, "dask_scheduler"):
            call_kwargs["dask_scheduler"] = self
        with contained(func):
            result = func(*call_args, **call_kwargs)
            if inspect.isawaitable(result):
                if not wait:
                    self.spawn(_awaiting(result))
                    return None
                result = await result
        self.schedule_flush()
        return pack(result) if wait else None

    async def retire_workers(
        self,
        workers: Iterable[str] | None = None,
        names: Iterable[Any] | None = None,
        close_workers: bool = False,
        remove: bool = True,
        timeout: float | None = None,
        patient: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Let workers finish what they run, move what only they hold, then let go of them.

        Parameters
        ----------
        workers, names : iterable, optional
            Which; default: those that ``workers_to_close(**kwargs)`` finds.
        close_workers : bool
            Stop their processes, and their nannies.
        remove : bool
            Take them out of the scheduler's books: that stops them too, for a worker that nobody knows would be lost.
            With neither, they stay retired until they leave by themselves.
        timeout : float, optional
            Seconds; after that they go on working.
        patient : bool
            They leave one after the other, each when another worker is there to take what it holds; one that is alone
            stays as long as it holds something that is wanted.

        Returns
        -------
        dict
            Address to identity of the workers that were retired.

        Raises
        ------
        TimeoutError

        Notes
        -----
        Of results that only leaving workers have, a worker that stays has a copy before any of them is let go. Where
        nobody stays they are computed again; where those that stay are paused, this waits for one of them.
        """
        await self.mustered()
        if workers is None and names is None:
            chosen = self.select_workers(self.workers_to_close(**kwargs))
        else:
            chosen = self.select_workers([*(workers or ()), *(names or ())])
        if not chosen:
            return {}
        identities = {ws.address: worker_identity(ws) for ws in chosen}
        processes = {ws.address: ws.server_id for ws in chosen}
        try:
            async with asyncio.timeout(timeout):
                chosen = await self._empty(processes, patient)
        except TimeoutError:
            self.state.keep_workers(identities, time.monotonic())
            self.schedule_flush()
            raise TimeoutError(
                f"retire_workers: {', '.join(identities)} still ran tasks, or held what no other worker has, after "
                f"{timeout:g} s; they go on working"
            ) from None
        for ws in chosen:
            if close_workers or remove:
                self.state.remove_worker(
                    ws.address, time.monotonic(), reason="retired", expected=True, parting=DISMISS
                )
        self.schedule_flush()
        logger.info("Retired workers %s", ", ".join(identities))
        return identities

    async def _empty(self, processes: Mapping[str, str], patient: bool) -> list[WorkerState]:
        """Have workers, by address and id of the process, retire; those that are still there when all are ready."""
        while True:
            workers = self.state.workers
            there = [ws for ws in map(workers.get, processes) if ws and ws.server_id == processes[ws.address]]
            # Each time: a receiver may have died, and one of these may have lost its connection and come back.
            leave = self.state.wish_to_leave if patient else self.state.retire_workers
            leave([ws.address for ws in there], time.monotonic())
            self.schedule_flush()
            waiting = [ws for ws in there if ws.address not in self.state.retired]
            if not waiting:
                return there
            await self.wait_until_retired(waiting[0].address)

    def cancel(
        self, keys: list[Key], client: str, force: bool = False, reason: str = "", msg: str = ""
    ) -> None:
        """Cancel tasks for a client; with ``force`` for all clients."""
        self.state.cancel(client, keys, time.monotonic(), force=force, reason=reason, msg=msg)
        self.schedule_flush()

    def retry(self, keys: list[Key], client: str) -> None:
        """Run erred tasks again."""
        self.state.handle_client(client, RetryKeys(keys), time.monotonic())
        self.schedule_flush()

    async def restart(
        self,
        timeout: float | None = 30.0,
        wait_for_workers: bool = True,
        *,
        client: str | None = None,
        stimulus_id: str = "",
    ) -> None:
        """Cancel all futures of all clients and start every supervised worker anew. Whose wish it is, is not used.

        Workers without a nanny only lose their data: nobody could start them again.

        Raises
        ------
        TimeoutError
            When fewer workers are back after ``timeout`` seconds than there were.
        """
        await self.mustered()
        self.call_hooks("restart", self)
        now = time.monotonic()
        for cs in list(self.state.clients.values()):
            keys = [ts.key for ts in cs.wants_what]
            self.state.cancel(cs.name, keys, now, force=True, reason="scheduler-restart")
        self.schedule_flush()
        supervised = [ws.address for ws in self.state.workers.values() if ws.extra.get("nanny")]
        expected = len(self.state.workers)
        limit = 30.0 if timeout is None else timeout
        deadline = now + limit
        outcome = await self.renew(supervised, limit)
        failures = [answer for answer in outcome.values() if answer != "OK"]
        for failure in failures:
            logger.warning("Restart of a worker failed: %s", failure)
        while wait_for_workers and len(self.state.workers) < expected:
            left = deadline - time.monotonic()
            if left <= 0:
                there = len(self.state.workers)
                why = f": {'; '.join(failures)}" if failures else ""
                raise TimeoutError(f"restart: {there} of {expected} workers came back in {limit:g} s{why}")
            await self.wait_for_workers_changed(left)

    async def renew(self, addresses: Iterable[str], timeout: float) -> dict[str, str]:
        """Let go of workers and have their nannies start others: "OK" or what went wrong, by address.

        Those that could not be reached in time are told all the same, when they can be.
        """
        now = time.monotonic()
        chosen = list(addresses)
        for address in chosen:
            self.state.remove_worker(address, now, reason="restart", expected=True, parting=RENEW)
        self.flush()
        answers = self.partings.answers
        tasks = {address: answers[address] for address in chosen if address in answers}
        if tasks:
            await asyncio.wait(tasks.values(), timeout=timeout)
        return {address: _outcome(task, timeout) for address, task in tasks.items()}


def _outcome(task: asyncio.Task[dict[str, Any]], timeout: float) -> str:
    if not task.done():
        return f"timed out: its nanny does not answer for {timeout:g} s"
    answer = task.result()
    return str(answer["result"] if answer["status"] == "OK" else answer["text"])


async def _awaiting(awaitable: Awaitable[Any]) -> None:
    with contained(awaitable):
        await awaitable


def _wants(func: Any, parameter: str) -> bool:
    try:
        return parameter in inspect.signature(func).parameters
    except (TypeError, ValueError):
        return False


def unpack_code(payload: Payload) -> Any:
    """What a client has pickled to be run in this process. As :func:`allow_code`."""
    allow_code()
    return unpack(payload)


def allow_code() -> None:
    """Raise ValueError where the operator does not want code of clients to run in the scheduler."""
    if not config.get("distributed.scheduler.pickle", True):
        raise ValueError("this scheduler runs no code of clients (setting distributed.scheduler.pickle)")
