"""The network over four hosts of their own, each with its interfaces, name and SSH server."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import textwrap
from typing import Any

import pytest
from beds import Bed, Bench, Running, wait_until

pytestmark = [pytest.mark.testbed, pytest.mark.timeout(400)]

HOSTS = ["1", "2", "3", "4"]


def on(bed: Bed, host: str, *words: str) -> list[str]:
    """The command line that runs ``words`` on a host."""
    return [bed.script, "exec", host, *words]


def program(text: str) -> str:
    """What a user would write: ``client`` is there for ``text``, its ``answer`` is printed as JSON."""
    return (
        "import json, socket\nfrom bed_tasks import double\nfrom distributed import Client\n"
        "with Client('192.168.0.1:8786') as client:\n"
        + textwrap.indent(textwrap.dedent(text), "    ")
        + "\n    print(json.dumps(answer))\n"
    )


def client_on_head(bed: Bed, bench: Bench, text: str) -> Any:
    """The answer of a program that runs on the head."""
    words = on(bed, "head", sys.executable, "-c", program(text))
    done = subprocess.run(words, capture_output=True, text=True, timeout=90, env=bench.env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def nothing_left(bed: Bed, bench: Bench) -> None:
    for host in HOSTS:
        wait_until(lambda host=host: not bed.processes(host), f"nothing runs on {host}")  # type: ignore[misc]
    assert bench.files_left() == []


def start(bed: Bed, bench: Bench, hosts: str, *words: str) -> Running:
    """``dcluster 192.168.0.{…}`` on the head, the braces expanded by its shell."""
    command = " ".join(bench.dcluster("--nthreads", "1", *words))
    return bench.start(on(bed, "head", "bash", "-c", f"exec {command} {hosts}"))


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
