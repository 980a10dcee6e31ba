"""Plugins that bring files and directories to workers, nannies and the scheduler."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import zipfile
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

from distributed import uploads
from distributed.diagnostics.plugin import SchedulerPlugin, WorkerPlugin
from distributed.private_files import close_to_others, fresh_directory, is_own, scratch_space
from distributed.protocol.payload import pack


class UploadFile(WorkerPlugin):
    """Copies a file to every worker and, for .py, .zip and .egg, imports it there.

    Parameters
    ----------
    filepath : str
    load : bool, default True
        Import it.

    Examples
    --------
    >>> client.register_plugin(UploadFile("helpers.py"))  # doctest: +SKIP
    """

    name = "upload_file"

    def __init__(self, filepath: str, load: bool = True) -> None:
        self.name = f"upload-file-{os.path.basename(filepath)}"
        self.filename = os.path.basename(filepath)
        self.load = load
        with open(filepath, "rb") as file:
            self.data = file.read()

    async def setup(self, worker: Any) -> None:
        answer = await worker.upload_file(filename=self.filename, data=self.data, load=self.load)
        if answer["nbytes"] != len(self.data):
            raise OSError(
                f"only {answer['nbytes']} of {len(self.data)} bytes of {self.filename} were written"
            )


class SchedulerUploadFile(SchedulerPlugin):
    """Copies a file to the scheduler and imports it there, so that what is made with it can be unpickled.

    Parameters
    ----------
    filepath : str
    load : bool, default True
    """

    def __init__(self, filepath: str, load: bool = True) -> None:
        self.name = f"upload-file-{os.path.basename(filepath)}"
        self.filename = os.path.basename(filepath)
        self.load = load
        with open(filepath, "rb") as file:
            self.data = file.read()

    async def start(self, scheduler: Any) -> None:
        await scheduler.upload_file(filename=self.filename, data=self.data, load=self.load)


def _unwanted(path: str) -> bool:
    return os.path.splitext(path)[1] in (".pyc", ".pyo")


class UploadDirectory(SchedulerPlugin):
    """Copies a directory to the hosts of all workers, below their local directory.

    Parameters
    ----------
    path : str
    restart_workers : bool, default False
        Have the nannies start the workers anew when it is there.
    update_path : bool, default False
        Put the place where it lies on ``sys.path``, so that what is in it can be imported.
    skip_words : sequence of str
        Directories of these names are left out.
    skip : sequence of callables
        Files for which one of them, given the path, is true are left out.
    mode : str, default "workers"
        Where to: "workers", "scheduler", or "all" for both.

    Examples
    --------
    >>> client.register_plugin(UploadDirectory("project", update_path=True))  # doctest: +SKIP
    """

    def __init__(
        self,
        path: str,
        restart_workers: bool = False,
        update_path: bool = False,
        skip_words: Sequence[str] = (".git", ".github", ".pytest_cache", "tests", "docs"),
        skip: Sequence[Callable[[str], bool]] = (_unwanted,),
        mode: str = "workers",
    ) -> None:
        path = os.path.abspath(os.path.expanduser(path))
        if not os.path.isdir(path):
            raise NotADirectoryError(f"UploadDirectory needs a directory: there is none at {path}")
        if mode not in ("workers", "scheduler", "all"):
            raise ValueError(f"mode must be 'workers', 'scheduler' or 'all', not {mode!r}")
        data = _zipped(path, skip_words, skip)
        self.name = f"upload-directory-{os.path.basename(path)}-{blake2b(data, digest_size=6).hexdigest()}"
        self.restart_workers = restart_workers
        self.mode = mode
        self.data = data
        self._content = _Directory(self.name, data, update_path)

    async def start(self, scheduler: Any) -> None:
        if self.mode != "workers":
            await asyncio.to_thread(self._content.unpack, scratch_space())
        if self.mode == "scheduler":
            return
        answers = await scheduler.register_worker_plugin(None, pack(self._content), name=self.name)
        raise_failures(answers)
        if self.restart_workers:
            raise_failures(dict(await scheduler.broadcast(op="restart", nanny=True)))


class _Directory(WorkerPlugin):
    """A directory's content, and how a worker lays it out."""

    def __init__(self, name: str, data: bytes, update_path: bool) -> None:
        self.name = name
        self.data = data
        self.update_path = update_path

    async def setup(self, worker: Any) -> None:
        await asyncio.to_thread(self.unpack, worker.local_directory)
        worker.modules_replaced()

    def unpack(self, base: str) -> None:
        """Below ``base``, once a host: workers that share the directory do not write over each other's."""
        target = os.path.join(base, self.name)
        if not is_own(target):
            fresh = fresh_directory(base, f"{self.name}-")
            with zipfile.ZipFile(io.BytesIO(self.data)) as archive:
                archive.extractall(fresh)
            close_to_others(fresh)
            try:
                os.rename(fresh, target)
            except OSError:  # another worker was first, or somebody else has taken the name
                if is_own(target):
                    shutil.rmtree(fresh)
                else:
                    target = fresh
        if self.update_path:
            uploads.prefer(target)


def raise_failures(answers: dict[str, Any]) -> None:
    """Raise if one of the answers (by address) of a broadcast is an error."""
    for address, answer in answers.items():
        if answer["status"] != "OK":
            raise RuntimeError(f"{address}: {answer['text']}")


def _zipped(path: str, skip_words: Sequence[str], skip: Sequence[Callable[[str], bool]]) -> bytes:
    parent = os.path.dirname(path)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for root, directories, files in os.walk(path):
            directories[:] = sorted(name for name in directories if name not in skip_words)
            for name in sorted(files):
                full = os.path.join(root, name)
                if not any(check(full) for check in skip):
                    archive.write(full, os.path.relpath(full, parent))
    return buffer.getvalue()
