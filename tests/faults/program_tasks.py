"""Tasks of the differential soak. Each value says which work made it, so a wrong one cannot pass for the right one."""

from __future__ import annotations

import os
import random
import time
import zlib
from pathlib import Path
from typing import Any

PRIME = 2**61 - 1


class ProgramError(Exception):
    """What tasks of programs raise: only the salt of their work."""


def digest(value: Any) -> int:
    """A number for a value, the same in every process."""
    if isinstance(value, bytes):
        return zlib.crc32(value)
    if isinstance(value, int):
        return value
    if isinstance(value, str):
        return zlib.crc32(value.encode())
    return sum((i + 1) * digest(x) for i, x in enumerate(value)) % PRIME


def mix(salt: int, *values: Any, delay: float = 0.0) -> int:
    """A number that nobody else's work gives."""
    if delay:
        time.sleep(delay)
    return (salt * 1_000_003 + 7919 * digest(values)) % PRIME


def other_mix(salt: int, *values: Any, delay: float = 0.0) -> int:
    """Another function of the same arguments."""
    return mix(salt, *values, delay=delay) + 1


def bulk(salt: int, nbytes: int, *values: Any, delay: float = 0.0) -> bytes:
    """Bytes that nobody else's work gives."""
    return random.Random(mix(salt, *values, delay=delay)).randbytes(nbytes)


def fail(salt: int, *values: Any, delay: float = 0.0) -> Any:
    if delay:
        time.sleep(delay)
    raise ProgramError(salt)


def total(*values: Any) -> int:
    return sum(values)


def fails_until(path: str, salt: int, *values: Any) -> int:
    """Fails as long as there is no such file."""
    if not os.path.exists(path):
        raise ProgramError(salt)
    return mix(salt, *values)


def fails_at_first(folder: str, times: int, salt: int) -> int:
    """Fails so many times, over all processes; then not any more."""
    path = Path(folder)
    if len(list(path.iterdir())) < times:
        (path / f"{os.getpid()}-{time.monotonic_ns()}").touch()
        raise ProgramError(salt)
    return mix(salt)


def leave_mark(path: str) -> None:
    """A visible effect."""
    Path(path).touch()


def under_lock(name: str, salt: int) -> int:
    from distributed import Lock

    with Lock(name):
        return mix(salt, delay=0.01)


class Counter:
    """An actor."""

    def __init__(self, start: int = 0) -> None:
        self.n = start

    def add(self, k: int) -> int:
        self.n += k
        return self.n


# ---------------------------------------------------------------- tasks that use the network

NESTED = (
    "worker_client",
    "get_client",
    "result",
    "compute",
    "bag",
    "fibonacci",
    "as_completed",
    "client_get",
)


def parts(salt: int, n: int) -> list[int]:
    """What the inner tasks of :func:`nested` give."""
    return [mix(salt, i) for i in range(n)]


def nested_value(kind: str, salt: int, n: int) -> int:
    """What :func:`nested` gives, without a network."""
    if kind == "fibonacci":
        return plain_fibonacci(n + 2)
    return total(*parts(salt, n))


def plain_fibonacci(n: int) -> int:
    return n if n < 2 else plain_fibonacci(n - 1) + plain_fibonacci(n - 2)


def fibonacci(n: int) -> int:
    """By tasks that wait for tasks."""
    from distributed import get_client

    if n < 2:
        return n
    client = get_client()
    return sum(client.gather([client.submit(fibonacci, n - 1), client.submit(fibonacci, n - 2)]))


def nested(kind: str, salt: int, n: int) -> int:
    """A task that has other tasks computed and waits for them, in one way or another."""
    import dask

    from distributed import as_completed, get_client, worker_client

    if kind == "fibonacci":
        return fibonacci(n + 2)
    if kind == "worker_client":
        with worker_client() as client:
            return sum(client.gather(client.map(mix, [salt] * n, range(n))))
    if kind == "compute":
        return dask.delayed(total)(*(dask.delayed(mix)(salt, i) for i in range(n))).compute()
    if kind == "bag":
        import dask.bag

        return dask.bag.from_sequence(range(n), npartitions=2).map(lambda i: mix(salt, i)).sum().compute()
    client = get_client()
    if kind == "client_get":
        graph: dict[str, Any] = {f"inner-{salt}-{i}": (mix, salt, i) for i in range(n)}
        graph |= {f"all-{salt}": (total, *graph)}
        return client.get(graph, f"all-{salt}")
    futures = client.map(mix, [salt] * n, range(n))
    if kind == "as_completed":
        return sum(future.result() for future in as_completed(futures))
    if kind == "result":
        return sum(future.result() for future in futures)
    return sum(client.gather(futures))
