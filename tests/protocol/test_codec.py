"""Every message comes back as it was; what cannot travel is refused with a sentence."""

from __future__ import annotations

import pickle
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distributed.exceptions import ProtocolError
from distributed.protocol import codec, messages
from distributed.protocol.frames import Limits
from distributed.protocol.messages import (
    Reply,
    Request,
    RunTasks,
    SubmitTasks,
    TaskError,
    TaskOptions,
    TasksErred,
    TasksReturned,
    WantKeys,
)
from distributed.protocol.payload import Serialized, pack, unpack


def round_trip(sent: list[Any]) -> list[Any]:
    frame = codec.encode(sent)
    if len(frame) == 1:
        return codec.decode(memoryview(frame[0])[8:])
    return codec.decode(frame[1], frame[2:])


scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text()
)
keys = st.recursive(
    st.text() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.binary(),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=6,
)
free_form = st.recursive(
    scalars | st.binary() | st.builds(lambda b: Serialized([b, b"x" * 3]), st.binary()),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), free_form, max_size=4), free_form)
def test_calls_keep_tuples_lists_and_payloads_apart(kwargs: dict[str, Any], result: Any) -> None:
    sent = [Request(1, "op", kwargs), Reply(2, result)]
    received = round_trip(sent)
    assert received == sent
    assert repr(received) == repr(sent)  # a list and a tuple compare unequal, but not 1 and True


@given(st.lists(keys, max_size=8), st.data())
def test_keys_come_back_as_they_were(columns: list[Any], data: st.DataObject) -> None:
    n = len(columns)
    deps = data.draw(st.none() | st.just([columns] * n))
    sent = [
        SubmitTasks(b"f" * 16, "inc", columns, [b"a"] * n, deps, TaskOptions(priority=1)),
        RunTasks(
            b"f", "inc", columns, [b""] * n, [0] * n, deps, [(key, 1, ["tcp://a:1"]) for key in columns]
        ),
        TasksReturned(columns, [0] * n, "missing", columns, [(key, ["tcp://a:1"]) for key in columns]),
        TasksErred(columns, [0] * n, [TaskError(b"e", blamed_key=key) for key in columns]),
        WantKeys(columns),
    ]
    received = round_trip(sent)
    assert received == sent
    assert repr(received) == repr(sent)


def test_every_message_type_travels() -> None:
    by_annotation = {
        "list[WireKey]": [("a", 1), "b"],
        "list[WirePayload]": [b"x", None],
        "list[list[WireKey]] | None": [[("a", 1)], []],
        "list[tuple[WireKey, int, list[str]]]": [(("a", 1), 3, ["w"])],
        "list[tuple[WireKey, list[str]]]": [(("a", 1), ["w"])],
        "list[list[WireKey]]": [[("a", 1)], []],
        "list[tuple[bytes, str, TaskOptions]]": [(b"f", "inc", TaskOptions(priority=1))],
        "list[bool]": [True, False],
        "list[TaskError]": [TaskError(b"e", blamed_key=("a", 1))],
        "list[TaskError | None]": [None, TaskError(b"e", blamed_key=("a", 1))],
        "list[bytes]": [b"i"],
        "list[bytes] | None": [b"i", b"j"],
        "list[tuple[WireKey, bytes]]": [(("a", 1), b"w")],
        "list[int]": [1, 2],
        "list[float]": [0.5],
        "list[str]": ["s"],
        "dict[str, Any]": {"k": ("a", 1)},
        "Any": {"a": [1]},
        "WirePayload": b"p",
        "WireKey": ("a", ("b", 1)),
        "bytes": b"b",
        "str": "s",
        "int": 1,
        "float": 0.5,
        "bool": True,
        "TaskOptions": TaskOptions(priority=1, workers=("w",)),
        "RunOptions": messages.RunOptions(duration=1.0),
    }
    sent = [
        cls(**{name: by_annotation[text] for name, text in cls.__annotations__.items()})
        for cls in messages.AnyMessage.__args__
    ]
    assert len(sent) > 25
    assert round_trip(sent) == sent


def test_numbers_of_numpy_in_keys_become_plain() -> None:
    [received] = round_trip([WantKeys([("x", np.int64(3), np.float64(0.5), np.str_("s"))])])
    assert received.keys == [("x", 3, 0.5, "s")]
    assert [type(part) for part in received.keys[0]] == [str, int, float, str]


def test_arrays_travel_out_of_band_and_uncopied() -> None:
    array = np.arange(100_000.0)
    payload = pack(array)
    frame = codec.encode([Reply(1, {"deep": [(payload,)]})])
    assert any(np.shares_memory(np.frombuffer(part, "u1"), array) for part in frame)
    assert memoryview(frame[0]).nbytes + memoryview(frame[1]).nbytes < 200
    [reply] = codec.decode(frame[1], frame[2:])
    np.testing.assert_array_equal(unpack(reply.result["deep"][0][0]), array)


