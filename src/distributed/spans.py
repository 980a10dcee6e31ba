"""Names for parts of a program, which its tasks carry as an annotation."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator


@contextlib.contextmanager
def span(*tags: str) -> Iterator[str]:
    """Inside, collections and tasks that are made carry these tags as the annotation ``span``.

    Spans may stand inside of spans; the tags of all of them are carried, outermost first. Nothing is summed up by span.

    Parameters
    ----------
    *tags : str
        One level of nesting each.

    Yields
    ------
    str
        The id of this span.

    Examples
    --------
    >>> import dask
    >>> with span("load", "parse"):
    ...     dask.get_annotations()["span"]["name"]
    ('load', 'parse')
    """
    import dask

    if not tags:
        raise ValueError("span needs at least one tag: with span('load'): ...")
    outer = dask.get_annotations().get("span") or {"name": (), "ids": ()}  # type: ignore[attr-defined]
    ids = tuple(str(uuid.uuid4()) for _ in tags)
    annotation = {"name": (*outer["name"], *tags), "ids": (*outer["ids"], *ids)}
    with dask.annotate(span=annotation):  # type: ignore[attr-defined]
        yield ids[-1]
