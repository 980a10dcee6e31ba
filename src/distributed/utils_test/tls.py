"""Certificates for tests, made when they are first asked for and removed with the process."""

from __future__ import annotations

import atexit
import datetime
import functools
import ipaddress
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from distributed.security import Security
from distributed.utils_test.environment import process_security

#: What :func:`get_cert` knows.
FILES = (
    "tls-ca-cert.pem",
    "tls-ca-key.pem",
    "tls-cert.pem",
    "tls-key.pem",
    "tls-key-cert.pem",
    "tls-cert-chain.pem",
    "tls-self-signed-cert.pem",
    "tls-self-signed-key.pem",
)


def get_cert(filename: str) -> str:
    """Path of a certificate or key for tests.

    Parameters
    ----------
    filename : str
        ``tls-ca-cert.pem`` signed ``tls-cert.pem``, whose key is ``tls-key.pem`` (``tls-key-cert.pem``: both in one
        file); ``tls-self-signed-cert.pem`` is signed by nobody else. All are for localhost and 127.0.0.1.

    Raises
    ------
    ValueError
        For an unknown name.
    """
    if filename not in FILES:
        raise ValueError(f"there is no test certificate {filename!r}; there are {', '.join(FILES)}")
    return str(_directory() / filename)


def tls_config() -> dict[str, Any]:
    """Configuration under which everybody encrypts, with the certificates of :func:`get_cert`."""
    pair = {"cert": get_cert("tls-cert.pem"), "key": get_cert("tls-key.pem")}
    tls = {"ca-file": get_cert("tls-ca-cert.pem"), "client": pair, "scheduler": pair, "worker": pair}
    return {"distributed": {"comm": {"tls": tls}}}


def tls_security(**kwargs: Any) -> Security:
    """Security with the certificates of :func:`get_cert` and the cluster key of tests."""
    pairs = {f"tls_{role}_cert": get_cert("tls-cert.pem") for role in ("client", "scheduler", "worker")}
    pairs |= {f"tls_{role}_key": get_cert("tls-key.pem") for role in ("client", "scheduler", "worker")}
    options = {"key": process_security().key, "tls_ca_file": get_cert("tls-ca-cert.pem"), **pairs, **kwargs}
    return Security(**options)


def tls_only_security() -> Security:
    """As :func:`tls_security`, and connections that are not encrypted are refused."""
    return tls_security(require_encryption=True)


def xfail_ssl_issue5601() -> None:
    """Nothing: the defect of other TLS implementations that this marked does not concern this package."""


@functools.cache
def _directory() -> Path:
    try:
        import cryptography  # noqa: F401
    except ImportError:
        raise ImportError(
            "test certificates are made with 'cryptography': pip install cryptography"
        ) from None
    path = Path(tempfile.mkdtemp(prefix="distributed-certificates-"))
    owner = os.getpid()
    atexit.register(lambda: shutil.rmtree(path, ignore_errors=True) if os.getpid() == owner else None)
    _make(path)
    return path


def _make(path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    def key_text(key: Any) -> bytes:
        text: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return text

    ca_key, key, own_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    ca = _certificate("distributed test authority", ca_key, "distributed test authority", ca_key, ca=True)
    cert = _certificate("localhost", key, "distributed test authority", ca_key)
    own = _certificate("localhost", own_key, "localhost", own_key)
    ca_text, cert_text, own_text = (c.public_bytes(Encoding.PEM) for c in (ca, cert, own))
    contents = {
        "tls-ca-cert.pem": ca_text,
        "tls-ca-key.pem": key_text(ca_key),
        "tls-cert.pem": cert_text,
        "tls-key.pem": key_text(key),
        "tls-key-cert.pem": key_text(key) + cert_text,
        "tls-cert-chain.pem": cert_text + ca_text,
        "tls-self-signed-cert.pem": own_text,
        "tls-self-signed-key.pem": key_text(own_key),
    }
    assert set(contents) == set(FILES)
    for name, content in contents.items():
        (path / name).touch(mode=0o600)
        (path / name).write_bytes(content)


def _certificate(name: str, key: Any, issuer: str, issuer_key: Any, *, ca: bool = False) -> Any:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import NameOID

    def entity(text: str) -> Any:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName(
        [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(entity(name))
        .issuer_name(entity(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if not ca:
        builder = builder.add_extension(names, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())
