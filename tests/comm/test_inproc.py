"""What only inproc has: objects as they are, addresses of this process, loops that go away."""

from __future__ import annotations

import asyncio
import threading

import pytest
from comm_helpers import Peer, Run, poll

from distributed.comm import Comm, connect, listen
from distributed.exceptions import AddressInUseError, CommClosedError, ConnectError
from distributed.protocol.messages import Request, WantKeys


def test_the_very_objects_arrive_a_turn_later(run: Run) -> None:
    async def main() -> None:
        far: list[Peer] = []
        listener = await listen("inproc://", lambda comm: far.append(Peer(comm)))
        near = await connect(listener.address)
        message = Request(1, "op", {"x": object()})
        near.write([message])
        assert not far or not far[0].heard
        await poll(lambda: far and far[0].heard)
        assert far[0].heard[0] is message
        near.abort()
        await far[0].until(lambda p: p.closed)
        listener.stop()

    run(main())


def test_addresses_are_unique_and_may_be_taken_once(run: Run) -> None:
    async def main() -> None:
        one, two = [await listen("inproc://", lambda comm: None) for _ in range(2)]
        assert one.address != two.address
        with pytest.raises(AddressInUseError, match="in use"):
            await listen(one.address, lambda comm: None)
        one.stop()
        one.stop()
        two.stop()
        with pytest.raises(ConnectError, match="only inside the process"):
            await connect(one.address)

    run(main())


def test_a_loop_that_is_gone_is_a_closed_connection(run: Run) -> None:
    """Whoever ran the other side's loop has stopped it without closing anything."""
    addresses: list[str] = []
    comms: list[Comm] = []
    listening, stop = threading.Event(), threading.Event()

    async def serve() -> None:
        listener = await listen("inproc://", comms.append)
        addresses.append(listener.address)
        listening.set()
        await asyncio.to_thread(stop.wait)

    async def main() -> None:
        thread = threading.Thread(target=lambda: asyncio.run(serve()))
        thread.start()
        await asyncio.to_thread(listening.wait)
        near = Peer(await connect(addresses[0]))
        await poll(lambda: comms)
        stop.set()
        await asyncio.to_thread(thread.join)
        with pytest.raises(CommClosedError):
            near.comm.write([WantKeys(["x"])])
        await near.until(lambda p: p.closed)
        with pytest.raises(ConnectError, match="event loop is closed"):
            await connect(addresses[0])
        with pytest.raises(ConnectError, match="nobody listens"):
            await connect(addresses[0])

    run(main())
