"""Which software a process runs, without importing any of it."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from distributed.installed import installed_version

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


#: What all parties must agree on to understand each other, and what results are often made of.
COMPARED = ("python", "dask", "distributed-network", "msgspec", "cloudpickle", "numpy", "pandas", "pyarrow")


class VersionMismatchWarning(Warning):
    """Parties of one network run different versions of a package."""


def mismatch(parties: Mapping[str, Mapping[str, str | None]]) -> str:
    """One sentence that names the packages that differ; empty when none does.

    Parameters
    ----------
    parties : dict of str to dict
        Versions of packages (None: not installed) by the name of the party: "client", "scheduler", an address.

    Examples
    --------
    >>> mismatch({"client": {"numpy": "2.0"}, "scheduler": {"numpy": "1.26"}})
    'versions differ, so one party may not understand what another pickled: numpy (client 2.0, scheduler 1.26)'
    """
    parts: list[str] = []
    for package in COMPARED:
        found: dict[str | None, list[str]] = {}
        for party, versions in parties.items():
            if package in versions:
                found.setdefault(versions[package], []).append(party)
        if len(found) > 1:
            parts.append(f"{package} ({', '.join(_who(who, version) for version, who in found.items())})")
    if not parts:
        return ""
    return f"versions differ, so one party may not understand what another pickled: {'; '.join(parts)}"


def _who(parties: list[str], version: str | None) -> str:
    more = f" and {len(parties) - 2} more" if len(parties) > 2 else ""
    return f"{', '.join(parties[:2])}{more} {'without it' if version is None else version}"


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
    found = {name: installed_version(name) for name in names}
    return {"host": host, "packages": {"python": host["python"], **found}}
