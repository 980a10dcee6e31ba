"""The worker's pure state machine: messages and events in, messages and instructions out. No I/O, no clock."""

from distributed.worker.state.instructions import Close, Execute, Gather, HangUp, Instruction, TakeBack
from distributed.worker.state.machine import WorkerState
from distributed.worker.state.tasks import STATES, TRANSITIONS, Function, TaskGroup, TaskState, diagram

__all__ = [
    "STATES",
    "TRANSITIONS",
    "Close",
    "Execute",
    "Function",
    "Gather",
    "HangUp",
    "Instruction",
    "TakeBack",
    "TaskGroup",
    "TaskState",
    "WorkerState",
    "diagram",
]
