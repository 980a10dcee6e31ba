"""Workers without a network, for worker processes in tests."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any


class FakeWorker:
    """Starts, and does what its keyword ``behaviour`` says."""

    def __init__(self, scheduler: str, behaviour: str = "live", path: str = "", **kwargs: Any) -> None:
        self.address = "tcp://127.0.0.1:1"
        self.local_directory = None
        self.wants_restart = behaviour == "wants restart"
        self.behaviour = behaviour
        self.path = path
        self.kwargs = {"scheduler": scheduler, **kwargs}
        self.closed = asyncio.Event()

    def __await__(self) -> Generator[Any, None, FakeWorker]:
        return self.start().__await__()

    async def start(self) -> FakeWorker:
        if self.behaviour == "cannot start":
            raise ValueError("no such thing as a worker")
        if self.behaviour == "dies at the start":
            os._exit(3)
        if self.behaviour == "never starts":
            await asyncio.Event().wait()
        if self.behaviour == "starts once" and self.started_before():
            raise ValueError("once is enough")
        self.note(f"{os.getpid()} {os.environ.get('OMP_NUM_THREADS')} {sorted(self.kwargs)}")
        return self

    def note(self, text: str) -> None:
        if self.path:
            with open(self.path, "a") as file:
                file.write(text + "\n")

    def started_before(self) -> bool:
        return Path(self.path).exists()

    def start_child(self) -> None:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
        self.note(str(child.pid))

    async def finished(self) -> None:
        if self.behaviour in ("ends", "wants restart"):
            return
        if self.behaviour == "dies" or self.behaviour == "starts once":
            os._exit(5)
        if self.behaviour == "takes memory":
            self.memory = bytearray(os.urandom(1) * 300_000_000)
        if self.behaviour == "has a child":
            self.start_child()
        if self.behaviour == "holds the interpreter":
            threading.Thread(target=_spin, daemon=True).start()
        await self.closed.wait()

    async def close(self, **kwargs: Any) -> None:
        if self.behaviour == "does not close":
            await asyncio.Event().wait()
        self.closed.set()


def _spin() -> None:
    sys.setswitchinterval(1000)
    while True:
        pass
