"""Fixtures of the system tests; what they hand out is in ``system_bench``."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from system_bench import Bench


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    """A cluster key for this test, in force in this process too."""
    text = secrets.token_hex(32)
    monkeypatch.setenv("DISTRIBUTED_KEY", text)
    return text


@pytest.fixture
def bench(tmp_path: Path, key: str) -> Iterator[Bench]:
    """A bench whose commands are gone after the test."""
    bench = Bench(tmp_path, key)
    yield bench
    for command in bench.commands:
        command.end()
