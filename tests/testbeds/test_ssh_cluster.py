"""``SSHCluster`` over real SSH servers on loopback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from bed_tasks import double
from beds import Bed, Bench, wait_until

from distributed import Client, SSHCluster

pytestmark = [pytest.mark.testbed, pytest.mark.timeout(400)]


def connect_options(bed: Bed) -> dict[str, object]:
    """What ``ssh exec`` would put into ``~/.ssh``."""
    lines = bed.call("env").replace("export ", "").split()
    settings = dict(word.split("=", 1) for word in lines)
    return {
        "port": int(settings["DCTEST_SSH_PORT"]),
        "username": "root",
        "client_keys": [settings["DCTEST_SSH_KEY"]],
        "known_hosts": settings["DCTEST_SSH_KNOWN_HOSTS"],
    }


def nothing_left(bed: Bed, bench: Bench) -> None:
    for host in ("127.0.0.1", "127.0.0.2", "127.0.0.3"):
        wait_until(lambda host=host: not bed.processes(host), f"nothing runs on {host}")  # type: ignore[misc]
    assert bench.files_left() == []


def test_computes_on_all_hosts(ssh_bed: Bed, bench: Bench) -> None:
    with SSHCluster(
        ["127.0.0.1", "127.0.0.2", "127.0.0.3"],
        connect_options=connect_options(ssh_bed),
        worker_options={"nthreads": 1, "n_workers": 2, "memory_limit": "1GiB", "host": "127.0.0.1"},
        remote_python=str(bench.python),
    ) as cluster:
        assert cluster.plan == {"0-0", "0-1", "1-0", "1-1"}
        with Client(cluster) as client:
            client.wait_for_workers(4, timeout=30)
            assert client.gather(client.map(double, range(100))) == [2 * i for i in range(100)]
            assert {w["name"] for w in client.scheduler_info()["workers"].values()} == cluster.plan
        assert "SSHCluster" in cluster._repr_html_()
    nothing_left(ssh_bed, bench)


def test_a_host_that_refuses_is_one_clear_error(ssh_bed: Bed, bench: Bench) -> None:
    options = connect_options(ssh_bed)
    with pytest.raises(RuntimeError, match=r"^127\.0\.0\.9: connection refused at port 2222"):
        SSHCluster(
            ["127.0.0.1", "127.0.0.9"],
            connect_options=options,
            remote_python=str(bench.python),
        )
    with pytest.raises(RuntimeError, match=r"^127\.0\.0\.1: user nobody was not let in"):
        SSHCluster(["127.0.0.1"] * 2, connect_options={**options, "username": "nobody"})
    empty = bench.temporary.parent / "known_hosts"
    empty.write_text("")
    with pytest.raises(RuntimeError, match="its host key is not among your known_hosts"):
        SSHCluster(["127.0.0.1"] * 2, connect_options={**options, "known_hosts": str(empty)})
    nothing_left(ssh_bed, bench)


def test_jump_host(ssh_bed: Bed, bench: Bench, tmp_path: Path) -> None:
    """``ProxyJump`` of an SSH configuration: all connections go by way of 127.0.0.4."""
    config = tmp_path / "config"
    options = connect_options(ssh_bed)
    config.write_text(
        f"Host 127.0.0.*\n  Port {options['port']}\n  User root\n  IdentityFile {options['client_keys'][0]}\n"  # type: ignore[index]
        f"  UserKnownHostsFile {options['known_hosts']}\n"
        "Match host 127.0.0.1,127.0.0.2\n  ProxyJump 127.0.0.4\n"
    )
    with (
        SSHCluster(
            ["127.0.0.1", "127.0.0.2"],
            connect_options={"config": [str(config)]},
            worker_options={"nthreads": 1, "host": "127.0.0.1"},
            remote_python=str(bench.python),
        ) as cluster,
        Client(cluster) as client,
    ):
        assert client.submit(double, 4).result(timeout=30) == 8
        assert ("127.0.0.4", options["port"]) in {
            tuple(c.raddr) for c in psutil.Process().net_connections() if c.raddr
        }
        direct = {("127.0.0.1", options["port"]), ("127.0.0.2", options["port"])}
        assert not direct & {tuple(c.raddr) for c in psutil.Process().net_connections() if c.raddr}
    nothing_left(ssh_bed, bench)


def test_it_ends_with_its_program(ssh_bed: Bed, bench: Bench) -> None:
    options = connect_options(ssh_bed)
    program = f"""
import os, signal
from distributed import SSHCluster
cluster = SSHCluster(["127.0.0.1", "127.0.0.2"], connect_options={options!r}, remote_python={str(bench.python)!r},
                     scheduler_options={{"host": "127.0.0.1"}})
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program], env=bench.env, timeout=60, check=False)
    assert done.returncode == -9
    nothing_left(ssh_bed, bench)


def test_a_worker_that_somebody_retired_is_not_started_again(ssh_bed: Bed, bench: Bench) -> None:
    with SSHCluster(
        ["127.0.0.1", "127.0.0.2", "127.0.0.3"],
        connect_options=connect_options(ssh_bed),
        worker_options={"nthreads": 1, "memory_limit": "1GiB", "host": "127.0.0.1"},
        remote_python=str(bench.python),
    ) as cluster:
        with Client(cluster) as client:
            client.wait_for_workers(2, timeout=30)
            client.retire_workers(names=[0])
            wait_until(lambda: cluster.plan == {1}, "it has been taken out")
            assert set(cluster.workers) == {1}
    nothing_left(ssh_bed, bench)
