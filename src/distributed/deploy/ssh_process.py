"""A program on another host, tied to this process: its words come here line by line, and it ends when we do."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import shlex
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from distributed.deploy.ssh_connection import SSHError
from distributed.security import Security

if TYPE_CHECKING:
    import asyncssh

_MAX_LINE = 1 << 20  # characters; a program that prints without end of line does not fill our memory
#: Shell words that stand for the address of this host at which our SSH connection came in: the one that works.
OWN_ADDRESS = '"$here"'
_SET_OWN_ADDRESS = "here=${SSH_CONNECTION% *}; here=${here##* }"


def remote_command(
    python: str,
    module: str,
    arguments: Sequence[str],
    *,
    log_file: str | None = None,
) -> str:
    """The command line for the host's shell, whichever that is, that runs ``python -m module arguments``.

    Parameters
    ----------
    arguments : sequence of str
        :data:`OWN_ADDRESS` among them is filled in on the host; all others are taken as they are.
    log_file : str, optional
        A file there to which the output is appended too.
    """
    words = [word if word == OWN_ADDRESS else shlex.quote(word) for word in arguments]
    command = " ".join([shlex.quote(python), "-u", "-m", module, *words])
    script = f"{_SET_OWN_ADDRESS}; "
    if log_file is None:
        script += f"exec {command}"
    else:
        # The program is in the foreground, tee ends with it: nothing stays behind either way.
        folder, _, _ = log_file.rpartition("/")
        # Others shall not write to it, whatever the umask; the program keeps the one it has.
        script += f"(umask go-w; mkdir -p {shlex.quote(folder or '.')}) && "
        # The exit status is that of the program, by way of descriptor 3; what it prints comes by way of 4.
        script += f"{{ {{ {{ {command} 2>&1 3>&- 4>&-; echo $? >&3; }} | "
        script += f"(umask go-w; exec tee -a {shlex.quote(log_file)} >&4 3>&-); }} 3>&1 | "
        script += '{ read status; exit "$status"; }; } 4>&1'
    return f"exec sh -c {shlex.quote(script)}"


def key_line(security: Security) -> str:
    """What is handed over on standard input: the cluster key and an end of line; nothing where none is asked for."""
    key = security.cluster_key()
    return "" if key is None else key.text() + "\n"


def security_arguments(security: Security) -> list[str]:
    """The options by which a command takes over what :func:`key_line` says and ends with its connection."""
    return [*(["--insecure"] if security.insecure else ["--key-file", "-"]), "--stop-at-eof"]


class RemoteProcess:
    """A program that runs on a host.

    Parameters
    ----------
    connection : SSHClientConnection
    command : str
        As :func:`remote_command` makes it.
    standard_input : str
        Written to it at once. The input stays open then: its end is the sign to stop.
    on_line : callable, optional
        Called with each line it prints, standard output and error together.

    Attributes
    ----------
    last_lines : deque of str
    ended : asyncio.Event
    """

    def __init__(
        self,
        connection: asyncssh.SSHClientConnection,
        command: str,
        standard_input: str = "",
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        self._connection = connection
        self._command = command
        self._input = standard_input
        self._on_line = on_line
        self._process: Any = None
        self._reading: asyncio.Task[None] | None = None
        self.last_lines: deque[str] = deque(maxlen=20)
        self.ended = asyncio.Event()

    async def start(self) -> None:
        """Start it. Raises SSHError when the host does not let us."""
        import asyncssh

        try:
            self._process = await self._connection.create_process(
                self._command, stderr=asyncssh.STDOUT, encoding=None, term_type=None
            )
            self._process.stdin.write(self._input.encode())
        except (OSError, asyncssh.Error) as error:
            raise SSHError(f"the command could not be started: {error}") from None
        self._input = ""
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        import asyncssh

        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        rest = ""
        try:
            while data := await self._process.stdout.read(1 << 16):
                *lines, rest = (rest + decoder.decode(data)).split("\n")
                if len(rest) > _MAX_LINE:
                    lines.append(rest)
                    rest = ""
                for line in lines:
                    self._take(line)
            if rest:
                self._take(rest)
            await self._process.wait_closed()
        except (OSError, asyncssh.Error) as error:
            self._take(f"connection lost: {error}")
        finally:
            self.ended.set()

    def _take(self, line: str) -> None:
        line = line.rstrip("\r")
        self.last_lines.append(line)
        if self._on_line is not None:
            self._on_line(line)

    @property
    def exit_status(self) -> int | None:
        """Its exit status, once it has ended and the host has said so."""
        return None if self._process is None else self._process.exit_status

    def describe_end(self) -> str:
        """Why it ended, as far as can be told from here."""
        status, signal = self.exit_status, getattr(self._process, "exit_signal", None)
        words = next((line for line in reversed(self.last_lines) if line.strip()), "")
        if status in (126, 127):
            return f"{words or 'command not found'} (name the Python of that host with --remote-python)"
        if signal:
            return f"was killed by SIG{signal[0]}"
        if status is None:
            return "the connection was lost"
        return f"ended with exit status {status}" + (f": {words}" if words else "")

    async def stop(self, timeout: float = 15.0) -> bool:
        """End its input, which tells it to stop; after ``timeout`` seconds it is killed.

        Returns
        -------
        bool
            Whether it went by itself.
        """
        if self._process is None or self.ended.is_set():
            return True
        with contextlib.suppress(OSError):
            self._process.stdin.write_eof()
        if await self._wait_ended(timeout):
            return True
        with contextlib.suppress(OSError):
            self._process.kill()
        await self._wait_ended(2.0)
        self._process.close()
        return False

    async def _wait_ended(self, timeout: float) -> bool:
        try:
            async with asyncio.timeout(timeout):
                await self.ended.wait()
        except TimeoutError:
            return False
        return True
