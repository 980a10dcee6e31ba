"""The cluster key: 32 random bytes that every party of a network holds, and where they are found."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import secrets
import stat
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from distributed.exceptions import KeyFileError, KeyNotFoundError, SecurityError
from distributed.private_files import make_directories

KEY_NBYTES = 32
ENVIRONMENT_VARIABLE = "DISTRIBUTED_KEY"


#: What ``DISTRIBUTED_KEY`` said, in a process that no longer has it in its environment.
_adopted: ClusterKey | None = None


class ClusterKey:
    """A key, kept out of representations, logs and exception texts.

    Parameters
    ----------
    secret : bytes
        32 random bytes.

    Attributes
    ----------
    id : str
        A fingerprint of 16 hexadecimal digits that tells keys apart and says nothing about them.
    """

    __slots__ = ("_secret", "id")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != KEY_NBYTES:
            raise SecurityError(f"a cluster key is {KEY_NBYTES} bytes, not {len(secret)}")
        self._secret = bytes(secret)
        self.id = hashlib.sha256(b"distributed cluster key id\0" + self._secret).hexdigest()[:16]

    @classmethod
    def generate(cls) -> ClusterKey:
        """A new random key."""
        return cls(secrets.token_bytes(KEY_NBYTES))

    @classmethod
    def parse(cls, text: str, source: str = "the key given") -> ClusterKey:
        """A key from its text: 64 hexadecimal digits, or base64. ``source`` says in errors where it came from."""
        text = "".join(text.split())
        try:
            secret = bytes.fromhex(text)
        except ValueError:
            try:
                secret = base64.b64decode(
                    text, altchars=b"-_" if set("-_") & set(text) else None, validate=True
                )
            except (ValueError, binascii.Error):
                secret = b""
        if len(secret) != KEY_NBYTES:
            raise SecurityError(
                f"{source} is not a cluster key: that is {KEY_NBYTES} bytes as {2 * KEY_NBYTES} hexadecimal digits"
            )
        return cls(secret)

    @property
    def secret(self) -> bytes:
        """The 32 bytes themselves."""
        return self._secret

    def text(self) -> str:
        """The key as 64 hexadecimal digits, as :meth:`parse` takes it."""
        return self._secret.hex()

    def __repr__(self) -> str:
        return f"<ClusterKey {self.id}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ClusterKey):
            return NotImplemented
        return secrets.compare_digest(self._secret, other._secret)

    def __hash__(self) -> int:
        return hash(self.id)

    def __reduce__(self) -> tuple[type[ClusterKey], tuple[bytes]]:
        return ClusterKey, (self._secret,)


def default_key_path() -> Path:
    """``distributed/cluster.key`` in the user's configuration directory (``XDG_CONFIG_HOME`` or ``~/.config``)."""
    home = os.environ.get("XDG_CONFIG_HOME") or ""
    if os.path.isabs(home):
        return Path(home) / "distributed" / "cluster.key"
    try:
        return Path.home() / ".config" / "distributed" / "cluster.key"
    except RuntimeError:
        raise KeyNotFoundError(
            f"user {os.geteuid()} has no home directory (HOME is not set, and the system does not know this user), so "
            f"there is no place for a cluster key: set {ENVIRONMENT_VARIABLE}, give --key-file FILE, or set HOME or "
            "XDG_CONFIG_HOME to a directory that belongs to this user"
        ) from None


def adopt_key(key: ClusterKey | None) -> None:
    """Have :func:`find_key` take this one for what ``DISTRIBUTED_KEY`` says."""
    global _adopted
    _adopted = key


def environment_key(environ: Mapping[str, str]) -> ClusterKey | None:
    """What ``DISTRIBUTED_KEY`` says in this environment, or said in this process before :func:`hide_key`."""
    text = environ.get(ENVIRONMENT_VARIABLE)
    return ClusterKey.parse(text, f"the environment variable {ENVIRONMENT_VARIABLE}") if text else _adopted


def hide_key() -> None:
    """Take ``DISTRIBUTED_KEY`` out of the environment of this process, which knows it from now on.

    For processes that run tasks: what tasks start, log or send home shall not hold the key. The value is also wiped
    where the system shows the environment with which the process began.
    """
    key = environment_key(os.environ)
    text = os.environ.get(ENVIRONMENT_VARIABLE)
    if text is None:
        return
    adopt_key(key)
    if sys.platform == "linux":
        import ctypes

        getenv = ctypes.CDLL(None).getenv
        getenv.restype = ctypes.c_void_p
        place = getenv(ENVIRONMENT_VARIABLE.encode())
        if place:
            ctypes.memset(place, 0, len(os.fsencode(text)))
    del os.environ[ENVIRONMENT_VARIABLE]


