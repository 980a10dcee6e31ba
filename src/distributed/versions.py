"""Which software this process runs."""

from __future__ import annotations

from distributed.core.versions import get_versions

__all__ = ["get_versions"]
