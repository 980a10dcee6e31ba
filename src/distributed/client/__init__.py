"""The client: futures, and the graph behind them."""

from __future__ import annotations

from typing import Any

_HOMES = {
    "Client": "client",
    "CancelledError": "errors",
    "FutureCancelledError": "errors",
    "TimeoutError": "errors",
    "Future": "future",
    "FutureState": "future_state",
    "futures_of": "future",
    "as_completed": "completion",
    "wait": "waiting",
    "DoneAndNotDoneFutures": "waiting",
    "ALL_COMPLETED": "waiting",
    "FIRST_COMPLETED": "waiting",
    "default_client": "current",
    "get_client": "current",
    "temp_default_client": "current",
    "fire_and_forget": "keep",
    "local_client": "inside",
    "worker_client": "inside",
    "get_task_metadata": "distributed.diagnostics.task_metadata",
    "performance_report": "distributed.diagnostics.performance_report",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(home if "." in home else f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
