"""The environment variables of worker processes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from distributed import config


def worker_environment(extra: Mapping[str, Any] | None = None) -> dict[str, str]:
    """What a worker process finds in its environment. Set before the process starts: libraries look only
    once.

    Later ones win: ``distributed.nanny.pre-spawn-environ`` of the configuration (one thread for each
    numerical library, since the worker has threads of its own), this process's own environment,
    ``distributed.nanny.environ``, ``extra``. A value of None removes a variable.
    """
    merged: dict[str, Any] = {
        **(config.get("distributed.nanny.pre-spawn-environ", None) or {}),
        **os.environ,
        **(config.get("distributed.nanny.environ", None) or {}),
        **(extra or {}),
    }
    return {str(name): str(value) for name, value in merged.items() if value is not None}
