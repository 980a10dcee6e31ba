"""Messages to the bytes of a frame and back.

A frame's body is one MessagePack array of messages. Two extension types are used inside:

* 1: a :class:`~distributed.protocol.payload.Serialized`, as (index of its first buffer in the frame, number
  of buffers);
* 2: a tuple inside the free-form fields of calls and events, so that it comes back as a tuple and not as a
  list.

Keys need no such mark: their type tells ``msgspec`` that an array in a key column is a tuple.
"""

from __future__ import annotations

import copy
import struct
import threading
from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec

from distributed.exceptions import ProtocolError
from distributed.protocol import bytes_keys
from distributed.protocol import messages as m
from distributed.protocol.frames import Limits, frame_header
from distributed.protocol.payload import Buffer, Serialized
from distributed.protocol.streams import Streamed

#: Any of the messages of ``protocol.messages``.
Message: TypeAlias = m.Message

EXT_SERIALIZED = 1
EXT_TUPLE = 2

_SPAN = struct.Struct(">II")
_NO_BUFFERS: list[Buffer | Streamed] = []


class Encoder:
    """Turns messages into frames. Not to be shared between threads."""

    __slots__ = ("_buffers", "_encoder", "_limits")

    def __init__(self, limits: Limits | None = None) -> None:
        self._encoder = msgspec.msgpack.Encoder(enc_hook=self._enc_hook)
        self._buffers: list[Buffer | Streamed] = []
        self._limits = limits or Limits()

    def encode(self, messages: Sequence[Message]) -> list[Buffer]:
        """The frame of these messages: header and body first, then the out-of-band buffers, none of them
        copied.

        Raises
        ------
        TypeError
            When something in a message can be neither MessagePack nor a payload.
        ProtocolError
            When the frame would be larger than the peer accepts.
        """
        buffers = self._buffers = []
        body = bytearray(_HEADER_NBYTES)
        try:
            for i, message in enumerate(messages):
                marked = self._marked(message)
                if marked is not message:
                    messages = [*messages[:i], marked, *map(self._marked, messages[i + 1 :])]
                    break
            self._encoder.encode_into(messages, body, _HEADER_NBYTES)
        except RecursionError:
            raise TypeError("a message is nested too deeply, or contains itself") from None
        finally:
            self._buffers = _NO_BUFFERS
        sizes, parts = _whole(buffers) if buffers else ((), ())
        header = frame_header(len(body) - _HEADER_NBYTES, sizes, self._limits)
        body[:_HEADER_NBYTES] = header[:_HEADER_NBYTES]
        if not sizes:
            return [body]
        return [header, memoryview(body)[_HEADER_NBYTES:], *parts]

    def _marked(self, message: Message) -> Message:
        field = _FREE_FORM.get(type(message))
        if field is not None:
            value = getattr(message, field)
            marked = self._mark(value)
            if marked is not value:
                message = copy.copy(message)
                setattr(message, field, marked)
        return message

    def _mark(self, obj: Any) -> Any:
        """``obj`` with the extension in place of every tuple; the very same object where there is none."""
        cls = type(obj)
        if cls is dict:
            if not _SCALARS.issuperset(map(type, obj.values())):
                values = [self._mark(value) for value in obj.values()]
                if any(new is not old for new, old in zip(values, obj.values(), strict=True)):
                    return dict(zip(obj, values, strict=True))
        elif cls is list or cls is tuple:
            if not _SCALARS.issuperset(map(type, obj)):
                parts = [self._mark(part) for part in obj]
                if any(new is not old for new, old in zip(parts, obj, strict=True)):
                    obj = parts
            if cls is tuple:
                return msgspec.msgpack.Ext(EXT_TUPLE, self._encoder.encode(obj))
        elif isinstance(obj, tuple):  # a named tuple
            return self._mark(tuple(obj))
        return obj

    def _enc_hook(self, obj: Any) -> Any:
        if type(obj) is Serialized:
            first = len(self._buffers)
            self._buffers.extend(obj.frames)
            return msgspec.msgpack.Ext(EXT_SERIALIZED, _SPAN.pack(first, len(obj.frames)))
        if type(obj) is Streamed:
            first = len(self._buffers)
            self._buffers += obj, *obj.buffers
            return msgspec.msgpack.Ext(EXT_SERIALIZED, _SPAN.pack(first, 1 + len(obj.buffers)))
        # Numbers and strings of numpy's own types stand in keys of dask collections.
        for plain in (str, float):
            if isinstance(obj, plain):
                return plain(obj)
        if hasattr(obj, "__index__"):
            return obj.__index__()
        raise TypeError(
            f"an object of type {type(obj).__module__}.{type(obj).__qualname__} cannot stand in a message; "
            "wrap it with distributed.protocol.payload.pack"
        )


