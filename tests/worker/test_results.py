"""What a worker says about results."""

from __future__ import annotations

import collections
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from distributed.exceptions import ImmovableDataError
from distributed.protocol.payload import pack, unpack
from distributed.worker.results import INLINE_NBYTES, describe, pack_result, sizeof, typename


@pytest.mark.parametrize(
    "value", [None, True, 1, 1.5, "x", b"x", (1, "a"), [1], {"a": 1}, {1}, np.ones(3), np.float64(2)]
)
def test_small_results_travel_inline(value: Any):
    nbytes, _, payload = describe(value, True)
    assert 0 < nbytes <= INLINE_NBYTES
    assert payload is not None
    assert len(payload) <= INLINE_NBYTES
    assert pickle.dumps(unpack(payload)) == pickle.dumps(value)


class Hider:
    """Looks small."""

    def __init__(self, content: Any) -> None:
        self.content = content


@pytest.mark.parametrize(
    "value",
    [
        "x" * 2000,
        10**5000,
        b"x" * 2000,
        np.ones(1000),
        list(range(1000)),
        Hider("x" * 100_000),
        Hider(np.ones(100_000)),
        Hider(list(range(100_000))),
        (i for i in ()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_others_do_not(value: Any):
    assert describe(value, True)[2] is None


def test_only_if_asked_for():
    assert describe(1, False) == (sys.getsizeof(1), "int", None)


class Unsizable:
    def __sizeof__(self) -> int:
        raise RuntimeError("no")


def test_sizeof():
    assert sizeof("abc") == sys.getsizeof("abc")
    assert sizeof(np.ones(1000)) >= 8000
    assert sizeof(Unsizable()) == 1_000_000


def test_typename():
    assert typename(int) == "int"
    assert typename(np.ndarray) == "numpy.ndarray"
    assert typename(collections.OrderedDict) == "collections.OrderedDict"
    assert typename(type("Local", (), {"__module__": "m"})) == "m.Local"


def test_a_result_that_cannot_be_pickled_says_so_where_it_is_unpickled():
    payload, reason = pack_result("k", (i for i in ()), "tcp://a:1")
    assert reason.startswith("generator: TypeError: cannot pickle")
    with pytest.raises(
        ImmovableDataError,
        match=r"Could not serialize result 'k' of type generator: .*cannot leave tcp://a:1",
    ):
        unpack(payload)
    assert pack_result("k", 1, "tcp://a:1") == (pack(1), "")


def test_what_is_imported_to_size_the_first_result_does_not_keep_it() -> None:
    program = """
import gc, weakref
import numpy
from distributed.worker.results import describe

def described():
    value = numpy.ones(1000)
    describe(value, False)
    return weakref.ref(value)

there = described()
gc.collect()
assert there() is None
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
