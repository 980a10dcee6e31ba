"""``dcluster``, also ``dask ssh``: a network on many hosts, over SSH."""

from __future__ import annotations

import os
import shlex
import sys
from typing import Any

import click

from distributed import config, network_version
from distributed.cli import options
from distributed.cli.utils import Fatal, Stop, first, run_command
from distributed.deploy.ssh_hosts import Host, parse_hosts, read_hostfile

NAME = "dcluster"


def _host_options(function: Any) -> Any:
    return options.stack(
        function,
        click.option(
            "--hostfile", metavar="FILE", help="File with hosts; blank lines and # comments allowed."
        ),
        click.option("--scheduler", metavar="HOST", help="Host of the scheduler.  [default: the first host]"),
        click.option(
            "--scheduler-port",
            type=options.Port(),
            default="8786",
            show_default=True,
            help="0 for any free one.",
        ),
        click.option("--strict", is_flag=True, help="Stop all as soon as one host fails."),
    )


def _ssh_options(function: Any) -> Any:
    return options.stack(
        function,
        click.option("--ssh-username", metavar="USER", help="Name of the user on the hosts."),
        click.option("--ssh-port", type=options.Port(), help="Port of the SSH servers."),
        click.option(
            "--ssh-private-key", metavar="FILE", type=click.Path(), help="Private key to prove yourself with."
        ),
        click.option(
            "--ssh-known-hosts",
            metavar="FILE",
            type=click.Path(),
            help="Host keys.  [default: ~/.ssh/known_hosts]",
        ),
        click.option(
            "--connect-timeout",
            type=options.Duration(),
            default="15s",
            show_default=True,
            help="For each host.",
        ),
    )


def _program_options(function: Any) -> Any:
    return options.stack(
        function,
        click.option(
            "--nthreads", type=click.IntRange(min=0), help="Threads of each worker.  [default: all cores]"
        ),
        click.option("--nworkers", "--nprocs", "nworkers", help="Workers on each host.  [default: 1]"),
        click.option(
            "--memory-limit", type=options.MemoryLimit(), help="Memory of each worker.  [default: auto]"
        ),
        click.option("--local-directory", metavar="DIR", help="Where workers may put files, on the hosts."),
        click.option(
            "--nanny/--no-nanny", default=True, show_default=True, help="Watch workers and start them again."
        ),
        click.option(
            "--interface", help="Network interface of the hosts.  [default: the one SSH comes in by]"
        ),
        click.option(
            "--log-directory", metavar="DIR", help="Directory on the hosts to keep what the programs print."
        ),
        click.option(
            "--remote-python", metavar="PATH", help="Python on the hosts.  [default: the path of this one]"
        ),
        click.option("--scheduler-args", metavar="WORDS", help="Further options for dscheduler, in quotes."),
        click.option("--worker-args", metavar="WORDS", help="Further options for dworker, in quotes."),
        click.option("--tls", is_flag=True, help="Encrypt all connections of the network."),
    )


