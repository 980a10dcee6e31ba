"""The worker process: runs one worker and dies with its nanny.

Two things end it when the nanny is gone, however it went: a thread that reads the nanny's line and exits at
its end, and, on Linux, the kernel's parent-death signal (for a moment when no Python thread can run).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import IO, Any

from distributed import config, uploads
from distributed.collector import tune_garbage_collector
from distributed.forks import own, own_loop
from distributed.loop_threads import new_event_loop, run_through
from distributed.nanny.channel import EXIT_FAILED, EXIT_RESTART, ChildSpec, encode_line, read_spec
from distributed.nanny.signals import Signals
from distributed.security.keys import adopt_key
from distributed.standard_streams import outlive_readers
from distributed.utils import import_term

logger = logging.getLogger("distributed.nanny.child")

_PR_SET_PDEATHSIG = 1


def main(channel: IO[bytes]) -> None:
    """Run the worker that the nanny describes; does not return."""
    signals = Signals()
    signals.run(lambda: _work(channel, signals), "distributed-worker")


def _work(channel: IO[bytes], signals: Signals) -> None:
    nanny = own(channel)
    try:
        outlive_readers()
        import distributed.worker.server  # noqa: F401 - while the nanny is still busy

        uploads.own_process = True

        spec = read_spec(channel)
        adopt_key(spec.key)
        config.adopt(spec.config)
        config.initialize_logging(spec.logging_level)
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            status, dismissed = run_through(runner.get_loop(), _run(spec, channel, nanny, signals))
        with contextlib.suppress(OSError):  # the nanny may be gone by now
            # An exit without it was a task's doing.
            os.write(nanny, encode_line("ended", dismissed=dismissed))
    except EOFError:
        status = 1
    except BaseException as error:
        _report_failure(nanny, error)
        status = EXIT_FAILED
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)  # a task's thread that is still running must not hold the process


def _report_failure(nanny: int, error: BaseException) -> None:
    text = "".join(traceback.format_exception(error))
    with contextlib.suppress(OSError):  # the nanny may be gone by now
        message = str(error) or type(error).__name__
        os.write(nanny, encode_line("failed", error=type(error).__name__, message=message, traceback=text))


async def _run(spec: ChildSpec, channel: IO[bytes], nanny: int, signals: Signals) -> tuple[int, bool]:
    """Run the worker; the exit status, and whether the scheduler has ended it."""
    loop = asyncio.get_running_loop()
    own_loop(loop)
    worker_class = spec.worker_class
    if isinstance(worker_class, str):
        worker_class = import_term(worker_class)
    worker = worker_class(spec.scheduler, **spec.kwargs)
    status = 0
    closing: list[asyncio.Task[Any]] = []

    def close(exit_status: int, reason: str = "SIGINT") -> None:
        nonlocal status
        if not closing:
            status = exit_status
        closing.append(loop.create_task(_close(worker, reason)))

    def leave(exit_status: int, reason: str = "SIGTERM", timeout: float | None = None) -> None:
        nonlocal status
        if not closing:
            status = exit_status
            closing.append(loop.create_task(_leave(worker, reason, timeout)))

    def command(message: dict[str, Any]) -> None:
        reason = message.get("reason", "nanny-close")
        if message["op"] == "close":
            close(0, reason)
        elif message["op"] == "leave":
            leave(0, reason, message.get("timeout"))

    told = False

    def started() -> None:
        """Tell the nanny, once, before any task runs: what ends this process from then on, tasks may have done."""
        nonlocal told
        if not told:
            directory = getattr(worker, "local_directory", None)
            os.write(nanny, encode_line("started", address=worker.address, local_directory=directory))
        told = True

    worker.on_ready = started
    guarded = asyncio.Event()
    guard = threading.Thread(
        target=_watch_nanny,
        args=(channel, loop, guarded, command),
        name="distributed-watch-nanny",
        daemon=True,
    )
    guard.start()
    signals.on_signal = lambda number: _call_soon(loop, leave if number == signal.SIGTERM else close, number)
    try:
        await guarded.wait()  # before any task runs: one may keep other threads from running
        await worker
    except asyncio.CancelledError:
        raise
    except BaseException:
        if not closing:
            await _close(worker, "worker-start-failed")
            raise
    else:
        tune_garbage_collector(collect=False)
        gc.enable()  # off since boot
        started()
        await worker.finished()
    if closing:
        await asyncio.wait(closing)
        return status, False
    return EXIT_RESTART if getattr(worker, "wants_restart", False) else 0, getattr(worker, "dismissed", False)


def _call_soon(loop: asyncio.AbstractEventLoop, end: Callable[[int], None], signum: int) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: the process is about to end
        loop.call_soon_threadsafe(end, 128 + signum)


async def _close(worker: Any, reason: str) -> None:
    try:
        await worker.close(reason=reason, nanny=False)
    except Exception:
        logger.exception("the worker did not close cleanly")


async def _leave(worker: Any, reason: str, timeout: float | None) -> None:
    """Retire within so many seconds, then close; a class of the user's may not know how to retire."""
    try:
        if hasattr(worker, "leave"):
            await worker.leave(timeout=timeout, reason=reason)
        else:
            await worker.close(reason=reason)
    except Exception:
        logger.exception("the worker did not leave in order")
        await _close(worker, reason)


def _watch_nanny(
    channel: IO[bytes],
    loop: asyncio.AbstractEventLoop,
    guarded: asyncio.Event,
    command: Callable[[dict[str, Any]], None],
) -> None:
    _die_with_parent()
    try:
        loop.call_soon_threadsafe(guarded.set)
        for line in channel:
            loop.call_soon_threadsafe(command, json.loads(line))
    except RuntimeError:
        return  # the loop is closed: the process is about to end, and may have something to say before
    os._exit(1)  # end of file: the nanny is gone


def _die_with_parent() -> None:
    """Have the kernel kill this process when the thread of the nanny that started it ends."""
    if sys.platform != "linux":
        return
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        logger.debug("prctl(PR_SET_PDEATHSIG) failed: errno %d", ctypes.get_errno())
