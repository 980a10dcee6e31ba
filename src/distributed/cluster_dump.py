"""The state of a whole network in one file, for a bug report."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from typing import Any

#: What is appended to a file's name, by format.
SUFFIXES = {"msgpack": ".msgpack.gz", "yaml": ".yaml"}


def write_dump(
    state: Mapping[str, Any],
    url: str,
    format: str = "msgpack",
    storage_options: Mapping[str, Any] | None = None,
) -> str:
    """Write a state to a file that ``fsspec`` can open; its name with the suffix.

    Raises
    ------
    ValueError
        For an unknown format.
    """
    if format not in SUFFIXES:
        raise ValueError(f"the format of a dump is one of {', '.join(SUFFIXES)}, not {format!r}")
    import fsspec

    path = url if url.endswith(SUFFIXES[format]) else url + SUFFIXES[format]
    with fsspec.open(path, "wb", **(storage_options or {})) as file:
        file.write(_encode(state, format))
    return path


def load_dump(url: str, storage_options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Read what :func:`write_dump` wrote."""
    import fsspec

    with fsspec.open(url, "rb", **(storage_options or {})) as file:
        content = file.read()
    loaded: dict[str, Any]
    if url.endswith(SUFFIXES["msgpack"]):
        import msgspec

        loaded = msgspec.msgpack.decode(gzip.decompress(content))
    elif url.endswith(SUFFIXES["yaml"]):
        import yaml

        loaded = yaml.safe_load(content)
    else:
        raise ValueError(f"the name of a dump ends in {' or '.join(SUFFIXES.values())}, not {url!r}")
    return loaded


def _encode(state: Mapping[str, Any], format: str) -> bytes:
    if format == "msgpack":
        import msgspec

        return gzip.compress(msgspec.msgpack.encode(state, enc_hook=str), compresslevel=3)
    import yaml

    text: str = yaml.safe_dump(_plain(state), sort_keys=False)
    return text.encode()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
