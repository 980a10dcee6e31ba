"""Networks for the tests of coordination."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from distributed import Client, LocalCluster


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster key for this test."""
    monkeypatch.setenv("DISTRIBUTED_KEY", secrets.token_hex(32))


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    """Two workers of two threads in this process."""
    with LocalCluster(n_workers=2, threads_per_worker=2, processes=False, dashboard_address=None) as cluster:
        yield cluster


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster) as client:
        yield client
