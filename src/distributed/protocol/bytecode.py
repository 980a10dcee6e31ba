"""Code that travels. What Python has compiled runs only in the Python that compiled it: another one crashes.

A function that cannot be imported by its name (of a script, a lambda, a closure) travels as its bytecode. Its pickle
begins with a call of :func:`made_by`, so that whoever unpickles it, wherever and for whatever purpose, is told which
Python made it before there is anything that could run.
"""

from __future__ import annotations

import sys

from distributed.exceptions import PythonMismatchError

#: Implementation and version that must agree: ``"cpython-311"``.
TAG = sys.implementation.cache_tag or f"{sys.implementation.name}-{sys.version_info[0]}{sys.version_info[1]}"

#: What stands in the pickle of a code object as cloudpickle makes it.
_CODE = b"CodeType"


def stamped(stream: bytes) -> bytes:
    """A pickle (protocol 2 or later) that says which Python made it, if there is code in it."""
    return stamp(stream) if has_code(stream) else stream


def has_code(part: bytes | bytearray | memoryview) -> bool:
    """Whether there is code in this part of a pickle."""
    return _CODE in part


def stamp(start: bytes) -> bytes:
    """The start of a pickle, with the stamp in it."""
    return _STAMP + start[2:]


def made_by(tag: str, version: str) -> None:
    """Called by unpickling code.

    Raises
    ------
    PythonMismatchError
        When it cannot run in this process.
    """
    if tag != TAG:
        raise PythonMismatchError(
            f"this code was made by Python {version} and cannot run in Python {_VERSION} here: a function that is not "
            "in a module travels as bytecode, which is for one minor version only. Use the same Python everywhere, or "
            "put the function into a module that both sides import"
        )


def _text(text: str) -> bytes:
    return b"\x8c" + bytes([len(text)]) + text.encode()


_VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"

# A program for the unpickler: push the function, push its arguments, call, drop the result. It memorises nothing, so
# the numbers in the pickle that follows stay right.
_STAMP = b"".join(
    [
        b"\x80\x05",
        _text(__name__),
        _text(made_by.__name__),
        b"\x93",
        _text(TAG),
        _text(_VERSION),
        b"\x86R0",
    ]
)