@click.command(name="ssh", context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.argument("hostnames", nargs=-1, metavar="[HOSTNAMES]...")
@_host_options
@_program_options
@_ssh_options
@options.security_options
@click.version_option(package_name="distributed-network", prog_name=NAME)
def main(**given: Any) -> None:
    """Start a scheduler on the first host and a worker on each, over SSH.

    HOSTNAMES are like 192.168.0.1, ann@server or ann@server:2222; what they leave open is looked up in
    ~/.ssh/config. The network lives as long as this command: Ctrl-C, or the end of
    the terminal, stops everything on all hosts.
    """
    os.environ.setdefault(
        "UV_THREADPOOL_SIZE", "64"
    )  # names of many hosts are looked up at once, some by a slow server
    run_command(NAME, lambda: _main(given))


async def _main(given: dict[str, Any]) -> int:
    launched: list[Any] = []

    def abandon() -> None:
        for launcher in launched:
            launcher.abandon()

    stop = Stop(abandon)  # before anything that takes long
    try:
        import asyncssh  # noqa: F401 - a clear word instead of an error in the middle
    except ImportError:
        raise Fatal("asyncssh is missing: pip install asyncssh") from None
    from distributed.deploy.ssh_board import make_board
    from distributed.deploy.ssh_connection import Connections
    from distributed.deploy.ssh_launcher import Launcher, LaunchError

    config.initialize_logging(None)
    plan = make_plan(given)
    scheduler, workers = plan.places()
    connections = Connections(_connect_options(given), timeout=given["connect_timeout"] or 15.0)
    board = make_board([scheduler, *workers], stop.request)
    launcher = Launcher(plan, scheduler, workers, connections, board)
    launched.append(launcher)
    status = 0
    with board:
        board.say(banner(plan.workers, scheduler.label))
        try:
            await first(stop.wait(), launcher.run())
            if not stop.requested:
                board.say(
                    f"{NAME}: the network has ended: somebody closed it, or its last worker was retired"
                )
        except LaunchError as error:
            status = 1
            board.say(f"{NAME}: {error}")
        finally:
            board.say(f"{NAME}: stopping the remote processes (again to leave at once)")
            await launcher.stop()
        board.say(f"{NAME}: stopped")
    return status


def make_plan(given: dict[str, Any]) -> Any:
    """What the options ask for. Raises ValueError or Fatal for what contradicts itself."""
    from distributed.deploy.ssh_launcher import Plan

    hosts = parse_hosts(given["hostnames"])
    if given["hostfile"]:
        hosts += read_hostfile(given["hostfile"])
    if not hosts:
        raise Fatal("no hosts: give them (dcluster 192.168.0.1 192.168.0.2) or --hostfile FILE")
    worker: list[str] = []
    for name in ("nthreads", "nworkers", "memory_limit", "local_directory"):
        if given[name]:  # 0 threads: as many as there are cores, said the first releases
            worker += [f"--{name.replace('_', '-')}", str(given[name])]
    if not given["nanny"]:
        worker.append("--no-nanny")
    return Plan(
        scheduler=Host.parse(given["scheduler"]) if given["scheduler"] else hosts[0],
        workers=hosts,
        security=options.make_security(
            **{name: given[name] for name in ("key_file", "insecure", "tls_ca_file", "tls_cert", "tls_key")},
            create=True,
        ),
        python=given["remote_python"] or sys.executable,
        port=given["scheduler_port"],
        scheduler_arguments=_words(given["scheduler_args"], given["tls"]),
        worker_arguments=[*worker, *_words(given["worker_args"], given["tls"])],
        interface=given["interface"],
        log_directory=given["log_directory"],
        strict=given["strict"],
    )


def _words(text: str | None, tls: bool) -> list[str]:
    if tls:
        _require_tls()
    return [*(["--protocol", "tls"] if tls else []), *shlex.split(text or "")]


def _require_tls() -> None:
    """Raise Fatal where connections cannot be encrypted: better none than one believed to be."""
    from distributed.comm.registry import get_backend

    try:
        get_backend("tls")
    except ValueError:
        raise Fatal("--tls: this release does not encrypt connections yet") from None


def _connect_options(given: dict[str, Any]) -> dict[str, Any]:
    names = {
        "ssh_username": "username",
        "ssh_port": "port",
        "ssh_private_key": "client_keys",
        "ssh_known_hosts": "known_hosts",
    }
    return {ours: given[name] for name, ours in names.items() if given[name] is not None}


def banner(workers: list[Host], scheduler: str) -> str:
    """What is shown first: version, the hosts of workers with numbers, the scheduler's address."""
    rule = "-" * 63
    nodes = [f"  {i}: {host.name}" for i, host in enumerate(workers)]
    title = f"distributed-network v{network_version}".center(len(rule)).rstrip()
    return "\n".join([rule, title, "", "Worker nodes:", *nodes, "", f"scheduler node: {scheduler}", rule, ""])


if __name__ == "__main__":
    main(prog_name=NAME)
