"""Fixtures of the client's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fake_scheduler import Network, network


@pytest.fixture
def net() -> Iterator[Network]:
    """A fake network with a synchronous client."""
    with network() as net:
        yield net
