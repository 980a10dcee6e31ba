"""Calls, streams, and what happens to both when something goes wrong."""

from __future__ import annotations

import asyncio
import logging
import pickle
import sys
import threading
from typing import Any

import numpy as np
import pytest
from core_helpers import Run, connected, poll

from distributed.core import Connection
from distributed.exceptions import CommClosedError, ProtocolError, RemoteError
from distributed.protocol.codec import Encoder
from distributed.protocol.frames import Limits
from distributed.protocol.messages import ReplyError, Request, RunTasks, WantKeys
from distributed.protocol.payload import Pickled, pack, unpack


def fail_with(exc: BaseException) -> Any:
    def fail() -> None:
        raise exc

    return fail


class OddConstructor(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} and {b}")


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:0", "inproc://"])
def test_calls_sync_and_async_many_in_flight(run: Run, address: str) -> None:
    async def later(x: Any) -> Any:
        await asyncio.sleep(0)
        return x

    async def main() -> None:
        async with connected({"now": lambda x: x, "later": later}, address=address) as (near, far):
            values = [1, "a", None, [1, 2], {"k": (1, ("t", 2))}, b"bytes", ("x", 1)]
            assert [await near.call("now", x=value) for value in values] == values
            assert await asyncio.gather(*(near.call("later", x=i) for i in range(200))) == list(range(200))
            assert near.idle
            assert far.idle

    run(main())


def test_payloads_nested_in_calls(run: Run) -> None:
    async def main() -> None:
        async with connected({"twice": lambda x: {"r": [(pack(unpack(x["p"]) * 2),)]}}) as (near, _):
            result = await near.call("twice", x={"p": pack(np.arange(100_000))})
            np.testing.assert_array_equal(unpack(result["r"][0][0]), np.arange(100_000) * 2)

    run(main())


def test_calls_in_both_directions(run: Run) -> None:
    async def ask_back(comm: Connection) -> str:
        return "heard " + await comm.call("name")

    async def main() -> None:
        async with connected({"ask": ask_back}, {"name": lambda: "near"}) as (near, _):
            assert await near.call("ask") == "heard near"

    run(main())


def test_exceptions_come_back_with_type_and_remote_traceback(run: Run) -> None:
    async def main() -> None:
        async with connected({"fail": fail_with(KeyError("k"))}) as (near, _):
            with pytest.raises(KeyError, match="k") as info:
                await near.call("fail")
            assert any(entry.name == "fail" for entry in info.traceback)

    run(main())


@pytest.mark.parametrize(
    ("exc", "kind", "text"),
    [
        (OddConstructor(1, 2), OddConstructor, "1 and 2"),
        (ValueError(threading.Lock()), RemoteError, "lock"),
        (SystemExit(3), RemoteError, "SystemExit"),
        (StopIteration("x"), RemoteError, "StopIteration"),
        (asyncio.CancelledError("c"), RemoteError, "CancelledError"),
        (TimeoutError("theirs"), TimeoutError, "theirs"),
    ],
)
def test_exceptions_that_cannot_travel_or_must_not(
    run: Run, exc: BaseException, kind: type[Exception], text: str
) -> None:
    async def fail() -> None:
        raise exc

    async def main() -> None:
        async with connected({"fail": fail, "ping": lambda: "pong"}) as (near, _):
            if not isinstance(exc, StopIteration):
                with pytest.raises(kind, match=text):
                    await near.call("fail", timeout=10)
            else:  # a coroutine cannot raise StopIteration: Python makes it a RuntimeError
                with pytest.raises(RuntimeError, match="StopIteration"):
                    await near.call("fail", timeout=10)
            assert await near.call("ping") == "pong"

    run(main())


