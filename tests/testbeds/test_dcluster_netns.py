"""The network over four hosts of their own, each with its interfaces, name and SSH server."""

from __future__ import annotations

import re
import signal
import subprocess
import sys

import pytest
from beds import Bed, Bench
from netns_helpers import HOSTS, client_on_head, nothing_left, on, program, start

pytestmark = [pytest.mark.testbed, pytest.mark.timeout(400)]

COMPUTE = """
    client.wait_for_workers(4, timeout=30)
    hosts = sorted(set(client.run(socket.gethostname).values()))
    total = sum(client.gather(client.map(double, range(200))))
    answer = {"hosts": hosts, "total": total}
"""


def test_dcluster_over_four_hosts(netns_bed: Bed, bench: Bench) -> None:
    running = start(netns_bed, bench, "192.168.0.{1,2,3,4}")
    running.wait_for("Registered with center at:  192.168.0.1:8786", 4)
    answer = client_on_head(netns_bed, bench, COMPUTE)
    assert answer == {"hosts": ["host1", "host2", "host3", "host4"], "total": 200 * 199}
    assert "[ scheduler 192.168.0.1:8786 ] : Start scheduler at 192.168.0.1:8786" in running.lines
    for host in HOSTS:
        line = f"[ worker 192.168.0.{host} ] : Start worker at:            192.168.0.{host}:"
        assert any(text.startswith(line) for text in running.lines)
    running.signal(signal.SIGINT)
    assert running.process.wait(30) == 0
    nothing_left(netns_bed, bench)


def test_transcript_by_hand(netns_bed: Bed, bench: Bench) -> None:
    """``dscheduler`` on one host, ``dworker 192.168.0.1:8786`` on three: the words of the README."""
    module = [str(bench.python), "-m"]
    scheduler = bench.start(on(netns_bed, "1", *module, "distributed.cli.dask_scheduler"))
    scheduler.wait_for("Start scheduler at")
    workers = [
        bench.start(on(netns_bed, host, *module, "distributed.cli.dask_worker", "192.168.0.1:8786"))
        for host in HOSTS[1:]
    ]
    assert scheduler.lines[0] == "Start scheduler at 192.168.0.1:8786"
    for host, worker in zip(HOSTS[1:], workers, strict=True):
        worker.wait_for("Registered with center at")
        assert re.fullmatch(rf"Start worker at:            192\.168\.0\.{host}:\d+", worker.lines[0])
        assert worker.lines[1] == "Registered with center at:  192.168.0.1:8786"
    answer = client_on_head(netns_bed, bench, COMPUTE.replace("(4,", "(3,"))
    assert answer == {"hosts": ["host2", "host3", "host4"], "total": 200 * 199}
    for command in [*workers, scheduler]:
        command.signal(signal.SIGINT)
        assert command.process.wait(30) == 0
    nothing_left(netns_bed, bench)


CUT = """
    client.wait_for_workers(4, timeout=30)
    futures = client.map(double, range(2000))
    client.gather(futures[:50])
    print("computing", flush=True)
    answer = client.gather(futures) == [2 * i for i in range(2000)]
"""


@pytest.mark.parametrize("forever", [False, True])
def test_a_host_that_is_cut_off_during_a_computation(netns_bed: Bed, bench: Bench, forever: bool) -> None:
    """For five seconds, and for longer than the scheduler waits for a silent worker (8 s here)."""
    ttl = "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL=8s"
    bench.python.write_text(bench.python.read_text().replace("exec ", f"export {ttl}\nexec ", 1))
    running = start(netns_bed, bench, "192.168.0.{1,2,3,4}")
    running.wait_for("Registered with center at", 4)
    client = bench.start(on(netns_bed, "head", sys.executable, "-c", program(CUT)))
    client.wait_for("computing")
    netns_bed.call("cut", "3")
    try:
        if forever:
            assert client.process.wait(60) == 0, client.text
        else:
            with pytest.raises(subprocess.TimeoutExpired):
                client.process.wait(5)  # it waits for what the host has
    finally:
        netns_bed.call("heal", "3")
    assert client.process.wait(60) == 0, client.text
    assert client.lines[-1] == "true"
    back = "client.wait_for_workers(4, timeout=60); answer = len(client.scheduler_info()['workers'])"
    assert client_on_head(netns_bed, bench, back) == 4
    running.signal(signal.SIGINT)
    assert running.process.wait(40) == 0
    nothing_left(netns_bed, bench)
