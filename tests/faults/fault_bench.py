"""Real processes that are killed, stopped and started again."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
from system_bench import Bench, Command

HERE = Path(__file__).parent


class FaultBench(Bench):
    """A bench whose scheduler can be started again at its address, and whose configuration can be set."""

    def __init__(self, folder: Path, key: str) -> None:
        super().__init__(folder, key)
        self.env["PYTHONPATH"] = os.pathsep.join([str(HERE), self.env["PYTHONPATH"]])

    def configure(self, **values: object) -> None:
        """Settings of all commands started from now on: ``worker__lifetime__duration="3s"``."""
        for name, value in values.items():
            self.env[f"DASK_DISTRIBUTED__{name.upper()}"] = str(value)

    def kill(self, command: Command) -> None:
        """``kill -9``, and wait until it is gone."""
        os.kill(command.process.pid, signal.SIGKILL)
        command.process.wait()

    def scheduler_again(self, address: str) -> Command:
        """A scheduler at the address of an earlier one."""
        host, _, port = address.rpartition(":")
        command = self.start("dscheduler", "--host", host, "--port", port)
        command.line(0)
        return command


def worker_pid(command: Command) -> int:
    """The process below a nanny that runs tasks."""
    (child,) = psutil.Process(command.process.pid).children()
    return child.pid
