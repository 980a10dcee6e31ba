"""Unpickling. What a pickle refers to by name is imported by one thread at a time (:mod:`distributed.importing`).

Only a pickle in which the opcode for a name stands can make anything be imported, so most arguments and results cost
one search for a byte. What else runs while an object is put together, such as a ``__setstate__`` of the user's that
waits for another task, holds nobody up.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterable
from io import BytesIO
from typing import Any

from distributed.importing import require, whole

#: The opcode that looks something up by its name, in the protocols from 4 on.
STACK_GLOBAL = b"\x93"

#: Pickles from this size (bytes) on are read piece by piece, not copied.
LARGE = 1 << 20

_modules = sys.modules
_loads = pickle.loads


class _Unpickler(pickle.Unpickler):
    """The C one, but for how it looks up names."""

    __slots__ = ()

    def find_class(self, module: str, name: str) -> Any:
        special = _SPECIAL.get(name)
        if special is not None and special[0] == module:
            return special[1]
        if module not in whole or module not in _modules:
            require(module)
        try:
            return getattr(_modules[module], name)
        except (
            AttributeError,
            KeyError,
        ):  # a dotted name, or an error that the C function says in the usual words
            return super().find_class(module, name)


def loads(stream: Any, buffers: Iterable[Any] = ()) -> Any:
    """The object of a pickle stream (bytes-like, protocol 4 or later) and its out-of-band buffers.

    Raises whatever unpickling raises.
    """
    if type(stream) is bytes and not buffers:  # most; the keyword alone would cost as much again
        return _Unpickler(BytesIO(stream)).load() if STACK_GLOBAL in stream else _loads(stream)
    view = memoryview(stream)
    file: Any = BytesIO(view) if view.nbytes < LARGE else _Pieces(view.cast("B"))
    return _Unpickler(file, buffers=buffers).load()


class _Pieces:
    """A file of a buffer; what is read is copied once, into the object."""

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        start = self._at
        self._at = len(self._view) if size < 0 else min(start + size, len(self._view))
        return bytes(self._view[start : self._at])

    def readinto(self, target: Any) -> int:
        start = self._at
        self._at = min(start + memoryview(target).nbytes, len(self._view))
        target[: self._at - start] = self._view[start : self._at]
        return self._at - start

    def readline(self) -> bytes:
        """Asked for by old protocols only, but has to be there."""
        raise pickle.UnpicklingError("pickles of a protocol before 4 do not travel")


#: What imports in its turn when an unpickler calls it: by name, with its module, and what is called instead.
_SPECIAL = {"subimport": ("cloudpickle.cloudpickle", require)}
