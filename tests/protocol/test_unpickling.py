"""Unpickling: names, buffers, large streams, old protocols; code of another Python."""

from __future__ import annotations

import collections
import pickle
import tracemalloc
from typing import Any

import cloudpickle
import pytest

from distributed.exceptions import PythonMismatchError
from distributed.protocol import bytecode, unpickling
from distributed.protocol import pickle as public
from distributed.protocol.payload import Serialized, pack, unpack

VALUES: list[Any] = [
    1,
    b"\x93 and \x80\x05",
    {"a": collections.OrderedDict(b=[1, 2])},
    collections.Counter("abc"),
    collections.OrderedDict.fromkeys,
    range,
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_what_was_pickled_comes_out(value: Any, kind: Any) -> None:
    for protocol in (4, 5):
        assert unpickling.loads(kind(pickle.dumps(value, protocol))) == value
    for protocol in range(6):
        assert public.loads(kind(pickle.dumps(value, protocol))) == value


def test_large_streams_are_read_in_pieces() -> None:
    value = [collections.OrderedDict(a=b"x" * 3_000_000), list(range(200_000)), "y" * 2_000_000]
    stream = memoryview(pickle.dumps(value, 5))
    assert unpickling.loads(stream) == value
    data = memoryview(pickle.dumps(b"x" * 20_000_000, 5))
    tracemalloc.start()
    assert len(unpickling.loads(data)) == 20_000_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 21_000_000


def test_out_of_band_buffers() -> None:
    array = bytearray(b"z" * 100_000)
    payload = pack(pickle.PickleBuffer(array))
    assert isinstance(payload, Serialized)
    assert bytes(unpack(payload)) == bytes(array)


def test_truncated_streams() -> None:
    stream = pickle.dumps(collections.OrderedDict(a=1), 5)
    for end in range(len(stream)):
        with pytest.raises((EOFError, pickle.UnpicklingError)):
            unpickling.loads(stream[:end])


# ---------------------------------------------------------------- code


def made_by_another(obj: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """As a Python 3.99 would have packed it."""
    stamp = bytecode._STAMP
    other = stamp.replace(bytecode.TAG.encode(), b"x" * len(bytecode.TAG)).replace(
        bytecode._VERSION.encode(), b"3.99"[: len(bytecode._VERSION)]
    )
    with monkeypatch.context() as patch:
        patch.setattr(bytecode, "_STAMP", other)
        return pack(obj)


def test_code_says_which_python_made_it(monkeypatch: pytest.MonkeyPatch) -> None:
    x = 5

    def closure(y: int) -> int:
        return x + y

    class Local:
        def method(self) -> int:
            return x

    for obj in (
        lambda: 1,
        closure,
        Local,
        Local(),
        [closure],
        {"error": type("E", (Exception,), {"f": closure})},
    ):
        unpack(pack(obj))
        with pytest.raises(
            PythonMismatchError, match=r"made by Python 3\.99 and cannot run in Python 3\.\d+ here"
        ):
            unpack(made_by_another(obj, monkeypatch))
    assert unpack(pack(closure))(1) == 6
    assert pickle.loads(pack(closure))(1) == 6  # anybody's unpickler can read it


def test_what_has_a_name_or_is_data_travels(monkeypatch: pytest.MonkeyPatch) -> None:
    for obj in (len, collections.OrderedDict, collections.OrderedDict(a=1), [1, "CodeType"]):
        assert unpack(made_by_another(obj, monkeypatch)) == obj


def test_the_stamp_leaves_the_rest_as_it_is() -> None:
    stream = cloudpickle.dumps(lambda: 1, 5)
    assert bytecode.stamped(stream).endswith(stream[2:])
    assert bytecode.stamped(pickle.dumps([1], 5)) == pickle.dumps([1], 5)
