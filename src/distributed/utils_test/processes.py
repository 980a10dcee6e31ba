"""Programs and networks in processes of their own: ``popen`` and ``cluster``."""

from __future__ import annotations

import contextlib
import os
import pickle
import shutil
import signal
import subprocess
import sys
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from distributed import config as configuration
from distributed.utils_test.environment import process_key, process_security

#: Seconds for a party's process to start.
START_TIMEOUT = 30.0


@contextlib.contextmanager
def popen(
    args: Sequence[str],
    capture_output: bool = False,
    terminate_timeout: float = 10,
    kill_timeout: float = 5,
    **kwargs: Any,
) -> Iterator[subprocess.Popen[bytes]]:
    """Inside, a program runs; it is interrupted (as by Ctrl-C) at the end.

    Parameters
    ----------
    args : list of str
        Program and arguments. A program without a path is looked for beside this Python first.
    capture_output : bool
        Whether the output, of both kinds, can be read from ``stdout``; what was not read is printed at the end.
    terminate_timeout : float
        Seconds to end by itself, before it is killed and the test fails.
    kill_timeout : float
        Seconds for that.
    **kwargs
        As for ``subprocess.Popen``.

    Raises
    ------
    AssertionError
        When it had to be killed.
    """
    if capture_output:
        kwargs |= {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    if sys.platform == "win32":
        kwargs["creationflags"] = subprocess.CREATE_NEW_PROCESS_GROUP
    command = [_program(args[0]), *args[1:]]
    with subprocess.Popen(command, **kwargs) as process:
        try:
            yield process
        finally:
            try:
                _interrupt(process, terminate_timeout, kill_timeout, capture_output)
            finally:
                if process.poll() is None:
                    process.kill()


def _program(name: str) -> str:
    beside = Path(sys.executable).parent / name  # an absolute name stays what it is
    return str(beside) if beside.exists() else shutil.which(name) or name


def _interrupt(process: subprocess.Popen[bytes], timeout: float, kill_timeout: float, captured: bool) -> None:
    if process.poll() is None:
        if sys.platform == "win32":
            process.send_signal(signal.CTRL_BREAK_EVENT)
        else:
            process.send_signal(signal.SIGINT)
    try:
        output = b""
        if captured:
            output, _ = process.communicate(timeout=timeout)
        else:
            process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(kill_timeout)
        raise AssertionError(
            f"{process.args!r} did not end within {timeout:g} s of its interruption"
        ) from None
    finally:
        if captured and process.stdout is not None and not process.stdout.closed:
            process.stdout.close()
    if output:
        print(f"---- output of {process.args!r}\n{output.decode(errors='replace')}----")


class PartyProcess(subprocess.Popen[bytes]):
    """A process with one scheduler, worker or nanny, and the names of ``multiprocessing.Process`` beside its own."""

    @property
    def exitcode(self) -> int | None:
        """Status with which it ended; None while it runs."""
        return self.poll()

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self.poll() is None

    def join(self, timeout: float | None = None) -> None:
        """Wait until it ends, or so many seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(timeout)


@contextlib.contextmanager
def cluster(
    nworkers: int = 2,
    nanny: bool = False,
    worker_kwargs: Mapping[str, Any] | None = None,
    active_rpc_timeout: float = 10,
    scheduler_kwargs: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Inside, a network runs on loopback, each party in a process of its own; its key is that of this process.

    Parameters
    ----------
    nworkers : int
    nanny : bool
        Whether each worker has a nanny, in one more process.
    worker_kwargs, scheduler_kwargs : mapping, optional
        Parameters of the parties.
    active_rpc_timeout : float
        Accepted, without a meaning.
    config : mapping, optional
        Configuration of the parties, over that of this process.

    Yields
    ------
    scheduler : dict
        ``address``, and ``proc``: a weak reference to the :class:`PartyProcess`.
    workers : list of dict
        The same of each.

    Examples
    --------
    >>> with cluster(nworkers=1) as (scheduler, [worker]), Client(scheduler["address"]) as client:  # doctest: +SKIP
    ...     client.submit(abs, -1).result()
    1
    """
    import dask.config

    security = process_security()
    merged = dask.config.merge(configuration.snapshot())
    with process_key(), dask.config.set(config or {}, config=merged), contextlib.ExitStack() as stack:
        common = {"security": security, "host": "127.0.0.1"}
        options = {**common, "port": 0, "dashboard": False, **(scheduler_kwargs or {})}
        scheduler = _start(stack, "distributed.scheduler.Scheduler", (), options, merged)
        address = _address(scheduler)
        workers = []
        kind = "distributed.nanny.Nanny" if nanny else "distributed.worker.Worker"
        for _ in range(nworkers):
            options = {**common, "nthreads": 1, "death_timeout": START_TIMEOUT, **(worker_kwargs or {})}
            workers.append(_start(stack, kind, (address,), options, merged))
        told = [{"address": _address(process), "proc": weakref.ref(process)} for process in workers]
        yield {"address": address, "proc": weakref.ref(scheduler)}, told


def _start(
    stack: contextlib.ExitStack,
    kind: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    config: dict[str, Any],
) -> PartyProcess:
    import cloudpickle

    command = [sys.executable, "-m", "distributed.utils_test.party"]
    path = os.pathsep.join(p for p in sys.path if p)
    process = PartyProcess(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
    )
    stack.callback(_stop, process)
    assert process.stdin is not None
    process.stdin.write(cloudpickle.dumps((kind, args, kwargs, config)))
    process.stdin.flush()
    return process


def _address(process: PartyProcess) -> str:
    assert process.stdout is not None
    try:
        answer = pickle.load(process.stdout)
    except EOFError:
        raise RuntimeError(f"a party of the test cluster ended with status {process.wait()}") from None
    if isinstance(answer, BaseException):
        raise answer
    assert isinstance(answer, str)
    return answer


def _stop(process: PartyProcess) -> None:
    """Parties end when their standard input does, so also when this process dies."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
