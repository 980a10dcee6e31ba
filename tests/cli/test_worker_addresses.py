"""Where workers listen and how others reach them: ranges of ports, IPv6, interfaces, addresses of others' choice."""

from __future__ import annotations

import re
import socket

import pytest
from system_bench import Bench
from system_tasks import inc

from distributed import Client


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


def compute(address: str, nworkers: int) -> list[str]:
    """Addresses of the workers; a computation whose parts travel between them was right."""
    with Client(address) as client:
        client.wait_for_workers(nworkers, timeout=30)
        workers = list(client.scheduler_info()["workers"])
        parts = [client.submit(inc, i, workers=[worker], pure=False) for i, worker in enumerate(workers)]
        sums = [client.submit(sum, parts, workers=[worker], pure=False) for worker in workers]
        assert client.gather(sums) == [sum(range(1, nworkers + 1))] * nworkers
    return workers


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_ipv6(bench: Bench) -> None:
    scheduler = bench.start("dscheduler", "--host", "::1", "--port", "0")
    address = scheduler.line(0).rpartition(" ")[2]
    assert re.fullmatch(r"\[::1\]:\d+", address)
    first, second = bench.worker(address), bench.worker(f"tcp://{address}", "--no-nanny")
    for worker in (first, second):
        assert re.fullmatch(r"Start worker at:            \[::1\]:\d+", worker.line(0))
        assert worker.line(1) == f"Registered with center at:  {address}"
    assert len(compute(address, 2)) == 2


def test_a_range_of_ports_is_enough_for_all(bench: Bench) -> None:
    """Behind a firewall that lets only these through."""
    _, address = bench.scheduler()
    for _ in range(2):
        worker = bench.worker(
            address, "--worker-port", "23700:23739", "--nanny-port", "23740:23779", "--nworkers", "2"
        )
        worker.line(3)
    workers = compute(address, 4)
    ports = {int(worker.rpartition(":")[2]) for worker in workers}
    assert len(ports) == 4
    assert ports <= set(range(23700, 23740))


def test_interface(bench: Bench) -> None:
    scheduler = bench.start("dscheduler", "--interface", "lo", "--port", "0")
    address = scheduler.line(0).rpartition(" ")[2]
    assert address.startswith("127.0.0.1:")
    bench.worker(address, "--interface", "lo")
    assert all(worker.startswith("tcp://127.0.0.1:") for worker in compute(address, 1))


@pytest.mark.parametrize("nanny", ["--nanny", "--no-nanny"])
def test_contact_address_without_a_port(bench: Bench, nanny: str) -> None:
    """Others are told this host and the port the worker got."""
    _, address = bench.scheduler()
    bench.worker(
        address, nanny, "--listen-address", "tcp://0.0.0.0:0", "--contact-address", "tcp://127.0.0.7"
    )
    bench.worker(address)
    workers = compute(address, 2)
    assert sum(worker.startswith("tcp://127.0.0.7:") for worker in workers) == 1
