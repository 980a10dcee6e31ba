"""Real processes on loopback: the commands as a user starts them, in an environment of the test's own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).parent


def wait_until(condition: Callable[[], Any], what: str, patience: float = 30.0) -> Any:
    """The condition's value once it is true; AssertionError naming ``what`` when that takes too long."""
    deadline = time.monotonic() + patience
    while not (value := condition()):
        assert time.monotonic() < deadline, f"after {patience:g} s still not: {what}"
        time.sleep(0.02)
    return value


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Command:
    """A command that runs: what it prints, the processes below it."""

    def __init__(
        self, name: str, arguments: list[str], env: dict[str, str], cwd: Path, prefix: tuple[str, ...] = ()
    ) -> None:
        module = {"dscheduler": "dask_scheduler", "dworker": "dask_worker"}[name]
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-m", f"distributed.cli.{module}", *arguments],
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.name = name
        self.out: list[str] = []
        self.err: list[str] = []
        self.readers = [
            threading.Thread(target=self._read, args=pair, daemon=True)
            for pair in ((self.process.stdout, self.out), (self.process.stderr, self.err))
        ]
        for reader in self.readers:
            reader.start()

    def _read(self, stream: Any, lines: list[str]) -> None:
        for line in stream:
            lines.append(line.rstrip("\n"))

    def line(self, number: int, patience: float = 30.0) -> str:
        """Line ``number`` (from 0) of its output."""

        def there() -> bool:
            assert len(self.out) > number or self.process.poll() is None, f"{self.name} ended: {self.text}"
            return len(self.out) > number

        wait_until(there, f"{self.name} prints line {number}", patience)
        return self.out[number]

    @property
    def text(self) -> str:
        """All it printed."""
        return "\n".join([*self.out, *self.err])

    def errors(self, pattern: str) -> list[str]:
        """Lines of standard error that match."""
        return [line for line in self.err if re.search(pattern, line)]

    @property
    def children(self) -> list[int]:
        """Processes below it."""
        return [child.pid for child in psutil.Process(self.process.pid).children(recursive=True)]

    def end(self) -> None:
        """Whatever is left of it."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for pid in [*self.children, self.process.pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.process.wait(10)
        for reader in self.readers:
            reader.join(10)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


class Bench:
    """Starts commands in folders of the test's own: home, temporary files, working directory."""

    def __init__(self, folder: Path, key: str) -> None:
        self.commands: list[Command] = []
        self.folders = {name: folder / name for name in ("home", "tmp", "cwd")}
        for path in self.folders.values():
            path.mkdir()
        path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.env = os.environ | {
            "DISTRIBUTED_KEY": key,
            "HOME": str(self.folders["home"]),
            "XDG_CONFIG_HOME": str(self.folders["home"] / ".config"),
            "TMPDIR": str(self.folders["tmp"]),
            "PYTHONPATH": path,
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def start(self, name: str, *arguments: str) -> Command:
        """Start ``dscheduler`` or ``dworker``."""
        command = Command(name, list(arguments), self.env, self.folders["cwd"])
        self.commands.append(command)
        return command

    def scheduler(self, *arguments: str) -> tuple[Command, str]:
        """A scheduler at a free port of loopback, and its address."""
        command = self.start("dscheduler", "--host", "127.0.0.1", "--port", "0", *arguments)
        return command, command.line(0).rpartition(" ")[2]

    def worker(self, address: str, *arguments: str) -> Command:
        """A worker of one thread that has registered."""
        command = self.start("dworker", address, "--nthreads", "1", *arguments)
        command.line(1)
        return command
