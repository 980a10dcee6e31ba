"""What must hold of the client's records between turns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distributed.protocol.messages import Key

if TYPE_CHECKING:
    from distributed.client.state.machine import ClientState


def validate(state: ClientState) -> None:
    """Raises ``AssertionError`` naming what contradicts what. Slow, for tests."""
    dependents: dict[Key, int] = {}
    for pinned in (*state.pinned.values(), state.unpinning):
        for task in pinned:
            dependents[task.key] = dependents.get(task.key, 0) + 1
    for deps in [*(task.deps for task in state.tasks.values()), *state.parked]:
        for dep in deps:
            dependents[dep] = dependents.get(dep, 0) + 1
    for key, task in state.tasks.items():
        assert task.key == key
        assert task.nfutures >= 0, task
        assert task.nfutures or task.ndependents, f"{task} is kept for nobody"
        assert task.ndependents == dependents.get(key, 0), (
            task,
            task.ndependents,
            dependents.get(key, 0),
        )
        assert all(dep in state.tasks for dep in task.deps), f"{task} lost a dependency"
        assert (task.error is not None) == (task.status == "error"), task
        assert task.value is None or task.status in ("finished", "cancelled"), task
        assert not task.waiters or task.status == "pending", f"{task} forgot to wake its waiters"
        wanted = task.nfutures and task.status in ("pending", "finished")
        assert task.known or not wanted, f"{task}: the scheduler does not know that it is wanted"
        for twin in task.twins or ():
            assert twin.status == task.status, (task, twin)
