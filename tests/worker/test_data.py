"""The store of results."""

from __future__ import annotations

from pickle import UnpicklingError

import pytest

from distributed.protocol.payload import pack
from distributed.worker.data import DataStore, Packed


def test_values_that_arrived_packed_are_unpacked_at_first_use():
    store = DataStore()
    store["a"] = 1
    store["b"] = Packed(pack([1, 2]))
    raw = store.raw("b")
    assert raw.nbytes > 0
    assert store["b"] == [1, 2]
    assert store["b"] is store["b"]
    assert raw.payload is None
    assert list(store.values()) == [1, [1, 2]]
    assert dict(store.items()) == {"a": 1, "b": [1, 2]}
    assert list(store) == ["a", "b"]


def test_membership_does_not_unpickle():
    store = DataStore(b=Packed(b"no pickle"))
    assert "b" in store
    assert len(store) == 1
    with pytest.raises(UnpicklingError):
        store["b"]
    with pytest.raises(UnpicklingError):
        store.get("b")


def test_get():
    store = DataStore(a=1)
    assert (store.get("a"), store.get("b"), store.get("b", 2)) == (1, None, 2)
    with pytest.raises(KeyError):
        store["b"]
    with pytest.raises(KeyError):
        store.raw("b")
