"""The slow way to decode a frame in which a key is ``bytes``, or a tuple with bytes in it.

``msgspec`` knows no type "str or bytes", so the fast decoder refuses such keys. They are rare, but allowed.
Here every message has a twin whose key columns hold anything; what was decoded is then checked and put into
the real message.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec

from distributed.exceptions import ProtocolError
from distributed.protocol import messages as m

_SCALARS = (str, bytes, int, float, type(None))


def decode(body: Any, ext_hook: Callable[[int, memoryview], Any]) -> list[m.Message]:
    """The messages of a body. Raises msgspec.ValidationError or ProtocolError for what is no message."""
    twins = msgspec.msgpack.decode(body, type=_twin_list(), ext_hook=ext_hook)
    return [_real(twin) for twin in twins]


@cache
def _twins() -> dict[str, type[msgspec.Struct]]:
    """A twin for each struct with a key in it; by name."""
    namespace = dict(vars(m), WireKey=Any)
    twins: dict[str, type[msgspec.Struct]] = {}
    for name in (name for name in m.__all__ if isinstance(vars(m)[name], type)):
        cls: Any = vars(m)[name]
        annotations: dict[str, str] = cls.__annotations__
        if any("WireKey" in text or "TaskError" in text for text in annotations.values()):
            fields = [(field, eval(text, namespace)) for field, text in annotations.items()]
            required = len(fields) - len(cls.__struct_defaults__)
            defaults = [*((...,) * required), *cls.__struct_defaults__]
            twins[name] = msgspec.defstruct(
                name,
                [
                    (*field, default) if default is not ... else field
                    for field, default in zip(fields, defaults, strict=True)
                ],
                array_like=True,
                tag=cls.__struct_config__.tag,
            )
            namespace[name] = twins[name]
    return twins


@cache
def _twin_list() -> Any:
    union: Any = None
    for cls in m.AnyMessage.__args__:
        member = _twins().get(cls.__name__, cls)
        union = member if union is None else union | member
    return list[union]


def _real(twin: Any) -> Any:
    name = type(twin).__name__
    if _twins().get(name) is not type(twin):
        return twin
    cls = vars(m)[name]
    values = []
    for field, text in cls.__annotations__.items():
        value = getattr(twin, field)
        if text == "WireKey":
            value = _key(value)
        elif text == "list[WireKey]":
            value = [_key(key) for key in value]
        elif text.startswith("list[list[WireKey]]"):
            value = value and [[_key(key) for key in keys] for keys in value]
        elif text.startswith("list[tuple[WireKey"):
            value = [(_key(row[0]), *row[1:]) for row in value]
        elif text == "list[TaskError]":
            value = [_real(error) for error in value]
        else:
            assert "WireKey" not in text, f"no way to decode {name}.{field}: {text}"
        values.append(value)
    return cls(*values)


def _key(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_key, value))
    if not isinstance(value, _SCALARS):
        raise ProtocolError(
            f"a key is str, bytes, int, float or a tuple of those, not {type(value).__name__}"
        )
    return value
