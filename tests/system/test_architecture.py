"""``docs/architecture.md`` names every operation that the parties answer, and no other."""

from __future__ import annotations

import asyncio
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

from distributed import Nanny, Scheduler, Worker

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "architecture.md"


def documented(party: str) -> list[str]:
    """Words in backquotes of the paragraph that begins with the party's name; ``lock_*`` stands for many."""
    section = DOCUMENT.read_text().partition("## Operations")[2]
    match = re.search(rf"^{party}: (.*?)(?=^\w+: |^\s*$)", section, re.M | re.S)
    assert match is not None
    return [word for quoted in re.findall(r"`([^`]+)`", match[1]) for word in quoted.split()]


@pytest.fixture(scope="module")
def operations(module_key: str) -> dict[str, set[str]]:
    async def ask() -> dict[str, set[str]]:
        async with Scheduler(host="127.0.0.1", port=0) as scheduler:
            async with Worker(scheduler.address) as worker, Nanny(scheduler.address, nthreads=1) as nanny:
                parties = {"Scheduler": scheduler, "Worker": worker, "Nanny": nanny}
                return {name: set(server.handlers) for name, server in parties.items()}

    return asyncio.run(ask())


@pytest.mark.parametrize("party", ["Scheduler", "Worker", "Nanny"])
def test_operations_are_documented(party: str, operations: dict[str, set[str]]) -> None:
    patterns = documented(party)
    assert [name for name in sorted(operations[party]) if not any(fnmatch(name, p) for p in patterns)] == []
    assert [p for p in patterns if not any(fnmatch(name, p) for name in operations[party])] == []
