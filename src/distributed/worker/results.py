"""What a worker says about a result: its type's name, its size, and if it is small, the result itself."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from typing import Any

from distributed.exceptions import ImmovableDataError
from distributed.importing import require_aside
from distributed.protocol.payload import Payload, pack
from distributed.protocol.streams import LARGE_NBYTES, pack_large

#: Results whose pickle is at most this long (bytes) travel with the completion.
INLINE_NBYTES = 1024

#: Exact types whose instances hold no others: sized and pickled without looking further.
ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes})

_FIXED = {type(None): sys.getsizeof(None), bool: sys.getsizeof(True), float: sys.getsizeof(1.0)}
_typenames: dict[type, str] = {}
_getsizeof = sys.getsizeof
_dumps = pickle.dumps
_dask_sizeof: Callable[[Any], int] | None = None


def typename(cls: type) -> str:
    """Name of a type with its module; builtins without.

    Examples
    --------
    >>> typename(int)
    'int'
    >>> from collections import OrderedDict
    >>> typename(OrderedDict)
    'collections.OrderedDict'
    """
    name = _typenames.get(cls)
    if name is None:
        module = getattr(cls, "__module__", "builtins")
        name = cls.__qualname__ if module == "builtins" else f"{module}.{cls.__qualname__}"
        if len(_typenames) > 10_000:  # classes made on the fly must not pile up here
            _typenames.clear()
        _typenames[cls] = name
    return name


def sizeof(value: Any) -> int:
    """Size in bytes, an estimate for containers. Never raises: an object that cannot be sized counts as 1 MB."""
    cls = type(value)
    if cls in ATOMS:
        return _getsizeof(value)
    global _dask_sizeof
    if _dask_sizeof is None:
        _dask_sizeof = require_aside("dask.sizeof").sizeof
    try:
        return int(_dask_sizeof(value))
    except Exception:
        return 1_000_000


class _TooLarge(Exception):
    pass


class _Bounded:
    """A file for a pickler that refuses to grow beyond what may travel inline."""

    __slots__ = ("left", "parts")

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.left = INLINE_NBYTES

    def write(self, data: Any) -> int:
        size = len(data)
        self.left -= size
        if self.left < 0:
            raise _TooLarge
        self.parts.append(bytes(data))
        return size

    def buffer(self, buffer: pickle.PickleBuffer) -> bool:
        if memoryview(buffer).nbytes > self.left:
            raise _TooLarge
        return True  # into the stream


def inline(value: Any, nbytes: int) -> Payload | None:
    """The payload of a small result; None when it is large, cannot be pickled, or is defined in ``__main__``."""
    if nbytes > INLINE_NBYTES:
        return None
    if type(value) in ATOMS:
        return _dumps(value, 5)
    file = _Bounded()
    try:
        pickle.Pickler(file, 5, buffer_callback=file.buffer).dump(value)
    except BaseException:  # it stays here, and whoever asks for it is told why
        return None
    stream = b"".join(file.parts)
    return None if b"__main__" in stream else stream


def describe(value: Any, want_inline: bool) -> tuple[int, str, Payload | None]:
    """(nbytes, type name, inline payload) of a result."""
    cls = type(value)
    nbytes = _FIXED.get(cls) or sizeof(value)
    return nbytes, typename(cls), inline(value, nbytes) if want_inline else None


class _Unserializable:
    """Pickles; unpickling it raises."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __reduce__(self) -> tuple[Any, ...]:
        return _raise_unserializable, (self.text,)


def _raise_unserializable(text: str) -> None:
    raise ImmovableDataError(text)


def pack_result(key: Any, value: Any, address: str, nbytes: int = 0) -> tuple[Payload, str]:
    """The payload of a result for a peer or a client, and why it cannot be pickled, or nothing.

    Of one with as many ``nbytes`` as matter, what is large is not copied.

    The payload of a value which cannot be pickled raises an ImmovableDataError, which is a TypeError, naming key, type
    and worker in whoever unpickles it: the client's ``gather``. Nobody else notices.
    """
    try:
        return pack(value) if nbytes < LARGE_NBYTES else pack_large(value), ""
    except BaseException as error:  # whatever: it ends neither the worker nor the call
        reason = f"{typename(type(value))}: {type(error).__name__}: {error}"
        text = f"Could not serialize result {key!r} of type {reason}. It cannot leave {address}"
        return pack(_Unserializable(text)), reason
