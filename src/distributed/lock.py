"""``Lock`` under its public name; it lives in ``distributed.coordination.lock``."""

from __future__ import annotations

from distributed.coordination.lock import Lock

__all__ = ["Lock"]
