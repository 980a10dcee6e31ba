"""The environment variables of worker processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from distributed import config


def worker_environment(extra: Mapping[str, Any] | None = None) -> dict[str, str]:
    """What a worker process finds in its environment. Set before the process starts: libraries look only
    once.

    Later ones win: ``distributed.nanny.pre-spawn-environ`` of the configuration (one thread for each
    numerical library, since the worker has threads of its own; one hash seed for all workers of a network),
    this process's own environment, ``distributed.nanny.environ``, ``extra``. None removes a variable.
    """
    merged: dict[str, Any] = {
        **(config.get("distributed.nanny.pre-spawn-environ", None) or {}),
        **os.environ,
        **(config.get("distributed.nanny.environ", None) or {}),
        **(extra or {}),
    }
    return {str(name): str(value) for name, value in merged.items() if value is not None}


def start_over_with_hash_seed() -> None:
    """Have the hash seed of all workers in this process, too, which is about to run one itself.

    An interpreter reads it at its start only, so this process is started over in place, unless its environment says
    what it shall be.
    """
    if "PYTHONHASHSEED" in os.environ:
        return
    seed = worker_environment().get("PYTHONHASHSEED")
    if seed is not None:
        os.environ["PYTHONHASHSEED"] = seed
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
