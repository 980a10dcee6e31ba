"""Fixtures of the comm tests: both event loops, a key."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest
import uvloop
from comm_helpers import Run

from distributed.security import Security


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[Run]:
    """Runs a coroutine to its end on either kind of loop; nothing of asyncio's own may complain."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

    def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        async def bounded() -> Any:
            async with asyncio.timeout(60):
                result = await coroutine
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, "tasks left behind"
            return result

        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(bounded())

    yield run
    assert [
        r.getMessage() for r in caplog.records if r.name == "asyncio" and r.levelno >= logging.WARNING
    ] == []


@pytest.fixture
def security() -> Security:
    return Security.temporary()
