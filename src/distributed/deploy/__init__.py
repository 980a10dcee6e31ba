"""Clusters: a scheduler and its workers as one object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distributed.deploy.cluster import Cluster
    from distributed.deploy.local import LocalCluster
    from distributed.deploy.process_interface import ProcessInterface
    from distributed.deploy.spec import SpecCluster

__all__ = ["Cluster", "LocalCluster", "ProcessInterface", "SpecCluster"]

_HOMES = {
    "Cluster": "distributed.deploy.cluster",
    "LocalCluster": "distributed.deploy.local",
    "ProcessInterface": "distributed.deploy.process_interface",
    "SpecCluster": "distributed.deploy.spec",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
