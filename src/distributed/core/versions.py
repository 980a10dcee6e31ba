"""Which software a process runs, without importing any of it."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

#: Packages whose versions decide whether two processes understand each other's pickles.
PACKAGES = (
    "dask",
    "distributed-network",
    "msgspec",
    "cloudpickle",
    "numpy",
    "pandas",
    "pyarrow",
    "lz4",
    "uvloop",
    "tornado",
)


def get_versions(packages: Iterable[str] | None = None) -> dict[str, Any]:
    """Python, system and package versions: ``{"host": {...}, "packages": {...}}``; None for what is not
    installed.

    Parameters
    ----------
    packages : iterable of str, optional
        Distributions to report besides :data:`PACKAGES`.
    """
    names = [*PACKAGES, *(packages or ())]
    host = {
        "python": ".".join(map(str, sys.version_info)),
        "python-bits": 64 if sys.maxsize > 2**32 else 32,
        "OS": platform.system(),
        "OS-release": platform.release(),
        "machine": platform.machine(),
        "byteorder": sys.byteorder,
        "LC_ALL": os.environ.get("LC_ALL", "None"),
        "LANG": os.environ.get("LANG", "None"),
    }
    return {"host": host, "packages": {"python": host["python"], **{name: _version(name) for name in names}}}


@cache
def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
