"""The line that ``dscheduler`` prints for other hosts, over a real SSH server on loopback."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import psutil
import pytest
from beds import Bed, Bench, wait_until

from distributed import Client, Security
from distributed.security.keys import ClusterKey

pytestmark = [pytest.mark.testbed, pytest.mark.timeout(400)]


def test_nothing_stays_behind_when_the_connection_ends(ssh_bed: Bed, bench: Bench, tmp_path: Path) -> None:
    key_file = tmp_path / "the key"
    key_file.touch(mode=0o600)
    key_file.write_text(ClusterKey.generate().text() + "\n")
    words = ["--host", "127.0.0.1", "--port", "0", "--key-file", str(key_file)]
    scheduler = bench.start([sys.executable, "-m", "distributed.cli.dask_scheduler", *words])
    (told,) = scheduler.wait_for("a host that does not share this file:")
    line = told.partition(":  ")[2]
    assert "HOST dworker " in line
    line = line.replace("HOST dworker", f"127.0.0.2 {bench.python} -m distributed.cli.dask_worker")
    running = bench.start([ssh_bed.script, "exec", "sh", "-c", line])
    running.wait_for("Registered with center at")
    address = scheduler.wait_for("Start scheduler at")[0].rpartition(" ")[2]
    with Client(address, security=Security(key_file=key_file)) as client:
        assert client.submit(abs, -1).result(timeout=30) == 1
    assert ssh_bed.processes("127.0.0.2")
    here = psutil.Process(running.process.pid).children(recursive=True)
    (connection,) = [process for process in here if process.name() == "ssh"]
    connection.send_signal(signal.SIGKILL)
    wait_until(lambda: not ssh_bed.processes("127.0.0.2"), "nothing runs on the host")
    running.process.wait(30)
    _, alive = psutil.wait_procs(here, timeout=30)
    assert not alive
    assert bench.files_left() == []
