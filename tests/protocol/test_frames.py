"""Frames are cut right however the bytes arrive; limits hold before memory is taken."""

from __future__ import annotations

import resource
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distributed.exceptions import ProtocolError
from distributed.protocol import frames
from distributed.protocol.frames import FrameReader, Limits, frame_header


def wire(body: bytes, buffers: list[bytes]) -> bytes:
    return frame_header(len(body), [len(b) for b in buffers], Limits()) + body + b"".join(buffers)


def feed(reader: FrameReader, data: bytes, sizes: list[int]) -> list[tuple[bytes, list[bytes]]]:
    """Give ``data`` in portions of the given sizes, in turn; collect frames as plain bytes."""
    got: list[tuple[bytes, list[bytes]]] = []
    turn = 0
    while data:
        space = reader.get_buffer(-1)
        assert len(space) > 0
        n = min(len(space), len(data), sizes[turn % len(sizes)])
        turn += 1
        space[:n] = data[:n]
        data = data[n:]
        for frame in reader.buffer_updated(n):
            got.append((bytes(frame.body), [bytes(b) for b in frame.buffers]))
    return got


small = st.binary(min_size=1, max_size=50)
big = st.builds(
    lambda n, b: bytes([b]) * n, st.sampled_from([1000, 16_384, 65_536, 65_537, 300_000]), st.integers(0, 255)
)


@settings(deadline=None)
@given(
    st.lists(st.tuples(small | big, st.lists(st.binary(max_size=20) | big, max_size=4)), max_size=8),
    st.lists(st.integers(1, 500) | st.sampled_from([4096, 65_536, 10**6]), min_size=1, max_size=5),
)
def test_any_frames_in_any_portions(sent: list[tuple[bytes, list[bytes]]], sizes: list[int]) -> None:
    if max(sizes) < 64:
        sizes = [*sizes, 5000]
    reader = FrameReader()
    assert feed(reader, b"".join(wire(*frame) for frame in sent), sizes) == sent
    assert not reader.mid_frame


def test_many_small_frames_of_one_read_come_together() -> None:
    reader = FrameReader()
    data = wire(b"hello", []) * 1000
    space = reader.get_buffer(-1)
    assert len(space) > len(data)
    space[: len(data)] = data
    assert len(reader.buffer_updated(len(data))) == 1000


def test_big_buffers_are_writable_and_not_shared_with_the_read_buffer() -> None:
    reader = FrameReader()
    data = wire(b"x", [bytes(100), bytes(100_000), bytes(5_000_000)])
    got = []
    view = memoryview(data)
    while len(view):
        space = reader.get_buffer(-1)
        n = min(len(space), len(view))
        space[:n] = view[:n]
        view = view[n:]
        got += reader.buffer_updated(n)
    [frame] = got
    arrays = [np.frombuffer(b, "u1") for b in frame.buffers]
    for i, array in enumerate(arrays):
        assert array.flags.writeable
        array[:] = i + 1
    reader.get_buffer(-1)[:10] = b"\xff" * 10
    assert [set(array) for array in arrays] == [{1}, {2}, {3}]


@pytest.mark.parametrize(
    ("header", "what"),
    [
        (struct.pack("<II", 0, 0), "no body"),
        (struct.pack("<II", 2**32 - 1, 0), "body of 4294967295 bytes is over the limit"),
        (struct.pack("<II", 1, 2**32 - 1), "4294967295 buffers is over the limit"),
        (struct.pack("<IIQ", 1, 1, 10**12), "buffer of 1000000000000 bytes is over the limit"),
        (struct.pack("<IIQ", 1, 1, 2**64 - 1), "over the limit"),
        (struct.pack("<II3Q", 1, 3, *[60 << 30] * 3), "a frame of .* over the limit"),
    ],
)
def test_sizes_over_the_limits_are_refused(header: bytes, what: str) -> None:
    with pytest.raises(ProtocolError, match=what):
        feed(FrameReader(), header, [len(header)])


def test_a_claimed_size_costs_no_memory() -> None:
    tracemalloc.start()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reader = FrameReader()
    header = struct.pack("<IIQ", 500 << 20, 1, 60 << 30)
    feed(reader, header + bytes(100_000), [10_000])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 << 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # kB
    assert reader.mid_frame


@given(st.binary(max_size=300), st.lists(st.integers(1, 40), min_size=1, max_size=4))
def test_any_bytes_are_frames_or_a_protocol_error(data: bytes, sizes: list[int]) -> None:
    try:
        got = feed(FrameReader(), data, sizes)
    except ProtocolError:
        return
    assert sum(len(body) + sum(map(len, buffers)) for body, buffers in got) <= len(data)


def test_no_memory_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*args: object, **kwargs: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(frames.mmap, "mmap", no_memory)
    with pytest.raises(ProtocolError, match="no memory for a buffer of 10000000 bytes"):
        frames.allocate(10_000_000)
