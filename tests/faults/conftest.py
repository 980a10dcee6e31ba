"""Fixtures of the fault tests: those of the system tests, whose bench they share."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "system"))

from fault_bench import FaultBench  # noqa: E402 - found through the line above


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    """A cluster key for this test, in force in this process too."""
    text = secrets.token_hex(32)
    monkeypatch.setenv("DISTRIBUTED_KEY", text)
    return text


@pytest.fixture
def bench(tmp_path: Path, key: str) -> Iterator[FaultBench]:
    """A bench whose commands are gone after the test."""
    bench = FaultBench(tmp_path, key)
    yield bench
    for command in bench.commands:
        command.end()


@pytest.fixture
def notes_folder(tmp_path: Path) -> str:
    """An empty folder in which tasks note their runs."""
    folder = tmp_path / "notes"
    folder.mkdir()
    return str(folder)
