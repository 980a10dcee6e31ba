"""Frames, without I/O: bytes as they come from a socket in, whole frames out.

Layout, all integers little-endian::

    body nbytes       u32
    number of buffers u32
    buffer nbytes     u64 each
    body
    buffers

The reader follows ``asyncio.BufferedProtocol``: it is asked where to put bytes
(:meth:`FrameReader.get_buffer`), then told how many came (:meth:`FrameReader.buffer_updated`). Small frames
are read many at a time into one reused buffer; a large body or buffer is received in the memory it stays in.
Sizes are checked before memory is taken for them, and large memory is mapped, not cleared: a peer that claims
gigabytes costs only as much as it sends.
"""

from __future__ import annotations

import contextlib
import mmap
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from distributed.exceptions import ProtocolError
from distributed.protocol.payload import Buffer

MIB = 1 << 20
GIB = 1 << 30

_HEADER = struct.Struct("<II")

#: What is larger gets memory of its own to be received in, what is smaller is cut from the read buffer.
DIRECT_NBYTES = 64 * 1024
READ_BUFFER_NBYTES = 16 * 1024
MAX_READ_BUFFER_NBYTES = 256 * 1024
_MAPPED_NBYTES = 4 * MIB  # smaller memory comes faster from where freed memory is kept


@dataclass(frozen=True, slots=True)
class Limits:
    """What a frame may measure; a larger one is refused by whoever would send or receive it."""

    body_nbytes: int = 512 * MIB
    buffers: int = 100_000
    buffer_nbytes: int = 64 * GIB
    frame_nbytes: int = 128 * GIB

    def check(self, body_nbytes: int, sizes: Sequence[int]) -> None:
        """Raises ProtocolError when a frame of these sizes is not allowed."""
        self.check_header(body_nbytes, len(sizes))
        if sizes:
            if max(sizes) > self.buffer_nbytes:
                raise ProtocolError(
                    f"a buffer of {max(sizes)} bytes is over the limit of {self.buffer_nbytes}"
                )
            if body_nbytes + sum(sizes) > self.frame_nbytes:
                total = body_nbytes + sum(sizes)
                raise ProtocolError(f"a frame of {total} bytes is over the limit of {self.frame_nbytes}")

    def check_header(self, body_nbytes: int, n_buffers: int) -> None:
        """Raises ProtocolError when a frame with this header is not allowed."""
        if not body_nbytes:
            raise ProtocolError("a frame has no body")
        if body_nbytes > self.body_nbytes:
            raise ProtocolError(
                f"a frame's body of {body_nbytes} bytes is over the limit of {self.body_nbytes}"
            )
        if n_buffers > self.buffers:
            raise ProtocolError(f"a frame of {n_buffers} buffers is over the limit of {self.buffers}")


class Frame(NamedTuple):
    """One frame. ``body`` may lie in the reader's buffer: it is good until the next :meth:`FrameReader.get_buffer`."""

    body: Buffer
    buffers: Sequence[Buffer]


def frame_header(body_nbytes: int, sizes: Sequence[int], limits: Limits) -> bytes:
    """What stands before the body: header and table of buffer sizes. Raises ProtocolError over the limits."""
    limits.check(body_nbytes, sizes)
    return _HEADER.pack(body_nbytes, len(sizes)) + struct.pack(f"<{len(sizes)}Q", *sizes)


def allocate(nbytes: int) -> Buffer:
    """Writable memory; large memory is only really taken where it is written."""
    if nbytes < _MAPPED_NBYTES:
        return bytearray(nbytes)
    try:
        if sys.platform == "win32":
            return memoryview(mmap.mmap(-1, nbytes))
        memory = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            with contextlib.suppress(OSError):  # a kernel without huge pages
                memory.madvise(mmap.MADV_HUGEPAGE)
        return memoryview(memory)
    except (OSError, ValueError, OverflowError) as exc:
        raise ProtocolError(f"no memory for a buffer of {nbytes} bytes: {exc}") from None


