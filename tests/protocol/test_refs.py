"""References resolve while unpickling; futures are found and replaced wherever containers hold them."""

from __future__ import annotations

import pickle
import threading
from collections import namedtuple
from typing import Any

import pytest

from distributed.protocol import refs
from distributed.protocol.payload import pack, unpack
from distributed.protocol.refs import Ref, collecting, replace, resolving


class Future:
    def __init__(self, key: Any) -> None:
        self.key = key

    def __reduce__(self) -> tuple[Any, ...]:
        refs.note(self)
        return Future, (self.key,)


def key_of(obj: Any) -> Any:
    return obj.key if isinstance(obj, Future) else None


Point = namedtuple("Point", "x y")


def test_a_ref_unpickles_to_its_value() -> None:
    payload = pack(((Ref("a"), [Ref(("b", 1))]), {"k": {"deep": Ref("a")}}))
    with resolving({"a": 1, ("b", 1): [2]}):
        assert unpack(payload) == ((1, [[2]]), {"k": {"deep": 1}})
    assert unpack(payload)[0][0] == Ref("a")  # outside, it stays what it is


def test_a_missing_value_is_a_key_error() -> None:
    with resolving({}), pytest.raises(KeyError, match="a"):
        unpack(pack(Ref("a")))


def test_resolving_is_of_its_thread_and_nests() -> None:
    payload = pack(Ref("a"))
    seen: list[Any] = []
    with resolving({"a": 1}):
        thread = threading.Thread(target=lambda: seen.append(unpack(payload)))
        thread.start()
        thread.join()
        with resolving({"a": 2}):
            seen.append(unpack(payload))
        seen.append(unpack(payload))
    assert seen == [Ref("a"), 2, 1]


def test_a_future_in_a_pickle_is_noticed() -> None:
    class Holder:
        def __init__(self, part: Any) -> None:
            self.part = part

    with collecting() as found:
        pickle.dumps([1, {"a": Future("x")}])
        with collecting() as inner:
            pack(Holder(Future("y")))
    assert [future.key for future in found] == ["x"]
    assert "y" in {future.key for future in inner}
    pickle.dumps(Future("z"))  # nobody collects: nothing happens


def test_futures_are_replaced_in_containers_and_only_there() -> None:
    class Other:
        def __init__(self) -> None:
            self.future = Future("kept")

    other = Other()
    found: dict[Any, None] = {}
    obj = [Future("a"), (1, {"k": Future("b"), "o": other}), {Future("a")}, Point(Future("c"), 2), [3]]
    new = replace(obj, key_of, found)
    assert list(found) == ["a", "b", "c"]
    assert new[0] == Ref("a")
    assert new[1] == (1, {"k": Ref("b"), "o": other})
    assert new[2] == {Ref("a")}
    assert new[3] == Point(Ref("c"), 2)
    assert type(new[3]) is Point
    assert new[4] is obj[4]
    assert isinstance(obj[0], Future)  # the original is untouched


def test_what_holds_no_future_is_not_copied() -> None:
    obj = {"a": [1, (2, {3})], "b": Point(1, 2)}
    assert replace(obj, key_of, {}) is obj


def test_a_recursive_container_is_refused() -> None:
    obj: list[Any] = [Future("a")]
    obj.append(obj)
    with pytest.raises(ValueError, match="contains itself"):
        replace(obj, key_of, {})
