"""What code inside a task can ask for: its worker, its key, and to leave the pool of threads for a while."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from distributed.forks import in_child
from distributed.threadstate import current_run, current_slot, thread_state
from distributed.worker.executor import Slot

if TYPE_CHECKING:
    from distributed.worker.server import Worker

#: Workers of this process that run, by id, in the order of their start.
workers: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()


in_child(workers.clear)


def get_worker() -> Worker:
    """The worker that runs the current task.

    Outside of tasks: the worker of this process that was started last.

    Raises
    ------
    ValueError
        When there is no worker in this process.
    """
    run = current_run.get()
    slot: Slot | None = thread_state.slot or (run and run[0])
    if slot is not None:
        worker: Worker = slot.executor.worker
        return worker
    for candidate in reversed(list(workers.values())):
        return candidate  # type: ignore[no-any-return]
    raise ValueError("No worker found: get_worker() works inside tasks and in processes that run a worker")


def secede() -> None:
    """Leave the worker's pool of threads: this task goes on, another thread takes its place.

    For tasks that wait for other tasks. Does nothing in a task that has left already.

    Raises
    ------
    ValueError
        Outside of a task.
    """
    slot = current_slot()
    if slot is None or slot.task is None:
        raise ValueError("secede() can be called only inside a task")
    slot.executor.secede(slot)


def rejoin() -> None:
    """Come back into the worker's pool of threads after :func:`secede`; waits for a place.

    Raises
    ------
    ValueError
        Outside of a task's thread; a coroutine task cannot come back.
    """
    slot = thread_state.slot
    if slot is None or slot.task is None:
        raise ValueError("rejoin() can be called only in the thread of a task")
    slot.executor.rejoin(slot)


def get_current_task() -> Any:
    """Key of the task that runs here. Raises ValueError outside of tasks."""
    slot = current_slot()
    if slot is None or slot.task is None:
        raise ValueError("no task runs here")
    return slot.task.key
