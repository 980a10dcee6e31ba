"""References to results of other tasks inside the pickled arguments of a task.

The client replaces each Future in a task's arguments by ``Ref(key)`` (:func:`replace`) and pickles.
Unpickling a ``Ref`` on the worker *is* the look-up: inside :class:`resolving` it returns the value of its
key, so nothing is walked there. To know which arguments hold a Future at all, the client pickles inside
:class:`collecting`: a Future being pickled reports itself with :func:`note`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from distributed.protocol.messages import Key


class _Local(threading.local):
    mapping: Mapping[Key, Any] | None = None
    noted: list[Any] | None = None


_local = _Local()


class Ref:
    """Stands for the result of the task ``key``."""

    __slots__ = ("key",)

    def __init__(self, key: Key) -> None:
        self.key = key

    def __reduce__(self) -> tuple[Any, ...]:
        return _resolve, (self.key,)

    def __repr__(self) -> str:
        return f"Ref({self.key!r})"

    def __eq__(self, other: object) -> bool:
        return self.key == other.key if isinstance(other, Ref) else NotImplemented

    def __hash__(self) -> int:
        return hash((Ref, self.key))


def _resolve(key: Key) -> Any:
    mapping = _local.mapping
    return Ref(key) if mapping is None else mapping[key]


class resolving:
    """While inside, unpickling ``Ref(key)`` in this thread gives ``mapping[key]`` (KeyError when it is not
    there).

    Examples
    --------
    >>> from distributed.protocol.payload import pack, unpack
    >>> payload = pack(([Ref("x"), 2], {}))
    >>> with resolving({"x": 1}):
    ...     unpack(payload)
    ([1, 2], {})
    """

    __slots__ = ("_before", "_mapping")

    def __init__(self, mapping: Mapping[Key, Any]) -> None:
        self._mapping = mapping

    def __enter__(self) -> None:
        self._before = _local.mapping
        _local.mapping = self._mapping

    def __exit__(self, *exc_info: object) -> None:
        _local.mapping = self._before


class collecting:
    """While inside, objects given to :func:`note` in this thread are gathered in the list that ``with`` gives."""

    __slots__ = ("_before",)

    def __enter__(self) -> list[Any]:
        self._before = _local.noted
        noted: list[Any] = []
        _local.noted = noted
        return noted

    def __exit__(self, *exc_info: object) -> None:
        _local.noted = self._before


def note(obj: Any) -> None:
    """A future is being pickled, or unpickled, in this thread."""
    if _local.noted is not None:
        _local.noted.append(obj)


def replace(obj: Any, key_of: Callable[[Any], Key | None], found: dict[Key, None]) -> Any:
    """``obj`` with references in place of futures inside lists, tuples, sets and dicts, however deep.

    Parameters
    ----------
    obj : object
        Anything. What holds no future is returned as it is, not copied.
    key_of : callable
        Returns the key when its argument is a future, else None.
    found : dict
        Filled with the keys found, in order; a dict for its order and uniqueness.

    Raises
    ------
    ValueError
        When a container contains itself.
    """
    try:
        return _replace(obj, key_of, found)
    except RecursionError:
        raise ValueError(
            "the arguments are nested too deeply, or a container in them contains itself"
        ) from None


def _replace(obj: Any, key_of: Callable[[Any], Key | None], found: dict[Key, None]) -> Any:
    cls = type(obj)
    if cls in _LEAVES:
        return obj
    if cls is dict:
        items = [(_replace(k, key_of, found), _replace(v, key_of, found)) for k, v in obj.items()]
        same = all(
            k is old_k and v is old_v for (k, v), (old_k, old_v) in zip(items, obj.items(), strict=True)
        )
        return obj if same else dict(items)
    if cls in _SEQUENCES or (issubclass(cls, tuple) and hasattr(cls, "_fields")):
        parts = [_replace(part, key_of, found) for part in obj]
        if all(new is old for new, old in zip(parts, obj, strict=True)):
            return obj
        return cls(*parts) if cls not in _SEQUENCES else cls(parts)
    key = key_of(obj)
    if key is None:
        return obj
    found[key] = None
    return Ref(key)


_LEAVES = frozenset({str, int, float, bytes, bool, type(None), complex, bytearray})
_SEQUENCES = frozenset({list, tuple, set, frozenset})