class FrameReader:
    """Cuts a stream of bytes into frames.

    Examples
    --------
    >>> reader = FrameReader()
    >>> data = frame_header(2, [3], Limits()) + b"hi" + b"abc"
    >>> for i in range(len(data)):
    ...     reader.get_buffer(-1)[:1] = data[i : i + 1]
    ...     frames = reader.buffer_updated(1)
    >>> bytes(frames[0].body), bytes(frames[0].buffers[0])
    (b'hi', b'abc')
    """

    __slots__ = (
        "_body",
        "_body_nbytes",
        "_buffers",
        "_direct",
        "_direct_filled",
        "_end",
        "_limits",
        "_n_buffers",
        "_read",
        "_sizes",
        "_start",
    )

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._read = memoryview(bytearray(READ_BUFFER_NBYTES))
        self._start = self._end = 0  # what of the read buffer holds bytes not yet consumed
        self._direct: memoryview | None = None  # memory being filled instead of the read buffer
        self._direct_filled = 0
        self._reset()

    def _reset(self) -> None:
        self._body_nbytes = 0
        self._n_buffers = 0
        self._sizes: Sequence[int] | None = None
        self._body: Buffer | None = None
        self._buffers: list[Buffer] = []

    @property
    def mid_frame(self) -> bool:
        """Whether part of a frame has come that is not whole yet."""
        return self._direct is not None or self._body_nbytes > 0 or self._end > self._start

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go; never empty. Bodies handed out before are overwritten from now on."""
        if self._direct is not None:
            return self._direct[self._direct_filled :]
        start, end, read = self._start, self._end, self._read
        if start == end:
            self._start = self._end = end = 0
        elif start and len(read) - end < DIRECT_NBYTES:
            read[: end - start] = read[start:end]
            self._start, self._end = 0, end - start
            end -= start
        if end == len(read) or (2 * end > len(read) and len(read) < MAX_READ_BUFFER_NBYTES):
            self._grow()
        return self._read[self._end :]

    def _grow(self) -> None:
        larger = memoryview(
            bytearray(min(MAX_READ_BUFFER_NBYTES, max(4 * len(self._read), 2 * DIRECT_NBYTES)))
        )
        larger[: self._end] = self._read[: self._end]
        self._read = larger

    def buffer_updated(self, nbytes: int) -> list[Frame]:
        """``nbytes`` more have come; returns the frames that are now whole.

        Raises
        ------
        ProtocolError
            When a size in the stream is over the limits. The reader is of no use after that.
        """
        frames: list[Frame] = []
        direct = self._direct
        if direct is not None:
            self._direct_filled += nbytes
            if self._direct_filled < len(direct):
                return frames
            self._direct = None
            self._landed(direct)
        else:
            self._end += nbytes
            if self._end == len(self._read) and len(self._read) < MAX_READ_BUFFER_NBYTES and not self._start:
                # The read filled all there was: more is waiting, take more at a time from now on. The old memory
                # stays alive as long as the frames cut from it here.
                self._grow()
        while self._direct is None and self._advance(frames):
            pass
        if self._body is not None and type(self._body) is memoryview and self._body.obj is self._read.obj:
            self._body = bytes(
                self._body
            )  # its frame is not whole yet, and the read buffer will be overwritten
        return frames

    def _advance(self, frames: list[Frame]) -> bool:
        """Consume the next item of the stream, if it is there. False when more bytes are needed."""
        if not self._body_nbytes:
            start = self._start
            if self._end - start < _HEADER.size:
                return False
            body_nbytes, n_buffers = _HEADER.unpack_from(self._read, start)
            self._limits.check_header(body_nbytes, n_buffers)
            start += _HEADER.size
            if not n_buffers and self._end - start >= body_nbytes:  # the common frame, at one go
                self._start = start + body_nbytes
                frames.append(Frame(self._read[start : self._start], ()))
                return True
            self._start = start
            self._body_nbytes, self._n_buffers = body_nbytes, n_buffers
            if not n_buffers:
                self._sizes = ()
            return True
        if self._sizes is None:
            table = self._take(8 * self._n_buffers)
            if table is not None:
                self._set_sizes(table)
            return table is not None
        if self._body is None:
            self._body = self._take(self._body_nbytes)
            if self._body is None:
                return False
        elif len(self._buffers) < len(self._sizes):
            size = self._sizes[len(self._buffers)]
            part = self._take(size)
            if part is None:
                return False
            self._buffers.append(bytearray(part))
        if len(self._buffers) == len(self._sizes):
            frames.append(Frame(self._body, self._buffers))
            self._reset()
        return True

    def _take(self, nbytes: int) -> memoryview | None:
        """The next ``nbytes`` of the read buffer; None when they have not come, or will come directly."""
        start = self._start
        there = self._end - start
        if there >= nbytes:
            self._start = start + nbytes
            return self._read[start : self._start]
        if nbytes > DIRECT_NBYTES:
            target = memoryview(allocate(nbytes))
            target[:there] = self._read[start : self._end]
            self._start = self._end = 0
            self._direct, self._direct_filled = target, there
        return None

    def _landed(self, memory: memoryview) -> None:
        """A directly received item is whole."""
        if self._sizes is None:
            self._set_sizes(memory)
        elif self._body is None:
            self._body = memory
        else:
            self._buffers.append(memory)

    def _set_sizes(self, table: memoryview) -> None:
        sizes = struct.unpack(f"<{self._n_buffers}Q", table)
        self._limits.check(self._body_nbytes, sizes)
        self._sizes = sizes
