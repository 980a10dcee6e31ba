"""A scheduler's peers one by one: let in, spoken to, restarted, removed; and what they all answer to one question."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from distributed.core import Connection
from distributed.core.versions import get_versions
from distributed.exceptions import CommClosedError
from distributed.protocol.messages import CloseWorker, Key, Message
from distributed.scheduler.control import Control
from distributed.scheduler.state.partings import DISMISS, HANG_UP

logger = logging.getLogger("distributed.scheduler")


class Peers(Control):
    """Mixed into :class:`~distributed.scheduler.server.Scheduler`."""

    def peer_handlers(self) -> dict[str, Callable[..., Any]]:
        return {
            "restart_workers": self.restart_workers,
            "benchmark_hardware": self.benchmark_hardware,
            "get_worker_monitor_info": self.get_worker_monitor_info,
            "get_call_stack": self.get_call_stack,
            "get_cluster_state": self.get_cluster_state,
            "dump_cluster_state_to_url": self.dump_cluster_state_to_url,
            "remove_worker": self.remove_worker,
            "note_nanny": self.note_nanny,
            "nanny_gives_up": self.nanny_gives_up,
        }

    # ------------------------------------------------------------ in and out

    def register_worker(self, comm: Connection, address: str, **kwargs: Any) -> dict[str, Any]:
        raise NotImplementedError

    def register_client(self, comm: Connection, client: str, versions: Any = None) -> dict[str, Any]:
        raise NotImplementedError

    async def add_worker(self, comm: Connection, *, address: str, **kwargs: Any) -> dict[str, Any]:
        """Make a connection the stream of a worker; keywords as those of the operation ``register_worker``."""
        return self.register_worker(comm, address, **kwargs)

    async def add_client(self, comm: Connection, client: str, versions: Any = None) -> dict[str, Any]:
        """Make a connection the stream of a client."""
        return self.register_client(comm, client, versions)

    async def add_nanny(self, comm: Connection, address: str) -> list[list[Any]]:
        """What a nanny that starts has to set up: pairs of name and pickled plugin. Nothing is noted of it."""
        registry = self.extensions["plugins"].nannies  # type: ignore[attr-defined]
        return [[name, plugin] for name, plugin, *_ in registry.all()]

    async def remove_worker(
        self, address: str, *, stimulus_id: str = "", expected: bool = False, close: bool = True
    ) -> str:
        """Take a worker out of the books: what it ran runs elsewhere, what only it held is computed again.

        Parameters
        ----------
        address : str
            Or the worker's name.
        expected : bool
            False: tasks that were running on it are suspected of having killed it.
        close : bool
            Tell it to stop; else it is only disconnected, and may come back.

        Returns
        -------
        str
            "OK", or "already-removed".
        """
        found = self.select_workers([address])
        if not found:
            return "already-removed"
        [ws] = found
        self.state.remove_worker(
            ws.address,
            time.monotonic(),
            reason="removed",
            expected=expected,
            parting=DISMISS if close else HANG_UP,
        )
        self.flush()
        return "OK"

    async def remove_client(self, client: str, stimulus_id: str | None = None) -> None:
        """Forget a client: what only it wanted is released, and its connection closed."""
        stream = self.unbind(client)
        self.state.remove_client(client, time.monotonic())
        self.schedule_flush()
        if stream is not None:
            await stream.close()

    def note_nanny(self, comm: Connection, address: str) -> None:
        """A nanny is there, whether or not its worker is: it is told when the network ends."""

        def gone(closed: Connection) -> None:
            if self._nannies.get(address) is closed:
                del self._nannies[address]
                self.state.nanny_gone(address)

        self._nannies[address] = comm
        self.state.note_nanny(address)
        comm.on_close.append(gone)

    def nannies_there(self) -> list[str]:
        """Addresses of the nannies that are connected, whether or not they have a worker."""
        return list(self._nannies)

    def nanny_gives_up(self, address: str, reason: str) -> None:
        """A nanny leaves, for its worker cannot be started any more."""
        logger.error("The nanny at %s gives up: %s", address, reason)
        self.state.nanny_gave_up(address, reason, time.monotonic())

    def say_goodbye(self, reason: str) -> None:
        """Somebody wants the network to end: tell all who would wait for another scheduler otherwise."""
        self.state.close(reason or "the scheduler was closed", time.monotonic())
        self.flush()
        for comm in self._nannies.values():
            with contextlib.suppress(CommClosedError):
                comm.notify("scheduler_closes", reason=reason)

    def close_worker(self, worker: str) -> None:
        """Tell a worker, and its nanny, to stop; it says goodbye by itself."""
        self.send_to_peer(worker, CloseWorker("closed by the scheduler", nanny=True))

    # ------------------------------------------------------------ messages of the shell's own

    def worker_send(self, worker: str, msg: Message) -> None:
        """One message (of ``protocol.messages``) to a worker, behind all that was said to it before."""
        self.send_to_peer(worker, msg)

    def client_send(self, client: str, msg: Message) -> None:
        """One message (of ``protocol.messages``) to a client, behind all that was said to it before."""
        self.send_to_peer(client, msg)

    def send_all(
        self, client_msgs: Mapping[str, Iterable[Message]], worker_msgs: Mapping[str, Iterable[Message]]
    ) -> None:
        """Many messages, by peer."""
        for peers in (client_msgs, worker_msgs):
            for peer, messages in peers.items():
                for message in messages:
                    self.send_to_peer(peer, message)

    # ------------------------------------------------------------ everybody at once

    async def restart_workers(
        self,
        workers: Iterable[Any] | None = None,
        *,
        client: str | None = None,
        timeout: float = 30,
        wait_for_workers: bool = True,
        on_error: str = "raise",
        stimulus_id: str = "",
    ) -> dict[str, str]:
        """Have nannies start their workers anew.

        Parameters
        ----------
        workers : iterable, optional
            Addresses or names; default: all.
        timeout : float
            Seconds for each.
        wait_for_workers : bool
            Return only when as many workers are there as before.
        on_error : "raise" or "return"

        Returns
        -------
        dict
            By address: "OK", "removed", "timed out" or what went wrong.

        Raises
        ------
        ValueError
            When one of them has no nanny.
        TimeoutError
            When not all came back, unless ``on_error="return"``.
        """
        chosen = self.select_workers(workers)
        alone = [ws.address for ws in chosen if not ws.extra.get("nanny")]
        if alone:
            raise ValueError(f"nobody can restart the workers {', '.join(alone)}: they have no nanny")
        expected = len(self.state.workers)
        deadline = time.monotonic() + timeout
        outcome = await self.renew([ws.address for ws in chosen], timeout)
        bad = [address for address, answer in outcome.items() if answer != "OK"]
        if bad and on_error == "raise":
            raise TimeoutError(f"workers did not restart: { {address: outcome[address] for address in bad} }")
        while wait_for_workers and not bad and len(self.state.workers) < expected:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(
                    f"{len(self.state.workers)} of {expected} workers are back after {timeout} s"
                )
            await self.wait_for_workers_changed(left)
        return outcome

    async def get_call_stack(self, keys: Iterable[Key] | None = None) -> list[list[Any]]:
        """What threads are doing: pairs of a worker's address and its pairs of key and lines of the call stack.

        ``keys``: only of these tasks. Workers that run none of them are left out.
        """
        wanted = None if keys is None else list(keys)
        if wanted is None:
            workers = None
        else:
            tasks = [self.state.tasks[key] for key in wanted if key in self.state.tasks]
            workers = {ts.processing_on.address for ts in tasks if ts.processing_on is not None}
        answers = await self.broadcast("call_stack", {"keys": wanted}, workers, on_error="ignore")
        return [[address, answer["result"]] for address, answer in answers if answer["result"]]

    async def get_worker_monitor_info(
        self, recent: bool = False, starts: Mapping[str, int] | None = None
    ) -> dict[str, Any]:
        """Metrics of the workers' last heartbeats, by address; see the worker's ``get_monitor_info``.

        ``starts``: by address, what ``count`` was in the last answer.
        """
        starts = starts or {}
        calls = {
            address: self._answer(
                address, "get_monitor_info", {"recent": recent, "start": starts.get(address, 0)}
            )
            for address in self.state.workers
        }
        answers = await asyncio.gather(*calls.values())
        pairs = zip(calls, answers, strict=True)
        return {address: answer["result"] for address, answer in pairs if answer["status"] == "OK"}

    async def benchmark_hardware(self) -> dict[str, dict[str, float]]:
        """Bytes a second of memory and disk of the hosts, and between workers, by size of what is written or sent.

        One worker of each host measures memory and disk, one after the other; then pairs of workers the network.
        """
        hosts = {ws.host: ws.address for ws in self.state.workers.values()}
        memory = [await self._call(address, "benchmark_memory", {}) for address in hosts.values()]
        disk = [await self._call(address, "benchmark_disk", {}) for address in hosts.values()]
        workers = list(self.state.workers)
        pairs = list(zip(workers[::2], workers[1::2], strict=False))
        network = [await self._call(a, "benchmark_network", {"address": b}) for a, b in pairs]
        return {"memory": _means(memory), "disk": _means(disk), "network": _means(network)}

    async def get_cluster_state(self, exclude: Collection[str] = ()) -> dict[str, Any]:
        """All that is known of this network, for a bug report: of the scheduler, of each worker, and versions.

        ``exclude``: names of parts of the scheduler's and the workers' state to leave out.
        """
        workers = {}
        for address, answer in await self.broadcast("dump_state", {"exclude": list(exclude)}):
            workers[address] = answer["result"] if answer["status"] == "OK" else answer["text"]
        return {"scheduler": self.dump_state(exclude), "workers": workers, "versions": get_versions()}

    def dump_state(self, exclude: Collection[str] = ()) -> dict[str, Any]:
        """What this scheduler knows, in plain dictionaries, lists, strings and numbers."""
        state = self.state
        parts: dict[str, Callable[[], Any]] = {
            "identity": self.identity,
            "tasks": lambda: [_task(ts) for ts in state.tasks.values()],
            "clients": lambda: {
                cs.name: [str(ts.key) for ts in cs.wants_what] for cs in state.clients.values()
            },
            "transition_log": lambda: [
                [str(key), start, finish, f"{kind}-{source}-{number}", when]
                for key, start, finish, (kind, source, number), when in state.log
            ],
        }
        return {name: make() for name, make in parts.items() if name not in exclude}

    async def dump_cluster_state_to_url(
        self, url: str, exclude: Collection[str] = (), format: str = "msgpack", **storage_options: Any
    ) -> None:
        """Write :meth:`get_cluster_state` to a file that ``fsspec`` can open.

        Parameters
        ----------
        url : str
            Such as ``"/tmp/state"`` or ``"s3://bucket/state"``; a suffix for the format is added.
        format : "msgpack" or "yaml"
        """
        from distributed.cluster_dump import write_dump

        state = await self.get_cluster_state(exclude)
        await asyncio.to_thread(write_dump, state, url, format, storage_options)


def _task(ts: Any) -> dict[str, Any]:
    return {
        "key": str(ts.key),
        "state": ts.state,
        "priority": list(ts.priority),
        "prefix": ts.prefix.name if ts.prefix is not None else None,
        "nbytes": ts.nbytes,
        "type": ts.type,
        "dependencies": [str(dep.key) for dep in ts.dependencies],
        "who_has": [ws.address for ws in ts.who_has],
        "who_wants": [cs.name for cs in ts.who_wants],
        "processing_on": ts.processing_on.address if ts.processing_on is not None else None,
        "suspicious": ts.suspicious,
        "retries": ts.retries,
        "exception_text": ts.exception_text,
    }


def _means(measured: list[dict[str, float]]) -> dict[str, float]:
    sizes = dict.fromkeys(size for answer in measured for size in answer)
    values = {size: [answer[size] for answer in measured if size in answer] for size in sizes}
    return {size: sum(found) / len(found) for size, found in values.items()}
