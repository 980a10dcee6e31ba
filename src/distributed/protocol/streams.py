"""Payloads of large objects, made without a copy of what is large in them.

A pickler that writes into a file hands it large bytes as they are: the very object. So the stream is kept as the list
of what was written, and sent piece by piece. On the wire, and for whoever receives it, it is one stream.

Without this a result of 130 MB takes 260 MB while it is sent, and its worker is over a limit that it respected.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import cloudpickle

from distributed.protocol.bytecode import has_code, stamp
from distributed.protocol.payload import OUT_OF_BAND_NBYTES, Buffer, Payload, Serialized, flat

#: An object of at least this size (bytes) is worth it.
LARGE_NBYTES = 1 << 20


class Streamed(Serialized):
    """A payload whose pickle stream lies in pieces.

    Parameters
    ----------
    pieces : list of bytes-like
        The stream. The large ones may be parts of the object itself.
    buffers : list of bytes-like
        The out-of-band buffers.
    """

    __slots__ = ("buffers", "pieces")

    def __init__(self, pieces: list[Buffer], buffers: list[Buffer]) -> None:
        self.pieces = pieces
        self.buffers = buffers

    @property
    def frames(self) -> list[Buffer]:  # type: ignore[override]
        """As of any payload: a copy of the stream first."""
        return [b"".join(self.pieces), *self.buffers]

    @property
    def nbytes(self) -> int:
        return sum(memoryview(part).nbytes for part in (*self.pieces, *self.buffers))


class _Pieces:
    """A file for a pickler: keeps what is written."""

    def __init__(self) -> None:
        self.written: list[Buffer] = []

    def write(self, data: Buffer) -> int:
        self.written.append(data)
        return len(data)


def pack_large(obj: Any) -> Payload:
    """As :func:`~distributed.protocol.payload.pack`, for objects that may be large."""
    by_value = bool(cloudpickle.list_registry_pickle_by_value())
    if not by_value:
        try:
            pieces, buffers = _dump(pickle.Pickler, obj)
            by_value = any(b"__main__" in piece for piece in pieces)
        except Exception:  # whatever it is, cloudpickle can do it or says it better
            by_value = True
    if by_value:
        pieces, buffers = _dump(cloudpickle.Pickler, obj)
        if any(map(has_code, pieces)):
            pieces[0] = stamp(bytes(pieces[0]))
    if not buffers and sum(map(len, pieces)) < OUT_OF_BAND_NBYTES:
        return b"".join(pieces)
    return Streamed(pieces, [flat(buffer) for buffer in buffers])


def _dump(pickler: Callable[..., Any], obj: Any) -> tuple[list[Buffer], list[pickle.PickleBuffer]]:
    file, buffers = _Pieces(), list[pickle.PickleBuffer]()
    pickler(file, 5, buffer_callback=buffers.append).dump(obj)
    return file.written, buffers


__all__ = ["LARGE_NBYTES", "Streamed", "pack_large"]
