"""One worker process as its nanny sees it: start, line, exit. Knows nothing of networks or schedulers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from distributed import uploads
from distributed.forks import disown, own
from distributed.nanny.channel import ChildSpec, encode_line, encode_search_path, encode_spec
from distributed.security.keys import ENVIRONMENT_VARIABLE
from distributed.standard_streams import fill

logger = logging.getLogger("distributed.nanny")

_BOOT = str(Path(__file__).with_name("boot.py"))

#: Seconds for a worker that has retired to close.
CLOSING = 5.0


class WorkerStartError(RuntimeError):
    """A worker process ended before its worker ran, or because its worker had to give up.

    Attributes
    ----------
    error : str or None
        Name of the exception's type in the worker process.
    remote_traceback : str
        Its traceback there; empty when the process died without a word.
    """

    def __init__(self, message: str, error: str | None = None, remote_traceback: str = "") -> None:
        super().__init__(message)
        self.error = error
        self.remote_traceback = remote_traceback

    @property
    def found_no_scheduler(self) -> bool:
        """Whether it has looked for its scheduler long enough: it is not tried again."""
        return self.error == "TimeoutError"


def without_key(env: Mapping[str, str]) -> dict[str, str]:
    """An environment in which tasks, and what they start, find no cluster key."""
    return {name: value for name, value in env.items() if name != ENVIRONMENT_VARIABLE}


class LaunchedProcess:
    """A worker process that has begun to import, and waits to be told what worker it is to run.

    Make it early, in the thread of the event loop (the process dies with the thread that made it), and give it to
    :class:`WorkerProcess`, or :meth:`discard` it.

    Parameters
    ----------
    env : mapping, optional
        The whole environment of the process; default: this process's. The cluster key, if it is there, is left out:
        that goes over the line.
    """

    def __init__(self, env: Mapping[str, str] | None = None) -> None:
        fill()  # else the child's line, or its output, might be one of the numbers that a program starts with
        self.line, theirs = socket.socketpair()
        self.owned = own(self.line)
        try:
            with theirs:
                self.popen = subprocess.Popen(
                    # -P: the folder of the script must not get into the search path
                    [sys.executable, "-P", _BOOT, str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    env=without_key(os.environ if env is None else env),
                    process_group=0,  # Ctrl-C is for the nanny; what tasks start ends with the worker
                )
            self.line.sendall(encode_search_path(uploads.search_path()))
        except OSError:
            self.close_line()
            raise

    def discard(self) -> None:
        """End the process: nobody needs it."""
        self.close_line()
        self.popen.kill()
        self.popen.wait()

    def close_line(self) -> None:
        """Hang up."""
        disown(self.owned)
        self.line.close()


class WorkerProcess:
    """Starts one worker process and follows it to its end.

    Parameters
    ----------
    spec : ChildSpec
        What to run in it.
    env : mapping, optional
        The whole environment of the process; default: this process's.
    launched : LaunchedProcess, optional
        A process with this environment that was launched before.
    on_exit : callable, optional
        Called on the loop with this object when the process has ended.

    Attributes
    ----------
    pid : int or None
    returncode : int or None
        Exit status; negative: minus the signal that killed it.
    address, local_directory : str or None
        What the worker reported when it had started.
    memory : int
        Resident memory in bytes when somebody last looked; 0 if nobody has.
    killed_for : str
        Why its nanny killed it; empty if it did not.
    over_limit : bool
        Whether that was for its memory.
    failure : WorkerStartError or None
        What it said of its end.
    ended : asyncio.Event
        Set when the process has ended, before its last words have been read.
    ended_in_order : bool
        Whether its last word was that the worker has closed; if not, a task may have ended the process.
    dismissed : bool
        Whether the scheduler has ended the worker.
    """

    def __init__(
        self,
        spec: ChildSpec,
        *,
        env: Mapping[str, str] | None = None,
        launched: LaunchedProcess | None = None,
        on_exit: Callable[[WorkerProcess], None] | None = None,
    ) -> None:
        self.spec = spec
        self.env = env
        self._parent = os.getpid()
        self._launched = launched
        self.on_exit = on_exit
        self.pid: int | None = None
        self.returncode: int | None = None
        self.address: str | None = None
        self.local_directory: str | None = None
        self.memory = 0
        self.killed_for = ""
        self.over_limit = False
        self.failure: WorkerStartError | None = None
        self.ended = asyncio.Event()
        self.ended_in_order = False
        self.dismissed = False
        self._popen: subprocess.Popen[bytes] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        state = "not started" if self._popen is None else "runs" if self.is_alive() else self.describe_exit()
        return f"<WorkerProcess {self.pid}: {state}>"

    def is_alive(self) -> bool:
        """Whether the process has been started and has not ended. A fork of its nanny has nothing to do with it."""
        return self._popen is not None and self.returncode is None and self._parent == os.getpid()

    async def start(self, timeout: float | None = None) -> None:
        """Start the process and wait until its worker runs.

        Parameters
        ----------
        timeout : float, optional
            Seconds; None waits as long as the process lives.

        Raises
        ------
        WorkerStartError
            When the worker could not start; says why.
        TimeoutError
            When it did not say anything in time. The process has been killed.
        """
        loop = asyncio.get_running_loop()
        self._started: asyncio.Future[None] = loop.create_future()
        self._exited: asyncio.Future[int] = loop.create_future()
        launched = self._launched or LaunchedProcess(self.env)
        self._launched = None
        self._popen = launched.popen
        self.pid = self._popen.pid
        self._watch_exit(loop)
        self._owned = launched.owned
        reader, self._writer = await asyncio.open_connection(sock=launched.line)
        self._reading = asyncio.create_task(self._read(reader))
        self._writer.write(encode_spec(self.spec))
        try:
            async with asyncio.timeout(timeout):
                await self._started
        except TimeoutError:
            await self.kill()
            raise TimeoutError(f"worker process {self.pid} did not start within {timeout:g} s") from None
        except BaseException:
            await self.kill()
            raise

    async def stop(self, timeout: float, reason: str = "nanny-close") -> None:
        """Ask the worker to close; kill the process if it has not ended after ``timeout`` seconds."""
        await self._ask_to_end("close", timeout, reason)

    async def leave(self, timeout: float, reason: str) -> None:
        """Ask the worker to retire: finish what it runs, have its data moved, within ``timeout`` seconds.

        It has ``CLOSING`` seconds more to close; then the process is killed.
        """
        await self._ask_to_end("leave", timeout + CLOSING, reason, {"timeout": timeout})

    async def _ask_to_end(
        self, op: str, timeout: float, reason: str, values: Mapping[str, float] | None = None
    ) -> None:
        if not self.is_alive():
            return
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(encode_line(op, reason=reason, **(values or {})))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self.wait()
        if self.is_alive():
            logger.warning("Worker process %s did not close within %g s: killing it", self.pid, timeout)
            await self.kill()

    async def kill(self) -> None:
        """End the process, and what its tasks started, at once; wait until it is gone."""
        if self.is_alive():
            self.kill_nowait()
            await self.wait()

    def kill_nowait(self) -> None:
        """Send the kill signal to the process and what its tasks started."""
        if self.is_alive():
            assert self.pid is not None
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    async def wait(self) -> int:
        """Wait for the end of the process; its exit status."""
        return await asyncio.shield(self._exited)

    def describe_exit(self) -> str:
        """How the process ended, in words."""
        if self.returncode is None:
            return "still runs"
        if self.returncode >= 0:
            return f"ended with exit status {self.returncode}"
        try:
            name = signal.Signals(-self.returncode).name
        except ValueError:
            name = f"signal {-self.returncode}"
        return f"was killed by {name}"

    # ------------------------------------------------------------ the child's side of the line

    async def _read(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                self._handle(json.loads(line))

    def _handle(self, message: dict[str, Any]) -> None:
        if message["op"] == "started":
            self.address = message["address"]
            self.local_directory = message["local_directory"]
            if not self._started.done():
                self._started.set_result(None)
        elif message["op"] == "ended":
            self.ended_in_order = True
            self.dismissed = message["dismissed"]
        elif message["op"] == "failed":
            self.failure = WorkerStartError(message["message"], message["error"], message["traceback"])
            if not self._started.done():
                self._started.set_exception(self.failure)
            elif not self.failure.found_no_scheduler:
                logger.error("Worker process %s failed:\n%s", self.pid, message["traceback"])

    # ------------------------------------------------------------ its end

    def _watch_exit(self, loop: asyncio.AbstractEventLoop) -> None:
        assert self._popen is not None
        try:
            pidfd = os.pidfd_open(self._popen.pid)
        except (AttributeError, OSError):  # not Linux, or an old kernel
            name = f"distributed-wait-{self._popen.pid}"
            threading.Thread(target=self._wait_in_thread, args=(loop,), name=name, daemon=True).start()
            return

        def ended() -> None:
            loop.remove_reader(pidfd)
            os.close(pidfd)
            self._reap()

        loop.add_reader(pidfd, ended)

    def _wait_in_thread(self, loop: asyncio.AbstractEventLoop) -> None:
        assert self._popen is not None
        self._popen.wait()
        with contextlib.suppress(RuntimeError):  # the loop is closed, nobody asks any more
            loop.call_soon_threadsafe(self._reap)

    def _reap(self) -> None:
        assert self._popen is not None
        # Before its number can be given to another process: end what the worker's tasks left running.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self.returncode = self._popen.wait()
        self.ended.set()
        asyncio.ensure_future(self._finish())  # noqa: RUF006 - ends by itself; the loop waits for `_exited`

    async def _finish(self) -> None:
        """Take in the last words before anybody is told of the end."""
        assert self.returncode is not None
        if self._reading is not None:
            await asyncio.wait([self._reading], timeout=1)
            self._reading.cancel()
        if self._writer is not None:
            disown(self._owned)
            self._writer.close()
        if not self._started.done():
            message = f"worker process {self.pid} {self.describe_exit()} before it ran; see its output above"
            self._started.set_exception(WorkerStartError(message))
            self._started.exception()  # not an unhandled one where nobody waits
        self._exited.set_result(self.returncode)
        if self.on_exit is not None:
            self.on_exit(self)
