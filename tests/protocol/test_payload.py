"""Objects survive being packed, whatever pickles them."""

from __future__ import annotations

import sys
import types
from typing import Any

import cloudpickle
import numpy as np
import pytest

from distributed.protocol import pickle
from distributed.protocol.payload import OUT_OF_BAND_NBYTES, Serialized, nbytes, pack, unpack


def test_small_things_are_plain_bytes() -> None:
    payload = pack({"a": [1, 2.5, "x"]})
    assert isinstance(payload, bytes)
    assert unpack(payload) == {"a": [1, 2.5, "x"]}
    assert nbytes(payload) == len(payload)


def test_large_things_are_serialized() -> None:
    data = b"x" * OUT_OF_BAND_NBYTES
    payload = pack(data)
    assert isinstance(payload, Serialized)
    assert nbytes(payload) >= len(data)
    assert unpack(payload) == data


@pytest.mark.parametrize("array", [np.arange(10), np.arange(12).reshape(3, 4).T, np.arange(20)[::2]])
def test_arrays_of_any_layout(array: np.ndarray[Any, Any]) -> None:
    np.testing.assert_array_equal(unpack(pack(array)), array)


def test_lambdas_and_closures_travel() -> None:
    offset = 3
    assert unpack(pack(lambda x: x + offset))(1) == 4


def test_a_module_registered_by_value_travels_by_value() -> None:
    module = types.ModuleType("made_up_for_this_test")
    exec("def f():\n    return 42", module.__dict__)
    sys.modules[module.__name__] = module
    cloudpickle.register_pickle_by_value(module)
    try:
        payload = pack(module.f)
    finally:
        cloudpickle.unregister_pickle_by_value(module)
        del sys.modules[module.__name__]
    assert unpack(payload)() == 42


def test_what_cannot_be_pickled_raises() -> None:
    import threading

    with pytest.raises(TypeError, match="pickle"):
        pack(threading.Lock())


def test_public_names_with_buffers() -> None:
    buffers: list[Any] = []
    array = np.arange(1000)
    stream = pickle.dumps(array, buffer_callback=buffers.append)
    assert len(buffers) == 1
    np.testing.assert_array_equal(pickle.loads(stream, buffers=buffers), array)
    assert pickle.loads(pickle.dumps(array)).sum() == array.sum()
    with pytest.raises(ValueError, match="buffer_callback"):
        pickle.dumps(array, buffer_callback=buffers.append, protocol=4)
