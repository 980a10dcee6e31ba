"""``Semaphore`` under its public name; it lives in ``distributed.coordination.semaphore``."""

from __future__ import annotations

from distributed.coordination.semaphore import Semaphore

__all__ = ["Semaphore"]
