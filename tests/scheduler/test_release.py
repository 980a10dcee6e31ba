"""What becomes of records that nobody needs any more."""

from __future__ import annotations

import gc

from distributed.protocol.messages import PutFunctions, ReleaseKeys, SubmitTasks
from distributed.scheduler.state import SchedulerState, lifecycle
from distributed.scheduler.state.records import TaskState

FN = b"f" * 16


def chain(length: int) -> SchedulerState:
    """A client wants the last of so many tasks, each of which depends on the one before."""
    state = SchedulerState()
    state.add_client("c", 0.0)
    state.handle_client("c", PutFunctions([FN], [b"x"]), 0.0)
    for i in range(length):
        deps = [[i - 1]] if i else None
        state.handle_client("c", SubmitTasks(FN, "f", [i], [b""], deps, wanted=i == length - 1), 0.0)
    return state


def test_a_long_release_is_spread_over_turns() -> None:
    state = chain(3 * lifecycle.MAX_RELEASED)
    before = len(state.tasks)
    state.handle_client("c", ReleaseKeys([before - 1]), 1.0)
    turns = 0
    while state.parked:
        left = len(state.tasks)
        list(state.drain(1.0))
        assert left - lifecycle.MAX_RELEASED <= len(state.tasks) <= left
        turns += 1
    assert state.tasks == {}
    assert turns >= 2
    state.validate()


def test_a_record_that_somebody_still_holds_keeps_no_others_alive() -> None:
    """Else the last to let go of it would free all that it stood on in one step."""
    state = chain(100)
    last = state.tasks[99]
    state.handle_client("c", ReleaseKeys([99]), 1.0)
    list(state.drain(1.0))
    assert last.state == "forgotten"
    reachable, stack = {id(last): last}, [last]
    while stack:
        for other in gc.get_referents(stack.pop()):
            for ts in other if isinstance(other, tuple | dict) else (other,):
                if isinstance(ts, TaskState) and id(ts) not in reachable:
                    reachable[id(ts)] = ts
                    stack.append(ts)
    assert list(reachable.values()) == [last]
