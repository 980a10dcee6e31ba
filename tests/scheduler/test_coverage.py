"""Every entry of the scheduler's transition table is reached; what cannot be reached has no place in it."""

from __future__ import annotations

import random

import pytest
from honest import World
from scenario import replay, scripts

from distributed.scheduler.state import index
from distributed.scheduler.state.table import TRANSITIONS


def test_every_transition_is_reached(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the golden scripts and by sequences of random events, which come from fixed seeds."""
    seen: set[tuple[str, str]] = set()

    class Watched(dict[tuple[str, str], str]):
        def __contains__(self, entry: object) -> bool:
            seen.add(entry)  # type: ignore[arg-type]
            return super().__contains__(entry)

    monkeypatch.setattr(index, "TRANSITIONS", Watched(TRANSITIONS))
    for path in scripts():
        replay(path.read_text())
    seed = 0
    while seen != set(TRANSITIONS) and seed < 150:
        world = World(random.Random(seed))
        for _ in range(300):
            world.step()
        world.settle()
        world.release_all()
        seed += 1
    with capsys.disabled():
        print(
            f"\ntransitions of the scheduler: {len(seen)} of {len(TRANSITIONS)} reached, {seed} random sequences"
        )
    assert seen == set(TRANSITIONS), f"never: {set(TRANSITIONS) - seen}"
