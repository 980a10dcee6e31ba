"""Who may speak in this network: the cluster key and the parameters of proof and encryption."""

from distributed.security.keys import ClusterKey, find_key
from distributed.security.security import Security, as_security

__all__ = ["ClusterKey", "Security", "as_security", "find_key"]
