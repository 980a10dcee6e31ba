"""Fixtures that start the test beds; each is up for as long as tests of one run use it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from beds import Bed, Bench, bed_up


@pytest.fixture(scope="session")
def ssh_bed() -> Iterator[Bed]:
    """SSH servers on 127.0.0.1 to 127.0.0.4."""
    with bed_up("ssh", "4") as bed:
        yield bed


@pytest.fixture(scope="session")
def netns_bed() -> Iterator[Bed]:
    """Hosts 192.168.0.1 to 192.168.0.4, and the head from which commands are run."""
    with bed_up("netns", "4") as bed:
        yield bed


@pytest.fixture(scope="session")
def sge_bed() -> Iterator[Bed]:
    """A SunGrid Engine of 8 slots."""
    with bed_up("sge") as bed:
        yield bed


@pytest.fixture(scope="session")
def slurm_bed() -> Iterator[Bed]:
    """A Slurm of two nodes."""
    with bed_up("slurm", "2") as bed:
        yield bed


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
    bench.end()
