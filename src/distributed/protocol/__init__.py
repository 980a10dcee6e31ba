"""Messages to bytes and back: see ``messages`` for what is said, ``codec`` and ``frames`` for how it travels."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Serialized": "payload",
    "pack": "payload",
    "unpack": "payload",
    "Ref": "refs",
    "Serialize": "serialization",
    "ToPickle": "serialization",
    "dask_deserialize": "serialization",
    "dask_serialize": "serialization",
    "deserialize": "serialization",
    "dumps": "serialization",
    "loads": "serialization",
    "register_generic": "serialization",
    "serialize": "serialization",
    "to_serialize": "serialization",
}
_MODULES = {"codec", "errors", "frames", "messages", "payload", "pickle", "refs"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)
