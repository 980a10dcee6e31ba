"""A whole network over SSH: a scheduler on one host, workers on many, all tied to this process."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from distributed.core import rpc
from distributed.deploy.ssh_board import Board
from distributed.deploy.ssh_connection import Connections, SSHError, close
from distributed.deploy.ssh_hosts import Host, is_loopback, unique_labels
from distributed.deploy.ssh_places import Place, State
from distributed.deploy.ssh_process import (
    OWN_ADDRESS,
    RemoteProcess,
    key_line,
    remote_command,
    security_arguments,
)
from distributed.security import Security

if TYPE_CHECKING:
    import asyncssh

_SCHEDULER_SAYS = re.compile(r"Start scheduler at (\S+)$")
_WORKER_SAYS = re.compile(r"Registered with center at:\s+(\S+)$")
#: Programs that share one connection to a host: an SSH server lets MaxSessions, 10, do so.
_SESSIONS = 8
_LOOK_INTERVAL = 2.0  # seconds


class LaunchError(Exception):
    """The network cannot be, or can no longer be; the text says why."""


@dataclass
class Plan:
    """What shall run where.

    Attributes
    ----------
    scheduler : Host
    workers : list of Host
    port : int
        Of the scheduler; 0 for any free one.
    python : str
        Interpreter on the hosts.
    scheduler_arguments, worker_arguments : list of str
        Further words for the commands.
    interface : str or None
        Network interface of the hosts to listen at; None: the one by which SSH reaches them.
    log_directory : str or None
        Directory on the hosts for what the commands print.
    strict : bool
        Whether one host that fails ends all.
    """

    scheduler: Host
    workers: list[Host]
    security: Security
    python: str
    port: int = 8786
    scheduler_arguments: list[str] = field(default_factory=list)
    worker_arguments: list[str] = field(default_factory=list)
    interface: str | None = None
    log_directory: str | None = None
    strict: bool = False

    def places(self) -> tuple[Place, list[Place]]:
        """Records of the scheduler and of the workers."""
        port = f":{self.port}" if self.port else ""
        labels = unique_labels(self.workers)
        return (
            Place("scheduler", f"{self.scheduler.name}{port}", self.scheduler),
            [Place("worker", label, host) for label, host in zip(labels, self.workers, strict=True)],
        )


class Launcher:
    """Starts what a plan says, follows it, and stops it.

    Parameters
    ----------
    plan : Plan
    scheduler, workers : Place and sequence of Place
        As the plan made them.
    connections : Connections
    board : Board
        Is told of everything.
    """

    def __init__(
        self, plan: Plan, scheduler: Place, workers: Sequence[Place], connections: Connections, board: Board
    ) -> None:
        self.plan = plan
        self.scheduler = scheduler
        self.workers = workers
        self.board = board
        self.address: str | None = None
        self._connections = connections
        self._opening: dict[tuple[Host, int], asyncio.Task[asyncssh.SSHClientConnection]] = {}
        self._users: defaultdict[Host, int] = defaultdict(int)
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False

    # ------------------------------------------------------------ life

    async def run(self) -> None:
        """Start all and wait until the network has ended in order: its scheduler, or all workers by themselves.

        Raises
        ------
        LaunchError
            When the scheduler cannot be started or fails, when no worker is left, or one fails under ``strict``.
        """
        address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        address.add_done_callback(lambda f: f.cancelled() or f.exception())  # others raise it
        scheduler = asyncio.create_task(self._run_scheduler(address))
        workers = [asyncio.create_task(self._run_worker(place, address)) for place in self.workers]
        look = asyncio.create_task(self._look(address))
        self._tasks = [scheduler, look, *workers]
        waiting: set[asyncio.Task[None]] = {scheduler, *workers}
        while len(waiting) > 1:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=lambda task: task is not scheduler):
                task.result()
            if scheduler in done:
                return
        if not self._stopping and any(place.state is State.FAILED for place in self.workers):
            raise LaunchError("no worker is left")

    async def stop(self, timeout: float = 15.0) -> None:
        """Stop every program, workers first, and close the connections."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(self._stop_place(place, timeout) for place in self.workers))
        await self._stop_place(self.scheduler, timeout)
        await self._close_connections()

    def abandon(self) -> None:
        """Drop the connections at once; what runs on the hosts ends because of that."""
        for task in self._opening.values():
            if task.done() and not task.cancelled() and task.exception() is None:
                task.result().abort()

    async def _stop_place(self, place: Place, timeout: float) -> None:
        if place.process is None:
            return
        went = await place.process.stop(timeout)
        if not place.state.ended:
            self._set(place, State.STOPPED, "" if went else f"killed: it did not stop within {timeout:g} s")

    async def _close_connections(self) -> None:
        for task in self._opening.values():
            task.cancel()
        opened = await asyncio.gather(*self._opening.values(), return_exceptions=True)
        await asyncio.gather(*(close(c) for c in opened if not isinstance(c, BaseException)))

    # ------------------------------------------------------------ one host

    async def _connect(self, place: Place) -> asyncssh.SSHClientConnection:
        """The connection of a place; places of one host share it."""
        number = self._users[place.host] // _SESSIONS
        self._users[place.host] += 1
        key = (place.host, number)
        if key not in self._opening:
            self._opening[key] = asyncio.create_task(self._connections.connect(place.host))
        return await asyncio.shield(self._opening[key])

    async def _run_scheduler(self, address: asyncio.Future[str]) -> None:
        place, plan = self.scheduler, self.plan
        found: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def on_line(text: str) -> None:
            self.board.line(place, text)
            match = _SCHEDULER_SAYS.match(text)
            if match and not found.done():
                found.set_result(match[1])

        try:
            connection = await self._connect(place)
            arguments = ["--port", str(plan.port), *self._listening(), *plan.scheduler_arguments]
            process = await self._start(
                place, connection, "distributed.cli.dask_scheduler", arguments, on_line
            )
            if not await _either(found, process.ended):
                raise SSHError(process.describe_end())
            self.address = found.result()
            self._set(place, State.RUNNING, self.address)
            address.set_result(self.address)
            await self._follow(place, process)
        except SSHError as error:
            self._set(place, State.FAILED, str(error))
            raise LaunchError(
                f"the scheduler on {place.host.name}: {error}"
                + ("" if self.address else "; another host may take it: --scheduler HOST")
            ) from None

    async def _run_worker(self, place: Place, address: asyncio.Future[str]) -> None:
        registered = asyncio.get_running_loop().create_future()

        def on_line(text: str) -> None:
            self.board.line(place, text)
            if _WORKER_SAYS.match(text) and not registered.done():
                registered.set_result(None)

        try:
            connection = await self._connect(place)
            self._set(place, State.STARTING)
            scheduler = await asyncio.shield(address)
            arguments = [scheduler, "--name", place.label, *self._listening(), *self.plan.worker_arguments]
            process = await self._start(place, connection, "distributed.cli.dask_worker", arguments, on_line)
            if await _either(registered, process.ended):
                self._set(place, State.RUNNING)
                await self._follow(place, process)
            else:
                raise SSHError(process.describe_end())
        except SSHError as error:
            self._set(place, State.FAILED, str(error))
            if self.plan.strict:
                raise LaunchError(f"{place.label}: {error} (--strict)") from None

    async def _follow(self, place: Place, process: RemoteProcess) -> None:
        """Wait for the end of a program that runs. SSHError when it was not told to end by somebody in the network."""
        await process.ended.wait()
        if process.exit_status != 0:
            raise SSHError(process.describe_end())
        self._set(place, State.STOPPED)

    async def _start(
        self,
        place: Place,
        connection: asyncssh.SSHClientConnection,
        module: str,
        arguments: list[str],
        on_line: Any,
    ) -> RemoteProcess:
        plan = self.plan
        log_file = None
        if plan.log_directory:
            name = {"scheduler": "dscheduler", "worker": "dworker"}[place.role]
            log_file = f"{plan.log_directory.rstrip('/')}/{name}-{place.label.replace(':', '-')}.log"
        words = [*arguments, *security_arguments(plan.security)]
        command = remote_command(plan.python, module, words, log_file=log_file)
        process = RemoteProcess(connection, command, key_line(plan.security), on_line)
        place.process = process
        self._set(place, State.STARTING)
        await process.start()
        return process

    def _listening(self) -> list[str]:
        if self.plan.interface:
            return ["--interface", self.plan.interface]
        mixed = is_loopback(self.plan.scheduler.name) and not all(
            host.is_loopback for host in self.plan.workers
        )
        if mixed:  # others could not reach the address by which SSH reaches the scheduler
            return []
        return ["--host", OWN_ADDRESS]

    def _set(self, place: Place, state: State, detail: str = "") -> None:
        place.state, place.detail = state, detail
        self.board.changed(place)

    # ------------------------------------------------------------ the view of the scheduler

    async def _look(self, address: asyncio.Future[str]) -> None:
        """Ask the scheduler now and then what the workers have, by way of SSH: we need not reach it ourselves."""
        import asyncssh

        host, _, port = (await asyncio.shield(address)).rpartition(":")
        connection = await self._connect(self.scheduler)
        try:
            listener = await connection.forward_local_port("127.0.0.1", 0, host.strip("[]"), int(port))
        except (OSError, asyncssh.Error):  # the server forbids it: the table has no figures then
            return
        settled = False
        async with (
            listener,
            rpc(f"127.0.0.1:{listener.get_port()}", security=self.plan.security) as scheduler,
        ):
            while True:
                with contextlib.suppress(OSError):  # it is busy, or ends: others say so
                    self._take(await scheduler.identity())
                if not settled and self._all_settled():
                    settled = True
                    self.board.settled()
                await asyncio.sleep(_LOOK_INTERVAL if settled else 0.2)

    def _all_settled(self) -> bool:
        """Whether each worker has failed, or runs and has been seen."""
        return all(w.state.ended or (w.state is State.RUNNING and w.nworkers) for w in self.workers)

    def _take(self, identity: dict[str, Any]) -> None:
        counts: dict[str, tuple[int, int, int]] = {}
        labels = {place.label for place in self.workers}
        for worker in identity["workers"].values():
            name = str(worker["name"])
            label = name if name in labels else name.rpartition("-")[0]
            n, threads, memory = counts.get(label, (0, 0, 0))
            counts[label] = (n + 1, threads + worker["nthreads"], memory + (worker.get("memory_limit") or 0))
        for place in self.workers:
            now = counts.get(place.label, (0, 0, 0))
            if now != (place.nworkers, place.nthreads, place.memory):
                place.nworkers, place.nthreads, place.memory = now
                if not place.state.ended:  # that has been said
                    self.board.changed(place)


async def _either(future: asyncio.Future[Any], event: asyncio.Event) -> bool:
    """Wait for either; whether it is the future that is done."""
    ended = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait([future, ended], return_when=asyncio.FIRST_COMPLETED)
    finally:
        ended.cancel()
    return future.done()
