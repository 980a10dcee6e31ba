"""Configuration: our defaults below dask's, and the few ways we read it.

Importing this module puts the defaults of ``distributed.yaml`` underneath ``dask.config.config``; whatever
the user has set, there or in the environment, stays on top. The rest is ``dask.config`` itself.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distributed import inherited
from distributed.durations import parse_duration
from distributed.unheard import is_set_up

_NO_DEFAULT: Any = object()
_DEFAULTS = Path(__file__).with_name("distributed.yaml")


def load_defaults() -> dict[str, Any]:
    """The defaults of this package, as a fresh dictionary ``{"distributed": {...}, ...}``."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # parsing in C takes 3 ms, in Python 40
    defaults: dict[str, Any] = yaml.load(_DEFAULTS.read_bytes(), Loader=loader)
    return defaults


def ensure_defaults() -> None:
    """Put our defaults underneath the user's configuration; does nothing when they are there."""
    import dask.config

    defaults = load_defaults()
    if defaults not in dask.config.defaults:
        dask.config.update_defaults(defaults)


def get(key: str, default: Any = _NO_DEFAULT) -> Any:
    """The value under a dotted key, as ``dask.config.get``.

    Raises
    ------
    KeyError
        When there is none and no ``default`` is given.
    """
    values = inherited.lookup()
    if values is None:
        import dask.config

        return dask.config.get(key) if default is _NO_DEFAULT else dask.config.get(key, default)
    try:
        return inherited.get(values, key)
    except KeyError:
        if default is _NO_DEFAULT:
            raise
        return default


def seconds(key: str, default: float | None = None) -> float | None:
    """The duration configured under ``key`` in seconds.

    Returns
    -------
    float or None
        ``default`` when the value is null or absent.

    Raises
    ------
    ValueError
        When the value is no duration; names the key.
    """
    value: float | None = _parse(key, default, parse_duration, "a duration such as 30s or 5 minutes")
    return value


def nbytes(key: str, default: int | None = None) -> int | None:
    """The size configured under ``key`` in bytes; ``default`` when the value is null or absent."""
    value: int | None = _parse(key, default, _parse_bytes, "a size such as 2GiB")
    return value


def snapshot() -> dict[str, Any]:
    """The present configuration, to be handed to another process as it is."""
    import dask.config

    return dask.config.config


def adopt(other: Mapping[str, Any]) -> None:
    """Let this process have the configuration of another one (see :func:`snapshot`)."""
    if not inherited.inherit(other):
        import dask.config

        dask.config.config.clear()
        dask.config.config.update(other)


def initialize_logging(level: int | str | None = None, *, stream: Any = None) -> None:
    """Set the loggers of this package up as ``logging:`` of the configuration asks, else plainly on stderr.

    Parameters
    ----------
    level : int or str, optional
        Level of the logger ``distributed`` where the configuration says nothing; default ``warning``.
    """
    wanted = get("logging", None) or {}
    file_config = get("logging-file-config", None)
    if file_config:
        from logging.config import fileConfig

        fileConfig(os.path.expanduser(file_config), disable_existing_loggers=False)
        return
    if "version" in wanted:
        from logging.config import dictConfig

        dictConfig({"disable_existing_loggers": False, **wanted})
        return
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(logging.Formatter(get("distributed.admin.log-format")))
    levels: dict[str, Any] = {"distributed": level if level is not None else logging.WARNING, **wanted}
    for name, value in levels.items():
        logger = logging.getLogger(name)
        logger.setLevel(value.upper() if isinstance(value, str) else value)
        if name == "distributed" and not is_set_up(logger):
            logger.addHandler(handler)
            logger.propagate = False


def _parse(key: str, default: Any, parser: Any, what: str) -> Any:
    value = get(key, None)
    if value is None:
        return default
    try:
        return parser(value)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ValueError(f"configuration: {key} is {value!r}; give {what}") from None


def _parse_bytes(value: Any) -> Any:
    from dask.utils import parse_bytes

    return parse_bytes(value)


def __getattr__(name: str) -> Any:
    if name == "config":  # the very dictionary that dask reads and writes
        return snapshot()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if not inherited.expected:
    ensure_defaults()