def test_without_unpickle_nothing_is_unpickled(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with connected({"fail": fail_with(ValueError("x"))}, unpickle=False) as (near, far):
            with pytest.raises(RemoteError, match="ValueError") as info:
                await near.call("fail")
            exc = unpack(info.value.exception)
            assert isinstance(exc, ValueError)
            # A payload that would do harm is handed on as it is.
            bomb = b"cos\nabort\n(tR."
            far.handlers = {"bomb": lambda comm, id=None: comm.send(ReplyError(99, "bomb", bomb))}
            waiter = near._calls[99] = asyncio.get_running_loop().create_future()
            near.notify("bomb")
            with pytest.raises(RemoteError) as info:
                await waiter
            assert info.value.exception == bomb

    run(main())


@pytest.mark.parametrize(
    ("op", "kwargs", "kind", "text"),
    [
        ("unheard_of", {}, AttributeError, "has no operation 'unheard_of'"),
        ("add", {"a": 1}, TypeError, "missing"),
        ("add", {"a": 1, "b": 2, "c": 3}, TypeError, "unexpected"),
        ("add", {"a": object(), "b": 2}, TypeError, "cannot stand in a message"),
        ("lock", {}, TypeError, "result of the call cannot be sent"),
    ],
)
def test_wrong_calls_fail_alone(
    run: Run, op: str, kwargs: dict[str, Any], kind: type[Exception], text: str
) -> None:
    handlers = {"add": lambda a, b: a + b, "lock": threading.Lock}

    async def main() -> None:
        async with connected(handlers) as (near, _):
            others = asyncio.gather(*(near.call("add", a=i, b=1) for i in range(5)))
            wrong = asyncio.gather(near.call(op, **kwargs), return_exceptions=True)
            more = asyncio.gather(*(near.call("add", a=i, b=1) for i in range(5)))
            [exc] = await wrong
            assert type(exc) is kind
            assert text in str(exc)
            assert await others == await more == [1, 2, 3, 4, 5]

    run(main())


def test_a_timeout_names_the_peer_and_leaves_the_connection_usable(run: Run) -> None:
    async def main() -> None:
        go = asyncio.Event()

        async def slow() -> str:
            await go.wait()
            return "late"

        async with connected({"slow": slow, "echo": lambda timeout: timeout}) as (near, far):
            with pytest.raises(TimeoutError, match=r"tcp://127.* did not answer 'slow' within 0.05 s"):
                await near.call("slow", timeout=0.05)
            go.set()
            assert await near.request("echo", {"timeout": 3}) == 3
            await poll(lambda: far.idle)
            cancelled = asyncio.create_task(near.call("slow"))
            await asyncio.sleep(0)
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            assert near.idle or await near.request("echo", {"timeout": 4}) == 4

    run(main())


def test_one_turn_leaves_as_one_frame(run: Run) -> None:
    async def main() -> None:
        async with connected({}) as (near, far):
            batches: list[int] = []
            heard: list[Any] = []
            frames: list[int] = []
            write = near.comm.write

            def on_stream(messages: list[Any]) -> None:
                batches.append(len(messages))
                heard.extend(messages)

            def counted(messages: Any) -> None:
                frames.append(len(messages))
                write(messages)

            far.on_stream = on_stream
            near.comm.write = counted  # type: ignore[method-assign]
            sent = [WantKeys([i]) for i in range(100)]
            for message in sent[:50]:
                near.send(message)
            near.send_all(sent[50:])
            await poll(lambda: len(heard) == 100)
            assert heard == sent
            assert frames == [100]
            assert batches == [100]

    run(main())


def test_calls_and_stream_messages_keep_their_order(run: Run) -> None:
    async def main() -> None:
        seen: list[Any] = []
        async with connected({"mark": lambda n: seen.append(n)}) as (near, far):
            far.on_stream = lambda messages: seen.extend(m.keys[0] for m in messages)  # type: ignore
            for i in range(0, 30, 3):
                near.send(WantKeys([i]))
                near.send(WantKeys([i + 1]))
                near.notify("mark", n=i + 2)
            await near.call("mark", n=30)
            assert seen == list(range(31))

    run(main())


def test_a_handler_binds_the_stream_and_early_messages_wait_for_it(run: Run) -> None:
    async def main() -> None:
        heard: list[Any] = []
        go = asyncio.Event()

        async def register(comm: Connection) -> str:
            await go.wait()
            comm.on_stream = heard.extend
            return "OK"

        async with connected({"register": register, "ping": lambda: "pong"}) as (near, _):
            registering = asyncio.create_task(near.call("register"))
            await asyncio.sleep(0)
            for i in range(3):
                near.send(WantKeys([i]))
            await near.call("ping")
            assert heard == []
            go.set()
            assert await registering == "OK"
            near.send(WantKeys([3]))
            await poll(lambda: len(heard) == 4)
            assert [m.keys for m in heard] == [[0], [1], [2], [3]]

    run(main())


def test_a_stream_of_nobody_is_closed_before_it_fills_memory(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distributed.core.connection.MAX_UNBOUND_MESSAGES", 10)

    async def main() -> None:
        async with connected({}) as (near, far):
            near.send_all([WantKeys([i]) for i in range(11)])
            await poll(lambda: near.closed)
            assert isinstance(far.reason, ProtocolError)
            assert "without being registered" in str(far.reason)

    run(main())


def test_a_message_that_cannot_be_handled_closes_the_connection_with_a_log(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with connected({}) as (near, far):

            def explode(messages: list[Any]) -> None:
                raise ZeroDivisionError

            far.on_stream = explode
            near.send(WantKeys(["x"]))
            await poll(lambda: near.closed)
            assert isinstance(far.reason, ZeroDivisionError)

    run(main())
    assert len([r for r in caplog.records if r.levelno >= logging.WARNING]) == 1


def test_a_stream_message_that_cannot_be_sent_closes_the_connection(run: Run) -> None:
    async def main() -> None:
        async with connected({}) as (near, far):
            heard: list[Any] = []
            far.on_stream = heard.extend
            near.send(WantKeys(["a"]))
            near.send(WantKeys([object()]))
            await poll(lambda: near.closed)
            assert isinstance(near.reason, ProtocolError)

    run(main())


def test_losing_the_connection_ends_all_calls_and_tasks(run: Run) -> None:
    async def main() -> None:
        cancelled: list[str] = []
        started = asyncio.Event()

        async def slow() -> None:
            started.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append("slow")
                raise

        async with connected({"slow": slow}) as (near, far):
            closed: list[Connection] = []
            near.on_close.append(closed.append)
            far.on_close.append(closed.append)
            calls = [asyncio.create_task(near.call("slow")) for _ in range(3)]
            await started.wait()
            near.comm.abort()
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert [type(r) for r in results] == [CommClosedError] * 3
            assert all(near.peer_address in str(r) for r in results)
            await poll(lambda: len(cancelled) == 3)
            await poll(lambda: len(closed) == 2)
            with pytest.raises(CommClosedError):
                await near.call("slow")
            with pytest.raises(CommClosedError):
                near.send(WantKeys(["x"]))
            assert far.reason is not None
            assert "closed" in repr(far)

    run(main())


def test_close_sends_what_is_in_the_batch(run: Run) -> None:
    async def main() -> None:
        async with connected({}) as (near, far):
            heard: list[Any] = []
            far.on_stream = heard.extend
            near.send(WantKeys(["last words"]))
            await near.close()
            await near.close()
            await poll(lambda: far.closed)
            assert heard == [WantKeys(["last words"])]
            assert near.reason is None

    run(main())


def test_a_notified_handler_that_fails_is_logged(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with connected({"fail": fail_with(ValueError("seen")), "ping": lambda: 1}) as (near, _):
            near.notify("fail")
            near.notify("fail", x=object())
            await near.call("ping")

    run(main())
    assert "seen" in caplog.text
    assert "the call fail of tcp://127.0.0.1" in caplog.text


def test_backpressure_is_visible_and_drain_waits(run: Run) -> None:
    async def main() -> None:
        async with connected({}) as (near, far):
            heard: list[Any] = []
            far.on_stream = heard.extend
            payload = b"x" * (1 << 20)
            for i in range(40):
                near.send(RunTasks(b"f", "f", [i], [payload], [i]))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert near.write_buffer_nbytes > 1 << 20
            await near.drain()
            assert near.write_buffer_nbytes <= 4 << 20
            await poll(lambda: len(heard) == 40)

    run(main())


def test_a_late_or_unknown_reply_is_ignored(run: Run) -> None:
    async def main() -> None:
        def answer_twice(comm: Connection) -> str:
            from distributed.protocol.messages import Reply

            comm.send(Reply(12345, "nobody asked"))
            return "once"

        async with connected({"x": answer_twice}) as (near, _):
            assert await near.call("x") == "once"
            assert await near.call("x") == "once"

    run(main())


def test_messages_hold_no_more_memory_than_they_must() -> None:
    assert sys.getsizeof(Request(1, "op", {})) < 100


def test_a_message_too_large_for_one_frame_goes_in_several(run: Run) -> None:
    async def main() -> None:
        async with connected({}) as (near, far):
            near.comm._encoder = Encoder(Limits(body_nbytes=10_000))  # type: ignore[attr-defined]
            heard: list[Any] = []
            far.on_stream = heard.extend
            near.send(WantKeys(["before"]))
            near.send(RunTasks(b"f", "f", list(range(100)), [b"x" * 1000] * 100, list(range(100))))
            near.send(WantKeys(["after"]))
            await poll(lambda: heard and heard[-1] == WantKeys(["after"]))
            assert heard[0] == WantKeys(["before"])
            assert [key for message in heard[1:-1] for key in message.keys] == list(range(100))
            near.send(RunTasks(b"f", "f", ["one"], [b"x" * 20_000], [1]))
            await poll(lambda: near.closed)
            assert "over the limit of 10000" in str(near.reason)

    run(main())


def test_results_that_cannot_stand_in_a_message_travel_pickled(run: Run) -> None:
    async def main() -> None:
        handlers = {"complex": lambda: {"x": 1 + 2j}, "lock": threading.Lock}
        async with connected(handlers) as (near, _):
            assert await near.call("complex") == {"x": 1 + 2j}
            with pytest.raises(TypeError, match="cannot be sent"):
                await near.call("lock")
        async with connected(handlers, unpickle=False) as (near, _):
            found = await near.call("complex")
            assert type(found) is Pickled
            assert unpack(found.payload) == {"x": 1 + 2j}
            assert pickle.loads(pickle.dumps(found)) == {"x": 1 + 2j}

    run(main())


def test_what_takes_long_is_handled_in_order_with_the_loop_free_in_between(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds of long messages in one frame, a call behind them: others get the loop before the last is handled."""
    from distributed.core import connection
    from distributed.protocol.messages import SubmitTasks

    monkeypatch.setattr(connection, "LONG_TURN", 0.0)

    async def main() -> None:
        handled: list[Any] = []
        turns: list[int] = []

        def on_stream(messages: list[Any]) -> None:
            handled.extend(message.keys[0] for message in messages)

        async with connected({"after": lambda: list(handled)}) as (near, far):
            far.on_stream = on_stream

            def turn() -> None:
                turns.append(len(handled))
                if len(handled) < 300:
                    asyncio.get_running_loop().call_soon(turn)

            for i in range(300):
                near.send(SubmitTasks(b"f", "inc", [i], [b""]))
            turn()
            assert await near.call("after") == list(range(300))
            assert any(0 < n < 300 for n in turns)

    run(main())


def test_nothing_more_is_received_until_what_takes_long_has_been_handled(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed.core import connection
    from distributed.protocol.messages import SubmitTasks

    monkeypatch.setattr(connection, "LONG_TURN", 0.0)

    async def main() -> None:
        handled: list[Any] = []
        waiting: list[bool] = []

        async with connected({"after": lambda: list(handled)}) as (near, far):
            far.on_stream = lambda messages: handled.extend(message.keys[0] for message in messages)
            pause, resume = far.comm.pause_receiving, far.comm.resume_receiving

            def noted(function: Any, state: bool) -> Any:
                def call() -> None:
                    waiting.append(state)
                    function()

                return call

            monkeypatch.setattr(far.comm, "pause_receiving", noted(pause, True))
            monkeypatch.setattr(far.comm, "resume_receiving", noted(resume, False))
            for i in range(50):
                near.send(SubmitTasks(b"f", "inc", [i], [b"x" * 100_000]))
                await asyncio.sleep(0)  # a frame each
            assert await near.call("after") == list(range(50))
        assert waiting[0]
        assert waiting[-1] is False
        assert waiting.count(False) <= waiting.count(True)

    run(main())


def test_a_frame_is_decoded_quickly() -> None:
    """What holds many tasks is said in several frames, in the same order."""
    from distributed.core.connection import TASKS_A_FRAME, _apart
    from distributed.protocol.messages import ReleaseKeys, SubmitTasks

    def tasks(n: int) -> SubmitTasks:
        return SubmitTasks(b"f", "inc", list(range(n)), [b""] * n)

    half, whole = tasks(TASKS_A_FRAME // 2), tasks(TASKS_A_FRAME)
    few, release = tasks(1), ReleaseKeys(["x"])
    assert list(_apart([release, half, half, release, few, whole, release, whole])) == [
        [release, half, half],
        [release, few, whole],
        [release, whole],
    ]
    assert list(_apart([few] * 10)) == [[few] * 10]
