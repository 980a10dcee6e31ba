"""Python's cyclic garbage collector, set for processes that hold very many objects."""

from __future__ import annotations

import gc
from types import TracebackType

from distributed.forks import module_lock

#: Allocations between two collections of the youngest generation, and how many of those for the older ones. The
#: second bounds how long the loop is held: a collection of the middle generation looks at what these two say together.
THRESHOLDS = (5_000, 2, 10_000)
#: The same while a graph is made ready in a user's process: what is made then is no garbage.
BUILDING = (5_000, 2, 1_000_000)


def tune_garbage_collector(collect: bool = True) -> None:
    """Let the collector look less often, and never again at what has been imported.

    A scheduler holds millions of small objects that live long and form few cycles. At its defaults (every 700
    allocations) the collector walks them over and over: it takes up to a third of the time and stops the
    event loop for seconds. Call this when everything is imported and before work begins.

    Parameters
    ----------
    collect : bool
        Whether to free the garbage there is before the rest is exempted for ever. A process that has done nothing but
        import has next to none, and looking for it takes as long as a tenth of the imports.
    """
    if collect:
        gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)


class building_much:
    """While inside, in any thread, the collector does not walk old objects over and over because many are made.

    Making a graph of a million tasks it would take most of the time, and stop all threads for seconds.
    """

    _lock = module_lock()
    _inside = 0
    _before = gc.get_threshold()

    def __enter__(self) -> None:
        cls = building_much
        with cls._lock:
            cls._inside += 1
            if cls._inside == 1:
                cls._before = gc.get_threshold()
                gc.set_threshold(*BUILDING)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        cls = building_much
        with cls._lock:
            cls._inside -= 1
            if not cls._inside and gc.get_threshold() == BUILDING:
                gc.set_threshold(*cls._before)
