"""Signals of a worker process: its main thread does nothing but take them, for only so it is known who sent one.

SIGTERM from outside is an operator's wish: the worker leaves in order. The same from a task of this process, or from
what a task started, is that task's doing as any other death. The kernel hands what is sent to a process to its first
thread, if that takes it, and ``sigwaitinfo`` names the sender. All dispositions stay the system's: a process that a
task forks inherits nothing of ours, and can be ended by SIGTERM.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

TAKEN = frozenset((signal.SIGTERM, signal.SIGINT))


class Signals:
    """Who is told of signals from outside; until somebody is, they end the process.

    Attributes
    ----------
    on_signal : callable or None
        Called in the main thread with the number.
    """

    def __init__(self) -> None:
        self.on_signal: Callable[[int], None] | None = None

    def run(self, work: Callable[[], None], name: str) -> None:
        """Run ``work``, which ends the process, in a thread of this name, and take signals. Does not return.

        Where the system cannot tell the sender, in this thread: then every signal is one from outside.
        """
        if not hasattr(signal, "sigwaitinfo"):
            for number in TAKEN:
                signal.signal(number, lambda number, _: self._take(number, 0))
            work()
            return
        signal.pthread_sigmask(signal.SIG_BLOCK, TAKEN)

        def unblocked() -> None:
            signal.pthread_sigmask(
                signal.SIG_UNBLOCK, TAKEN
            )  # what is started from here must not inherit that
            work()

        threading.Thread(target=unblocked, name=name, daemon=True).start()
        while True:
            info = signal.sigwaitinfo(TAKEN)
            self._take(info.si_signo, info.si_pid)

    def _take(self, number: int, sender: int) -> None:
        if self.on_signal is None or is_own(sender):
            die_of(number)
        else:
            self.on_signal(number)


def is_own(pid: int) -> bool:
    """Whether this is the present process, or one that it started and that is in its group."""
    if pid == os.getpid():
        return True
    try:
        return pid > 0 and os.getpgid(pid) == os.getpgrp()
    except ProcessLookupError:
        return False


def die_of(number: int) -> None:
    """End this process as the signal would have ended it."""
    signal.signal(number, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
