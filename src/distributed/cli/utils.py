"""How a command lives and ends: signals, pid file, one sentence for an error."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, NoReturn

from distributed.exceptions import UntrustedPathError
from distributed.forks import on_signal, own_loop
from distributed.private_files import write_private
from distributed.standard_streams import outlive_readers

_SIGNALS = (signal.SIGINT, signal.SIGTERM, *((signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()))


class Fatal(Exception):
    """The command cannot go on; its text is the one line the user sees."""


class Stop:
    """Takes SIGINT, SIGTERM and SIGHUP (the terminal is closed) for the running loop: the first asks for a clean end, a
    second ends at once. A signal that is ignored, as ``nohup`` has it, stays so.

    Parameters
    ----------
    at_once : callable, optional
        Called in the second case, just before the process exits: kill your children here.
    at_eof : bool
        Take the end of standard input for a signal too: then whoever started this process is gone.

    Attributes
    ----------
    signum : int or None
        The first signal that came.
    """

    def __init__(self, at_once: Callable[[], None] | None = None, *, at_eof: bool = False) -> None:
        self.signum: int | None = None
        self._at_once = at_once
        self._event = asyncio.Event()
        loop = asyncio.get_running_loop()
        own_loop(loop)
        for signum in _SIGNALS:
            if signal.getsignal(signum) is not signal.SIG_IGN or signum == signal.SIGINT:
                on_signal(loop, signum, self._handle, signum)
        if at_eof:  # a thread, because a loop cannot watch every kind of file
            watch = threading.Thread(target=self._watch_input, args=(loop,), name="stdin-watch", daemon=True)
            watch.start()

    def request(self) -> None:
        """Ask for a clean end, as the first signal does."""
        self._event.set()

    @property
    def requested(self) -> bool:
        """Whether an end has been asked for."""
        return self._event.is_set()

    async def wait(self) -> None:
        """Until the first signal."""
        await self._event.wait()

    @property
    def exit_status(self) -> int:
        """0 when the end was asked for by a signal: that is how such programs are ended."""
        return 0

    def _watch_input(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            while os.read(0, 1 << 16):
                pass
        except OSError:
            pass  # as good as its end
        with contextlib.suppress(RuntimeError):  # the loop is closed: we end already
            loop.call_soon_threadsafe(self.request)

    def _handle(self, signum: int) -> None:
        if self.signum is not None:
            try:
                if self._at_once is not None:
                    self._at_once()
            finally:
                os._exit(128 + signum)
        self.signum = signum
        self._event.set()


async def first(*awaitables: Awaitable[Any]) -> None:
    """Wait until one of them is done and raise its exception if it has one; cancel the others."""
    tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def install_signal_handlers(
    loop: Any = None, cleanup: Callable[[int], Coroutine[Any, Any, Any]] | None = None
) -> None:
    """On SIGINT or SIGTERM run ``await cleanup(signum)`` on the loop, then stop it; a second signal exits
    at once.

    Parameters
    ----------
    loop : Loop, IOLoop or asyncio loop, optional
        Default: the running loop. Must be called in the main thread.
    cleanup : coroutine function, optional
    """
    from distributed.loops import Loop, as_loop

    target = as_loop(loop) if loop is not None else Loop.current()
    seen: list[asyncio.Task[None]] = []

    async def end(signum: int) -> None:
        try:
            if cleanup is not None:
                await cleanup(signum)
        finally:
            target.stop()

    def handle(signum: int) -> None:
        if seen:
            os._exit(128 + signum)
        seen.append(asyncio.ensure_future(end(signum)))

    for signum in _SIGNALS:
        on_signal(target.asyncio_loop, signum, handle, signum)


@contextlib.contextmanager
def pid_file(path: str | None) -> Iterator[None]:
    """Keep this process's id in a file for the length of the block."""
    if path is None:
        yield
        return
    try:
        write_private(path, f"{os.getpid()}\n".encode(), mode=0o644)
    except UntrustedPathError as error:
        raise Fatal(f"cannot write the pid file: {error}") from None
    except OSError as error:
        raise Fatal(f"cannot write the pid file {path}: {error.strerror}") from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)


def say(text: str) -> None:
    """One line on standard output, at once: programs read it."""
    print(text, flush=True)


def tell(command: str, text: str) -> None:
    """One line for people, on standard error."""
    print(f"{command}: {text}", file=sys.stderr, flush=True)


def fail(command: str, error: BaseException | str, status: int = 1) -> NoReturn:
    """End the process with one sentence instead of a traceback."""
    text = str(error) or type(error).__name__
    tell(command, text)
    raise SystemExit(status)


def run_command(command: str, main: Callable[[], Coroutine[Any, Any, int]]) -> NoReturn:
    """Run a command's coroutine on a fresh loop (uvloop's where it is installed) and exit with what it
    returns.

    What users can bring about (:class:`Fatal`, security, connection and configuration errors) ends in one
    sentence.
    """
    from distributed import uploads
    from distributed.exceptions import SecurityError
    from distributed.loop_threads import new_event_loop, run_through

    uploads.own_process = True
    outlive_readers()
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            status = run_through(runner.get_loop(), main())
    except (Fatal, SecurityError, OSError, ValueError, ImportError) as error:
        fail(command, error)
    except KeyboardInterrupt:
        status = 128 + signal.SIGINT
    raise SystemExit(status)
