"""Messages one read at a time."""

from __future__ import annotations

import asyncio

import pytest

from distributed.comm.inbox import Inbox
from distributed.exceptions import CommClosedError
from distributed.protocol.messages import WantKeys


def test_who_gives_up_takes_nothing_from_others() -> None:
    async def main() -> None:
        inbox = Inbox()
        first, second = asyncio.create_task(inbox.take()), asyncio.create_task(inbox.take())
        await asyncio.sleep(0)
        inbox.put([WantKeys(["a"])])
        first.cancel()  # woken already, and cancelled before it could look
        async with asyncio.timeout(10):
            assert await second == [WantKeys(["a"])]
        assert first.cancelled()

    asyncio.run(main())


def test_the_end_comes_after_what_came_before_it() -> None:
    async def main() -> None:
        inbox = Inbox()
        inbox.put([WantKeys(["a"])])
        inbox.end(ValueError("broken"))
        assert await inbox.take() == [WantKeys(["a"])]
        for _ in range(2):
            with pytest.raises(CommClosedError) as caught:
                await inbox.take()
            assert isinstance(caught.value.__cause__, ValueError)

    asyncio.run(main())
