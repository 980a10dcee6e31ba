from __future__ import annotations

from datetime import timedelta

import pytest
from dask.utils import parse_timedelta

from distributed.durations import parse_duration


@pytest.mark.parametrize(
    "text",
    ["1", "1.5s", "100ms", "5 minutes", "1h", "2 days", "3us", "1 hour", "1e3 ms", "2W"],
)
def test_as_dask_does(text: str) -> None:
    assert parse_duration(text) == pytest.approx(parse_timedelta(text))


def test_other_types() -> None:
    assert parse_duration(3) == 3.0
    assert parse_duration(timedelta(minutes=1)) == 60.0


@pytest.mark.parametrize("nonsense", ["soon", "", "5 apples", "s", "1 s s", "--1s"])
def test_nonsense(nonsense: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        parse_duration(nonsense)
