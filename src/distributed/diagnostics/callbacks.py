"""Functions that every worker calls once."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from distributed.diagnostics.plugin import WorkerPlugin
from distributed.utils import has_arg


class SetupCallback(WorkerPlugin):
    """Calls a function in every worker; a parameter ``dask_worker`` gets the worker."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.name = f"setup-{uuid.uuid4()}"

    def setup(self, worker: Any) -> Any:
        kwargs = {"dask_worker": worker} if has_arg(self.function, "dask_worker") else {}
        return self.function(**kwargs)
