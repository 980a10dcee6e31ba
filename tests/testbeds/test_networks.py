"""Networks that are not flat: a worker behind a forwarded port, hosts with several interfaces, a slow line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
from beds import Bed, Bench
from netns_helpers import client_on_head, nothing_left, on, start

pytestmark = [pytest.mark.testbed, pytest.mark.timeout(400)]

FORWARD = """
import asyncio, sys
async def pump(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
async def accept(reader, writer):
    there = await asyncio.open_connection("127.0.0.1", 9001)
    await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))
async def main():
    server = await asyncio.start_server(accept, "192.168.0.2", 9000)
    print("forwards", flush=True)
    await server.serve_forever()
asyncio.run(main())
"""

EXCHANGE = """
    client.wait_for_workers(2, timeout=30)
    workers = sorted(client.scheduler_info()["workers"])
    parts = [client.submit(double, i, workers=[w]) for i, w in enumerate(workers, 1)]
    sums = [client.submit(sum, parts, workers=[w], pure=False) for w in workers]
    answer = {"workers": workers, "sums": client.gather(sums)}
"""


def test_a_worker_behind_a_forwarded_port(netns_bed: Bed, bench: Bench) -> None:
    """It listens where nobody else can reach it; the contact address leads there."""
    module = [str(bench.python), "-m"]
    forward = bench.start(on(netns_bed, "2", sys.executable, "-c", FORWARD))
    forward.wait_for("forwards")
    scheduler = bench.start(on(netns_bed, "1", *module, "distributed.cli.dask_scheduler"))
    scheduler.wait_for("Start scheduler at")
    dworker = [*module, "distributed.cli.dask_worker", "192.168.0.1:8786", "--nthreads", "1"]
    listen = ["--listen-address", "tcp://127.0.0.1:9001", "--contact-address", "tcp://192.168.0.2:9000"]
    hidden = bench.start(on(netns_bed, "2", *dworker, *listen))
    plain = bench.start(on(netns_bed, "3", *dworker))
    for worker in (hidden, plain):
        worker.wait_for("Registered with center at")
    assert hidden.lines[0] == "Start worker at:            192.168.0.2:9000"
    answer = client_on_head(netns_bed, bench, EXCHANGE)
    assert "tcp://192.168.0.2:9000" in answer["workers"]
    assert answer["sums"] == [6, 6]
    for command in (hidden, plain, scheduler):
        command.signal(signal.SIGINT)
        assert command.process.wait(30) == 0
    forward.end()
    nothing_left(netns_bed, bench)


def test_interface_of_hosts_with_several(netns_bed: Bed, bench: Bench) -> None:
    """SSH comes in by eth0; the network is to use another one."""
    for host in "123":
        ip = ["ip", "-n", f"dct-{host}"]
        subprocess.run(
            [*ip, "link", "add", "link", "eth0", "ib0", "type", "macvlan", "mode", "bridge"], check=False
        )
        made = subprocess.run([*ip, "addr", "add", f"10.77.0.{host}/24", "dev", "ib0"], capture_output=True)
        if made.returncode:
            pytest.skip("this kernel has no second interface (macvlan) for a host")
        subprocess.run([*ip, "link", "set", "ib0", "up"], check=True)
    try:
        running = start(netns_bed, bench, "192.168.0.{1,2,3}", "--interface", "ib0")
        running.wait_for("Registered with center at:  10.77.0.1:8786", 3)
        for host in "123":
            running.wait_for(f"[ worker 192.168.0.{host} ] : Start worker at:            10.77.0.{host}:")
        program = EXCHANGE.replace("wait_for_workers(2", "wait_for_workers(3")
        done = subprocess.run(
            on(netns_bed, "1", sys.executable, "-c", _program(program)),
            capture_output=True,
            text=True,
            timeout=60,
            env=bench.env,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["sums"] == [12, 12, 12]
        running.signal(signal.SIGINT)
        assert running.process.wait(30) == 0
        nothing_left(netns_bed, bench)
    finally:
        for host in "123":
            subprocess.run(["ip", "-n", f"dct-{host}", "link", "del", "ib0"], check=False)


def _program(text: str) -> str:
    from netns_helpers import program

    return program(text, "10.77.0.1:8786")


def test_a_slow_line(netns_bed: Bed, bench: Bench) -> None:
    """A host 100 ms away takes part."""
    netns_bed.call("delay", "2", "100")
    try:
        running = start(netns_bed, bench, "192.168.0.{1,2}")
        running.wait_for("Registered with center at", 2)
        assert client_on_head(netns_bed, bench, EXCHANGE)["sums"] == [6, 6]
        running.signal(signal.SIGINT)
        assert running.process.wait(30) == 0
    finally:
        netns_bed.call("delay", "2", "0")
    nothing_left(netns_bed, bench)
