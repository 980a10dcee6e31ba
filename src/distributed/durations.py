"""Durations as people write them, in seconds. Without dask, whose import would delay a worker's first task."""

from __future__ import annotations

import re
from datetime import timedelta

_UNITS = {
    **dict.fromkeys(("", "s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("us", "microsecond", "microseconds"), 1e-6),
    **dict.fromkeys(("ns", "nanosecond", "nanoseconds"), 1e-9),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
    **dict.fromkeys(("w", "week", "weeks"), 604800.0),
}
_FORM = re.compile(r"\s*([-+]?[0-9]*\.?[0-9]*(?:e[-+]?[0-9]+)?)\s*([a-z]*)\s*", re.ASCII)


def parse_duration(value: float | str | timedelta) -> float:
    """A duration in seconds.

    Parameters
    ----------
    value : float, str or timedelta
        Seconds, or a text such as ``"100ms"``, ``"5 minutes"``, ``"1h"``; a number alone is seconds.

    Raises
    ------
    ValueError
        For any other text.

    Examples
    --------
    >>> parse_duration("100ms"), parse_duration("5 minutes"), parse_duration(3)
    (0.1, 300.0, 3.0)
    """
    if isinstance(value, timedelta):
        return value.total_seconds()
    if not isinstance(value, str):
        return float(value)
    match = _FORM.fullmatch(value.lower())
    if match is not None and match[2] in _UNITS and any(c.isdigit() for c in value):
        return float(match[1] or "1") * _UNITS[match[2]]
    raise ValueError(f"{value!r} is no duration; give for instance 100ms, 30s or 5 minutes")
