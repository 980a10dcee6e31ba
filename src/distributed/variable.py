"""``Variable`` under its public name; it lives in ``distributed.coordination.variable``."""

from __future__ import annotations

from distributed.coordination.variable import Variable

__all__ = ["Variable"]
