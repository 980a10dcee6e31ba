"""Pauses between attempts: short after a short absence, spread after a long one."""

from __future__ import annotations

import random

import pytest

from distributed.core.backoff import FIRST_PAUSE, LONGEST_PAUSE, reconnect_pause


def attempts(until: float, chance: random.Random) -> list[float]:
    """When one peer tries, that lost its scheduler at 0."""
    times = [reconnect_pause(0.0, chance.uniform)]
    while times[-1] < until:
        times.append(times[-1] + reconnect_pause(times[-1], chance.uniform))
    return times


@pytest.mark.parametrize("away", [0.0, 1.0, 10.0, 1e6])
def test_limits(away: float) -> None:
    pauses = [reconnect_pause(away) for _ in range(1000)]
    assert min(pauses) >= FIRST_PAUSE / 2
    assert max(pauses) <= LONGEST_PAUSE
    assert max(pauses) - min(pauses) > 0.4 * max(pauses), "chance spreads them"


@pytest.mark.parametrize("back_at", [3.0, 10.0, 30.0])
def test_a_thousand_workers_do_not_come_at_once(back_at: float) -> None:
    chance = random.Random(7)
    first = [next(t for t in attempts(back_at + 5, chance) if t >= back_at) - back_at for _ in range(1000)]
    assert max(first) <= LONGEST_PAUSE, "none stays away for long"
    window = min(LONGEST_PAUSE, back_at / 10) / 10
    busiest = max(sum(start <= t < start + window for t in first) for start in first)
    assert busiest < 250, f"{busiest} of 1000 within {window:g} s"


def test_a_short_absence_is_noticed_soon() -> None:
    chance = random.Random(7)
    late = [next(t for t in attempts(5, chance) if t >= 0.5) - 0.5 for _ in range(1000)]
    assert max(late) < 0.15
