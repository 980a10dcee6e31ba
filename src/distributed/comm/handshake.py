"""The handshake: how two sides prove to each other that they hold the same cluster key.

Without I/O: :func:`initiate` and :func:`accept` are generators. Each yields a :class:`Step` (bytes to send,
exact number of bytes to wait for) and is sent those bytes; it returns the peer's :class:`Hello` and the last
bytes to send, or raises :class:`HandshakeFailed`.

::

    initiator                                     acceptor
    opening: magic version flags key-id nonce ->
                                              <-  opening: the same of its own, and a status
    proof: HMAC(key, "initiator" ...)         ->
                                              <-  verdict: status, HMAC(key, "acceptor" ...), Hello
    Hello                                     ->

Everything before the Hellos is of fixed size. A proof is HMAC-SHA256 over the role, the channel binding and
both openings, that is, over versions, flags, key ids and nonces of both sides. No byte is given to
MessagePack before the proof of the side that sent it was found right.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import socket
import struct
import uuid
from collections.abc import Generator
from functools import cache
from typing import NamedTuple

import msgspec

from distributed.exceptions import AuthenticationError, ProtocolError, ProtocolVersionError
from distributed.installed import installed_version
from distributed.security.keys import ClusterKey

#: Raised with every change that the other side could misunderstand.
PROTOCOL_VERSION = 2

MAGIC = b"\x89dstnet\n"
_OPENING = struct.Struct("<8sHBB8s32s12x")  # magic, version, flags, status, key id, nonce
_VERDICT = struct.Struct("<II32s")  # status, nbytes of the Hello behind it, proof
_LENGTH = struct.Struct("<I")
_PROOF_NBYTES = 32
MAX_HELLO_NBYTES = 4096

_FLAG_INSECURE = 1

_OK, _OTHER_VERSION, _NEEDS_KEY, _IS_INSECURE, _OTHER_KEY, _BAD_PROOF = range(6)

_WHERE_KEYS_ARE = "DISTRIBUTED_KEY, --key-file, or distributed/cluster.key in the configuration directory"


class Hello(msgspec.Struct, array_like=True, frozen=True):
    """What each side says of itself once both are proved.

    ``boot_id`` is the same for two processes exactly if one kernel runs them; ``host`` the host's name.
    """

    protocol: int
    package: str
    boot_id: str
    host: str
    pid: int


class Step(NamedTuple):
    """Send ``out``, then wait for exactly ``need`` bytes, which begin with ``prefix``."""

    out: bytes
    need: int
    prefix: bytes = b""


class Outcome(NamedTuple):
    """The handshake is done: the peer's Hello, and what is left to send."""

    peer: Hello
    out: bytes


class HandshakeFailed(Exception):
    """The connection must be closed after ``reply`` is sent; ``error`` says why to people on this side."""

    def __init__(self, error: Exception, reply: bytes = b"") -> None:
        super().__init__(str(error))
        self.error = error
        self.reply = reply


@cache
def own_hello() -> Hello:
    """The Hello of this process."""
    return Hello(PROTOCOL_VERSION, _package_version(), _boot_id(), socket.gethostname(), os.getpid())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=own_hello.cache_clear)


def initiate(
    key: ClusterKey | None, *, peer: str, binding: bytes = b"", hello: Hello | None = None
) -> Generator[Step, bytes, Outcome]:
    """The side that connects. ``key`` None: insecure. ``peer`` is its address, for error texts."""
    mine = _opening(key, _OK)
    theirs = yield Step(mine, _OPENING.size, MAGIC)
    version, flags, status, key_id = _read_opening(theirs, peer)
    if version != PROTOCOL_VERSION or status == _OTHER_VERSION:
        raise HandshakeFailed(_other_version(peer, version))
    if key is not None and (flags & _FLAG_INSECURE or status == _IS_INSECURE):
        raise HandshakeFailed(
            AuthenticationError(
                f"{peer} runs with --insecure, this side with cluster key {key.id}; "
                "start both sides with the same key, or both with --insecure"
            )
        )
    if key is None and (not flags & _FLAG_INSECURE or status == _NEEDS_KEY):
        raise HandshakeFailed(
            AuthenticationError(
                f"{peer} demands cluster key {key_id}, this side runs with --insecure; "
                f"give this side the key ({_WHERE_KEYS_ARE}), or start both with --insecure"
            )
        )
    if key is not None and (status == _OTHER_KEY or key_id != key.id):
        raise HandshakeFailed(
            AuthenticationError(
                f"{peer} holds cluster key {key_id}, this side {key.id}; use one key on both sides ({_WHERE_KEYS_ARE})"
            )
        )
    if status != _OK:
        raise HandshakeFailed(ProtocolError(f"{peer} refused the connection (status {status})"))
    verdict = yield Step(_proof(key, b"initiator", binding, mine, theirs), _VERDICT.size)
    status, hello_nbytes, proof = _VERDICT.unpack(verdict)
    if status != _OK:
        raise HandshakeFailed(
            AuthenticationError(
                f"{peer} does not accept the proof of this side, though both name key {_name(key)}"
            )
        )
    if not hmac.compare_digest(proof, _proof(key, b"acceptor", binding, mine, theirs)):
        raise HandshakeFailed(
            AuthenticationError(f"{peer} names cluster key {_name(key)} but cannot prove it")
        )
    their_hello = yield Step(b"", _checked_length(hello_nbytes, peer))
    return Outcome(_read_hello(their_hello, peer), _framed(hello or own_hello()))


