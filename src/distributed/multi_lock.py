"""``MultiLock`` under its public name; it lives in ``distributed.coordination.multi_lock``."""

from __future__ import annotations

from distributed.coordination.multi_lock import MultiLock

__all__ = ["MultiLock"]
