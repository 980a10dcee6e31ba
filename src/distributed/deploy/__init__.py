"""Clusters: a scheduler and its workers as one object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distributed.deploy.adaptive import Adaptive
    from distributed.deploy.cluster import Cluster
    from distributed.deploy.local import LocalCluster
    from distributed.deploy.process_interface import ProcessInterface
    from distributed.deploy.spec import SpecCluster
    from distributed.deploy.ssh import SSHCluster
    from distributed.deploy.subprocess import SubprocessCluster

__all__ = [
    "Adaptive",
    "Cluster",
    "LocalCluster",
    "ProcessInterface",
    "SSHCluster",
    "SpecCluster",
    "SubprocessCluster",
]

_HOMES = {
    "Adaptive": "distributed.deploy.adaptive",
    "Cluster": "distributed.deploy.cluster",
    "LocalCluster": "distributed.deploy.local",
    "ProcessInterface": "distributed.deploy.process_interface",
    "SSHCluster": "distributed.deploy.ssh",
    "SpecCluster": "distributed.deploy.spec",
    "SubprocessCluster": "distributed.deploy.subprocess",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
