"""Test beds: real SSH servers, real hosts in network namespaces, real batch systems, all on this machine.

Their scripts stand beside the repository, in ``../shared/testbed``, or where ``DISTRIBUTED_TESTBEDS`` says. Their state
is in ``/tmp/dctest``, or where ``DCTEST_DIR`` says.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
SCRIPTS = Path(os.environ.get("DISTRIBUTED_TESTBEDS", REPOSITORY.parent / "shared" / "testbed"))
_UP_TIMEOUT = 240  # seconds; the first time packages are installed
_LOCK_TIMEOUT = 180


def wait_until(condition: Callable[[], Any], what: str, patience: float = 30.0) -> Any:
    """The condition's value once it is true; AssertionError naming ``what`` when that takes too long."""
    deadline = time.monotonic() + patience
    while not (value := condition()):
        assert time.monotonic() < deadline, f"after {patience:g} s still not: {what}"
        time.sleep(0.05)
    return value


class Bed:
    """One test bed that is up.

    Parameters
    ----------
    name : str
        Name of its script.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.script = str(SCRIPTS / name)

    def call(self, *words: str, timeout: float = 60) -> str:
        """Run ``script words`` and return what it prints."""
        done = subprocess.run([self.script, *words], capture_output=True, text=True, timeout=timeout)
        assert done.returncode == 0, f"{self.name} {' '.join(words)}: {done.stderr or done.stdout}"
        return done.stdout

    def processes(self, host: str) -> list[str]:
        """Our programs that run on a host of the ssh or netns bed."""
        return [line for line in self.call("ps", host).splitlines() if "distributed" in line]


@contextlib.contextmanager
def bed_up(name: str, *words: str) -> Iterator[Bed]:
    """A bed, started if it is down and then stopped in the end. Skips with the reason where there can be none."""
    if not (SCRIPTS / name).exists():
        pytest.skip(f"no test bed {name!r}: {SCRIPTS} is not there")
    if os.geteuid() != 0:
        pytest.skip(f"the test bed {name!r} needs root")
    if shutil.which("apt-get") is None:
        pytest.skip(f"the test bed {name!r} needs apt to install what it is made of")
    with open(f"/tmp/distributed-testbed-{name}.lock", "w") as lock:  # beds are one a machine
        _take(lock, name)
        was_up = (Path(os.environ.get("DCTEST_DIR", "/tmp/dctest")) / name).exists()
        bed = Bed(name)
        up = subprocess.run([bed.script, "up", *words], capture_output=True, text=True, timeout=_UP_TIMEOUT)
        if up.returncode:
            pytest.skip(
                f"the test bed {name!r} does not come up here: {(up.stderr or up.stdout).strip()[-300:]}"
            )
        try:
            yield bed
        finally:
            if not was_up:
                bed.call("down", timeout=120)


def _take(lock: Any, name: str) -> None:
    deadline = time.monotonic() + _LOCK_TIMEOUT
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                pytest.skip(f"the test bed {name!r} is in use by another run")
            time.sleep(0.5)
        else:
            return


class Running:
    """A command and the lines it prints, standard output and error together."""

    def __init__(self, words: list[str], env: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            words,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, part: str, count: int = 1, patience: float = 40.0) -> list[str]:
        """The lines that hold ``part``, once there are ``count`` of them."""

        def found() -> list[str] | None:
            lines = [line for line in self.lines if part in line]
            assert len(lines) >= count or self.process.poll() is None, f"ended without {part!r}:\n{self.text}"
            return lines if len(lines) >= count else None

        return wait_until(found, f"{count} times {part!r} in:\n{self.text}", patience)

    def signal(self, signum: int) -> None:
        self.process.send_signal(signum)

    def end(self) -> None:
        """Whatever is left of it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        self._reader.join(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


class Bench:
    """Starts commands with a cluster key, a Python for the hosts and a folder for temporary files of the test's own."""

    def __init__(self, folder: Path, key: str) -> None:
        self.key = key
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        path = f"{REPOSITORY / 'src'}:{Path(__file__).parent}"
        self.env = os.environ | {"DISTRIBUTED_KEY": key, "PYTHONPATH": path}
        self.python = folder / "python"
        self.python.write_text(
            f"#!/bin/sh\nexport PYTHONPATH={path} TMPDIR={self.temporary} PYTHONDONTWRITEBYTECODE=1\n"
            f'exec {sys.executable} "$@"\n'
        )
        self.python.chmod(0o755)
        self.running: list[Running] = []

    def start(self, words: list[str]) -> Running:
        """Start a command."""
        command = Running(words, self.env)
        self.running.append(command)
        return command

    def dcluster(self, *words: str) -> list[str]:
        """The command line of ``dcluster`` for these hosts and options."""
        return [sys.executable, "-m", "distributed.cli.dcluster", "--remote-python", str(self.python), *words]

    def files_left(self) -> list[str]:
        """What commands have left in the folder for temporary files."""
        return [str(path) for path in self.temporary.rglob("*") if not path.is_dir()]

    def end(self) -> None:
        for command in self.running:
            command.end()
