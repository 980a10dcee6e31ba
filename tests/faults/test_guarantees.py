"""The page of guarantees names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_guarantee_has_its_test() -> None:
    text = (ROOT / "docs" / "guarantees.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert len(named) > 25
    missing = [(path, name) for path, name in named if f"def {name}(" not in (ROOT / path).read_text()]
    assert missing == []
    rows = [line for line in text.splitlines() if line.startswith("| ") and "tests/" not in line]
    allowed = ("| case", "| ---", "| kind", "| futures", "| locks", "| variables", "| event log")
    assert [row for row in rows if not row.startswith(allowed)] == [], "a promise without a test"
