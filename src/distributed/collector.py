"""Python's cyclic garbage collector, set for processes that hold very many objects."""

from __future__ import annotations

import gc

#: Allocations between two collections of the youngest generation, and how many of those for the older ones.
THRESHOLDS = (100_000, 50, 100)


def tune_garbage_collector() -> None:
    """Let the collector look less often, and never again at what has been imported.

    A scheduler holds millions of small objects that live long and form few cycles. At its defaults (every 700
    allocations) the collector walks them over and over: it takes up to a third of the time and stops the
    event loop for seconds. Call this when everything is imported and before work begins.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
