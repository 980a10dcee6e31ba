"""Payloads of large objects: nothing large is copied, and they arrive as what they were."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from distributed.protocol import messages as m
from distributed.protocol.codec import decode, encode
from distributed.protocol.frames import FrameReader
from distributed.protocol.payload import Payload, Pickled, nbytes, pack, unpack
from distributed.protocol.streams import Streamed, pack_large

LARGE = 1 << 20


class Holder:
    def __init__(self, part: Any) -> None:
        self.part = part


def holder_in_main() -> Any:
    cls = type("Holder", (Holder,), {})
    cls.__module__ = "__main__"
    return cls(b"a" * LARGE)


def received(parts: list[Any]) -> Any:
    """The result in the reply that is this frame."""
    reader = FrameReader()
    frames: list[Any] = []
    for part in parts:
        data = memoryview(part).cast("B")
        while data:
            target = reader.get_buffer(-1)
            count = min(len(target), len(data))
            target[:count] = data[:count]
            data = data[count:]
            frames += reader.buffer_updated(count)
    [(body, buffers)] = frames
    [message] = decode(body, buffers)
    assert isinstance(message, m.Reply)
    return message.result


def sent(payload: Payload) -> Any:
    return received(encode([m.Reply(1, {"data": [["k", payload]]})]))["data"][0][1]


@pytest.mark.parametrize(
    "value",
    [
        b"a" * LARGE,
        bytearray(LARGE),
        "ä" * LARGE,
        [b"a" * LARGE, {"b": b"b" * LARGE}, np.zeros(LARGE), 1, np.ones(3)],
        list(range(LARGE)),
        b"",
        [b"__main__" + b"a" * LARGE],
    ],
    ids=lambda value: type(value).__name__,
)
def test_it_arrives_as_what_it_was(value: Any) -> None:
    payload = pack_large(value)
    for got in (unpack(payload), unpack(sent(payload)), unpack(pack(Pickled(payload)))):
        assert type(got) is type(value)
        assert repr(got) == repr(value)
    assert nbytes(sent(payload)) == nbytes(payload)


def test_bytes_are_sent_from_where_they_are() -> None:
    parts: list[Any] = [b"a" * LARGE, bytearray(LARGE), np.zeros(LARGE)]
    payload = pack_large({"list": parts, "again": parts[0], "holder": Holder(parts[0])})
    places = [memoryview(part).obj for part in encode([m.Reply(1, payload)])]
    for part in parts:
        assert sum(place is part for place in places) == 1


def test_what_main_defines_is_not_copied_either() -> None:
    holder = holder_in_main()
    payload = pack_large(holder)
    assert isinstance(payload, Streamed)
    assert any(piece is holder.part for piece in payload.pieces)
    got = unpack(sent(payload))
    assert got.part == holder.part
    assert type(got).__name__ == "Holder"


def test_what_is_small_after_all_is_as_ever() -> None:
    assert pack_large([1]) == pack([1])


def test_two_of_them_in_one_frame() -> None:
    one, two = pack_large([b"a" * LARGE, np.ones(LARGE)]), pack_large(b"b" * LARGE)
    first, second, third = received(encode([m.Reply(1, [one, pack(np.ones(LARGE)), two])]))
    assert unpack(first)[0] == b"a" * LARGE
    assert unpack(second).sum() == LARGE
    assert unpack(third) == b"b" * LARGE
