"""Warnings of ours reach standard error in programs that did not set logging up; else only what they set up does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from distributed.security import ClusterKey

PROGRAM = """
import asyncio, logging, sys
from distributed import LocalCluster, Nanny, Scheduler, Worker

def said(words):
    for level in words.split():
        getattr(logging.getLogger("distributed.core"), level)("said " + level)

async def parties():
    async with Scheduler(host="127.0.0.1", port=0, dashboard_address=None) as scheduler:
        async with Worker(scheduler.address, nthreads=1, host="127.0.0.1"):
            said("info warning error")

def cluster(**how):
    with LocalCluster(n_workers=1, processes=False, host="127.0.0.1", dashboard_address=None, **how):
        said("info warning error")
    said("critical")

if __name__ == "__main__":
    exec(sys.argv[1])
"""


def printed(tmp_path: Path, program: str) -> list[str]:
    """The lines on standard error of a program."""
    file = tmp_path / "program.py"
    file.write_text(PROGRAM)
    ended = subprocess.run(
        [sys.executable, str(file), program],
        env={**os.environ, "DISTRIBUTED_KEY": ClusterKey.generate().text()},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stderr.splitlines()


@pytest.mark.parametrize(
    ("program", "levels"),
    [
        ("asyncio.run(parties())", "warning error"),
        ("cluster()", "warning error critical"),
        ("cluster(silence_logs=logging.ERROR)", "error critical"),
        ("cluster(silence_logs='critical')", "critical"),
        ("cluster(silence_logs=False)", "warning error critical"),
        ("logging.lastResort = None; cluster()", ""),
    ],
)
def test_warnings_and_errors_are_printed(tmp_path: Path, program: str, levels: str) -> None:
    lines = printed(tmp_path, program)
    assert [line.partition(" - ")[2] for line in lines] == [
        f"distributed.core - {level.upper()} - said {level}" for level in levels.split()
    ]


@pytest.mark.parametrize(
    "configured",
    [
        "logging.basicConfig(format='mine %(message)s'); cluster(silence_logs=False)",
        "log=logging.getLogger('distributed'); log.propagate = False; log.addHandler(handler); cluster()",
        "logging.getLogger('distributed.core').addHandler(handler); cluster()",
    ],
)
def test_a_program_that_set_logging_up_hears_each_once(tmp_path: Path, configured: str) -> None:
    handler = (
        "handler = logging.StreamHandler(); handler.setFormatter(logging.Formatter('mine %(message)s'));"
    )
    assert printed(tmp_path, handler + configured) == [
        f"mine said {level}" for level in ("warning", "error", "critical")
    ]


def test_a_program_that_sets_logging_up_later(tmp_path: Path) -> None:
    program = "cluster(); logging.basicConfig(format='mine %(message)s'); said('warning')"
    assert [line.rpartition(" - ")[2] for line in printed(tmp_path, program)] == [
        "said warning",
        "said error",
        "said critical",
        "mine said warning",
    ]


def test_our_commands_way_of_setting_up_is_not_in_the_way(tmp_path: Path) -> None:
    """Also after a server has begun to keep lines: once, on the stream that was given."""
    program = (
        "asyncio.run(parties()); from distributed import config;"
        "config.initialize_logging('INFO', stream=sys.stderr); said('info')"
    )
    assert [line.rpartition(" - ")[2] for line in printed(tmp_path, program)] == [
        "said warning",
        "said error",
        "said info",
    ]


def test_a_misspelt_name_to_block_is_told(tmp_path: Path) -> None:
    (line,) = printed(tmp_path, "said = lambda words: None; cluster(blocked_handlers=['nosuch'])")
    assert "has no operations to block named nosuch" in line
