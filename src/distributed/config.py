"""Configuration: our defaults below dask's, and the few ways we read it.

Importing this module puts the defaults of ``distributed.yaml`` underneath ``dask.config.config``; whatever
the user has set, there or in the environment, stays on top. The rest is ``dask.config`` itself.
"""

from __future__ import annotations

import logging
import logging.config
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dask.config
import yaml

#: The very dictionary that ``dask.config`` reads and writes.
config: dict[str, Any] = dask.config.config

get = dask.config.get

_DEFAULTS = Path(__file__).with_name("distributed.yaml")


def load_defaults() -> dict[str, Any]:
    """The defaults of this package, as a fresh dictionary ``{"distributed": {...}}``."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # parsing in C takes 3 ms, in Python 40
    defaults: dict[str, Any] = yaml.load(_DEFAULTS.read_bytes(), Loader=loader)
    return defaults


def ensure_defaults() -> None:
    """Put our defaults underneath the user's configuration; does nothing when they are there."""
    defaults = load_defaults()
    if defaults not in dask.config.defaults:
        dask.config.update_defaults(defaults)


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
    value: float | None = _parse(key, default, _parse_timedelta, "a duration such as 30s or 5 minutes")
    return value


def nbytes(key: str, default: int | None = None) -> int | None:
    """The size configured under ``key`` in bytes; ``default`` when the value is null or absent."""
    value: int | None = _parse(key, default, _parse_bytes, "a size such as 2GiB")
    return value


def snapshot() -> dict[str, Any]:
    """The present configuration, to be handed to another process as it is."""
    return dask.config.config


def adopt(other: Mapping[str, Any]) -> None:
    """Let this process have the configuration of another one (see :func:`snapshot`)."""
    dask.config.config.clear()
    dask.config.config.update(other)


def initialize_logging(level: int | str | None = None, *, stream: Any = None) -> None:
    """Set the loggers of this package up as ``logging:`` of the configuration asks, else plainly on stderr.

    Parameters
    ----------
    level : int or str, optional
        Level of the logger ``distributed`` where the configuration says nothing; default ``warning``.
    """
    wanted = dask.config.get("logging", None) or {}
    file_config = dask.config.get("logging-file-config", None)
    if file_config:
        logging.config.fileConfig(os.path.expanduser(file_config), disable_existing_loggers=False)
        return
    if "version" in wanted:
        logging.config.dictConfig({"disable_existing_loggers": False, **wanted})
        return
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(logging.Formatter(dask.config.get("distributed.admin.log-format")))
    levels: dict[str, Any] = {"distributed": level if level is not None else logging.WARNING, **wanted}
    for name, value in levels.items():
        logger = logging.getLogger(name)
        logger.setLevel(value.upper() if isinstance(value, str) else value)
        if name == "distributed" and not logger.handlers:
            logger.addHandler(handler)
            logger.propagate = False


def _parse(key: str, default: Any, parser: Any, what: str) -> Any:
    value = dask.config.get(key, None)
    if value is None:
        return default
    try:
        return parser(value)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ValueError(f"configuration: {key} is {value!r}; give {what}") from None


def _parse_timedelta(value: Any) -> Any:
    from dask.utils import parse_timedelta

    return parse_timedelta(value, default="s")


def _parse_bytes(value: Any) -> Any:
    from dask.utils import parse_bytes

    return parse_bytes(value)


ensure_defaults()