def _whole(buffers: Sequence[Buffer | Streamed]) -> tuple[list[int], list[Buffer]]:
    """Sizes of the buffers of a frame, and their parts; a :class:`Streamed` stands for its stream."""
    sizes: list[int] = []
    parts: list[Buffer] = []
    for buffer in buffers:
        if type(buffer) is Streamed:
            sizes.append(sum(map(len, buffer.pieces)))
            parts += buffer.pieces
        else:
            sizes.append(memoryview(buffer).nbytes)  # type: ignore[arg-type]
            parts.append(buffer)  # type: ignore[arg-type]
    return sizes, parts


class Decoder:
    """Turns bodies of frames into messages. Not to be shared between threads."""

    __slots__ = ("_anything", "_buffers", "_decoder")

    def __init__(self) -> None:
        self._buffers: Sequence[Buffer] = ()
        self._decoder = msgspec.msgpack.Decoder(list[m.AnyMessage], ext_hook=self._ext_hook)
        self._anything = msgspec.msgpack.Decoder(list[Any], ext_hook=self._ext_hook)

    def decode(self, body: Buffer, buffers: Sequence[Buffer] = ()) -> list[Message]:
        """The messages of a frame. Nothing in them refers to ``body``; payloads refer to ``buffers``.

        Raises
        ------
        ProtocolError
            When the body is not a list of messages of this protocol.
        """
        self._buffers = buffers
        try:
            try:
                return self._decoder.decode(body)  # type: ignore[return-value]
            except msgspec.ValidationError as exc:
                if "got `bytes`" not in str(exc):
                    raise
                return bytes_keys.decode(body, self._ext_hook)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
            raise ProtocolError(f"a frame does not hold messages of this protocol: {exc}") from None
        finally:
            self._buffers = ()

    def _ext_hook(self, code: int, data: memoryview) -> Any:
        if code == EXT_SERIALIZED and len(data) == _SPAN.size:
            first, count = _SPAN.unpack(data)
            frames = self._buffers[first : first + count]
            if count and len(frames) == count:
                return Serialized(list(frames))
            raise ProtocolError(f"a payload names buffers {first} to {first + count} of {len(self._buffers)}")
        if code == EXT_TUPLE:
            return tuple(self._anything.decode(data))
        raise ProtocolError(f"unknown MessagePack extension {code} of {len(data)} bytes")


class _Local(threading.local):
    def __init__(self) -> None:
        self.encoder = Encoder()
        self.decoder = Decoder()


_local = _Local()


def encode(messages: Sequence[Message]) -> list[Buffer]:
    """:meth:`Encoder.encode` with an encoder of this thread."""
    return _local.encoder.encode(messages)


def decode(body: Buffer, buffers: Sequence[Buffer] = ()) -> list[Message]:
    """:meth:`Decoder.decode` with a decoder of this thread."""
    return _local.decoder.decode(body, buffers)


#: Messages that may be said in two parts, and their parallel columns.
_COLUMNS: dict[type[Message], tuple[str, ...]] = {
    m.PutFunctions: ("ids", "blobs"),
    m.SubmitTasks: ("keys", "args", "deps"),
    m.SubmitGraph: ("which", "keys", "args", "deps", "ndependents", "wanted"),
    m.RunTasks: ("keys", "args", "seqs", "deps", "works"),
    m.TasksFinished: ("keys", "seqs", "nbytes", "durations", "types", "values"),
    m.TasksErred: ("keys", "seqs", "errors"),
    m.TasksInMemory: ("keys", "values", "types", "workers", "works"),
    m.TasksErredForClient: ("keys", "errors", "works"),
}


def halves(message: Message) -> tuple[Message, Message] | None:
    """Two messages that together say the same; None where that is not possible."""
    columns = _COLUMNS.get(type(message), ())
    n = len(getattr(message, columns[0])) if columns else 0
    if n < 2:
        return None
    one, two = copy.copy(message), copy.copy(message)
    for name in columns:
        column = getattr(message, name)
        if column is not None:
            setattr(one, name, column[: n // 2])
            setattr(two, name, column[n // 2 :])
    if isinstance(one, m.SubmitGraph):
        one.last = False
    return one, two


_HEADER_NBYTES = 8

#: Messages with a field that holds what it likes, and its name.
_FREE_FORM: dict[type[Message], str] = {
    m.Request: "kwargs",
    m.Reply: "result",
    m.ClientEvent: "data",
    m.WorkerEvent: "data",
    m.WorkerHeartbeat: "metrics",
}
_SCALARS = frozenset({str, int, float, bytes, bool, type(None), Serialized, Streamed, bytearray, memoryview})
