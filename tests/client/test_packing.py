"""Functions and arguments as bytes and keys, without a network."""

from __future__ import annotations

import gc
import pickle
import subprocess
import sys
import weakref
from types import FunctionType
from typing import Any

import pytest

from distributed.client import packing
from distributed.client.future import Future
from distributed.client.packing import FunctionCache, Packer, capture, digest, frozen, name_of
from distributed.client.state import ClientTask
from distributed.protocol.payload import Serialized, pack, unpack
from distributed.protocol.refs import resolving


class Client:
    """Stands for one; futures are of it if they share its session."""

    _session: Any = type("Session", (), {"release": staticmethod(lambda task: None)})()


def future(key: Any, client: Any, status: str = "finished") -> Future:
    made = Future(key)
    made._client = client
    made._task = ClientTask(key, status=status)
    return made


def in_main(source: str) -> FunctionType:
    """The function ``f`` of a program: it is not importable and travels by value."""
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(source, scope)
    found: FunctionType = scope["f"]
    return found


def test_functions_are_pickled_once() -> None:
    cache = FunctionCache()
    assert cache.get(name_of) is cache.get(name_of)
    f = in_main("def f(x): return x + 1")
    assert cache.get(f) is cache.get(f)
    assert unpack(cache.get(f).blob)(1) == 2
    assert cache.get(len).id == digest(pack(len))


@pytest.mark.parametrize(
    ("source", "change"),
    [
        ("y = 1\ndef f(x): return x + y", {"y": 2}),
        ("def g(x): return 1\ndef f(x): return g(x)", {"g": lambda x: 2}),
        ("y = [1]\ndef f(x): return x + y[0]", None),
    ],
)
def test_a_function_whose_globals_changed_is_pickled_anew(source: str, change: dict[str, Any] | None) -> None:
    cache = FunctionCache()
    f = in_main(source)
    before = cache.get(f)
    assert cache.get(f).id == before.id
    if change is None:
        f.__globals__["y"][0] = 2
    else:
        f.__globals__.update(change)
    assert cache.get(f).id != before.id
    assert unpack(cache.get(f).blob)(0) == 2


def test_a_closure_whose_cell_changed_is_pickled_anew() -> None:
    cache = FunctionCache()
    n = 1

    def f() -> int:
        return n

    first = cache.get(f)
    n = 2
    assert cache.get(f) is not first
    assert unpack(cache.get(f).blob)() == 2


def test_the_cache_keeps_no_function_alive() -> None:
    cache = FunctionCache()
    f = in_main("def f(x): return f(x - 1) if x else 0")
    cache.get(f)
    gone = weakref.ref(f)
    f.__globals__.clear()
    del f
    gc.collect()
    assert gone() is None


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "CACHE_SIZE", 3)
    cache = FunctionCache()
    for i in range(10):
        cache.get(in_main(f"def f(x): return {i}"))
    assert len(cache._by_id) == 3


def test_mutable_captures_are_not_cached() -> None:
    assert not capture(in_main("y = {}\ndef f(): return y"), [], set())
    assert not capture(in_main("class C: pass\ndef f(): return C"), [], set())
    assert capture(in_main("import os\ndef f(): return os, len, 5"), [], set())


def test_keys_depend_on_function_and_arguments() -> None:
    cache = FunctionCache()
    one, other = Packer(cache.get(len), Client()), Packer(cache.get(sum), Client())
    payload, _ = one.pack(([1],), {})
    assert one.key("f", payload) == one.key("f", one.pack(([1],), {})[0])
    assert one.key("f", payload) != other.key("f", payload)
    assert one.key("f", payload) != one.key("f", one.pack(([2],), {})[0])


def test_keys_are_the_same_in_every_process() -> None:
    code = (
        "from distributed.client.packing import *\n"
        "p = Packer(functions.get(len), None); print(p.key('len', p.pack((['a', 1.5],), {'k': (1, None)})[0]))"
    )
    keys = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert len(keys) == 1
    assert keys.pop().startswith("len-")


def test_keys_depend_on_large_buffers() -> None:
    packer = Packer(FunctionCache().get(len), Client())
    first = packer.pack((bytearray(200_000),), {})[0]
    second = packer.pack((bytearray(200_001),), {})[0]
    assert packer.key("f", first) != packer.key("f", second)


def test_buffers_that_can_change_are_copied_and_others_not() -> None:
    changing, fixed = bytearray(b"a" * 100), memoryview(b"b" * 100)
    payload = frozen(Serialized([b"stream", memoryview(changing), fixed]))
    assert isinstance(payload, Serialized)
    changing[:] = b"x" * 100
    assert payload.frames[1] == b"a" * 100
    assert payload.frames[2] is fixed


def test_futures_become_references() -> None:
    client = Client()
    packer = Packer(FunctionCache().get(len), client)
    x, y = future("x", client), future(("y", 1), client)
    payload, deps = packer.pack(([x, {"k": {y}}],), {"z": (x, 1)})
    assert deps == ("x", ("y", 1))
    with resolving({"x": 1, ("y", 1): 2}):
        assert unpack(payload) == (([1, {"k": {2}}],), {"z": (1, 1)})


def test_a_future_inside_another_object_stays_one() -> None:
    client = Client()
    packer = Packer(FunctionCache().get(len), client)
    payload, deps = packer.pack((Box(future("x", client)),), {})
    assert deps == ()
    ((box,), _) = unpack(payload)
    assert isinstance(box.content, Future)
    assert box.content.key == "x"


class Box:
    def __init__(self, content: Any) -> None:
        self.content = content


def test_a_container_that_contains_itself_and_a_future() -> None:
    client = Client()
    loop: list[Any] = [future("x", client)]
    loop.append(loop)
    with pytest.raises(ValueError, match="contains itself"):
        Packer(FunctionCache().get(len), client).pack((loop,), {})


def test_names() -> None:
    import functools
    import operator

    assert name_of(lambda: 1) == "lambda"
    assert name_of(operator.add) == "add"
    assert name_of(functools.partial(operator.add, 1)) == "add"
    assert name_of("{}".format) == "format"
    assert name_of(operator.itemgetter(1)) == "itemgetter"
    assert name_of(Box(1)) == "Box"


def test_unbound_futures_pickle() -> None:
    copy = pickle.loads(pickle.dumps(Future(("x", 1))))
    assert copy.key == ("x", 1)
    assert hash(copy) == hash(Future(("x", 1)))
