"""The cluster key is nowhere where tasks, and what they start, would find it by chance; who needs it has it."""

from __future__ import annotations

import os
import secrets
import subprocess
from pathlib import Path
from typing import Any

import pytest
from system_bench import Bench, wait_until

from distributed import Client, LocalCluster, SubprocessCluster, get_worker

SECONDS = 30


def places_with(key: str) -> list[str]:
    """Where a task finds the key in what is shown of its process and of what it starts."""
    places = {
        "os.environ": repr(dict(os.environ)),
        "the environment of the process": Path("/proc/self/environ").read_text(errors="replace"),
        "its command line": Path("/proc/self/cmdline").read_text(errors="replace"),
        "the environment of a program": subprocess.run(["env"], capture_output=True, text=True).stdout,
    }
    return [place for place, text in places.items() if key in text]


def use_own_client() -> Any:
    with Client(get_worker().scheduler.address, set_as_default=False) as client:
        return client.submit(abs, -3, pure=False).result()


def check(client: Client, key: str) -> None:
    client.wait_for_workers(1)
    # in two halves: the key is not to travel to where it is looked for
    half = client.submit(places_with, key[:40], pure=False).result(timeout=SECONDS)
    assert half == []
    assert client.submit(use_own_client, pure=False).result(timeout=SECONDS) == 3


@pytest.mark.parametrize("options", [(), ("--no-nanny",)], ids=["nanny", "no nanny"])
def test_of_a_command(bench: Bench, key: str, options: tuple[str, ...]):
    _, address = bench.scheduler()
    command = bench.worker(address, "--nthreads", "2", *options)
    with Client(address) as client:
        check(client, key)
        if not options:
            (pid,) = client.run(os.getpid).values()
            os.kill(pid, 9)
            wait_until(
                lambda: pid not in command.children and len(command.children) == 1, "it is started again"
            )
            check(client, key)
            client.restart(timeout=SECONDS)
            check(client, key)


def test_of_a_cluster_in_processes(key: str):
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        check(client, key)
        assert os.environ["DISTRIBUTED_KEY"] == key  # the user's own is the user's


@pytest.mark.parametrize("worker_class", ["distributed.Nanny", "distributed.Worker"])
def test_of_a_cluster_of_subprocesses(key: str, worker_class: str):
    options = {"nthreads": 2}
    with (
        SubprocessCluster(n_workers=1, worker_class=worker_class, worker_kwargs=options) as cluster,
        Client(cluster) as client,
    ):
        check(client, key)


def test_a_key_given_to_one_nanny_goes_the_same_way(monkeypatch: pytest.MonkeyPatch, key: str):
    other = secrets.token_hex(32)
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=2, dashboard_address=None, env={"DISTRIBUTED_KEY": other}
        ) as cluster,
        Client(cluster) as client,
    ):
        assert client.submit(places_with, other[:40]).result(timeout=SECONDS) == []
        with pytest.raises(
            Exception, match="key"
        ):  # a task's own clients prove what its environment would say
            client.submit(use_own_client).result(timeout=SECONDS)
