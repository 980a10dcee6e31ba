from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from distributed.cli import dask_scheduler, dask_worker, options
from distributed.cli.utils import Fatal
from distributed.system import cpu_count


def convert(kind: click.ParamType, value: str) -> object:
    return kind.convert(value, None, None)


@pytest.mark.parametrize(
    ("text", "seconds"), [("30", 30.0), ("30s", 30.0), ("5 minutes", 300.0), ("1h", 3600.0), ("none", None)]
)
def test_durations(text: str, seconds: float | None) -> None:
    assert convert(options.Duration(), text) == seconds


@pytest.mark.parametrize(
    ("text", "resources"),
    [("GPU=2 MEM=10e9", {"GPU": 2, "MEM": 1e10}), ("GPU=2,MEM=1", {"GPU": 2, "MEM": 1}), ("", {})],
)
def test_resources(text: str, resources: dict[str, float]) -> None:
    assert convert(options.Resources(), text) == resources


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (options.Duration(), "soon"),
        (options.Resources(), "GPU"),
        (options.Resources(), "GPU=many"),
        (options.Port(), "http"),
        (options.Port(), "1:2"),
        (options.Ports(), "9:1"),
        (options.MemoryLimit(), "lots"),
    ],
)
def test_nonsense_is_refused_in_one_sentence(kind: click.ParamType, text: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        convert(kind, text)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("main", [dask_scheduler.main, dask_worker.main])
def test_help_and_version(main: click.Command) -> None:
    assert CliRunner().invoke(main, ["--help"]).exit_code == 0
    assert CliRunner().invoke(main, ["-h"]).exit_code == 0


@pytest.mark.parametrize("main", [dask_scheduler.main, dask_worker.main])
def test_unknown_options_are_errors(main: click.Command) -> None:
    result = CliRunner().invoke(main, ["127.0.0.1:1", "--nthread", "3"])
    assert result.exit_code == 2
    assert "127.0.0.1:1" in result.output or "--nthread" in result.output


#: Options that users of the field know, for scheduler and worker.
KNOWN = {
    dask_scheduler.main: "host port interface protocol tls-ca-file tls-cert tls-key dashboard-address dashboard "
    "no-dashboard jupyter no-jupyter show no-show dashboard-prefix use-xheaders pid-file scheduler-file preload "
    "idle-timeout version help key-file insecure",
    dask_worker.main: "tls-ca-file tls-cert tls-key worker-port nanny-port dashboard-address dashboard no-dashboard "
    "listen-address contact-address host interface protocol nthreads nworkers nprocs name memory-limit nanny no-nanny "
    "pid-file local-directory resources scheduler-file death-timeout dashboard-prefix lifetime lifetime-stagger "
    "worker-class lifetime-restart no-lifetime-restart preload preload-nanny scheduler-sni version help key-file "
    "insecure preload-argv",
}


@pytest.mark.parametrize("main", list(KNOWN))
def test_options_that_users_know(main: click.Command) -> None:
    with click.Context(main, help_option_names=["--help"]) as context:
        known = {name for p in main.get_params(context) for name in [*p.opts, *p.secondary_opts]}
    assert {f"--{name}" for name in KNOWN[main].split()} - known == set()


def test_numbers_of_workers() -> None:
    ncores = cpu_count()
    assert dask_worker.count_workers("1", None) == (1, ncores)
    assert dask_worker.count_workers("2", 3) == (2, 3)
    assert dask_worker.count_workers("-1", 1) == (ncores, 1)
    nworkers, nthreads = dask_worker.count_workers("auto", None)
    assert nworkers * nthreads == ncores
    for nworkers_text, nthreads_given in (("auto", 2), ("0", None), ("many", None), ("-1000", None)):
        with pytest.raises(Fatal, match="--nworkers"):
            dask_worker.count_workers(nworkers_text, nthreads_given)


def test_ports_are_shared_out() -> None:
    assert dask_worker._spread(None, 2, "--worker-port") == [None, None]
    assert dask_worker._spread("0", 2, "--worker-port") == [0, 0]
    assert dask_worker._spread("3000:3003", 2, "--worker-port") == ["3000:3001", "3002:3003"]
    with pytest.raises(Fatal, match="1 ports for 2 workers"):
        dask_worker._spread("3000", 2, "--worker-port")


def test_encryption_is_refused_rather_than_left_out() -> None:
    from distributed.exceptions import SecurityError

    with pytest.raises(SecurityError, match="does not encrypt"):
        options.make_security(
            key_file=None, insecure=False, tls_ca_file="ca.pem", tls_cert=None, tls_key=None
        )
    with pytest.raises(SecurityError, match="exclude each other"):
        options.make_security(key_file="x", insecure=True, tls_ca_file=None, tls_cert=None, tls_key=None)
