"""Objects as a header and frames, by functions registered for their types."""

from __future__ import annotations

import pickle

import pytest

from distributed.protocol import (
    Serialize,
    ToPickle,
    dask_deserialize,
    dask_serialize,
    deserialize,
    dumps,
    loads,
    pack,
    register_generic,
    serialize,
    to_serialize,
    unpack,
)
from distributed.utils_test import gen_cluster


class Pair:
    def __init__(self, left, right):
        self.left, self.right = left, right


class Child(Pair):
    pass


class Generic:
    def __init__(self, x):
        self.x = x
        self.data = bytes(10)


@dask_serialize.register(Pair)
def _(pair):
    return {"left": pair.left}, [pair.right]


@dask_deserialize.register(Pair)
def _(header, frames):
    return Pair(header["left"], bytes(frames[0]))


register_generic(Generic)


def test_registered_types_go_by_their_functions():
    header, frames = serialize(Pair(1, b"right"))
    assert header["serializer"] == "dask"
    assert frames == [b"right"]
    pair = deserialize(header, frames)
    assert (pair.left, pair.right) == (1, b"right")


def test_children_of_registered_types_too():
    assert serialize(Child(1, b"right"))[0]["serializer"] == "dask"


@pytest.mark.parametrize("x", [1, "text", [1, {"a": (2,)}], None, bytearray(5)])
def test_all_else_is_pickled(x):
    header, frames = serialize(x)
    assert header == {"serializer": "pickle"}
    assert deserialize(header, frames) == x
    assert loads(dumps(x)) == x


def test_large_buffers_are_frames_of_their_own():
    numpy = pytest.importorskip("numpy")
    x = numpy.arange(100_000)
    header, frames = serialize(x)
    assert len(frames) == 2
    assert (deserialize(header, frames) == x).all()


def test_what_cannot_be_serialized():
    header, frames = serialize(iter(lambda: 1, 2) and (i for i in ()))
    assert header == {"serializer": "error"}
    with pytest.raises(TypeError, match="generator"):
        deserialize(header, frames)
    with pytest.raises(TypeError, match="generator"):
        serialize((i for i in ()), on_error="raise")
    with pytest.raises(TypeError, match="'pickle', which is not among"):
        deserialize(*serialize(1), deserializers=["dask"])
    with pytest.raises(TypeError, match=r"nothing is registered for builtins\.int"):
        dask_serialize(1)


def test_generic_goes_attribute_by_attribute():
    header, frames = serialize(Generic(5))
    assert set(header["inner"]["attributes"]) == {"x", "data"}
    again = deserialize(header, frames)
    assert (again.x, again.data) == (5, bytes(10))


def test_pickles_use_what_is_registered():
    pair = pickle.loads(pickle.dumps(Pair(1, b"right"), protocol=5))
    assert (pair.left, pair.right) == (1, b"right")
    buffers = []
    pickle.dumps(Pair(1, b"right"), protocol=5, buffer_callback=buffers.append)
    assert [bytes(buffer) for buffer in buffers] == [b"right"]
    assert unpack(pack(Pair(2, b"x"))).left == 2


def test_lazily_registered():
    calls = []
    dask_serialize.register_lazy("test_serialization", lambda: calls.append(1))
    serialize(Pair(1, b""))
    serialize(Pair(1, b""))
    assert calls == [1]


@pytest.mark.parametrize("wrap", [Serialize, ToPickle, to_serialize])
def test_marked_arguments_are_payloads(wrap):
    marked = wrap({"x": object})
    assert unpack(marked) == {"x": object}
    assert deserialize(*serialize(marked)) == {"x": object}


@gen_cluster(client=True)
async def test_results_of_registered_types_travel(c, s, a, b):
    x = c.submit(Pair, 1, b"right", workers=[a.address])
    y = c.submit(lambda pair: pair.right, x, workers=[b.address])
    assert await y == b"right"
    assert (await x).left == 1
