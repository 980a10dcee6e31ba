"""Functions that run on the workers of the test beds."""

from __future__ import annotations

import time


def double(x: int) -> int:
    """So slow that no one worker does them all."""
    time.sleep(0.01)
    return 2 * x
