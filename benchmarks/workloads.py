"""The tasks that are measured. A module of their own, so that every contender pickles them by name."""

from __future__ import annotations

import os
import time
from typing import Any


def inc(x: int) -> int:
    """The task that does nothing but exist."""
    return x + 1


def wait_for(path: str) -> str:
    """Keep a worker's thread until a file is there."""
    while not os.path.exists(path):
        time.sleep(0.05)
    return path


def number_of_tasks(dask_scheduler: Any) -> int:
    """How many tasks a scheduler knows (for ``Client.run_on_scheduler``)."""
    return len(dask_scheduler.tasks)
