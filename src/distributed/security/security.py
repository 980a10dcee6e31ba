"""What a party needs to prove itself and to be proved to."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Mapping
from typing import Any

from distributed.exceptions import SecurityError
from distributed.security.keys import ClusterKey, find_key

logger = logging.getLogger("distributed.security")

#: Parameter -> its place in the configuration.
_TLS_PARAMETERS = {
    "tls_ca_file": "ca-file",
    "tls_ciphers": "ciphers",
    "tls_client_cert": "client.cert",
    "tls_client_key": "client.key",
    "tls_max_version": "max-version",
    "tls_min_version": "min-version",
    "tls_scheduler_cert": "scheduler.cert",
    "tls_scheduler_key": "scheduler.key",
    "tls_worker_cert": "worker.cert",
    "tls_worker_key": "worker.key",
}
_ROLES = ("client", "scheduler", "worker")


class Security:
    """How connections are proved, and later encrypted. Pass one to a client, a cluster, a scheduler or a
    worker.

    Parameters
    ----------
    require_encryption : bool, optional
        Kept; encryption itself does not exist yet, so True is refused when a connection is made. Default: the
        setting ``distributed.comm.require-encryption``.
    key : ClusterKey, bytes or str, optional
        The cluster key itself (32 bytes, or their text).
    key_file : path, optional
        A file that holds it, as ``~/.config/distributed/cluster.key`` does.
    insecure : bool, optional
        Connect and listen without any proof. Both sides must say so. Default: the setting
        ``distributed.security.insecure``, unless a key or its file is given.
    **kwargs
        ``tls_ca_file``, ``tls_ciphers``, ``tls_{client,scheduler,worker}_{cert,key}``,
        ``tls_{min,max}_version``: paths or PEM texts and versions, kept as attributes. ``extra_conn_args``:
        dict, kept.

    Notes
    -----
    Where neither key, file nor ``insecure`` is given, the key is looked up when it is first needed: see
    :func:`distributed.security.keys.find_key`.
    """

    require_encryption: bool
    extra_conn_args: dict[str, Any]
    tls_ca_file: str | None
    tls_ciphers: str | None
    tls_client_cert: str | None
    tls_client_key: str | None
    tls_max_version: Any
    tls_min_version: Any
    tls_scheduler_cert: str | None
    tls_scheduler_key: str | None
    tls_worker_cert: str | None
    tls_worker_key: str | None

    def __init__(
        self,
        require_encryption: bool | None = None,
        *,
        key: ClusterKey | bytes | str | None = None,
        key_file: str | os.PathLike[str] | None = None,
        insecure: bool | None = None,
        **kwargs: Any,
    ) -> None:
        from distributed.config import get

        if require_encryption is None:
            setting = "distributed.comm.require-encryption"
            require_encryption = _truth(get(setting, None), setting)
        self.require_encryption = bool(require_encryption)
        if insecure is None and key is None and key_file is None:
            insecure = _truth(get("distributed.security.insecure", False), "distributed.security.insecure")
        self.insecure = bool(insecure)
        if insecure and (key is not None or key_file is not None):
            raise SecurityError("insecure=True and a cluster key exclude each other; give one of them")
        if key is not None and key_file is not None:
            raise SecurityError("give the cluster key or its file, not both")
        if isinstance(key, str):
            key = ClusterKey.parse(key)
        elif isinstance(key, (bytes, bytearray)):
            key = ClusterKey(bytes(key))
        self._key = key
        self.key_file = os.fspath(key_file) if key_file is not None else None
        self.extra_conn_args = dict(kwargs.pop("extra_conn_args", None) or {})
        unused = tuple(name for name in _TLS_PARAMETERS if kwargs.get(name) is not None)
        if unused:
            _tell_unused(unused)
        for name, setting in _TLS_PARAMETERS.items():
            given = kwargs.pop(name, None)
            setattr(self, name, given if given is not None else get(f"distributed.comm.tls.{setting}", None))
        if kwargs:
            raise TypeError(f"Security got unknown parameters: {', '.join(sorted(kwargs))}")

    @classmethod
    def temporary(cls, **kwargs: Any) -> Security:
        """A security with a new key of its own, for a network that lives and dies with this process."""
        return cls(key=ClusterKey.generate(), **kwargs)

    @property
    def key(self) -> ClusterKey | None:
        """The cluster key; looked up if it was not given. None when ``insecure``. Raises KeyNotFoundError."""
        return self.cluster_key()

    def cluster_key(self, create: bool = False) -> ClusterKey | None:
        """The cluster key; None when ``insecure``. ``create``: made when none is there, see :func:`find_key`."""
        if self.insecure:
            return None
        if self._key is None:
            self._key = find_key(create, key_file=self.key_file)
        return self._key

    def get_connection_args(self, role: str) -> dict[str, Any]:
        """Arguments for ``connect`` in the given role ("client", "scheduler" or "worker")."""
        return {**self.get_listen_args(role), "extra_conn_args": self.extra_conn_args}

    def get_listen_args(self, role: str) -> dict[str, Any]:
        """Arguments for ``listen`` in the given role ("client", "scheduler" or "worker")."""
        self.get_tls_config_for_role(role)
        return {"security": self, "require_encryption": self.require_encryption, "ssl_context": None}

    def get_tls_config_for_role(self, role: str) -> dict[str, Any]:
        """The TLS parameters of one role: ``ca_file``, ``cert``, ``key``, ``ciphers``."""
        if role not in _ROLES:
            raise ValueError(f"unknown role {role!r}; it is one of {', '.join(_ROLES)}")
        return {
            "ca_file": self.tls_ca_file,
            "cert": getattr(self, f"tls_{role}_cert"),
            "key": getattr(self, f"tls_{role}_key"),
            "ciphers": self.tls_ciphers,
        }

    def __repr__(self) -> str:
        parts = []
        if self.insecure:
            parts.append("insecure=True")
        elif self._key is not None:
            parts.append(f"key id {self._key.id}")
        elif self.key_file is not None:
            parts.append(f"key_file={self.key_file!r}")
        if self.require_encryption:
            parts.append("require_encryption=True")
        parts += [name for name in _TLS_PARAMETERS if name.endswith(("file", "cert")) and getattr(self, name)]
        return f"Security({', '.join(parts)})"


def as_security(given: Any) -> Any:
    """What a user gave for ``security=``: a mapping becomes a Security of these parameters. True, False, None stay.

    Raises
    ------
    TypeError
        When it is something else: it must not be taken for nothing.
    """
    if given is None or isinstance(given, bool | Security):
        return given
    if isinstance(given, Mapping):
        return Security(**given)
    raise TypeError(f"security must be a Security, or a dict of its parameters, not {given!r}")


@functools.lru_cache(maxsize=8)
def _tell_unused(names: tuple[str, ...]) -> None:
    """Once: whoever has certificates must not believe that they are in use."""
    logger.warning(
        "%s: this release does not encrypt connections, only the cluster key proves them", ", ".join(names)
    )


def _truth(value: Any, setting: str) -> bool:
    """A setting that is true or false, also as text: an environment variable that says no must not mean yes."""
    text = str(value).lower()
    if text in ("true", "1", "yes", "on"):
        return True
    if text in ("false", "0", "no", "off", "none", ""):
        return False
    raise SecurityError(f"the setting {setting} must be true or false, not {value!r}")
