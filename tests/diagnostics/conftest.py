"""Networks for the tests of plugins."""

from __future__ import annotations

import secrets

import pytest


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster key for this test."""
    monkeypatch.setenv("DISTRIBUTED_KEY", secrets.token_hex(32))