def find_key(create: bool = False, *, key_file: str | os.PathLike[str] | None = None) -> ClusterKey:
    """The cluster key of this user.

    Looked for in ``key_file`` (nowhere else if given), the environment variable ``DISTRIBUTED_KEY``, the file named by
    the setting ``distributed.security.key-file``, else ``distributed/cluster.key`` in the configuration directory.

    Parameters
    ----------
    create : bool
        Make a new key where there is none, as the scheduler does at its first start; only in the configuration
        directory: a file that somebody has named is there, or its name is wrong.
    key_file : path, optional
        The file to look at.

    Raises
    ------
    KeyNotFoundError
        When there is none and ``create`` is False.
    KeyFileError
        When the file cannot be trusted: others may read or write it, it belongs to someone else, or is no key.
    """
    if key_file is None:
        said = environment_key(os.environ)
        if said is not None:
            return said
        from distributed.config import get

        key_file = get("distributed.security.key-file", None)
    path = default_key_path() if key_file is None else Path(os.path.expanduser(key_file))
    key = read_key_file(path)
    if key is not None:
        return key
    if key_file is not None:
        raise KeyNotFoundError(
            f"no cluster key at {path}: there is no such file; look at its name, or copy the key there from the "
            "scheduler's host"
        )
    if create:
        return create_key_file(path)
    raise KeyNotFoundError(
        f"no cluster key: set {ENVIRONMENT_VARIABLE}, give --key-file, or copy the scheduler's key file to {path}"
    )


def read_key_file(path: Path) -> ClusterKey | None:
    """The key in a file; None when there is no such file. Raises KeyFileError when it cannot be trusted."""
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise KeyFileError(f"the key file {path} cannot be read: {exc.strerror}") from None
    try:
        _check_trust(path, os.fstat(fd))
        data = os.read(fd, 4096)
    finally:
        os.close(fd)
    try:
        return ClusterKey.parse(data.decode("ascii"), f"the content of the key file {path}")
    except (SecurityError, UnicodeDecodeError):
        raise KeyFileError(
            f"the key file {path} does not hold a cluster key ({2 * KEY_NBYTES} hexadecimal digits): copy it again "
            "from the scheduler's host; if it is the default one, remove it to have the scheduler make a new one"
        ) from None


def _check_trust(path: Path, info: os.stat_result) -> None:
    if not stat.S_ISREG(info.st_mode):
        raise KeyFileError(f"the key file {path} is not a regular file")
    if sys.platform == "win32":
        return
    if info.st_uid not in (os.geteuid(), 0):
        raise KeyFileError(
            f"the key file {path} belongs to user {info.st_uid}, not to you ({os.geteuid()}); run: chown $USER {path}"
        )
    if info.st_mode & 0o077:
        raise KeyFileError(
            f"the key file {path} is open to others (mode {stat.S_IMODE(info.st_mode):04o}); run: chmod 600 {path}"
        )


def create_key_file(path: Path) -> ClusterKey:
    """Make a new key at ``path``; where another process made one meanwhile, that one is returned.

    The key is written to a file beside it, which then gets the name in one step that fails if the name is taken: so
    nobody ever reads half a key, and of two creators one wins.
    """
    try:
        make_directories(str(path.parent))
        key = ClusterKey.generate()
        draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            with os.fdopen(fd, "w") as file:
                file.write(key.text() + "\n")
                file.flush()
                os.fsync(file.fileno())
            _give_name(draft, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                draft.unlink()
    except FileExistsError:
        return _read_winner(path)
    except OSError as exc:
        raise KeyFileError(f"the key file {path} cannot be made: {exc.strerror or exc}") from None
    return key


def _give_name(draft: Path, path: Path) -> None:
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(draft.read_text())


def _read_winner(path: Path) -> ClusterKey:
    deadline = time.monotonic() + 5
    while True:
        try:
            key = read_key_file(path)
        except KeyFileError:
            # Only on a file system without hard links can the winner's file be seen before it is whole.
            if time.monotonic() > deadline or path.stat().st_size > 2 * KEY_NBYTES:
                raise
            key = None
        if key is not None:
            return key
        if time.monotonic() > deadline:
            raise KeyFileError(f"the key file {path} vanished while it was made")
        time.sleep(0.01)
