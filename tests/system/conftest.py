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


@pytest.fixture(scope="module")
def module_key() -> Iterator[str]:
    """As ``key``, for all tests of a module."""
    with pytest.MonkeyPatch.context() as patch:
        text = secrets.token_hex(32)
        patch.setenv("DISTRIBUTED_KEY", text)
        yield text


@pytest.fixture(scope="module")
def module_bench(tmp_path_factory: pytest.TempPathFactory, module_key: str) -> Iterator[Bench]:
    """As ``bench``, for all tests of a module."""
    bench = Bench(tmp_path_factory.mktemp("bench"), module_key)
    yield bench
    for command in bench.commands:
        command.end()


@pytest.fixture
def bench(tmp_path: Path, key: str) -> Iterator[Bench]:
    """A bench whose commands are gone after the test."""
    bench = Bench(tmp_path, key)
    yield bench
    for command in bench.commands:
        command.end()
