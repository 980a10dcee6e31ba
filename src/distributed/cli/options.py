"""What the commands have in common: option types, groups of options, the security they ask for."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from distributed.exceptions import SecurityError
from distributed.host import parse_ports
from distributed.security import ClusterKey, Security, find_key

Decorator = Callable[[Any], Any]

if TYPE_CHECKING:
    ParamType = click.ParamType[Any]
else:  # a class of its own in older releases of click, a generic one in newer
    ParamType = click.ParamType

CONTEXT_SETTINGS: dict[str, Any] = {
    "ignore_unknown_options": True,  # they are for the preloads; checked by `preload_arguments`
    "help_option_names": ["-h", "--help"],
    "max_content_width": 110,
}


class Duration(ParamType):
    """``30``, ``30s``, ``"5 minutes"``: seconds as a float. ``none`` is None."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        from dask.utils import parse_timedelta

        if str(value).lower() == "none":
            return None
        try:
            return float(parse_timedelta(value, default="s"))
        except (ValueError, KeyError, AttributeError):
            self.fail(f"{value!r} is no duration; give seconds, 30s, 5m or 1h", param, ctx)


class Ports(ParamType):
    """A port or a range of ports; stays text."""

    name = "port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            parse_ports(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return str(value)


class Port(Ports):
    """One port."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        ports = parse_ports(super().convert(value, param, ctx))
        if len(ports) != 1:
            self.fail("one port, not a range", param, ctx)
        assert ports[0] is not None
        return ports[0]


class Resources(ParamType):
    """``"GPU=2 MEM=10e9"`` (or with commas) as a dictionary of floats."""

    name = "resources"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, float]:
        if isinstance(value, dict):
            return value
        resources: dict[str, float] = {}
        for word in value.replace(",", " ").split():
            name, equals, amount = word.partition("=")
            try:
                resources[name] = float(amount)
            except ValueError:
                equals = ""
            if not equals or not name:
                self.fail(f'{word!r} is no NAME=NUMBER; give for instance "GPU=2 MEM=10e9"', param, ctx)
        return resources


class MemoryLimit(ParamType):
    """Anything :func:`distributed.system.worker_memory_limit` takes; stays text."""

    name = "memory"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from distributed.system import worker_memory_limit

        try:
            worker_memory_limit(str(value), 1, 1)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return str(value)


def network_options(function: Any) -> Any:
    """Where to listen."""
    return stack(
        function,
        click.option("--host", help="Address or name of this host on which to listen."),
        click.option("--interface", help="Listen on this network interface, such as eth0 or ib0."),
        click.option("--protocol", help="tcp (the default) or tls."),
    )


def security_options(function: Any) -> Any:
    """Who may connect."""
    return stack(
        function,
        click.option(
            "--key-file",
            metavar="FILE",
            help="File with the cluster key; - reads it from standard input. Default: the environment "
            "variable DISTRIBUTED_KEY, else distributed/cluster.key in your configuration directory.",
        ),
        click.option("--insecure", is_flag=True, help="Ask for no key. Must be given on both sides."),
        click.option("--tls-ca-file", type=click.Path(), help="Your own CA's certificates (PEM)."),
        click.option("--tls-cert", type=click.Path(), help="Certificate of this side (PEM)."),
        click.option("--tls-key", type=click.Path(), help="Private key of this side (PEM)."),
    )


#: Ties the command to whoever started it.
stop_option = click.option(
    "--stop-at-eof",
    is_flag=True,
    help="Stop when standard input ends, as it does when an SSH connection or the program that started this one "
    "is gone.",
)


def process_options(function: Any) -> Any:
    """What surrounds the process."""
    return stack(
        function,
        click.option(
            "--pid-file", metavar="FILE", help="Write the process id there; removed when the process ends."
        ),
        stop_option,
        click.option(
            "--preload",
            multiple=True,
            metavar="MODULE",
            help="Module or path of a .py file to load; its dask_setup(server) and dask_teardown(server) "
            "are run. May be given more than once.",
        ),
        click.option(
            "--preload-argv", "preload_words", multiple=True, help="Word for the preloads' own options."
        ),
        click.argument("preload_argv", nargs=-1, type=click.UNPROCESSED),
    )


def dashboard_options(function: Any) -> Any:
    """The web page: accepted already, served by a later release."""
    return stack(
        function,
        click.option("--dashboard-address", help="Where the dashboard listens (accepted; no dashboard yet)."),
        click.option(
            "--dashboard/--no-dashboard",
            default=True,
            help="Serve the dashboard (accepted; no dashboard yet).",
        ),
        click.option("--dashboard-prefix", hidden=True),
    )


def preload_arguments(preload: tuple[str, ...], argv: tuple[str, ...], words: tuple[str, ...]) -> list[str]:
    """Words for the preloads. Without a preload there must be none: they are somebody's typing errors.

    Raises
    ------
    click.UsageError
        Naming the first word that nobody takes.
    """
    if argv and not preload:
        if argv[0].startswith("-"):
            raise click.NoSuchOption(argv[0], ctx=click.get_current_context(silent=True))
        raise click.UsageError(f"unexpected argument {argv[0]!r}", click.get_current_context(silent=True))
    return [*words, *argv]


def make_security(
    *,
    key_file: str | None,
    insecure: bool,
    tls_ca_file: str | None,
    tls_cert: str | None,
    tls_key: str | None,
    create: bool = False,
) -> Security:
    """The ``Security`` a command's options ask for.

    Parameters
    ----------
    create : bool
        Make the cluster key when there is none yet.

    Raises
    ------
    SecurityError
        When there is no key, or it cannot be trusted; says what to do.
    """
    if tls_ca_file or tls_cert or tls_key:
        # Better none than one that its user believes to be encrypted.
        raise SecurityError(
            "--tls-ca-file, --tls-cert and --tls-key: this release does not encrypt connections yet"
        )
    if insecure:
        if key_file is not None:
            raise SecurityError("--insecure and --key-file exclude each other; give one of them")
        return Security(insecure=True)
    if key_file == "-":
        return Security(key=ClusterKey.parse(sys.stdin.readline(), "what was read from standard input"))
    return Security(key=find_key(create=create, key_file=key_file))


def without_scheme(address: str) -> str:
    """``tcp://127.0.0.1:8786`` as people write it: ``127.0.0.1:8786``."""
    return address.rpartition("://")[2]


def stack(function: Any, *decorators: Decorator) -> Any:
    for decorator in reversed(decorators):
        function = decorator(function)
    return function
