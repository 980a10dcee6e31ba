"""Results on this worker: values as tasks returned them, or as they arrived from a peer, still packed."""

from __future__ import annotations

import threading
from collections.abc import ItemsView, Iterator, ValuesView
from typing import Any

from distributed.protocol.messages import Key
from distributed.protocol.payload import Payload, nbytes, unpack


class Packed:
    """A value that arrived as a payload. The first thread that needs it unpickles it; the loop never does."""

    __slots__ = ("_lock", "_value", "payload")

    def __init__(self, payload: Payload) -> None:
        self.payload: Payload | None = payload
        self._lock = threading.Lock()
        self._value: Any = None

    @property
    def nbytes(self) -> int:
        """Size of the payload in bytes; 0 once it was unpacked."""
        payload = self.payload
        return 0 if payload is None else nbytes(payload)

    def value(self) -> Any:
        """The object. Raises whatever unpickling it raises, each time."""
        with self._lock:
            if self.payload is not None:
                self._value = unpack(self.payload)
                self.payload = None
            return self._value


class DataStore(dict[Key, Any]):
    """Key to value. What is stored packed is unpacked by the first look at it.

    A dict, so that the state machine's stores and look-ups cost what a dict's do. ``raw`` and membership never
    unpickle; everything that gives values does, so it belongs into a thread. Spilling to disk will come in here.
    """

    def __getitem__(self, key: Key) -> Any:
        value = dict.__getitem__(self, key)
        return value.value() if type(value) is Packed else value

    def get(self, key: Key, default: Any = None) -> Any:
        try:
            return self[key]
        except KeyError:
            if key in self:  # raised by unpickling the value
                raise
            return default

    def raw(self, key: Key) -> Any:
        """The value, or the :class:`Packed` that holds it. Raises KeyError when the key is not here."""
        return dict.__getitem__(self, key)

    def values(self) -> ValuesView[Any]:  # type: ignore[override]
        return ValuesView(self)

    def items(self) -> ItemsView[Key, Any]:  # type: ignore[override]
        return ItemsView(self)

    def __iter__(self) -> Iterator[Key]:
        return dict.__iter__(self)

    def __repr__(self) -> str:
        return f"<DataStore: {len(self)} keys>"
