"""Bounds. What is bounded lest a turn takes long is bounded so low in some networks that they come to the bound."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from distributed.client.state import machine as client_machine
from distributed.scheduler.state import absence, desertion, lifecycle, placement, shortage

Bound = tuple[ModuleType, str, int]

#: How much is done in one turn.
STEPS: tuple[Bound, ...] = (
    (lifecycle, "MAX_RELEASED", 7),
    (client_machine, "MAX_DROPPED", 5),
    (absence, "MAX_MOVED", 3),
    (shortage, "MAX_ERRED", 2),
    (desertion, "MAX_ERRED", 2),
)

#: How many are looked at for one choice.
CHOICES: tuple[Bound, ...] = (
    (placement, "MAX_HOLDERS", 1),
    (placement, "MAX_TRIES", 1),
    (placement, "MAX_SCANNED", 2),
    (placement, "MAX_VICTIMS", 1),
    (placement, "MAX_BACKLOGS", 2),
    (placement, "MAX_IN_VAIN", 1),
    (placement, "MAX_COMPARED", 2),
    (placement, "MAX_TAKERS", 1),
    (shortage, "MAX_LOOKED_AT", 2),
)


@contextmanager
def low_bounds(seed: int) -> Iterator[None]:
    """In a third of all networks steps are small, in another third choices are."""
    low = {1: STEPS, 2: CHOICES}.get(seed % 3, ())
    before = [(module, name, getattr(module, name)) for module, name, _ in low]
    for module, name, value in low:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


__all__ = ["low_bounds"]
