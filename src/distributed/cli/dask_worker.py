"""``dworker``, also ``dask worker`` and ``python -m distributed.cli.dask_worker``."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import click

from distributed import config, system
from distributed.cli import options
from distributed.cli.utils import Fatal, Stop, first, pid_file, run_command, say, tell
from distributed.collector import tune_garbage_collector
from distributed.host import parse_ports
from distributed.nanny.environment import start_over_with_hash_seed
from distributed.scheduler_file import read_scheduler_address
from distributed.security.keys import hide_key

NAME = "dworker"
_PATIENCE = 3.0  # seconds before it says what it waits for


def _worker_options(function: Any) -> Any:
    for decorator in reversed(
        [
            click.option(
                "--nthreads", type=click.IntRange(min=1), help="Threads of each worker.  [default: all cores]"
            ),
            click.option(
                "--nworkers",
                "--nprocs",
                "nworkers",
                default="1",
                show_default=True,
                help="Workers to start. Negative: so many fewer than the cores plus one. auto: by the cores.",
            ),
            click.option("--name", help="Name of this worker; with several workers -0, -1, … is appended."),
            click.option(
                "--memory-limit",
                type=options.MemoryLimit(),
                default="auto",
                show_default=True,
                help="Memory of each worker: bytes, 4GiB, a fraction of the machine's such as 0.5, auto (its "
                "share by threads), or 0 for no limit.",
            ),
            click.option(
                "--resources",
                type=options.Resources(),
                help='Of each worker, for tasks to ask for: "GPU=2 MEM=10e9".',
            ),
            click.option("--local-directory", type=click.Path(), help="Where workers may put files."),
            click.option(
                "--nanny/--no-nanny",
                default=True,
                show_default=True,
                help="Run each worker in a process that is watched and started again when it dies.",
            ),
            click.option("--worker-class", help="Dotted name of the class of worker.", show_default=True),
        ]
    ):
        function = decorator(function)
    return function


def _life_options(function: Any) -> Any:
    for decorator in reversed(
        [
            click.option("--scheduler-file", metavar="FILE", help="Read the scheduler's address there."),
            click.option(
                "--death-timeout",
                type=options.Duration(),
                help="How long to look for the scheduler before giving up.  [default: 60s]",
            ),
            click.option("--lifetime", type=options.Duration(), help="Close the worker after so long."),
            click.option(
                "--lifetime-stagger",
                type=options.Duration(),
                help="Vary the lifetime by up to so much, by chance.",
            ),
            click.option(
                "--lifetime-restart/--no-lifetime-restart",
                default=None,
                help="Start the worker again when its lifetime is over (needs the nanny).",
            ),
            click.option(
                "--worker-port",
                type=options.Ports(),
                help="Port of the worker, or a range such as 3000:3100.",
            ),
            click.option("--nanny-port", type=options.Ports(), help="Port of the nanny, or a range."),
            click.option("--listen-address", help="Address to listen on, such as tcp://0.0.0.0:9000."),
            click.option(
                "--contact-address",
                help="Address by which others reach this worker, behind NAT for instance.",
            ),
            click.option(
                "--preload-nanny", multiple=True, metavar="MODULE", help="As --preload, in the nanny."
            ),
            click.option("--scheduler-sni", hidden=True),
        ]
    ):
        function = decorator(function)
    return function


@click.command(name="worker", context_settings=options.CONTEXT_SETTINGS)
@click.argument("scheduler", required=False, metavar="[SCHEDULER]")
@_worker_options
@options.network_options
@options.security_options
@_life_options
@options.dashboard_options
@options.process_options
@click.version_option(package_name="distributed-network", prog_name=NAME)
def main(**given: Any) -> None:
    """Start workers for the scheduler at SCHEDULER, such as 192.168.0.1:8786.

    Without SCHEDULER the address is taken from --scheduler-file or from DASK_SCHEDULER_ADDRESS. Prints
    "Start worker at:" and "Registered with center at:" for each worker.
    """
    if not given["nanny"]:
        start_over_with_hash_seed()
    words = options.preload_arguments(given["preload"], given.pop("preload_argv"), given.pop("preload_words"))
    if given["preload"]:
        given["preload_argv"] = words
    run_command(NAME, lambda: _main(given))


async def _main(given: dict[str, Any]) -> int:
    hide_key()
    config.initialize_logging("INFO" if os.environ.get("DISTRIBUTED_VERBOSE") else None)
    with pid_file(given["pid_file"]):
        timeout = given["death_timeout"]
        if timeout is None:
            timeout = config.seconds("distributed.worker.death-timeout")
        deadline = None if timeout is None else time.monotonic() + timeout
        address = await _scheduler_address(given, timeout)
        security = options.make_security(
            **{name: given[name] for name in ("key_file", "insecure", "tls_ca_file", "tls_cert", "tls_key")}
        )
        left = None if deadline is None else max(1.0, deadline - time.monotonic())
        servers = _make_servers(given, address, security, left)
        return await _serve(servers, address, with_nanny=given["nanny"], at_eof=given["stop_at_eof"])


async def _scheduler_address(given: dict[str, Any], timeout: float | None) -> str:
    if given["scheduler"]:
        return str(given["scheduler"])
    path = given["scheduler_file"]
    if path:
        waiting = asyncio.get_running_loop().call_later(
            1, tell, NAME, f"waiting for the scheduler file {path}"
        )
        try:
            return await asyncio.to_thread(read_scheduler_address, path, timeout)
        finally:
            waiting.cancel()
    address = config.get("scheduler-address", None)
    if address:
        return str(address)
    raise Fatal(
        "no scheduler: give one (dworker 192.168.0.1:8786), --scheduler-file or DASK_SCHEDULER_ADDRESS"
    )


# ---------------------------------------------------------------- what to start


def count_workers(nworkers: str, nthreads: int | None) -> tuple[int, int]:
    """Number of workers and threads of each, from the options as they were given.

    Raises
    ------
    Fatal
        When they contradict each other or leave nothing to start.
    """
    ncores = system.cpu_count()
    if nworkers == "auto":
        from distributed.deploy.local import nprocesses_nthreads

        if nthreads is not None:
            raise Fatal("--nworkers auto also chooses the number of threads: leave --nthreads out")
        return nprocesses_nthreads(ncores)
    try:
        count = int(nworkers)
    except ValueError:
        raise Fatal(f"--nworkers {nworkers}: give a number or auto") from None
    if count < 0:
        count = ncores + 1 + count
    if count <= 0:
        raise Fatal(f"--nworkers {nworkers} leaves no worker to start on {ncores} cores")
    return count, nthreads or max(1, ncores // count)


_PASSED_ON = (
    *("resources", "local_directory", "host", "interface", "protocol", "contact_address"),
    *("lifetime", "lifetime_stagger", "lifetime_restart", "dashboard_address"),
)


def _make_servers(
    given: dict[str, Any], address: str, security: Any, death_timeout: float | None
) -> list[Any]:
    count, nthreads = count_workers(given["nworkers"], given["nthreads"])
    if count > 1 and not given["nanny"]:
        raise Fatal(
            "several workers in one process are of no use: leave --no-nanny out, or give --nworkers 1"
        )
    common: dict[str, Any] = {
        "nthreads": nthreads,
        "memory_limit": system.worker_memory_limit(given["memory_limit"], nthreads, nworkers=count) or 0,
        "security": security,
        "death_timeout": death_timeout,
    }
    for name in _PASSED_ON:
        if given[name] is not None:
            common[name] = given[name]
    if given["preload"]:
        common |= {"preload": list(given["preload"]), "preload_argv": given["preload_argv"]}
    worker_ports = _spread(given["worker_port"], count, "--worker-port")
    nanny_ports = _spread(given["nanny_port"], count, "--nanny-port")
    servers = []
    for i in range(count):
        own = dict(common)
        if given["name"]:
            own["name"] = f"{given['name']}-{i}" if count > 1 else given["name"]
        servers.append(_make_server(given, address, own, worker_ports[i], nanny_ports[i]))
    return servers


def _make_server(
    given: dict[str, Any], address: str, own: dict[str, Any], worker_port: Any, nanny_port: Any
) -> Any:
    from distributed.utils import import_term

    worker_class: Any = import_term(given["worker_class"]) if given["worker_class"] else None
    listen = given["listen_address"]
    if not given["nanny"]:
        if listen:
            from distributed.nanny.nanny import host_and_port

            own |= host_and_port(listen)
        elif worker_port is not None:
            own["port"] = worker_port
        return (worker_class or import_term("distributed.worker.Worker"))(address, **own)
    from distributed.nanny import Nanny

    if listen:
        own["listen_address"] = listen
    if worker_port is not None:
        own["worker_port"] = worker_port
    if nanny_port is not None:
        own["port"] = nanny_port
    if worker_class is not None:
        own["worker_class"] = worker_class
    if given["preload_nanny"]:
        own["preload_nanny"] = list(given["preload_nanny"])
    return Nanny(address, **own)


def _spread(ports: str | None, count: int, option: str) -> list[Any]:
    """The ports that each of ``count`` servers may listen on."""
    numbers = parse_ports(ports)
    if ports is not None and numbers != [0] and len(numbers) < count:
        raise Fatal(f"{option} {ports} has {len(numbers)} ports for {count} workers")
    if len(numbers) == 1:
        return numbers * count
    share = len(numbers) // count  # disjoint shares: no two servers race for a port
    return [f"{numbers[i * share]}:{numbers[(i + 1) * share - 1]}" for i in range(count)]


# ---------------------------------------------------------------- its life


async def _serve(servers: list[Any], address: str, *, with_nanny: bool, at_eof: bool) -> int:
    def kill() -> None:
        for server in servers:
            if with_nanny:
                server.kill_nowait()

    stop = Stop(kill, at_eof=at_eof)
    waiting = asyncio.get_running_loop().call_later(
        _PATIENCE, tell, NAME, f"waiting for the scheduler at {options.without_scheme(address)}"
    )

    def announce(worker_address: str, scheduler_address: str) -> None:
        waiting.cancel()
        _announce(worker_address, scheduler_address)

    for server in servers:
        if with_nanny:
            server.on_worker_start = announce
    life = asyncio.gather(*(_live(server, None if with_nanny else announce) for server in servers))
    try:
        await first(stop.wait(), life)
        if stop.signum == signal.SIGTERM:  # batch systems and container managers say so some time ahead
            limit = config.seconds("distributed.worker.leave-timeout")
            tell(NAME, f"SIGTERM: leaving the network, in at most {limit or 0:g} s; once more ends at once")
            await asyncio.gather(*(server.leave(reason="SIGTERM") for server in servers))
    except RuntimeError as error:  # the worker process says why it could not start
        raise Fatal(str(error)) from None
    finally:
        waiting.cancel()
        await asyncio.gather(*(server.close() for server in servers), return_exceptions=True)
    return stop.exit_status


async def _live(server: Any, announce: Callable[[str, str], None] | None) -> None:
    await server
    if announce is not None:
        tune_garbage_collector()
        announce(server.address, server.scheduler_address)
    await server.finished()


def _announce(worker_address: str, scheduler_address: str) -> None:
    say(f"Start worker at:            {options.without_scheme(worker_address)}")
    say(f"Registered with center at:  {options.without_scheme(scheduler_address)}")
    # dask-jobqueue and others that start this command wait for these words there.
    print(f"Registered to: {scheduler_address}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(prog_name=NAME)
