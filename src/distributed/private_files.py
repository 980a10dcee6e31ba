"""Private files: directories and files that other users of the machine must not own, replace or write.

Modes are given when a thing is made, so that no ``umask`` opens it. What is there already is trusted if ``lstat``
says that it is a directory of ours (or of the system's), not a link to somewhere.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import os
import stat
from pathlib import Path

from distributed.exceptions import UntrustedPathError
from distributed.forks import only_here

logger = logging.getLogger("distributed")


def scratch_space() -> str:
    """The directory of this user for files of servers where nobody names another one; made when it is missing.

    Where somebody else has taken its name, this process has one of another name. Where none can be made, its name
    alone is given: who needs it then says why.
    """
    import tempfile  # brings much along, and most processes never need it

    path = os.path.join(tempfile.gettempdir(), f"dask-scratch-space-{os.geteuid()}")
    try:
        return private_directory(path)
    except UntrustedPathError as error:
        return _instead(path, str(error))
    except OSError:
        return path


@functools.lru_cache(maxsize=8)
def _instead(path: str, reason: str) -> str:
    import tempfile

    try:
        other = tempfile.mkdtemp(prefix=f"{os.path.basename(path)}-", dir=os.path.dirname(path))
    except OSError:
        return path
    logger.warning("%s; using %s", reason, other)
    atexit.register(only_here(_remove_empty), other)
    return other


def _remove_empty(path: str) -> None:
    with contextlib.suppress(OSError):
        os.rmdir(path)


def private_directory(path: str) -> str:
    """``path``, a directory that only this user can write to: made with mode 0700 when it is missing.

    Raises
    ------
    UntrustedPathError
        When there is something else, or others could replace it.
    """
    base_directory(os.path.dirname(path))
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        check_own(path)
    return path


def base_directory(path: str) -> str:
    """``path``, a directory in which somebody wants ours to be made; what is missing of it is made with mode 0700.

    It may be one that many share, such as ``/tmp``, and a link may lead there; but it may not belong to another user,
    who could put something else in the place of ours. Whoever else could do that is named in the log.

    Raises
    ------
    UntrustedPathError, OSError
        When it cannot be used; says why.
    """
    path = os.path.abspath(path)
    there, missing = path, []
    while not os.path.lexists(there):
        there, name = os.path.split(there)
        missing.append(name)
    here = os.path.realpath(there)
    if not os.path.isdir(here):
        raise UntrustedPathError(f"{there} is not a directory: give another one, or remove it")
    info = os.stat(here)
    if not _is_trusted(info):
        raise UntrustedPathError(
            f"the directory {here} belongs to another user ({info.st_uid}), who could replace what is put there: "
            "give a directory of your own"
        )
    while missing:
        there = os.path.join(there, missing.pop())
        try:
            os.mkdir(there, 0o700)
        except FileExistsError:
            return base_directory(path)  # somebody was faster: look at what is there now
    _tell_of_others(here)
    return path


def _is_trusted(info: os.stat_result) -> bool:
    return info.st_uid == os.geteuid() or info.st_uid in _system_users()


@functools.lru_cache(maxsize=64)
def _tell_of_others(path: str) -> None:
    info = os.stat(path)
    if not _is_trusted(info):
        logger.warning("user %d, who owns %s, can replace what is below it", info.st_uid, path)
    if info.st_mode & stat.S_IWOTH and not info.st_mode & stat.S_ISVTX:
        logger.warning(
            "everybody on this machine can replace what is in %s: chmod o-w, or +t, prevents it", path
        )
    above = os.path.dirname(path)
    if above != path:
        _tell_of_others(above)


def make_directories(path: str) -> None:
    """Make what is missing of a path, each with mode 0700."""
    if not os.path.isdir(path):
        make_directories(os.path.dirname(os.path.abspath(path)))
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)


@functools.cache
def _system_users() -> frozenset[int]:
    """Whose directories everybody has to trust: root's. In a user namespace that has no root, it appears as nobody."""
    try:
        spans = [line.split() for line in Path("/proc/self/uid_map").read_text().splitlines()]
        nobody = int(Path("/proc/sys/kernel/overflowuid").read_text())
    except (OSError, ValueError):
        return frozenset({0})
    mapped = any(int(first) <= nobody < int(first) + int(count) for first, _, count in spans)
    return frozenset({0} if mapped else {0, nobody})


def check_own(path: str) -> None:
    """Raise UntrustedPathError unless ``path`` is a directory of this user, no link, that others cannot write to."""
    info = os.lstat(path)
    if not stat.S_ISDIR(info.st_mode):
        problem = "is not a directory"
    elif info.st_uid != os.geteuid():
        problem = f"belongs to another user ({info.st_uid})"
    elif info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        problem = f"can be written by others (mode {stat.S_IMODE(info.st_mode):04o})"
    else:
        return
    raise UntrustedPathError(f"{path} {problem}, and what is in it is not used: remove it")


def is_own(path: str) -> bool:
    """Whether there is a directory of ours, as :func:`check_own` has it."""
    try:
        check_own(path)
    except (UntrustedPathError, OSError):
        return False
    return True


def fresh_directory(base: str, prefix: str) -> str:
    """A new directory of mode 0700 and of a name that nobody has below ``base``, which is made if it is missing."""
    import tempfile

    return tempfile.mkdtemp(prefix=prefix, dir=os.path.realpath(base_directory(base)))


def write_private(path: str, content: bytes, mode: int = 0o600) -> None:
    """Write a file that only this user can write to, never through a link.

    Raises
    ------
    UntrustedPathError
        When there is a link, or a file of another user.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, mode)
    except OSError:
        if os.path.islink(path):
            raise UntrustedPathError(f"{path} is a link, which is not followed: remove it") from None
        raise
    with os.fdopen(descriptor, "wb") as file:
        info = os.fstat(descriptor)
        if info.st_uid != os.geteuid() or not stat.S_ISREG(info.st_mode) or info.st_nlink != 1:
            raise UntrustedPathError(f"{path} is not a file of yours: remove it, or give another name")
        if info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            os.fchmod(descriptor, mode)
        file.truncate()
        file.write(content)


def write_upload(path: str, content: bytes) -> None:
    """Write a file into a directory of ours, made if it is missing, from where modules may be imported."""
    folder = private_directory(os.path.dirname(path))
    # Else the import system makes it, for all to write if the umask says so.
    with contextlib.suppress(FileExistsError):
        os.mkdir(os.path.join(folder, "__pycache__"), 0o700)
    write_private(path, content)


def close_to_others(path: str) -> None:
    """Take from others what they may do with a directory and with all that is in it."""
    for folder, _, files in os.walk(path):
        os.chmod(folder, 0o700)
        for name in files:
            os.chmod(os.path.join(folder, name), 0o600, follow_symlinks=False)
