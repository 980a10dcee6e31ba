"""Tasks of the system tests. A module that workers can import, as a user's own modules are."""

from __future__ import annotations

import os
import tempfile
import threading
import time


def inc(x: int) -> int:
    return x + 1


def slow_inc(x: int, delay: float = 0.01) -> int:
    time.sleep(delay)
    return x + 1


def noted_inc(x: int, folder: str, delay: float = 0.01) -> int:
    """As ``slow_inc``, and leaves a file in ``folder`` for each run."""
    handle, _ = tempfile.mkstemp(prefix=f"{x}-", dir=folder)
    os.close(handle)
    time.sleep(delay)
    return x + 1


def add(x: int, y: int) -> int:
    return x + y


def total(parts: list[int]) -> int:
    return sum(parts)


def make_lock(_: int) -> object:
    return threading.Lock()


class Awkward(Exception):
    """An exception that cannot be pickled."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


def raise_awkward(_: int) -> None:
    raise Awkward("cannot travel")


def leave(status: int) -> None:
    raise SystemExit(status)
