from __future__ import annotations

import asyncio

from distributed.core.pulse import Pulse


def test_wakes_those_who_wait_and_nobody_later() -> None:
    async def go() -> None:
        pulse = Pulse()
        pulse.give()  # nobody waits: it is not kept
        waiting = [asyncio.create_task(pulse.wait()) for _ in range(3)]
        await asyncio.sleep(0)
        pulse.give()
        await asyncio.wait_for(asyncio.gather(*waiting), 5)
        late = asyncio.create_task(pulse.wait(60))
        await asyncio.sleep(0)
        assert not late.done()
        pulse.give()
        await asyncio.wait_for(late, 5)

    asyncio.run(go())


def test_a_wait_ends_with_its_time() -> None:
    asyncio.run(asyncio.wait_for(Pulse().wait(0.001), 5))