def accept(
    key: ClusterKey | None, *, peer: str, binding: bytes = b"", hello: Hello | None = None
) -> Generator[Step, bytes, Outcome]:
    """The side that listens. ``key`` None: insecure. ``peer`` is the other's address, for error texts."""
    theirs = yield Step(b"", _OPENING.size, MAGIC)
    version, flags, _, key_id = _read_opening(theirs, peer)
    if version != PROTOCOL_VERSION:
        raise HandshakeFailed(_other_version(peer, version), _opening(key, _OTHER_VERSION))
    if key is not None and flags & _FLAG_INSECURE:
        raise HandshakeFailed(
            AuthenticationError(f"{peer} runs with --insecure, this side demands cluster key {key.id}"),
            _opening(key, _NEEDS_KEY),
        )
    if key is None and not flags & _FLAG_INSECURE:
        raise HandshakeFailed(
            AuthenticationError(f"{peer} holds cluster key {key_id}, this side runs with --insecure"),
            _opening(key, _IS_INSECURE),
        )
    if key is not None and key_id != key.id:
        raise HandshakeFailed(
            AuthenticationError(f"{peer} holds cluster key {key_id}, this side {key.id}"),
            _opening(key, _OTHER_KEY),
        )
    mine = _opening(key, _OK)
    proof = yield Step(mine, _PROOF_NBYTES)
    if not hmac.compare_digest(proof, _proof(key, b"initiator", binding, theirs, mine)):
        raise HandshakeFailed(
            AuthenticationError(f"{peer} names cluster key {_name(key)} but cannot prove it"),
            _VERDICT.pack(_BAD_PROOF, 0, bytes(_PROOF_NBYTES)),
        )
    own = msgspec.msgpack.encode(hello or own_hello())
    verdict = _VERDICT.pack(_OK, len(own), _proof(key, b"acceptor", binding, theirs, mine))
    length = yield Step(verdict + own, _LENGTH.size)
    their_hello = yield Step(b"", _checked_length(_LENGTH.unpack(length)[0], peer))
    return Outcome(_read_hello(their_hello, peer), b"")


def _opening(key: ClusterKey | None, status: int) -> bytes:
    flags = _FLAG_INSECURE if key is None else 0
    key_id = bytes(8) if key is None else bytes.fromhex(key.id)
    return _OPENING.pack(MAGIC, PROTOCOL_VERSION, flags, status, key_id, secrets.token_bytes(32))


def _read_opening(data: bytes, peer: str) -> tuple[int, int, int, str]:
    magic, version, flags, status, key_id, _ = _OPENING.unpack(data)
    if magic != MAGIC:
        raise HandshakeFailed(not_this_protocol(peer))
    return version, flags, status, key_id.hex()


def _proof(key: ClusterKey | None, role: bytes, binding: bytes, opening: bytes, answer: bytes) -> bytes:
    secret = bytes(32) if key is None else key.secret
    parts = (b"distributed-network handshake", role, binding, opening, answer)
    text = b"".join(_LENGTH.pack(len(part)) + part for part in parts)
    return hmac.digest(secret, text, hashlib.sha256)


def _framed(hello: Hello) -> bytes:
    data = msgspec.msgpack.encode(hello)
    return _LENGTH.pack(len(data)) + data


def _checked_length(nbytes: int, peer: str) -> int:
    if not 0 < nbytes <= MAX_HELLO_NBYTES:
        raise HandshakeFailed(ProtocolError(f"{peer} announces a greeting of {nbytes} bytes"))
    return nbytes


def _read_hello(data: bytes, peer: str) -> Hello:
    try:
        return msgspec.msgpack.decode(data, type=Hello)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise HandshakeFailed(ProtocolError(f"{peer} sent a malformed greeting: {exc}")) from None


def _name(key: ClusterKey | None) -> str:
    return "(none, --insecure)" if key is None else key.id


def _other_version(peer: str, version: int) -> ProtocolVersionError:
    return ProtocolVersionError(
        f"{peer} speaks protocol version {version}, this side {PROTOCOL_VERSION}; "
        "install the same release of distributed-network on both sides"
    )


def not_this_protocol(peer: str) -> ProtocolError:
    """The error for a peer whose first bytes are something else."""
    return ProtocolError(f"{peer} does not speak the protocol of distributed-network")


def _package_version() -> str:
    return installed_version("distributed-network") or "0+unknown"


def _boot_id() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return f"{uuid.getnode():012x}"
