from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "system"))

from system_bench import Bench

from distributed.security import ClusterKey


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    """A cluster key that this process and the commands it starts hold."""
    text = ClusterKey.generate().text()
    monkeypatch.setenv("DISTRIBUTED_KEY", text)
    return text


@pytest.fixture
def bench(tmp_path: Path, key: str) -> Iterator[Bench]:
    bench = Bench(tmp_path, key)
    yield bench
    for command in bench.commands:
        command.end()
