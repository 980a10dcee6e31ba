"""``dcluster`` over real SSH servers on loopback."""

from __future__ import annotations

import re
import signal

import pytest
from bed_tasks import double
from beds import Bed, Bench, Running, wait_until

from distributed import Client

pytestmark = [pytest.mark.testbed, pytest.mark.timeout(400)]

HOSTS = ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"]


def start(bed: Bed, bench: Bench, *words: str) -> Running:
    command = bench.dcluster("--scheduler-port", "0", "--nthreads", "1", "--memory-limit", "1GiB", *words)
    return bench.start([bed.script, "exec", *command])


def scheduler_address(running: Running) -> str:
    return running.wait_for("Start scheduler at")[0].rpartition(" ")[2]


def nothing_left(bed: Bed, bench: Bench) -> None:
    for host in HOSTS:
        wait_until(lambda host=host: not bed.processes(host), f"nothing runs on {host}")  # type: ignore[misc]
    assert bench.files_left() == []


def compute(running: Running, nworkers: int) -> set[str]:
    """Hosts on which a computation ran."""
    with Client(scheduler_address(running)) as client:
        client.wait_for_workers(nworkers, timeout=30)
        futures = client.map(double, range(100))
        assert client.gather(futures) == [2 * i for i in range(100)]
        places = {address for holders in client.who_has(futures).values() for address in holders}
    return {place.rpartition("://")[2].rpartition(":")[0] for place in places}


def test_four_hosts_table_and_interrupt(ssh_bed: Bed, bench: Bench) -> None:
    running = start(ssh_bed, bench, *HOSTS)
    assert compute(running, 4) == set(HOSTS)
    running.wait_for("running", 5)  # the table: scheduler and workers
    rows = [
        line for line in running.lines if re.match(r"127\.0\.0\.\d +worker +running +1 +1 +1\.00 GiB", line)
    ]
    assert len(rows) == 4
    text = running.text
    assert "Worker nodes:\n  0: 127.0.0.1\n  1: 127.0.0.2\n" in text
    assert bench.key not in text
    for host in HOSTS:
        assert f"[ worker {host} ] : Start worker at:            {host}:" in text
        assert f"[ worker {host} ] : Registered with center at:  127.0.0.1:" in text
    running.signal(signal.SIGINT)
    assert running.process.wait(30) == 0
    nothing_left(ssh_bed, bench)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_its_end_is_the_end_of_all(ssh_bed: Bed, bench: Bench, signum: signal.Signals) -> None:
    running = start(ssh_bed, bench, *HOSTS[:2])
    running.wait_for("Registered with center at", 2)
    assert all(ssh_bed.processes(host) for host in HOSTS[:2])
    running.signal(signum)
    running.process.wait(30)
    nothing_left(ssh_bed, bench)


def test_a_network_that_a_client_ends_ends_in_order(ssh_bed: Bed, bench: Bench) -> None:
    running = start(ssh_bed, bench, *HOSTS[:2], "--log-directory", str(bench.temporary.parent / "logs"))
    with Client(scheduler_address(running)) as client:
        client.wait_for_workers(2, timeout=30)
        client.shutdown()
    assert running.process.wait(30) == 0
    assert "FAILED" not in running.text
    assert "dcluster: the network has ended" in running.text
    nothing_left(ssh_bed, bench)


def test_a_host_that_refuses_is_reported_and_three_run(ssh_bed: Bed, bench: Bench) -> None:
    ssh_bed.call("stop", "127.0.0.3")
    try:
        running = start(ssh_bed, bench, *HOSTS)
        assert compute(running, 3) == {"127.0.0.1", "127.0.0.2", "127.0.0.4"}
        (line,) = running.wait_for("FAILED")
        assert line.startswith("[ worker 127.0.0.3 ] : FAILED: connection refused at port 2222")
        assert "Traceback" not in running.text
        running.signal(signal.SIGINT)
        assert running.process.wait(30) == 0
        running = start(ssh_bed, bench, "--strict", *HOSTS)
        assert running.process.wait(30) == 1
        assert "dcluster: 127.0.0.3: connection refused at port 2222" in running.text
    finally:
        ssh_bed.call("start", "127.0.0.3")
    nothing_left(ssh_bed, bench)


def test_a_host_that_dies_is_reported_and_the_result_is_right(ssh_bed: Bed, bench: Bench) -> None:
    running = start(ssh_bed, bench, *HOSTS[:3])
    with Client(scheduler_address(running)) as client:
        client.wait_for_workers(3, timeout=30)
        futures = client.map(double, range(600))
        ssh_bed.call("stop", "127.0.0.2")
        try:
            assert client.gather(futures) == [2 * i for i in range(600)]
            lines = running.wait_for("FAILED")
        finally:
            ssh_bed.call("start", "127.0.0.2")
    assert [line[:31] for line in lines] == ["[ worker 127.0.0.2 ] : FAILED: "], running.text
    running.signal(signal.SIGINT)
    assert running.process.wait(30) == 0
    nothing_left(ssh_bed, bench)


def test_hostfile_workers_and_logs(ssh_bed: Bed, bench: Bench) -> None:
    folder = bench.temporary.parent
    (folder / "hosts").write_text("# two hosts\n\nroot@127.0.0.1:2222  # the first\n127.0.0.2\n")
    logs = folder / "logs"
    running = start(
        ssh_bed,
        bench,
        *("--hostfile", str(folder / "hosts"), "--scheduler", "127.0.0.4", "--nworkers", "2"),
        *("--log-directory", str(logs), "--worker-args", "--resources GPU=1"),
    )
    address = scheduler_address(running)
    assert address.startswith("127.0.0.4:")
    with Client(address) as client:
        client.wait_for_workers(4, timeout=30)
        names = {worker["name"] for worker in client.scheduler_info()["workers"].values()}
        assert client.submit(double, 1, resources={"GPU": 1}).result() == 2
    assert names == {"127.0.0.1-0", "127.0.0.1-1", "127.0.0.2-0", "127.0.0.2-1"}
    running.signal(signal.SIGTERM)
    assert running.process.wait(30) == 0
    assert sorted(path.name for path in logs.iterdir()) == [
        "dscheduler-127.0.0.4.log",
        "dworker-127.0.0.1.log",
        "dworker-127.0.0.2.log",
    ]
    assert "Registered with center at:  127.0.0.4:" in (logs / "dworker-127.0.0.1.log").read_text()
    nothing_left(ssh_bed, bench)


def test_no_such_python_is_one_clear_line(ssh_bed: Bed, bench: Bench) -> None:
    running = start(ssh_bed, bench, "127.0.0.1", "--remote-python", "/nowhere/python")
    assert running.process.wait(30) == 1
    assert "--remote-python" in running.text
    assert "Traceback" not in running.text


def test_many_workers_on_one_host(ssh_bed: Bed, bench: Bench) -> None:
    """One SSH server lets ten sessions share a connection; more hosts of one name take a second one."""
    running = start(ssh_bed, bench, *["127.0.0.1"] * 12, "--no-nanny")
    with Client(scheduler_address(running)) as client:
        client.wait_for_workers(12, timeout=60)
    running.signal(signal.SIGINT)
    assert running.process.wait(40) == 0
    nothing_left(ssh_bed, bench)
