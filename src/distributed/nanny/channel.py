"""What a nanny and its worker process tell each other over their socket pair.

First, nanny to child: a line of JSON with the module search path, then :class:`ChildSpec` as a pickle with
its length before it. It carries the configuration and the cluster key, which therefore stand on no command
line and in no environment. After that both sides send lines of JSON, so the nanny never unpickles anything
user code has touched.
"""

from __future__ import annotations

import json
import pickle
import struct
from dataclasses import dataclass, field
from typing import IO, Any

import cloudpickle

from distributed.security.keys import ClusterKey

_LENGTH = struct.Struct("!Q")

#: Exit status of a worker that wants to be started again (its lifetime is over, or it was told to restart).
EXIT_RESTART = 77
#: Exit status of a worker that could not start; its nanny has been told why.
EXIT_FAILED = 78


@dataclass
class ChildSpec:
    """What a worker process is to be.

    ``worker_class``, or what it names, is called with ``scheduler`` and ``kwargs``; ``config`` is the whole of dask's
    configuration, ``logging_level`` the level of our own loggers, ``key`` what DISTRIBUTED_KEY says at the nanny.
    """

    worker_class: Any
    scheduler: str | None
    kwargs: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    logging_level: int | None = None
    key: ClusterKey | None = None


def encode_search_path(search_path: list[str]) -> bytes:
    """The first line to a worker process."""
    return json.dumps(search_path).encode() + b"\n"


def encode_spec(spec: ChildSpec) -> bytes:
    """What follows it."""
    body: bytes = cloudpickle.dumps(spec)
    return _LENGTH.pack(len(body)) + body


def read_spec(channel: IO[bytes]) -> ChildSpec:
    """Read what :func:`encode_spec` wrote; ``EOFError`` when the nanny is gone."""
    header = channel.read(_LENGTH.size)
    if len(header) < _LENGTH.size:
        raise EOFError("the nanny ended before it said what to run")
    spec = pickle.loads(channel.read(_LENGTH.unpack(header)[0]))
    assert isinstance(spec, ChildSpec)
    return spec


def encode_line(op: str, **values: Any) -> bytes:
    """One line of JSON: ``{"op": op, …}``."""
    return json.dumps({"op": op, **values}, default=str).encode() + b"\n"
