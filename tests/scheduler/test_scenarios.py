"""Every script in tests/scenarios/scheduler: the machine says exactly what stands there."""

from __future__ import annotations

from pathlib import Path

import pytest
from scenario import replay, scripts


@pytest.mark.parametrize("path", scripts(), ids=lambda path: path.stem)
def test_scenario(path: Path, request: pytest.FixtureRequest) -> None:
    text = path.read_text()
    happened = replay(text)
    if request.config.getoption("--rewrite"):
        path.write_text(happened)
    else:
        assert happened.splitlines() == text.splitlines()


def test_there_are_scenarios() -> None:
    assert len(scripts()) >= 25
