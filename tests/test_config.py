from __future__ import annotations

import os
import subprocess
import sys

import dask.config
import pytest

from distributed import config


def test_defaults_are_there() -> None:
    assert dask.config.get("distributed.worker.memory.terminate") == 0.95
    assert config.get("distributed.scheduler.allowed-failures") == 3


def test_the_users_values_win() -> None:
    code = "import dask.config, distributed.config as c; print(c.get('distributed.worker.memory.target'), "
    code += "c.get('distributed.worker.memory.spill'))"
    env = os.environ | {"DASK_DISTRIBUTED__WORKER__MEMORY__TARGET": "0.25"}
    result = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["0.25", "0.7"]


def test_ensuring_twice_changes_nothing() -> None:
    before = len(dask.config.defaults)
    config.ensure_defaults()
    assert len(dask.config.defaults) == before


@pytest.mark.parametrize(
    ("value", "seconds"), [("100ms", 0.1), ("5 minutes", 300), (3, 3), ("3", 3), (None, None), (0.5, 0.5)]
)
def test_seconds(value: object, seconds: float | None) -> None:
    with dask.config.set({"distributed.worker.death-timeout": value}):
        assert config.seconds("distributed.worker.death-timeout") == seconds


def test_absent_is_the_default() -> None:
    assert config.seconds("distributed.no.such.thing", 7.0) == 7.0
    assert config.nbytes("distributed.no.such.thing", 7) == 7


def test_nonsense_is_named() -> None:
    with (
        dask.config.set({"distributed.worker.death-timeout": "soon"}),
        pytest.raises(ValueError, match=r"death-timeout is 'soon'; give a duration"),
    ):
        config.seconds("distributed.worker.death-timeout")


def test_sizes() -> None:
    with dask.config.set({"distributed.comm.offload": "10MiB"}):
        assert config.nbytes("distributed.comm.offload") == 10 * 2**20


def test_adopting_anothers_configuration() -> None:
    before = dict(dask.config.config)
    try:
        config.adopt({"distributed": {"comm": {"default-scheme": "elsewhere"}}})
        assert dask.config.get("distributed.comm.default-scheme") == "elsewhere"
        assert dask.config.get("distributed.worker", None) is None
    finally:
        config.adopt(before)


def test_levels_of_loggers_from_the_configuration() -> None:
    code = """
import logging, dask.config, distributed.config as c
with dask.config.set({"logging": {"distributed.worker": "error"}}):
    c.initialize_logging()
print(logging.getLogger("distributed.worker").level, logging.getLogger("distributed").level)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["40", "30"]
