"""Tasks of the fault tests. A module that workers can import."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import time
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

from distributed import worker_client


def note(folder: str, text: str) -> None:
    """One line in this process's own file of ``folder``: appended whole, or not at all."""
    fd = os.open(f"{folder}/{os.getpid()}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(fd, f"{text}\n".encode())
    finally:
        os.close(fd)


def notes(folder: str | Path) -> list[str]:
    """All lines that all processes left in a folder."""
    return [line for path in Path(folder).iterdir() for line in path.read_text().splitlines()]


def noted(label: str, folder: str, *parts: int, delay: float = 0.0) -> int:
    """1 and the parts, added up modulo a prime; the line is written when the work is done."""
    if delay:
        time.sleep(delay)
    note(folder, label)
    return (1 + sum(parts)) % 1_000_003


def inc(x: int) -> int:
    return x + 1


def block_of(i: int) -> bytes:
    """Small enough to travel with the completion."""
    return i.to_bytes(4, "big") * 230


def add(x: int, y: int) -> int:
    return x + y


def total(parts: list[int]) -> int:
    return sum(parts)


def pid_of(_: Any = None) -> int:
    return os.getpid()


def wait_for(path: str, value: Any = None, folder: str = "", label: str = "") -> Any:
    """Note that it began, then wait until a file is there."""
    if folder:
        note(folder, label)
    while not os.path.exists(path):
        time.sleep(0.02)
    return value


def try_lock(name: str) -> bool:
    """Whether a lock can be had; it is let go at once."""
    from distributed import Lock

    lock = Lock(name)
    acquired = lock.acquire(blocking=False)
    if acquired:
        lock.release()
    return acquired


def submit_more(path: str, folder: str) -> int:
    """Wait until a file is there, then have another task computed."""
    wait_for(path, None, folder, "nested")
    from distributed import worker_client

    with worker_client() as client:
        return int(client.submit(total, [4, 6]).result())


def exit_with(status: int) -> None:
    os._exit(status)


def kill_own_process(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(60)


def kill_by_child(name: str) -> None:
    subprocess.run(["sh", "-c", f"kill -{name} $PPID"], check=True)
    time.sleep(60)


def stop_once(i: int, folder: str) -> int:
    """The process stops itself when this is run for the first time."""
    first = f"stopped {i}" not in notes(folder)
    note(folder, f"stopped {i}")
    if first:
        os.kill(os.getpid(), signal.SIGSTOP)
        time.sleep(60)
    return i


def segfault() -> None:
    ctypes.string_at(0)


def hold_gil(duration: float) -> float:
    """Sleep without letting go of the interpreter's lock."""
    start = time.monotonic()
    libc = ctypes.PyDLL(None)
    libc.usleep(ctypes.c_uint(int(duration * 1e6)))
    return time.monotonic() - start


def fork_and_wait(folder: str) -> dict[str, Any]:
    """Fork; the child lives on until a file ``stop`` is in ``folder``. What the child found of our sockets."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            os.write(writer, repr(open_sockets()).encode())
            os.close(writer)
            deadline = time.monotonic() + 60
            while not os.path.exists(f"{folder}/stop") and time.monotonic() < deadline:
                time.sleep(0.05)
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        found = file.read().decode()
    return {"child": pid, "sockets": found, "worker": os.getpid()}


def open_sockets() -> list[tuple[str, int]]:
    """Listening and connected internet sockets of this process, by port."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            copy = os.dup(int(name))
        except OSError:
            continue
        try:
            sock = socket.socket(fileno=copy)
        except OSError:
            os.close(copy)
            continue
        with sock:
            if sock.family in (socket.AF_INET, socket.AF_INET6):
                try:
                    sock.getpeername()
                    found.append(("connected", sock.getsockname()[1]))
                except OSError:
                    found.append(("listening", sock.getsockname()[1]))
    return found


def fill(path: str, nbytes: int) -> int:
    with open(path, "wb") as file:
        file.write(bytes(nbytes))
    return nbytes


def stop_own_process(_: Any = None) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


# ---------------------------------------------------------------- of the soak


def lump(number: int, sleep: bool = True) -> bytes:
    """A short while, then some bytes: some small, some not; the same each time."""
    if sleep:
        time.sleep(number % 7 * 0.003)
    return bytes(number * 7919 % (50_000 if number % 5 else 200))


def sizes(one: bytes, other: bytes) -> int:
    return len(one) + len(other)


def soak_sum(parts: list[int]) -> int:
    return sum(parts)


def one(folder: str, *, delay: float = 0.0) -> str:
    """What a key stands for first."""
    return _said("one", folder, delay)


def two(folder: str, *, delay: float = 0.0) -> str:
    """What it stands for then."""
    return _said("two", folder, delay)


def holds_a_name(folder: str, key: str) -> str:
    """A task whose client holds a name until it is noted that it may let go of it."""
    with worker_client() as client:
        future = client.submit(one, folder, key=key)
        future.result()
        note(folder, "holds")
        while "let go" not in notes(folder):
            time.sleep(0.02)
        try:
            return str(future.result())
        except CancelledError:
            return "cancelled"


def _said(what: str, folder: str, delay: float) -> str:
    note(folder, f"{what} begins")
    if delay:
        time.sleep(delay)
    note(folder, what)
    return what


def plus(x: str) -> str:
    return f"{x}+"


class Speaker:
    """An actor."""

    def speak(self) -> str:
        return "here"
