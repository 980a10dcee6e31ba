"""Fixtures for pytest: import those that a test module needs by name.

``cleanup`` watches for leaks; ``loop`` is an event loop in a thread; ``client`` has a network of two worker processes
behind it, whose addresses are ``s``, ``a`` and ``b``.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from distributed.client import Client
from distributed.loops import Loop, LoopRunner
from distributed.security import Security
from distributed.utils_test.leaks import clean
from distributed.utils_test.processes import cluster as start_cluster


@pytest.fixture
def cleanup() -> Iterator[None]:
    """The test must leave nothing behind; it has a cluster key of its own."""
    with clean():
        yield


@pytest.fixture
def loop_in_thread(cleanup: None) -> Iterator[Loop]:
    """An event loop that runs in a thread."""
    runner = LoopRunner()
    runner.start()
    try:
        yield runner.loop
    finally:
        runner.stop()


@pytest.fixture
def loop(loop_in_thread: Loop) -> Loop:
    """An event loop for synchronous clients and clusters: the one of ``loop_in_thread``."""
    return loop_in_thread


@pytest.fixture
def cluster_fixture(loop: Loop) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """A network of two workers, each in its own process: the scheduler's address, and those of the workers."""
    with start_cluster() as (scheduler, workers):
        yield scheduler, workers


@pytest.fixture
def s(cluster_fixture: Any) -> dict[str, Any]:
    """The scheduler of the network: a dict with ``address``."""
    scheduler, _ = cluster_fixture
    return scheduler  # type: ignore[no-any-return]


@pytest.fixture
def a(cluster_fixture: Any) -> dict[str, Any]:
    """The first worker of the network: a dict with ``address``."""
    _, workers = cluster_fixture
    return workers[0]  # type: ignore[no-any-return]


@pytest.fixture
def b(cluster_fixture: Any) -> dict[str, Any]:
    """The second worker of the network: a dict with ``address``."""
    _, workers = cluster_fixture
    return workers[1]  # type: ignore[no-any-return]


@pytest.fixture
def client(loop: Loop, cluster_fixture: Any) -> Iterator[Client]:
    """A synchronous client of a network of two workers."""
    scheduler, _ = cluster_fixture
    with Client(scheduler["address"], loop=loop) as client:
        yield client


#: Another name of ``client``.
c = client


@pytest.fixture
def client_no_amm(client: Client) -> Client:
    """As ``client``: this engine has no active memory manager that would have to be stopped."""
    return client


@pytest.fixture
def security() -> Security:
    """Certificates and a cluster key, made for the tests of this process."""
    from distributed.utils_test.tls import tls_only_security

    return tls_only_security()


@pytest.fixture
def tls_cluster(loop: Loop, security: Security) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """As ``cluster_fixture``, over encrypted connections."""
    options = {"security": security, "host": "tls://127.0.0.1"}
    with start_cluster(scheduler_kwargs=options, worker_kwargs=options) as (scheduler, workers):
        yield scheduler, workers


@pytest.fixture
def tls_client(tls_cluster: Any, loop: Loop, security: Security) -> Iterator[Client]:
    """As ``client``, over encrypted connections."""
    scheduler, _ = tls_cluster
    with Client(scheduler["address"], loop=loop, security=security) as client:
        yield client


@pytest.fixture
def requires_default_ports() -> None:
    """Skip the test when another program of this machine listens at the ports 8786 or 8787."""
    for port in (8786, 8787):
        with contextlib.closing(socket.socket()) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                pytest.skip(f"another program listens at port {port}")
