"""Which release of a package is installed, read off the names of directories.

An installer leaves a directory ``name-version.dist-info`` beside each package. Its name says all that is asked here, so
nothing of the package is imported, and neither is ``importlib.metadata``, which takes longer than our own code to load.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from functools import lru_cache

_DIST_INFO, _EGG_INFO = ".dist-info", ".egg-info"
_SEPARATORS = re.compile(r"[-_.]+")


def installed_version(name: str) -> str | None:
    """Version of an installed distribution; None when there is none of this name.

    Parameters
    ----------
    name : str
        As on the package index; case does not matter, and ``-``, ``_`` and ``.`` are the same.

    Examples
    --------
    >>> installed_version("Distributed_Network") == installed_version("distributed-network")
    True
    >>> installed_version("no-such-package-anywhere") is None
    True
    """
    return _versions(_state_of(sys.path)).get(_normal(name))


def _normal(name: str) -> str:
    return _SEPARATORS.sub("-", name).lower()


def _state_of(search_path: list[str]) -> tuple[tuple[str, int], ...]:
    """Each directory of the search path and when it was last changed: what is installed later is seen."""
    found = []
    for entry in search_path:
        try:
            found.append((entry, os.stat(entry or ".").st_mtime_ns))
        except (OSError, ValueError):
            continue  # Python ignores it, too
    return tuple(found)


@lru_cache(maxsize=1)
def _versions(directories: tuple[tuple[str, int], ...]) -> Mapping[str, str]:
    """Versions by normal name. What comes first on the search path is what an import finds."""
    versions: dict[str, str] = {}
    for directory, _ in directories:
        try:
            entries = os.listdir(directory or ".")
        except OSError:
            continue  # an archive
        for entry in entries:
            if entry.endswith(_DIST_INFO):
                name, separator, version = entry.removesuffix(_DIST_INFO).partition("-")
            elif entry.endswith(_EGG_INFO):
                name, separator, version = _of_egg_info(os.path.join(directory, entry))
            else:
                continue
            if separator:
                versions.setdefault(_normal(name), version.replace("_", "-"))
    return versions


def _of_egg_info(path: str) -> tuple[str, str, str]:
    """Name, ``-`` and version from the older kind of directory or file, whose own name may leave the version out."""
    for file in (os.path.join(path, "PKG-INFO"), path):
        try:
            with open(file, encoding="utf-8", errors="replace") as lines:
                fields = dict(line.rstrip("\n").partition(": ")[::2] for line in lines if ": " in line)
        except OSError:
            continue
        if "Name" in fields and "Version" in fields:
            return fields["Name"], "-", fields["Version"]
    return "", "", ""
