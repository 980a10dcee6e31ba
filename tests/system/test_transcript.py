"""The commands print what the README shows, the network computes, and nothing stays behind."""

from __future__ import annotations

import os
import re
import signal
import socket
from pathlib import Path

from system_bench import Bench, Command, alive, wait_until
from system_tasks import inc

from distributed import Client

PORT = r"127\.0\.0\.1:(\d+)"


def ports_of(commands: list[Command]) -> set[int]:
    return {int(port) for command in commands for line in command.out for port in re.findall(PORT, line)}


def files_below(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file()]


def can_listen(port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # as every server does: TIME_WAIT is not busy
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def test_transcript_computation_and_sudden_end(bench: Bench) -> None:
    scheduler, address = bench.scheduler()
    assert re.fullmatch(f"Start scheduler at {PORT}", scheduler.line(0))
    workers = [bench.start("dworker", address) for _ in range(3)]
    for worker in workers:
        assert re.fullmatch(f"Start worker at:            {PORT}", worker.line(0))
        assert worker.line(1) == f"Registered with center at:  {address}"

    with Client(address) as client:
        client.wait_for_workers(3)
        assert client.gather(client.map(inc, range(100_000))) == list(range(1, 100_001))

    commands = [scheduler, *workers]
    pids = [pid for command in commands for pid in [command.process.pid, *command.children]]
    assert len(pids) >= 7  # each worker has a nanny
    for command in commands:
        os.kill(command.process.pid, signal.SIGKILL)
    wait_until(lambda: not any(map(alive, pids)), "all processes are gone")
    assert [len(command.out) for command in commands] == [1, 2, 2, 2]
    for port in ports_of(commands):
        wait_until(lambda port=port: can_listen(port), f"port {port} is free")  # type: ignore[misc]
    assert files_below(bench.folders["tmp"]) + files_below(bench.folders["cwd"]) == []
    assert files_below(bench.folders["home"]) == []


def test_interrupt_ends_cleanly(bench: Bench) -> None:
    scheduler, address = bench.scheduler()
    workers = [bench.worker(address), bench.worker(address, "--no-nanny")]
    for command in [*workers, scheduler]:
        pids = [command.process.pid, *command.children]
        command.process.send_signal(signal.SIGINT if command is scheduler else signal.SIGTERM)
        assert command.process.wait(20) in (0, 130, 143), command.text
        wait_until(lambda pids=pids: not any(map(alive, pids)), f"{command.name} is gone")  # type: ignore[misc]
    for command in [*workers, scheduler]:
        assert "Traceback" not in command.text
    assert files_below(bench.folders["tmp"]) + files_below(bench.folders["cwd"]) == []


def test_the_key_is_made_at_the_first_start(bench: Bench) -> None:
    del bench.env["DISTRIBUTED_KEY"]
    scheduler, address = bench.scheduler()
    file = bench.folders["home"] / ".config" / "distributed" / "cluster.key"
    assert file.stat().st_mode & 0o777 == 0o600
    secret = file.read_text().strip()
    bench.worker(address)
    assert secret not in scheduler.text


def test_a_taken_port_is_one_clear_line(bench: Bench) -> None:
    _, address = bench.scheduler()
    port = address.rpartition(":")[2]
    second = bench.start("dscheduler", "--host", "127.0.0.1", "--port", port)
    assert second.process.wait(20) != 0
    for reader in second.readers:
        reader.join(10)
    assert len(second.err) == 1
    assert f"port {port}" in second.err[0]
    assert "--port" in second.err[0]


def test_nobody_at_the_address_is_one_clear_line(bench: Bench) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    worker = bench.start("dworker", f"127.0.0.1:{port}", "--death-timeout", "2")
    assert worker.process.wait(30) != 0
    for reader in worker.readers:
        reader.join(10)
    assert worker.err
    assert f"127.0.0.1:{port}" in worker.err[-1]
    assert "Traceback" not in worker.text


def test_workers_without_a_scheduler_stop_by_themselves(bench: Bench) -> None:
    scheduler, address = bench.scheduler()
    bench.env["DASK_DISTRIBUTED__WORKER__RECONNECT_TIMEOUT"] = "2s"
    workers = [bench.worker(address), bench.worker(address, "--no-nanny")]
    pids = [pid for worker in workers for pid in [worker.process.pid, *worker.children]]
    os.kill(scheduler.process.pid, signal.SIGKILL)
    for worker in workers:
        worker.process.wait(30)
        for reader in worker.readers:
            reader.join(10)
        assert any(address in line and "gives up" in line for line in worker.err), worker.text
        assert "Traceback" not in worker.text
    wait_until(lambda: not any(map(alive, pids)), "all processes are gone")
