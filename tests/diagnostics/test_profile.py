"""Statistical profiles."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import pytest

from distributed import Client, Scheduler, Worker
from distributed.diagnostics.profile import add_stack, create, merge


def names(profile: dict[str, Any]) -> Iterator[str]:
    yield profile["description"]["name"]
    for child in profile["children"].values():
        yield from names(child)


def test_trees() -> None:
    def inner() -> dict[str, Any]:
        profile = create()
        add_stack(profile, sys._getframe())
        add_stack(profile, sys._getframe())
        return profile

    first, second = inner(), inner()
    merged = merge(first, second)
    assert merged["count"] == 4
    assert first["count"] == 2
    assert "inner" in list(names(merged))
    node = merged
    while node["children"]:
        (node,) = node["children"].values()
        assert node["count"] == 4
    assert node["description"]["name"] == "inner"
    assert node["description"]["filename"] == __file__
    assert merge() == create()
    nothing = create()
    add_stack(nothing, sys._getframe(), until=__file__)
    assert nothing == {**create(), "count": 1}


def busy_here(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(100))


def test_profile_of_tasks(tmp_path: Path) -> None:
    async def test() -> None:
        with dask.config.set({"distributed.worker.profile.cycle": "100ms"}):
            async with (
                Scheduler(host="127.0.0.1", port=0) as scheduler,
                Worker(scheduler.address, nthreads=1) as a,
                Worker(scheduler.address, nthreads=1) as b,
                Client(scheduler.address, asynchronous=True) as client,
            ):
                future = client.submit(busy_here, 1.0, workers=[a.address])
                profile = await client.profile()
                assert profile["count"] > 0
                assert "busy_here" in list(names(profile))
                parts = await client.profile(merge_workers=False)
                assert parts[a.address]["count"] > 0
                assert parts[b.address]["count"] == 0
                assert (await client.profile(key="nothing"))["count"] == 0
                assert (await client.profile(key="busy_here"))["count"] > 0
                assert (await client.profile(stop=0.0))["count"] == 0
                page = tmp_path / "page.html"
                written = await client.profile(filename=str(page))
                assert "busy_here" in list(names(written))
                assert "busy_here</b>" in page.read_text()
                assert await client.profile(plot="save", filename=str(page), stop=0.0) == create()
                assert "nothing was seen" in page.read_text()
                with pytest.raises(ValueError, match="merge_workers"):
                    client.profile(filename=str(page), merge_workers=False)
                with pytest.raises(NotImplementedError, match="not available"):
                    client.profile(plot=True)
                await future

    asyncio.run(test())