@pytest.mark.parametrize(
    ("value", "error"),
    [(object(), "pack"), (2**70, "serialize"), ({1, object()}, "pack")],
)
def test_what_cannot_travel_is_refused_and_the_next_frame_is_whole(value: Any, error: str) -> None:
    encoder = codec.Encoder()
    with pytest.raises((TypeError, OverflowError), match=error):
        encoder.encode([Request(1, "op", {"big": Serialized([b"x"]), "value": value})])
    frame = encoder.encode([Request(1, "op", {"big": Serialized([b"y"])})])
    assert codec.decode(frame[1], frame[2:]) == [Request(1, "op", {"big": Serialized([b"y"])})]


def test_a_container_that_holds_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(TypeError, match="contains itself"):
        codec.encode([Reply(1, loop)])


def test_a_frame_over_the_limit_is_not_sent() -> None:
    encoder = codec.Encoder(Limits(body_nbytes=100))
    with pytest.raises(ProtocolError, match="over the limit of 100"):
        encoder.encode([WantKeys(["x" * 200])])


@given(st.binary(max_size=200), st.lists(st.binary(max_size=5), max_size=3))
def test_any_bytes_are_messages_or_a_protocol_error(body: bytes, buffers: list[bytes]) -> None:
    try:
        decoded = codec.decode(body, buffers)
    except ProtocolError:
        return
    assert isinstance(decoded, list)


@settings(max_examples=300)
@given(st.data())
def test_a_damaged_body_is_messages_or_a_protocol_error(data: st.DataObject) -> None:
    sent = [
        RunTasks(b"f" * 16, "inc", [("a", 1), b"k"], [b"", Serialized([b"abc"])], [1, 2], [["x"], []]),
        Request(3, "op", {"a": (1, Serialized([b"q", b"r"]))}),
    ]
    frame = codec.encode(sent)
    body = bytearray(frame[1])
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = codec.decode(body[: data.draw(st.integers(0, len(body)))], frame[2:])
    except ProtocolError:
        return
    assert isinstance(decoded, list)


@pytest.mark.parametrize(
    "body",
    [
        msgspec.msgpack.encode([["Request", 1, "op", {"a": msgspec.msgpack.Ext(1, b"\0\0\0\1\0\0\0\1")}]]),
        msgspec.msgpack.encode([["Request", 1, "op", {"a": msgspec.msgpack.Ext(1, b"\0\0\0\0\0\0\0\0")}]]),
        msgspec.msgpack.encode([["Request", 1, "op", {"a": msgspec.msgpack.Ext(1, b"short")}]]),
        msgspec.msgpack.encode([["Request", 1, "op", {"a": msgspec.msgpack.Ext(99, b"")}]]),
        msgspec.msgpack.encode([["Request", 1, "op", {"a": msgspec.msgpack.Ext(2, b"\xc1")}]]),
        msgspec.msgpack.encode([["WantKeys", [{"no": "key"}]]]),
        msgspec.msgpack.encode([["WantKeys", [b"bytes", {"no": "key"}]]]),
        msgspec.msgpack.encode([["Unheard", 1]]),
        msgspec.msgpack.encode({"not": "a list"}),
        pickle.dumps([1, 2]),
        b"\x91" * 100_000,
    ],
)
def test_malformed_bodies_are_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        codec.decode(body, [b"one buffer"])


def test_decoded_values_do_not_refer_to_the_body() -> None:
    frame = codec.encode([RunTasks(b"f" * 16, "inc", ["key"], [b"argument"], [1])])
    body = bytearray(memoryview(frame[0])[8:])
    [received] = codec.decode(body)
    body[:] = bytes(len(body))
    assert received == RunTasks(b"f" * 16, "inc", ["key"], [b"argument"], [1])


def test_halves_say_the_same_as_the_whole() -> None:
    keys = [f"k{i}" for i in range(5)]
    args = [bytes([i]) for i in range(5)]
    whole = RunTasks(b"f", "inc", keys, args, list(range(5)), [[key] for key in keys], [("k", 1, ["w"])])
    halves = codec.halves(whole)
    assert halves is not None
    one, two = halves
    for name in ("keys", "args", "seqs", "deps"):
        assert getattr(one, name) + getattr(two, name) == getattr(whole, name)
    assert one.holders == two.holders == whole.holders
    assert whole.keys == keys  # it is left as it was
    assert codec.halves(SubmitTasks(b"f", "inc", keys, args)) is not None
    assert codec.halves(SubmitTasks(b"f", "inc", ["one"], [b""])) is None
    assert codec.halves(WantKeys(keys)) is None


def test_every_column_of_a_message_that_can_be_halved_is_named() -> None:
    for cls, columns in codec._COLUMNS.items():
        lists = [
            name
            for name, text in cls.__annotations__.items()
            if text.startswith("list") and name not in ("holders", "calls", "dep_works")
        ]
        assert list(columns) == lists
