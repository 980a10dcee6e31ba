"""A scheduler that is drained ends without loss; ``/health`` says how it is."""

from __future__ import annotations

import http.client
import json
import signal
from pathlib import Path
from typing import Any

import pytest
from fault_bench import FaultBench
from fault_tasks import inc, notes, submit_more, total, wait_for
from system_bench import Command, wait_until

from distributed import Client
from distributed.core.http import HTTPServer, health_route


def get(address: str, path: str = "/health", method: str = "GET") -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"{}")
    finally:
        connection.close()


def health_address(scheduler: Command) -> str:
    [line] = wait_until(lambda: scheduler.errors("health at http"), "it says where")
    return line.partition("http://")[2].removesuffix("/health")


@pytest.mark.parametrize("how", ["signal", "call"])
def test_draining(bench: FaultBench, tmp_path: Path, notes_folder: str, how: str) -> None:
    """What was submitted is finished, also by tasks that submit; new tasks and clients are refused; then all ends."""
    scheduler, address = bench.scheduler("--health-address", "127.0.0.1:0")
    health = health_address(scheduler)
    worker = bench.worker(address, "--nthreads", "2")
    with Client(address) as client:
        client.wait_for_workers(1)
        status, answer = get(health)
        assert (status, answer["status"], answer["workers"]) == (200, "ok", 1)
        go = str(tmp_path / "go")
        running = client.submit(wait_for, go, 5, notes_folder, "running")
        nested = client.submit(submit_more, go, notes_folder)
        after = client.submit(total, [running, nested])
        wait_until(lambda: {"running", "nested"} <= set(notes(notes_folder)), "both run")
        if how == "signal":
            scheduler.process.send_signal(signal.SIGUSR1)
        else:
            assert client.sync(client.scheduler.drain)["tasks"] >= 3
        wait_until(lambda: get(health)[1]["status"] == "draining", "it says so")
        assert get(health)[0] == 503
        refused = client.submit(inc, 1)
        with pytest.raises(Exception, match="the scheduler is draining"):
            refused.result(timeout=30)
        with pytest.raises(OSError, match="the scheduler is draining"):
            Client(address, timeout=2)
        (tmp_path / "go").touch()
        assert after.result(timeout=30) == 5 + 10
        assert scheduler.process.poll() is None, "results are kept while somebody wants them"
        del running, nested, after
        assert scheduler.process.wait(30) == 0
        assert worker.process.wait(30) == 0


def test_a_drained_scheduler_does_not_wait_for_ever(bench: FaultBench) -> None:
    bench.configure(scheduler__drain_patience="500ms")
    scheduler, address = bench.scheduler()
    bench.worker(address)
    with Client(address) as client:
        kept = client.submit(inc, 1)
        assert kept.result(timeout=30) == 2
        scheduler.process.send_signal(signal.SIGUSR1)
        assert scheduler.process.wait(30) == 0
        assert scheduler.errors("Drained: .* did not fetch all results")


def test_health_says_nothing_else(bench: FaultBench) -> None:
    scheduler, _ = bench.scheduler("--health-address", "127.0.0.1:0")
    health = health_address(scheduler)
    assert get(health, "/info/main/workers.json")[0] == 404
    assert get(health, "/")[0] == 404
    assert get(health, method="POST")[0] == 405
    assert get(health, method="HEAD") == (200, {})
    assert set(get(health)[1]) == {"status", "workers", "clients", "tasks", "uptime"}


def test_without_the_option_nothing_listens(bench: FaultBench) -> None:
    import psutil

    scheduler, address = bench.scheduler()
    listening = [
        connection.laddr.port
        for connection in psutil.Process(scheduler.process.pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening == [int(address.rpartition(":")[2])]


@pytest.mark.parametrize(
    "request_head", [b"\r\n\r\n", b"GET\r\n\r\n", b"\xff\xfe \x00\r\n\r\n", b"GET /health\r\n\r\n"]
)
def test_whatever_is_asked_is_answered(request_head: bytes) -> None:
    answer = HTTPServer({"/health": health_route(lambda: {"status": "ok"})}).respond(request_head)
    assert answer.startswith(b"HTTP/1.1 ")
