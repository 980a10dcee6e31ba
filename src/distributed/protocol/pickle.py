"""Pickling under the public names: ``distributed.protocol.pickle.dumps`` and ``loads``."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from typing import Any

from distributed.protocol import unpickling
from distributed.protocol.payload import pickle_with

HIGHEST_PROTOCOL = pickle.HIGHEST_PROTOCOL


def dumps(
    x: Any, *, buffer_callback: Callable[[pickle.PickleBuffer], Any] | None = None, protocol: int = 5
) -> bytes:
    """Pickle ``x``: the standard pickler first, cloudpickle for what that cannot take.

    Parameters
    ----------
    x : object
        What to pickle.
    buffer_callback : callable, optional
        Called with each large buffer, which is then left out of the stream (pickle protocol 5).
    protocol : int, default 5
        Version of the pickle protocol.

    Returns
    -------
    bytes
        The pickle stream.

    Examples
    --------
    >>> loads(dumps({"a": 1}))
    {'a': 1}
    """
    return pickle_with(x, buffer_callback, protocol)


def loads(x: Any, *, buffers: Iterable[Any] = ()) -> Any:
    """The object of a pickle stream and its out-of-band buffers. Raises whatever unpickling raises."""
    if bytes(memoryview(x)[:2]) < b"\x80\x04":  # an older protocol, in which names are written otherwise
        return pickle.loads(x, buffers=buffers)
    return unpickling.loads(x, buffers)
