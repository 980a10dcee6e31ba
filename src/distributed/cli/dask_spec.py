"""``dask spec`` and ``python -m distributed.cli.dask_spec``: servers from their classes and parameters.

For programs that start servers, not for people: anything a class takes can be said. ``SSHCluster`` and
``SubprocessCluster`` start theirs by it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import click

from distributed import config, system
from distributed.cli import options
from distributed.cli.dask_worker import _announce as announce
from distributed.cli.utils import Fatal, Stop, first, run_command, say
from distributed.collector import tune_garbage_collector
from distributed.nanny.environment import start_over_with_hash_seed
from distributed.security.keys import hide_key

NAME = "dask-spec"


@click.command(name="spec", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("args", nargs=-1)
@click.option("--spec", help='JSON: {"cls": "distributed.Nanny", "opts": {…}}, or several of those by name.')
@click.option("--spec-file", metavar="FILE", help="File with that; - reads a line of standard input.")
@click.option(
    "--default-host",
    hidden=True,
    help="Where servers listen whose specification names no host and no interface.",
)
@options.security_options
@options.stop_option
@click.version_option(package_name="distributed-network", prog_name=NAME)
def main(**given: Any) -> None:
    """Start the servers of a specification; ARGS are the first arguments of each class."""
    if given["args"]:  # they may be workers without nannies
        start_over_with_hash_seed()
    run_command(NAME, lambda: _main(given))


async def _main(given: dict[str, Any]) -> int:
    hide_key()
    security = options.make_security(
        **{name: given[name] for name in ("key_file", "insecure", "tls_ca_file", "tls_cert", "tls_key")},
        create=not given["args"],
    )
    config.initialize_logging(None)
    args = list(given["args"])
    servers = []
    spec = read_spec(given["spec"], given["spec_file"])
    for cls, opts in spec:
        if args and len(spec) > 1:
            share_memory(opts, len(spec))
        if given["default_host"] and not opts.get("host") and not opts.get("interface"):
            opts["host"] = given["default_host"]
        servers.append(make(cls, args, opts, security))

    def kill() -> None:
        for server in servers:
            if hasattr(server, "kill_nowait"):
                server.kill_nowait()

    stop = Stop(kill, at_eof=given["stop_at_eof"])
    try:
        await first(stop.wait(), asyncio.gather(*(_live(server) for server in servers)))
    except RuntimeError as error:
        raise Fatal(str(error)) from None
    finally:
        await asyncio.gather(*(server.close() for server in servers), return_exceptions=True)
    return stop.exit_status


def read_spec(text: str | None, file: str | None) -> list[tuple[str, dict[str, Any]]]:
    """Classes and their parameters, from the options.

    ``{"cls": …, "opts": {…}}`` is one server, ``{"name": {"cls": …, "opts": {…}}, …}`` are several: the
    name is given to each that has none. Around either may stand ``{"config": {…}, "spec": …}``, whose configuration is
    taken over first.

    Raises
    ------
    Fatal
        When it is none of these.
    """
    if (text is None) == (file is None):
        raise Fatal("give --spec or --spec-file")
    if file is not None:
        text = sys.stdin.readline() if file == "-" else Path(file).read_text()
    try:
        spec = json.loads(text or "")
        if "config" in spec and "spec" in spec:
            import dask.config

            dask.config.update(dask.config.config, spec["config"])
            spec = spec["spec"]
        if "cls" in spec:
            return [(spec["cls"], dict(spec.get("opts", {})))]
        return [(one["cls"], {"name": name, **one.get("opts", {})}) for name, one in spec.items()]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Fatal(
            f'this is no specification such as {{"cls": "distributed.Nanny", "opts": {{}}}}: {error!r}'
        ) from None


def share_memory(opts: dict[str, Any], nworkers: int) -> None:
    """Have workers that are started together not promise more memory than this machine has."""
    if opts.get("memory_limit", "auto") == "auto":
        nthreads = opts.get("nthreads") or system.cpu_count()
        opts["memory_limit"] = system.worker_memory_limit("auto", nthreads, nworkers=nworkers)


def make(cls: str, args: list[str], opts: dict[str, Any], security: Any) -> Any:
    """One server, not started yet."""
    from distributed.utils import import_term

    try:
        server_class = import_term(cls)
        return server_class(*args, **{"security": security, **opts})
    except (ImportError, AttributeError, TypeError) as error:
        raise Fatal(f"{cls}: {error}") from None


async def _live(server: Any) -> None:
    if hasattr(server, "on_worker_start"):
        server.on_worker_start = announce
    await server
    if hasattr(server, "scheduler_address"):
        if not hasattr(server, "on_worker_start"):
            announce(server.address, server.scheduler_address)
    else:
        say(f"Start scheduler at {options.without_scheme(server.address)}")
    tune_garbage_collector()
    await server.finished()
    if getattr(server, "dismissed", False):
        say("Dismissed by the scheduler")


if __name__ == "__main__":
    main(prog_name=NAME)
