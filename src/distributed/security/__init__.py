"""Who may speak in this network: the cluster key and the parameters of proof and encryption."""

from distributed.security.keys import ClusterKey, find_key
from distributed.security.security import Security

__all__ = ["ClusterKey", "Security", "find_key"]
