"""One suite that every transport passes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from comm_helpers import Peer, Run, poll

from distributed.comm import Comm, CommClosedError, connect, listen
from distributed.comm.core import Listener
from distributed.protocol.messages import Request, TasksFinished, WantKeys
from distributed.protocol.payload import Serialized, pack, unpack
from distributed.security import Security


@dataclass
class Transport:
    address: str
    security: Security

    async def listen(self, on_comm: Any) -> Listener:
        return await listen(self.address, on_comm, security=self.security)

    async def connect(self, address: str, **kwargs: Any) -> Comm:
        return await connect(address, security=self.security, **kwargs)

    @asynccontextmanager
    async def pair(self, *, echo: bool = False) -> AsyncIterator[tuple[Peer, Peer]]:
        """Near and far end of one connection."""
        far: asyncio.Future[Peer] = asyncio.get_running_loop().create_future()
        listener = await self.listen(lambda comm: far.set_result(Peer(comm, echo=echo)))
        try:
            near = Peer(await self.connect(listener.contact_address))
            async with asyncio.timeout(10):
                other = await far
            try:
                yield near, other
            finally:
                await near.comm.close()
                await other.comm.close()
        finally:
            listener.stop()


@pytest.fixture(params=["inproc", "tcp", "tcp-insecure", "tcp-ipv6"])
def transport(request: pytest.FixtureRequest) -> Transport:
    secure, insecure = Security.temporary(), Security(insecure=True)
    return {
        "inproc": Transport("inproc://", secure),
        "tcp": Transport("tcp://127.0.0.1:0", secure),
        "tcp-insecure": Transport("tcp://127.0.0.1:0", insecure),
        "tcp-ipv6": Transport("tcp://[::1]:0", secure),
    }[request.param]


def test_messages_go_both_ways_in_order(run: Run, transport: Transport) -> None:
    async def main() -> None:
        async with transport.pair(echo=True) as (near, far):
            sent = [WantKeys([("k", i)]) for i in range(1000)]
            for i in range(0, 1000, 10):
                near.comm.write(sent[i : i + 10])
            await near.until(lambda p: len(p.heard) == 1000)
            assert far.heard == sent
            assert near.heard == sent

    run(main())


def test_small_messages_arrive_in_few_reads(run: Run, transport: Transport) -> None:
    async def main() -> None:
        async with transport.pair() as (near, far):
            for i in range(1000):
                near.comm.write([WantKeys([i])])
            await far.until(lambda p: len(p.heard) == 1000)
            if not transport.address.startswith("inproc"):
                assert len(far.reads) < 100

    run(main())


def test_what_comes_waits_while_receiving_is_paused(run: Run, transport: Transport) -> None:
    async def main() -> None:
        async with transport.pair() as (near, far), transport.pair(echo=True) as (other, _):
            for round in (1, 2):
                far.comm.pause_receiving()
                far.comm.pause_receiving()
                near.comm.write([WantKeys([round])])
                for i in range(20):  # time enough for it to come, if it could
                    other.comm.write([WantKeys([i])])
                    await other.until(lambda p, n=20 * (round - 1) + i + 1: len(p.heard) == n)
                assert len(far.heard) == round - 1
                far.comm.resume_receiving()
                far.comm.resume_receiving()
                await far.until(lambda p, n=round: len(p.heard) == n)
            assert far.heard == [WantKeys([1]), WantKeys([2])]

    run(main())


def test_a_connection_can_be_closed_while_receiving_is_paused(run: Run, transport: Transport) -> None:
    async def main() -> None:
        async with transport.pair() as (near, far):
            far.comm.pause_receiving()
            near.comm.write([WantKeys([1])])
            await far.comm.close()
            far.comm.resume_receiving()
            await far.until(lambda p: p.comm.closed)
            await near.until(lambda p: p.comm.closed)

    run(main())


def test_large_payloads_arrive_whole_and_writable(run: Run, transport: Transport) -> None:
    async def main() -> None:
        async with transport.pair() as (near, far):
            arrays = [np.arange(n) for n in (10, 10_000, 3_000_000)]
            mixed = Serialized([b"head", *(bytes([i]) * (i * 700) for i in range(40))])
            near.comm.write([TasksFinished(["a"], [1], [2], [0.1], ["t"], [mixed]), WantKeys(["between"])])
            near.comm.write([Request(1, "op", {"arrays": [pack(a) for a in arrays]})])
            await far.until(lambda p: len(p.heard) == 3)
            assert far.heard[0].values[0] == mixed
            for array, payload in zip(arrays, far.heard[2].kwargs["arrays"], strict=True):
                received = unpack(payload)
                np.testing.assert_array_equal(received, array)
                assert received.flags.writeable

    run(main())


def test_large_payloads_both_ways_at_once(run: Run, transport: Transport) -> None:
    async def main() -> None:
        async with transport.pair(echo=True) as (near, _):
            payload = pack(np.ones(2_000_000))
            for i in range(5):
                near.comm.write([Request(i, "op", {"x": payload})])
            await near.until(lambda p: len(p.heard) == 5)
            assert all(unpack(m.kwargs["x"]).sum() == 2_000_000 for m in near.heard)

    run(main())


def test_messages_written_before_close_arrive(run: Run, transport: Transport) -> None:
    async def main() -> None:
        async with transport.pair() as (near, far):
            near.comm.write([Request(1, "big", {"x": pack(np.ones(500_000))}), WantKeys(["last"])])
            await near.comm.close()
            await far.until(lambda p: p.closed)
            assert [type(m) for m in far.heard] == [Request, WantKeys]

    run(main())


def test_closing_one_side_closes_the_other_once(run: Run, transport: Transport) -> None:
    async def main() -> None:
        async with transport.pair() as (near, far):
            assert not near.comm.closed
            await near.comm.close()
            await near.comm.close()
            await far.until(lambda p: p.closed)
            await near.until(lambda p: p.closed)
            assert near.comm.closed
            assert far.comm.closed
            assert near.closed == [None]
            assert [type(reason) for reason in far.closed] == [CommClosedError]
            assert near.comm.local_address in str(far.closed[0])
            for peer in (near, far):
                with pytest.raises(CommClosedError, match="closed"):
                    peer.comm.write([WantKeys(["x"])])
                with pytest.raises(CommClosedError):
                    await peer.comm.drain()
                assert "closed" in repr(peer.comm)
                peer.comm.abort()
            assert len(near.closed) == len(far.closed) == 1

    run(main())


def test_abort_closes_both_sides(run: Run, transport: Transport) -> None:
    async def main() -> None:
        async with transport.pair() as (near, far):
            far.comm.abort()
            await near.until(lambda p: p.closed)
            await far.until(lambda p: p.closed)
            assert isinstance(near.closed[0], CommClosedError)
            assert far.closed == [None]

    run(main())


def test_what_comes_before_start_is_kept(run: Run, transport: Transport) -> None:
    async def main() -> None:
        comms: list[Comm] = []
        listener = await transport.listen(comms.append)
        near = Peer(await transport.connect(listener.contact_address))
        await poll(lambda: comms)
        near.comm.write([WantKeys(["early"])])
        await near.comm.drain()
        await near.comm.close()
        far = Peer(comms[0])
        await far.until(lambda p: p.closed)
        assert far.heard == [WantKeys(["early"])]
        listener.stop()

    run(main())


def test_addresses_and_who_is_there(run: Run, transport: Transport) -> None:
    async def main() -> None:
        listener = await transport.listen(lambda comm: Peer(comm))
        assert listener.address in repr(listener)
        scheme = transport.address.partition("://")[0]
        near = await transport.connect(listener.contact_address)
        assert near.peer_address == listener.contact_address
        assert near.local_address.startswith(f"{scheme}://")
        assert near.local_address != near.peer_address
        assert near.peer.pid > 0
        assert near.peer.boot_id
        assert near.write_buffer_nbytes == 0
        assert near.get_extra_info("nothing of this name", 3) == 3
        near.abort()
        listener.stop()
        await poll(lambda: near.closed)

    run(main())


def test_a_message_that_cannot_be_sent_leaves_the_connection_as_it_was(
    run: Run, transport: Transport
) -> None:
    async def main() -> None:
        if transport.address.startswith("inproc"):
            pytest.skip("inproc hands objects over as they are")
        async with transport.pair() as (near, far):
            with pytest.raises(TypeError, match="pack"):
                near.comm.write([WantKeys(["a"]), Request(1, "op", {"x": object()})])
            near.comm.write([WantKeys(["b"])])
            await far.until(lambda p: p.heard)
            assert far.heard == [WantKeys(["b"])]

    run(main())


def test_a_stopped_listener_takes_nobody_and_keeps_those_it_has(run: Run, transport: Transport) -> None:
    async def main() -> None:
        far: list[Peer] = []
        listener = await transport.listen(lambda comm: far.append(Peer(comm)))
        near = Peer(await transport.connect(listener.contact_address))
        await poll(lambda: far)
        listener.stop()
        await asyncio.sleep(0)
        with pytest.raises(OSError, match="nobody listens"):
            await transport.connect(listener.contact_address, timeout=5)
        near.comm.write([WantKeys(["x"])])
        await far[0].until(lambda p: p.heard)
        again = await listen(listener.address, lambda comm: None, security=transport.security)
        again.stop()
        await near.comm.close()
        await far[0].until(lambda p: p.closed)

    run(main())


def test_connect_waits_for_a_listener_if_told_to(run: Run, transport: Transport) -> None:
    async def main() -> None:
        listener = await transport.listen(lambda comm: None)
        listener.stop()
        await asyncio.sleep(0)
        connecting = asyncio.create_task(transport.connect(listener.address, timeout=20, retry=True))
        await asyncio.sleep(0.1)
        assert not connecting.done()
        far: list[Comm] = []
        again = await listen(listener.address, far.append, security=transport.security)
        near = await connecting
        await poll(lambda: far)
        near.abort()
        far[0].abort()
        again.stop()
        with pytest.raises(OSError, match="nobody listens"):
            await transport.connect("tcp://127.0.0.1:1", timeout=0.3, retry=True)

    run(main())


def test_between_two_loops_in_two_threads(run: Run, transport: Transport) -> None:
    """A server on a loop of its own thread, as an embedded cluster has it."""
    ready: asyncio.Future[str]
    stop: threading.Event = threading.Event()
    far_threads: set[int] = set()

    async def serve(loop: asyncio.AbstractEventLoop) -> None:
        peers: list[Peer] = []

        def on_comm(comm: Comm) -> None:
            far_threads.add(threading.get_ident())
            peers.append(Peer(comm, echo=True))

        listener = await transport.listen(on_comm)
        loop.call_soon_threadsafe(ready.set_result, listener.contact_address)
        await poll(stop.is_set, 30)
        listener.stop()
        for peer in peers:
            await peer.comm.close()

    async def main() -> None:
        nonlocal ready
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        thread = threading.Thread(target=lambda: asyncio.run(serve(loop)))
        thread.start()
        try:
            near = Peer(await transport.connect(await ready))
            sent = [WantKeys([i]) for i in range(500)]
            for message in sent:
                near.comm.write([message])
            await near.until(lambda p: len(p.heard) == 500)
            assert near.heard == sent
            assert far_threads == {thread.ident}
        finally:
            stop.set()
        await near.until(lambda p: p.closed)
        assert isinstance(near.closed[0], CommClosedError)
        await asyncio.to_thread(thread.join, 10)

    run(main())


def test_read_waits_for_what_comes_next(run: Run, transport: Transport) -> None:
    async def main() -> None:
        far: asyncio.Future[Comm] = asyncio.get_running_loop().create_future()
        listener = await transport.listen(far.set_result)
        near = await transport.connect(listener.contact_address)
        async with asyncio.timeout(20):
            other = await far
            near.write([WantKeys(["a"]), WantKeys(["b"])])
            assert await other.read() == [WantKeys(["a"]), WantKeys(["b"])]
            first, second = asyncio.create_task(other.read()), asyncio.create_task(other.read())
            given_up = asyncio.create_task(near.read())
            await asyncio.sleep(0)
            given_up.cancel()
            near.write([WantKeys(["c"])])
            assert await first == [WantKeys(["c"])]
            near.write([WantKeys(["d"])])
            assert await second == [WantKeys(["d"])]
            other.write([WantKeys(["e"])])
            assert await near.read() == [WantKeys(["e"])]
            near.write(msg=[WantKeys(["last"])], serializers=["pickle"], on_error="raise")
            await near.close()
            assert await other.read() == [WantKeys(["last"])]
            for comm in (other, near, other):
                with pytest.raises(CommClosedError):
                    await comm.read()
        listener.stop()

    run(main())


def test_what_is_not_read_waits_with_the_peer(run: Run, transport: Transport) -> None:
    async def main() -> None:
        far: asyncio.Future[Comm] = asyncio.get_running_loop().create_future()
        listener = await transport.listen(far.set_result)
        near = await transport.connect(listener.contact_address)
        async with asyncio.timeout(60):
            other = await far
            heard: list[Any] = []
            near.write([WantKeys(["first"])])
            heard += await other.read()
            payload = pack(np.ones(1_000_000))
            for i in range(40):
                near.write([Request(i, "op", {"x": payload})])
            if not transport.address.startswith("inproc"):
                await poll(lambda: near.write_buffer_nbytes)
            closing = asyncio.create_task(near.close())
            while len(heard) < 41:
                heard += await other.read()
            await closing
            with pytest.raises(CommClosedError):
                await other.read()
        assert [message.id for message in heard[1:]] == list(range(40))
        listener.stop()

    run(main())


def test_read_or_start_not_both(run: Run, transport: Transport) -> None:
    async def main() -> None:
        async with transport.pair() as (near, _):
            with pytest.raises(RuntimeError, match="start"):
                await near.comm.read()

    run(main())


def test_what_two_sides_have_in_common(run: Run, transport: Transport) -> None:
    async def main() -> None:
        async with transport.pair() as (near, far):
            said = near.comm.handshake_info()
            found = near.comm.handshake_configuration(said, far.comm.handshake_info())
            assert found == {"protocol": said["protocol"], "same_kernel": True}
            elsewhere = {**said, "boot_id": "another"}
            assert not near.comm.handshake_configuration(said, elsewhere)["same_kernel"]
            with pytest.raises(ValueError, match="version 99"):
                near.comm.handshake_configuration(said, {**said, "protocol": 99})

    run(main())
