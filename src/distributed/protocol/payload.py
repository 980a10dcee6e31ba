"""Payloads: what users' objects look like while they travel.

A payload is either plain ``bytes`` (a small pickle) or a :class:`Serialized` (a pickle whose large parts lie
in buffers of their own).  The scheduler passes both along without looking inside; only the process that wants
the object calls :func:`unpack`.  In messages a :class:`Serialized` stands as a reference to the frame's
out-of-band buffers, so its bytes are never copied into the message body.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, TypeAlias

import cloudpickle

from distributed.protocol.bytecode import stamped
from distributed.protocol.unpickling import loads

Buffer: TypeAlias = bytes | bytearray | memoryview

#: A pickle of at least this many bytes travels out of band, so that message bodies stay small.
OUT_OF_BAND_NBYTES = 64 * 1024


class Serialized:
    """An object as a pickle and its out-of-band buffers.

    Parameters
    ----------
    frames : list of bytes-like
        The pickle stream first, then the buffers of pickle protocol 5 in their order.
    """

    __slots__ = ("frames",)

    def __init__(self, frames: list[Buffer]) -> None:
        self.frames = frames

    @property
    def nbytes(self) -> int:
        """Size of all frames in bytes."""
        return sum(memoryview(frame).nbytes for frame in self.frames)

    def __repr__(self) -> str:
        return f"<Serialized: {len(self.frames)} frames, {self.nbytes} bytes>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Serialized):
            return NotImplemented
        if len(self.frames) != len(other.frames) or self.nbytes != other.nbytes:
            return False
        return all(bytes(a) == bytes(b) for a, b in zip(self.frames, other.frames, strict=True) if a is not b)

    __hash__ = None  # type: ignore[assignment]


Payload: TypeAlias = bytes | Serialized


class Pickled:
    """A payload in the hands of a party that does not unpickle; pickled itself, it comes out as what is in it."""

    __slots__ = ("payload",)

    def __init__(self, payload: Payload) -> None:
        self.payload = payload

    def __reduce__(self) -> tuple[Any, ...]:
        if isinstance(self.payload, Serialized):
            return unpack_frames, tuple(self.payload.frames)
        return unpack, (self.payload,)

    def __repr__(self) -> str:
        return f"<Pickled: {nbytes(self.payload)} bytes>"


def unpack_frames(*frames: Buffer) -> Any:
    """The object of a :class:`Serialized` with these frames."""
    return unpack(Serialized(list(frames)))


def pack(obj: Any) -> Payload:
    """Pickle any object: the standard pickler first, cloudpickle where that cannot.

    Raises
    ------
    Exception
        Whatever cloudpickle raises for an object that cannot be pickled.
    """
    buffers: list[pickle.PickleBuffer] = []
    stream = pickle_with(obj, buffers.append)
    if not buffers and len(stream) < OUT_OF_BAND_NBYTES:
        return stream
    return Serialized([stream, *(flat(buffer) for buffer in buffers)])


def pickle_with(
    obj: Any, buffer_callback: Callable[[pickle.PickleBuffer], Any] | None, protocol: int = 5
) -> bytes:
    """Pickle stream of ``obj``; large buffers go to ``buffer_callback``.

    What is defined in ``__main__``, inside a function or in a module given to
    ``cloudpickle.register_pickle_by_value`` travels by value, as cloudpickle does it.
    """
    taken: list[pickle.PickleBuffer] = []
    callback = None if buffer_callback is None else taken.append
    by_value = bool(cloudpickle.list_registry_pickle_by_value())
    if not by_value:
        try:
            stream = pickle.dumps(obj, protocol, buffer_callback=callback)
            by_value = b"__main__" in stream
        except Exception:  # whatever it is, cloudpickle can do it or says it better
            by_value = True
    if by_value:
        taken.clear()
        stream = cloudpickle.dumps(obj, protocol, buffer_callback=callback)
        if protocol >= 2:
            stream = stamped(stream)
    if buffer_callback is not None:
        for buffer in taken:
            buffer_callback(buffer)
    return stream


def unpack(payload: Payload) -> Any:
    """The object inside a payload. Raises whatever unpickling it raises."""
    if isinstance(payload, Serialized):
        return loads(payload.frames[0], payload.frames[1:])
    return loads(payload)


def nbytes(payload: Payload) -> int:
    """Size of a payload in bytes."""
    return payload.nbytes if isinstance(payload, Serialized) else len(payload)


def flat(buffer: pickle.PickleBuffer) -> memoryview:
    """What is in a buffer, as bytes."""
    try:
        return buffer.raw()
    except BufferError:  # not contiguous: a copy is
        return memoryview(memoryview(buffer).tobytes())
