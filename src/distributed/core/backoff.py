"""How long to wait between attempts to reach a scheduler that is away, so that a thousand peers do not come at once."""

from __future__ import annotations

import random
from collections.abc import Callable

#: Seconds: the shortest and the longest pause, before chance makes it shorter by up to half.
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0


def reconnect_pause(away: float, chance: Callable[[float, float], float] = random.uniform) -> float:
    """Seconds until the next attempt: a tenth of the time since the first, within limits, times chance.

    So a short absence costs little, and after a long one attempts are spread over a second or more.

    Parameters
    ----------
    away : float
        Seconds since the first attempt.
    chance : callable
        As ``random.uniform``.

    Examples
    --------
    >>> [round(reconnect_pause(away, lambda low, high: high), 2) for away in (0, 1, 5, 60)]
    [0.05, 0.1, 0.5, 2.0]
    """
    return chance(0.5, 1.0) * min(max(FIRST_PAUSE, away / 10), LONGEST_PAUSE)
