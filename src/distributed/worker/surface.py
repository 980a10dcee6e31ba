"""What programs read and call on a live worker, beside its operations and the machine's own events."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from distributed import config
from distributed.core import Connection, Status
from distributed.core.logs import read_logs
from distributed.private_files import base_directory
from distributed.protocol.messages import AcquireReplicas, Key, Message
from distributed.threadstate import thread_state
from distributed.worker.operations import Operations

#: Sizes of what is written and sent to measure speeds, bytes, and seconds spent on each.
MEMORY_SIZES = ("2 kiB", "10 kiB", "100 kiB", "1 MiB", "10 MiB")
DISK_SIZES = ("1 kiB", "100 kiB", "1 MiB", "10 MiB")
NETWORK_SIZES = ("1 kiB", "10 kiB", "100 kiB", "1 MiB", "10 MiB")
MEASURE_SECONDS = 0.1


class WorkerSurface(Operations):
    """Mixed into :class:`~distributed.worker.server.Worker`."""

    scheduler: Any
    startup_information: dict[str, Callable[[Any], Any]]
    local_directory: str

    def surface_operations(self) -> dict[str, Callable[..., Any]]:
        return {
            "gather": self.gather,
            "profile_metadata": lambda **kwargs: self.get_profile_metadata(**kwargs),
            "set_resources": self.set_resources,
            "get_monitor_info": self.get_monitor_info,
            "benchmark_disk": self.benchmark_disk,
            "benchmark_memory": self.benchmark_memory,
            "benchmark_network": self.benchmark_network,
            "dump_state": self.dump_state,
        }

    # ------------------------------------------------------------ tasks and the machine

    def stateof(self, key: Key) -> dict[str, Any]:
        """What is true of a task here: ``executing``, ``waiting_for_data``, ``heap`` (ready to run), ``data``."""
        ts = self.state.tasks.get(key)
        state = None if ts is None else ts.state
        return {
            "executing": state in ("executing", "long-running"),
            "waiting_for_data": state == "waiting",
            "heap": state == "ready",
            "data": key in self.data,
        }

    def get_current_task(self) -> Key:
        """Key of the task that calls this. Raises ValueError outside of tasks."""
        try:
            key: Key = thread_state.key
        except AttributeError:
            raise ValueError("get_current_task: this thread runs no task") from None
        return key

    def validate_state(self) -> None:
        """Check every invariant of the state machine; AssertionError when one does not hold. Slow."""
        self.state.validate()

    def handle_stimulus(self, *stims: Message) -> None:
        """Take messages (of ``protocol.messages``) as if the scheduler had sent them."""
        self.on_messages(list(stims))

    def handle_worker_status_change(self, status: Any, stimulus_id: str = "") -> None:
        """Take tasks (``running``) or not (``paused``), and tell the scheduler."""
        name = getattr(status, "name", str(status))
        if name not in ("running", "paused"):
            raise ValueError(f"a worker can be set to running or paused, not {name!r}")
        if self.status not in (Status.running, Status.paused):
            return
        self.status = Status[name]
        self.state.set_status(name)
        self.turn()

    def batched_send(self, msg: Message) -> None:
        """One message (of ``protocol.messages``) to the scheduler. Nothing is sent while there is no connection."""
        if self.stream is not None and not self.stream.closed:
            self.stream.send(msg)

    async def send_to_worker(self, address: str, msg: Mapping[str, Any]) -> Any:
        """Call an operation of another worker: ``msg`` is its name under ``op``, and its arguments."""
        kwargs = dict(msg)
        connection = await self.pool.connect(address)
        return await connection.request(kwargs.pop("op"), kwargs)

    async def get_profile_metadata(self, start: float = 0, stop: float | None = None) -> dict[str, Any]:
        raise NotImplementedError

    async def handle_scheduler(self, comm: Connection) -> None:
        """Register over this connection, and be the worker of the scheduler at its other end until it is closed."""
        closed = asyncio.Event()
        comm.on_close.append(lambda _: closed.set())
        await self._register(comm)
        await closed.wait()

    async def _register(self, stream: Connection) -> None:
        raise NotImplementedError

    # ------------------------------------------------------------ data

    async def gather(self, who_has: Mapping[Key, Iterable[str]]) -> dict[str, Any]:
        """Fetch results from other workers and keep them.

        Returns
        -------
        dict
            ``status``: "OK", or "partial-fail" with the ``keys`` that nobody delivered.
        """
        wanted = {key: list(holders) for key, holders in who_has.items() if key not in self.data}
        holders = [(key, 0, addresses) for key, addresses in wanted.items()]
        self.on_messages([AcquireReplicas(holders)])
        while any(self._is_fetching(key) for key in wanted):
            await self.turned.wait()
        missing = [key for key in wanted if key not in self.data]
        return {"status": "partial-fail", "keys": missing} if missing else {"status": "OK"}

    def _is_fetching(self, key: Key) -> bool:
        ts = self.state.tasks.get(key)
        return ts is not None and ts.state in ("fetch", "flight")

    # ------------------------------------------------------------ itself

    async def set_resources(self, **resources: float) -> None:
        """Have these amounts from now on, beside those it has; the scheduler is told."""
        self.state.set_resources({name: float(amount) for name, amount in resources.items()})
        self.turn()
        await self.scheduler.add_resources(worker=self.address, resources=resources)

    def get_startup_information(self) -> dict[str, Any]:
        """What the functions of ``startup_information=`` say."""
        return {name: func(self) for name, func in self.startup_information.items()}

    async def wait_until_closed(self) -> None:
        """Another name of :meth:`finished`."""
        await self.finished()

    @property
    def logs(self) -> list[tuple[Any, ...]]:
        """The last lines that this process logged: pairs of level and line, newest first."""
        return read_logs()

    @property
    def monitor(self) -> deque[dict[str, Any]]:
        """The metrics of the last heartbeats, oldest first."""
        if not hasattr(self, "_monitor"):
            length = config.get("distributed.admin.system-monitor.log-length", None)
            self._monitor: deque[dict[str, Any]] = deque(maxlen=720 if length is None else int(length))
        return self._monitor

    def get_monitor_info(self, recent: bool = False, start: float = 0) -> dict[str, Any]:
        """Metrics of the last heartbeats as columns, by name: ``time`` (seconds since the epoch), ``cpu``, ``memory``…

        Parameters
        ----------
        recent : bool
            Only the last one.
        start : int
            Leave out as many, counted since the worker began: what ``count`` was in the last answer.
        """
        samples = list(self.monitor)
        count = self._nbeats
        if recent:
            samples = samples[-1:]
        elif start:
            samples = samples[max(0, len(samples) - max(0, count - int(start))) :]
        names = dict.fromkeys(name for sample in samples for name in sample)
        return {
            "range_query": {name: [sample.get(name) for sample in samples] for name in names},
            "count": count,
            "last_time": samples[-1]["time"] if samples else None,
        }

    _nbeats = 0

    def note_metrics(self, metrics: dict[str, Any]) -> None:
        """A heartbeat is being sent."""
        self.monitor.append(metrics)
        self._nbeats += 1

    def dump_state(self, exclude: Collection[str] = ()) -> dict[str, Any]:
        """What this worker knows, in plain dictionaries, lists, strings and numbers."""
        parts: dict[str, Callable[[], Any]] = {
            "identity": self.identity,
            "status": lambda: self.status.name,
            "tasks": lambda: {str(key): ts.state for key, ts in self.state.tasks.items()},
            "data": lambda: [str(key) for key in self.data],
            "metrics": lambda: list(self.monitor)[-1:],
            "logs": lambda: [list(line) for line in self.get_logs(n=100)],
            "config": lambda: config.snapshot(),
        }
        return {name: make() for name, make in parts.items() if name not in exclude}

    # ------------------------------------------------------------ speeds

    async def benchmark_memory(self) -> dict[str, float]:
        """Bytes a second that memory is copied at, by size. Takes about half a second."""
        return await asyncio.to_thread(_measure_memory)

    async def benchmark_disk(self) -> dict[str, float]:
        """Bytes a second that are written to files below ``local_directory``, by size. Takes about half a second."""
        return await asyncio.to_thread(_measure_disk, self.local_directory)

    async def benchmark_network(self, address: str) -> dict[str, float]:
        """Bytes a second to another worker and back, by size. Takes about half a second."""
        from dask.utils import parse_bytes

        connection = await self.pool.connect(address)
        found = {}
        for size in NETWORK_SIZES:
            data = os.urandom(parse_bytes(size))
            count, start = 0, time.perf_counter()
            while (elapsed := time.perf_counter() - start) < MEASURE_SECONDS or not count:
                await connection.request("echo", {"data": data})
                count += 1
            found[size] = 2 * count * len(data) / (elapsed or MEASURE_SECONDS)
        return found


def _measure_memory() -> dict[str, float]:
    from dask.utils import parse_bytes

    found = {}
    for size in MEMORY_SIZES:
        data = bytearray(os.urandom(parse_bytes(size)))
        count, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < MEASURE_SECONDS:
            bytes(data)
            count += 1
        found[size] = count * len(data) / elapsed
    return found


def _measure_disk(directory: str) -> dict[str, float]:
    import tempfile

    from dask.utils import parse_bytes

    found = {}
    with tempfile.TemporaryDirectory(dir=base_directory(directory), prefix="benchmark-") as scratch:
        for size in DISK_SIZES:
            data = os.urandom(parse_bytes(size))
            count, start = 0, time.perf_counter()
            while (elapsed := time.perf_counter() - start) < MEASURE_SECONDS:
                with open(os.path.join(scratch, str(count % 10)), "wb", buffering=0) as file:
                    file.write(data)
                    os.fsync(file.fileno())
                count += 1
            found[size] = count * len(data) / elapsed
    return found
