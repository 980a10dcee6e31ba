"""The invariants of the worker's machine, checked from its data. Slow; for tests and ``validate=True``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distributed.worker.state.tasks import STATES, TRANSITIONS, TaskState

if TYPE_CHECKING:
    from distributed.worker.state.machine import WorkerState


def validate(state: WorkerState) -> None:
    """Check everything that must hold between two events. Raises AssertionError that names the key and its story."""
    for key, ts in state.tasks.items():
        try:
            assert ts.key == key
            _validate_task(state, ts)
        except AssertionError as error:
            raise AssertionError(f"{ts!r}: {error}; story: {state.story(key)}") from error
    in_memory = {key for key, ts in state.tasks.items() if ts.state == "memory"}
    assert in_memory == set(state.data), f"the store differs from the tasks by {in_memory ^ set(state.data)}"
    assert state.nbytes == sum(ts.nbytes for ts in state.tasks.values() if ts.state == "memory"), (
        "nbytes is wrong"
    )
    executing = [ts for ts in state.tasks.values() if ts.state in ("executing", "long-running")]
    assert state.executing_count == len(executing), f"{state.executing_count=} {executing=}"
    _validate_resources(state, executing)
    _validate_fetching(state)
    for (key, work), ts in state.discarded.items():
        assert (ts.key, ts.work) == (key, work), "discarded under another key"
        assert state.tasks.get(key) is not ts, f"{key!r} is discarded and known"
    for key, start, finish, stimulus in state.history:
        assert (start, finish) in TRANSITIONS, f"{key!r} went from {start} to {finish} by {stimulus}"


def _validate_task(state: WorkerState, ts: TaskState) -> None:
    assert ts.state in STATES, "no such state"
    assert ts.state != "released", "released but known"
    if ts.state in ("waiting", "ready", "executing", "long-running"):
        assert ts.group is not None, "nothing to run"
        assert ts.seq >= 0
    if ts.state == "waiting":
        assert ts.waits, "waits for nothing"
        for dep in ts.waits:
            if dep == ts.key:
                assert (dep, ts.work) in state.discarded, "waits for the end of a run that is over"
            else:
                assert dep in state.tasks, f"waits for {dep}, which is not known"
                assert state.tasks[dep].state != "memory", f"waits for {dep}, which is here"
                assert ts.key in state.tasks[dep].dependents, f"{dep} does not know that it is waited for"
    else:
        assert not ts.waits, "waits and is not waiting"
    for dependent in ts.dependents or ():
        assert ts.state != "memory", f"keeps {dependent} waiting"
        assert ts.key in state.tasks[dependent].waits, f"{dependent} does not wait for it"
    if ts.state == "fetch":
        assert ts.dependents or ts.acquire, "nobody wants it"
        assert ts.holders, "nobody can deliver it"
        for holder in ts.holders:
            assert state.fetching.pending[holder].get(ts.key) is ts, f"not asked from {holder}"
    if ts.state == "ready":
        queued = state._ready.get(ts.group.resources, [])
        assert any(entry[3] is ts for entry in queued), "ready, but not queued"


def _validate_resources(state: WorkerState, executing: list[TaskState]) -> None:
    used = dict.fromkeys(state.total_resources, 0.0)
    for ts in [*executing, *state.discarded.values()]:
        for name, amount in ts.group.resources:
            used[name] += amount
    for name, total in state.total_resources.items():
        left = state.available_resources[name]
        assert abs(total - used[name] - left) < 1e-6, f"{name}: {total=} used={used[name]} {left=}"
        assert left >= 0, f"{name} is overdrawn"


def _validate_fetching(state: WorkerState) -> None:
    flying = [ts for batch in state.fetching.in_flight.values() for ts in batch if ts.state == "flight"]
    known = [ts for ts in state.tasks.values() if ts.state == "flight"]
    live = [ts for ts in flying if state.tasks.get(ts.key) is ts]
    assert sorted(map(id, live)) == sorted(map(id, known)), "in flight, but not asked for, or asked twice"
    for holder, waiting in state.fetching.pending.items():
        for ts in waiting.values():
            assert ts.state == "fetch", f"{ts!r} is to be asked from {holder}"
