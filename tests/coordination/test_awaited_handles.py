"""Handles of coordination may be awaited, as programs for the event loop do that were written for the field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from coordination_helpers import network, run

from distributed import Event, Lock, MultiLock, Queue, Semaphore, Variable

HANDLES: list[Callable[[Any], Any]] = [
    lambda client: Queue("q", client=client),
    lambda client: Variable("v", client=client),
    lambda client: Event("e", client=client),
    lambda client: Lock("l", client),
    lambda client: Semaphore(1, "s", client),
    lambda client: MultiLock(["m"], client=client),
]


@pytest.mark.parametrize("make", HANDLES)
def test_gives_the_handle(make: Callable[[Any], Any]) -> None:
    async def test() -> None:
        async with network(nworkers=0) as (_, _, client):
            handle = make(client)
            assert await handle is handle

    run(test)
