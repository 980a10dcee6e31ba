"""``dscheduler``, also ``dask scheduler`` and ``python -m distributed.cli.dask_scheduler``."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
from typing import Any

import click

from distributed import config
from distributed.cli import options
from distributed.cli.utils import Fatal, Stop, first, pid_file, run_command, say, tell
from distributed.collector import tune_garbage_collector
from distributed.core.http import HTTPServer, health_route
from distributed.exceptions import AddressInUseError
from distributed.forks import on_signal
from distributed.preloading import process_preloads
from distributed.scheduler_file import remove_scheduler_file
from distributed.security import Security
from distributed.security.keys import ENVIRONMENT_VARIABLE, default_key_path

NAME = "dscheduler"
DEFAULT_PORT = 8786


@click.command(name="scheduler", context_settings=options.CONTEXT_SETTINGS)
@options.network_options
@click.option("--port", type=options.Port(), help=f"Port; 0 for any free one.  [default: {DEFAULT_PORT}]")
@options.security_options
@click.option(
    "--scheduler-file",
    metavar="FILE",
    help="Write the address there, for workers and clients that share the disk.",
)
@click.option(
    "--idle-timeout", type=options.Duration(), help="Stop after so long (such as 1h) without computing."
)
@click.option(
    "--health-address",
    metavar="HOST:PORT",
    help="Answer GET /health there, for whoever watches services. Default: nothing listens.",
)
@click.option("--name", help="Name of this scheduler in logs.", hidden=True)
@options.dashboard_options
@click.option("--jupyter/--no-jupyter", default=False, help="Accepted; no Jupyter server is started.")
@click.option("--show/--no-show", default=None, hidden=True)
@click.option("--use-xheaders", type=bool, hidden=True)
@options.process_options
@click.version_option(package_name="distributed-network", prog_name=NAME)
def main(
    host: str | None,
    interface: str | None,
    protocol: str | None,
    port: int | None,
    key_file: str | None,
    insecure: bool,
    tls_ca_file: str | None,
    tls_cert: str | None,
    tls_key: str | None,
    scheduler_file: str | None,
    idle_timeout: float | None,
    health_address: str | None,
    dashboard_address: str | None,
    dashboard: bool,
    pid_file: str | None,
    stop_at_eof: bool,
    preload: tuple[str, ...],
    preload_words: tuple[str, ...],
    preload_argv: tuple[str, ...],
    **accepted: Any,
) -> None:
    """Start a scheduler: workers and clients of the network connect to it.

    Prints "Start scheduler at HOST:PORT" once it listens. Makes the cluster key at its first start. After SIGUSR1 it
    drains: it takes nothing new, finishes what it has, then stops its workers and itself.
    """
    words = options.preload_arguments(preload, preload_argv, preload_words)
    arguments: dict[str, Any] = {
        "host": host,
        "interface": interface,
        "protocol": protocol,
        "idle_timeout": idle_timeout,
        "dashboard_address": dashboard_address,
        "dashboard": dashboard,
    }
    if scheduler_file:
        arguments["scheduler_file"] = scheduler_file
    if preload:
        arguments |= {"preload": list(preload), "preload_argv": words}

    def security() -> Security:
        return options.make_security(
            key_file=key_file,
            insecure=insecure,
            tls_ca_file=tls_ca_file,
            tls_cert=tls_cert,
            tls_key=tls_key,
            create=True,
        )

    if health_address:
        arguments["health_address"] = health_address
    run_command(NAME, lambda: _main(arguments, port, security, key_file, pid_file, stop_at_eof))


async def _main(
    arguments: dict[str, Any], port: int | None, security: Any, key_file: Any, pid: Any, at_eof: bool
) -> int:
    config.initialize_logging("INFO" if os.environ.get("DISTRIBUTED_VERBOSE") else None)
    with pid_file(pid):
        return await _serve(arguments, port, security(), key_file, at_eof)


async def _serve(
    arguments: dict[str, Any], port: int | None, security: Security, key_file: str | None, at_eof: bool
) -> int:
    from distributed.scheduler import Scheduler

    stop = Stop(at_eof=at_eof)
    health_address = arguments.pop("health_address", None)
    wanted = DEFAULT_PORT if port is None else port
    scheduler = Scheduler(**_with_port(arguments, wanted), security=security)
    try:
        await scheduler
    except (AddressInUseError, OSError) as error:
        if isinstance(error, AddressInUseError) or "in use" in str(error):
            where = arguments["host"] or "this host"
            raise Fatal(
                f"port {wanted} on {where} is in use; give another with --port, or --port 0 for any"
            ) from None
        raise
    if hasattr(signal, "SIGUSR1"):
        on_signal(asyncio.get_running_loop(), signal.SIGUSR1, scheduler.drain)
    health = HTTPServer({"/health": health_route(scheduler.health)})
    preloads = process_preloads(scheduler, arguments.get("preload"), arguments.get("preload_argv"))
    try:
        if health_address:
            await health.start(health_address)
            tell(NAME, f"health at http://{health.address}/health")
        await preloads.start()
        tune_garbage_collector()
        address = options.without_scheme(scheduler.address)
        say(f"Start scheduler at {address}")
        _explain(security, key_file, address)
        await first(stop.wait(), scheduler.finished())
    finally:
        health.stop()
        await preloads.teardown()
        if "scheduler_file" in arguments:
            remove_scheduler_file(arguments["scheduler_file"], scheduler.id)
        await scheduler.close(reason=f"by {signal.Signals(stop.signum).name}" if stop.signum else "")
    return stop.exit_status


def _with_port(arguments: dict[str, Any], port: int) -> dict[str, Any]:
    """``--host tcp://0.0.0.0:9000`` names a port itself, which then counts."""
    host = arguments["host"]
    if host and "://" in host and host.rpartition(":")[2].isdigit():
        return arguments
    return {**arguments, "port": port}


def _explain(security: Security, key_file: str | None, address: str) -> None:
    """Say which key is in force and how another host gets it. The key itself is never printed."""
    if security.insecure:
        tell(
            NAME,
            "INSECURE: everybody who reaches this port can run programs as you; workers need --insecure too",
        )
        return
    key = security.key
    assert key is not None
    if key_file == "-":
        tell(NAME, f"cluster key {key.id}, read from standard input; give the same to workers and clients")
        return
    if key_file is None and os.environ.get(ENVIRONMENT_VARIABLE):
        tell(NAME, f"cluster key {key.id}, from {ENVIRONMENT_VARIABLE}; set it for workers and clients too")
        return
    path = key_file or str(default_key_path())
    tell(NAME, f"cluster key {key.id}, in {path}")
    tell(NAME, f"a host that does not share this file:  {line_for_another_host(address, path)}")


def line_for_another_host(address: str, key_file: str) -> str:
    """The shell's line by which a worker runs on a host until its SSH connection ends: what it reads stays open."""
    return f"tail -n 1 -f {shlex.quote(key_file)} | ssh HOST dworker {address} --key-file - --stop-at-eof"


if __name__ == "__main__":
    main(prog_name=NAME)
