"""Which entries of the scheduler's transition table the tests reached."""

from __future__ import annotations

from typing import Any

import pytest

from distributed.scheduler.state import index
from distributed.scheduler.state.table import TRANSITIONS


class Reached(dict[tuple[str, str], str]):
    """The table; notes every entry that the machine looked up."""

    seen: set[tuple[str, str]]

    def __contains__(self, key: Any) -> bool:
        known = super().__contains__(key)
        if known:
            self.seen.add(key)
        return known


def pytest_configure(config: pytest.Config) -> None:
    watch()


def watch() -> Reached:
    if not isinstance(index.TRANSITIONS, Reached):
        index.TRANSITIONS = Reached(TRANSITIONS)  # type: ignore[misc]
        index.TRANSITIONS.seen = set()
    return index.TRANSITIONS  # type: ignore[return-value]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reached = watch().seen
    if reached:
        terminalreporter.write_line(f"scheduler transitions reached: {len(reached)} of {len(TRANSITIONS)}")
        for start, finish in TRANSITIONS:
            if (start, finish) not in reached:
                terminalreporter.write_line(f"    not reached: {start} -> {finish}")


watch()
