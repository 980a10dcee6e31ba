"""Options that all tests share."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite", action="store_true", help="write what happens into the golden scripts of tests/scenarios"
    )
    parser.addoption(
        "--seed", type=int, default=None, help="the one seed that tests of the simulated network shall run"
    )
