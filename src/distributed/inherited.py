"""The configuration that a worker process gets from its nanny.

Importing ``dask`` takes longer than all else such a process does before its first task, and plain functions never need
it. So a worker process reads its inherited configuration here; dask, if something imports it later, takes the same
from the environment.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

#: Set before anything else is imported in a process that will inherit a configuration.
expected = False

_values: Mapping[str, Any] | None = None


def inherit(values: Mapping[str, Any]) -> bool:
    """Take this configuration over; False where that must be done through dask itself.

    That is so when dask has been imported already, or the configuration holds what JSON cannot.
    """
    global _values
    if "dask" in sys.modules:
        return False
    try:
        text = json.dumps(values)
        if json.loads(text) != values:
            return False
    except (TypeError, ValueError):
        return False
    os.environ["DASK_INTERNAL_INHERIT_CONFIG"] = base64.urlsafe_b64encode(text.encode()).decode()
    _values = values
    return True


def lookup() -> Mapping[str, Any] | None:
    """The inherited configuration as long as it is in force: until dask has been imported here."""
    if _values is None:
        return None
    module = sys.modules.get("dask.config")
    if module is None or getattr(module.__spec__, "_initializing", False):
        return _values
    return None


def get(values: Mapping[str, Any], key: str) -> Any:
    """What stands under a dotted key; ``-`` and ``_`` are the same. Raises ``KeyError``."""
    found: Any = values
    for part in key.split("."):
        if not isinstance(found, Mapping):
            raise KeyError(key)
        for name in (part, part.replace("_", "-"), part.replace("-", "_")):
            if name in found:
                found = found[name]
                break
        else:
            raise KeyError(key)
    return found
