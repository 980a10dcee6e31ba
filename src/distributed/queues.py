"""``Queue`` under its public name; it lives in ``distributed.coordination.queues``."""

from __future__ import annotations

from distributed.coordination.queues import Queue

__all__ = ["Queue"]
