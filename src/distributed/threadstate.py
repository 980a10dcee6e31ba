"""What a worker's threads know about the task they run; libraries look here to see if they run inside a task."""

from __future__ import annotations

import threading
from typing import Any


class ThreadState(threading.local):
    """``key``, ``start_time`` and ``execution_state`` exist only while this thread runs a task.

    Attributes
    ----------
    slot : object or None
        The worker thread's own record. It changes once a task; nothing else is written then.
    """

    slot: Any = None

    @property
    def key(self) -> Any:
        """Key of the running task."""
        return self._slot("key").task.key

    @property
    def start_time(self) -> float:
        """When it began, in seconds since the epoch."""
        return float(self._slot("start_time").start_time())

    @property
    def execution_state(self) -> dict[str, Any]:
        """``worker``: the Worker; ``scheduler``: its scheduler's address; ``ioloop``: its loop."""
        state: dict[str, Any] = self._slot("execution_state").executor.execution_state
        return state

    def _slot(self, name: str) -> Any:
        slot = self.slot
        if slot is None or slot.task is None:
            raise AttributeError(f"{name} is known only in a thread that runs a task")
        return slot


thread_state = ThreadState()
