"""Messages one read at a time."""

from __future__ import annotations

import asyncio

import pytest

from distributed.comm.inbox import MAX_WAITING, Inbox
from distributed.exceptions import CommClosedError
from distributed.protocol.messages import WantKeys


class Gate:
    """Notes whether more is let in."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def make(self) -> Inbox:
        return Inbox(lambda: self.calls.append("pause"), lambda: self.calls.append("resume"))


def test_no_more_is_let_in_than_somebody_takes() -> None:
    async def main() -> None:
        gate = Gate()
        inbox = gate.make()
        for i in range(MAX_WAITING - 1):
            inbox.put([WantKeys([i])])
        assert gate.calls == []
        inbox.put([WantKeys(["a"])])
        inbox.put([WantKeys(["b"])])  # was on its way
        assert gate.calls == ["pause"]
        for _ in range(MAX_WAITING):
            await inbox.take()
        assert gate.calls == ["pause"]
        assert await inbox.take() == [WantKeys(["b"])]
        assert gate.calls == ["pause", "resume"]

    asyncio.run(main())


def test_who_gives_up_takes_nothing_from_others() -> None:
    async def main() -> None:
        inbox = Gate().make()
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
        inbox = Gate().make()
        inbox.put([WantKeys(["a"])])
        inbox.end(ValueError("broken"))
        assert await inbox.take() == [WantKeys(["a"])]
        for _ in range(2):
            with pytest.raises(CommClosedError) as caught:
                await inbox.take()
            assert isinstance(caught.value.__cause__, ValueError)

    asyncio.run(main())
