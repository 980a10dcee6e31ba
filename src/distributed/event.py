"""``Event`` under its public name; it lives in ``distributed.coordination.event``."""

from __future__ import annotations

from distributed.coordination.event import Event

__all__ = ["Event"]
