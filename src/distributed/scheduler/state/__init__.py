"""The scheduler as a pure state machine. Start at :mod:`machine`; the transition table is in :mod:`table`."""

from distributed.scheduler.state.index import Settings
from distributed.scheduler.state.machine import SchedulerState
from distributed.scheduler.state.records import ClientState, TaskPrefix, TaskState, WorkerState

__all__ = ["ClientState", "SchedulerState", "Settings", "TaskPrefix", "TaskState", "WorkerState"]
