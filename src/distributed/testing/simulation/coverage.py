"""Which entries of the transition tables of the three machines a run reached."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from distributed.client.state import machine as client_machine
from distributed.client.state.table import TRANSITIONS as OF_CLIENT
from distributed.scheduler.state import SchedulerState
from distributed.scheduler.state.table import TRANSITIONS as OF_SCHEDULER
from distributed.worker.state import TRANSITIONS as OF_WORKER
from distributed.worker.state import WorkerState

Transition = tuple[str, str]

TABLES: dict[str, dict[Transition, str]] = {
    "client": OF_CLIENT,
    "scheduler": OF_SCHEDULER,
    "worker": OF_WORKER,
}


class Coverage:
    """Transitions by machine, as sets of (start, finish); of clients (status, event)."""

    def __init__(self) -> None:
        self.reached: dict[str, set[Transition]] = {name: set() for name in TABLES}

    def scheduler(self, machine: SchedulerState) -> None:
        """Take in what a scheduler's log tells."""
        self.reached["scheduler"].update((entry[1], entry[2]) for entry in machine.log)

    def worker(self, machine: WorkerState) -> None:
        """Take in what a worker's history tells."""
        self.reached["worker"].update((entry[1], entry[2]) for entry in machine.history)

    def add(self, other: dict[str, set[Transition]]) -> None:
        """Take in what another run reached."""
        for name, seen in other.items():
            self.reached[name] |= seen

    def missing(self) -> dict[str, list[Transition]]:
        """What no run reached."""
        return {
            name: [entry for entry in table if entry not in self.reached[name]]
            for name, table in TABLES.items()
        }

    def brief(self) -> str:
        """How many of each, in one line."""
        parts = [
            f"{len(TABLES[name]) - len(missing)} of {len(TABLES[name])} of the {name}"
            for name, missing in self.missing().items()
        ]
        return ", ".join(parts)

    def __str__(self) -> str:
        lines = []
        for name, missing in self.missing().items():
            table = TABLES[name]
            lines.append(f"transitions of the {name}: {len(table) - len(missing)} of {len(table)} reached")
            lines += [f"    not reached: {start} -> {finish}" for start, finish in missing]
        return "\n".join(lines)


class _Watched(dict[Any, Any]):
    """A table of the client's machine that notes what is looked up in it."""

    def __init__(self, table: dict[Any, Any], seen: set[Transition], event: str = "") -> None:
        super().__init__(table)
        self._seen = seen
        self._event = event

    def _note(self, key: Any) -> None:
        if key in self:
            self._seen.add((key, self._event) if self._event else key)

    def __getitem__(self, key: Any) -> Any:
        self._note(key)
        return super().__getitem__(key)

    def get(self, key: Any, default: Any = None) -> Any:
        self._note(key)
        return super().get(key, default)


@contextmanager
def watching_clients(coverage: Coverage) -> Iterator[None]:
    """Note the transitions of the clients' machines, which keep no history of their states."""
    before = client_machine.TRANSITIONS, client_machine._MEMORY
    seen = coverage.reached["client"]
    client_machine.TRANSITIONS = _Watched(OF_CLIENT, seen)
    client_machine._MEMORY = _Watched(before[1], seen, "memory")
    try:
        yield
    finally:
        client_machine.TRANSITIONS, client_machine._MEMORY = before
