"""Plugins that prepare the workers' software: environment variables and packages."""

from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from typing import Any

from distributed.diagnostics.plugin import NannyPlugin, SchedulerPlugin, WorkerPlugin
from distributed.diagnostics.upload import raise_failures
from distributed.private_files import private_directory, scratch_space
from distributed.protocol.payload import pack


class Environ(NannyPlugin):
    """Sets environment variables of worker processes; they are started anew to have them.

    Parameters
    ----------
    environ : dict
        Name to value.

    Examples
    --------
    >>> client.register_plugin(Environ({"OMP_NUM_THREADS": 4}))  # doctest: +SKIP
    """

    restart = True

    def __init__(self, environ: dict[str, Any] | None = None) -> None:
        self.environ = {str(name): str(value) for name, value in (environ or {}).items()}

    def setup(self, nanny: Any) -> None:
        nanny.env.update(self.environ)


class InstallPlugin(SchedulerPlugin):
    """Calls a function once on every host that has workers, before they run tasks.

    Parameters
    ----------
    install_fn : callable
        Without parameters. What it raises keeps workers from joining.
    restart_workers : bool
        Call it in the nannies, and start the workers anew afterwards, so that they see what was installed.
    """

    idempotent = True

    def __init__(self, install_fn: Callable[[], None], restart_workers: bool) -> None:
        self.install_fn = install_fn
        self.restart_workers = restart_workers
        self.name = f"{type(self).__name__}-{uuid.uuid4()}"

    async def start(self, scheduler: Any) -> None:
        job = _Job(self.name, self.install_fn)
        if self.restart_workers:
            answers = await scheduler.register_nanny_plugin(None, pack(_OnNanny(job)), name=self.name)
        else:
            answers = await scheduler.register_worker_plugin(None, pack(_OnWorker(job)), name=self.name)
        raise_failures(answers)


class _Job:
    """A function that is called once a host, however many processes ask for it."""

    def __init__(self, name: str, function: Callable[[], None]) -> None:
        self.name = name
        self.function = function

    def run(self) -> None:
        path = os.path.join(private_directory(scratch_space()), f"installed-{self.name}")
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        with os.fdopen(os.open(path, flags, 0o600), "r+") as marker:
            fcntl.flock(marker, fcntl.LOCK_EX)
            if not marker.read():
                self.function()
                marker.write("done")


class _OnWorker(WorkerPlugin):
    idempotent = True

    def __init__(self, job: _Job) -> None:
        self.job = job
        self.name = job.name

    async def setup(self, worker: Any) -> None:
        await asyncio.to_thread(self.job.run)


class _OnNanny(NannyPlugin):
    idempotent = True
    restart = True

    def __init__(self, job: _Job) -> None:
        self.job = job
        self.name = job.name

    async def setup(self, nanny: Any) -> None:
        await asyncio.to_thread(self.job.run)


class PackageInstall(InstallPlugin):
    """Installs packages on every host that has workers. Base of those that say how.

    Parameters
    ----------
    packages : list of str
    restart_workers : bool
    """

    INSTALLER = ""

    def __init__(self, packages: list[str], restart_workers: bool = False) -> None:
        if isinstance(packages, str):
            raise TypeError(f"packages must be a list of names, not {packages!r}")
        super().__init__(self.install, restart_workers)
        self.packages = list(packages)

    def command(self) -> list[str]:
        """The command that installs the packages."""
        raise NotImplementedError

    def install(self) -> None:
        """Run the command. Raises RuntimeError with what it said when it fails."""
        try:
            done = subprocess.run(self.command(), capture_output=True, text=True, check=False)
        except OSError as error:
            raise RuntimeError(f"{self.INSTALLER} cannot be run here: {error}") from None
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip()
            raise RuntimeError(f"{self.INSTALLER} could not install {', '.join(self.packages)}: {said}")


class PipInstall(PackageInstall):
    """Installs packages with pip.

    Parameters
    ----------
    packages : list of str
    pip_options : list of str, optional
        Such as ``["--upgrade"]``.
    restart_workers : bool, default False
        Start the workers anew afterwards, so that they see other versions of what they had imported.

    Examples
    --------
    >>> client.register_plugin(PipInstall(["tinyquant"], pip_options=["--upgrade"]))  # doctest: +SKIP
    """

    INSTALLER = "pip"

    def __init__(
        self, packages: list[str], pip_options: list[str] | None = None, restart_workers: bool = False
    ) -> None:
        super().__init__(packages, restart_workers=restart_workers)
        self.pip_options = list(pip_options or [])

    def command(self) -> list[str]:
        return [sys.executable, "-m", "pip", "install", *self.pip_options, *self.packages]


class CondaInstall(PackageInstall):
    """Installs packages with conda, into the environment of the workers' Python.

    Parameters
    ----------
    packages : list of str
    conda_options : list of str, optional
    restart_workers : bool, default False
        Start the workers anew afterwards.
    """

    INSTALLER = "conda"

    def __init__(
        self, packages: list[str], conda_options: list[str] | None = None, restart_workers: bool = False
    ) -> None:
        super().__init__(packages, restart_workers=restart_workers)
        self.conda_options = list(conda_options or [])

    def command(self) -> list[str]:
        return ["conda", "install", "-y", "-p", sys.prefix, *self.conda_options, *self.packages]
