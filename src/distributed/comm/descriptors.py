"""A word when file descriptors run out: the system then closes or refuses connections without telling anybody why."""

from __future__ import annotations

import logging

try:
    import resource
except ImportError:  # no limits of this kind there
    resource = None  # type: ignore[assignment]

logger = logging.getLogger("distributed.comm")

#: Descriptors left below which it is said.
MARGIN = 16

_said = False


def note(fd: int) -> None:
    """A connection has this descriptor. They are given out from the lowest, so it tells how many are in use."""
    global _said
    if resource is None:
        return
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return
    if fd < limit - 2 * MARGIN:
        _said = False
    elif fd >= limit - MARGIN and not _said:
        _said = True
        logger.error(
            "Nearly all %d file descriptors of this process are in use: connections beyond that are closed at once. "
            "Raise the limit (ulimit -n) and start it again",
            limit,
        )
