"""An SSH server of the test's own on loopback, for machines without the right to start a real one."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import asyncssh


async def _feed(source: Any, sink: Any) -> None:
    try:
        while data := await source.read(1 << 16):
            sink.write(data)
    except (OSError, asyncssh.Error):
        pass  # the connection is gone: as good as its end
    finally:
        sink.close()


class SSHServer:
    """Runs commands as the user of the test; one key is let in.

    Parameters
    ----------
    folder : Path
        For keys, ``known_hosts`` and ``config``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.commands: list[str] = []
        host_key, self.client_key = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
        self.client_key.write_private_key(str(folder / "id"))
        (folder / "id").chmod(0o600)
        (folder / "authorized").write_bytes(self.client_key.export_public_key())
        self.acceptor = self.call(self._listen(host_key))
        self.port = self.acceptor.get_port()
        public = host_key.export_public_key().decode()
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {public}")

    def call(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(20)

    async def _listen(self, host_key: Any) -> Any:
        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[host_key],
            authorized_client_keys=str(self.folder / "authorized"),
            process_factory=self._run,
            encoding=None,
        )

    async def _run(self, process: Any) -> None:
        self.commands.append(process.command)
        env = os.environ | {"SSH_CONNECTION": f"127.0.0.1 50000 127.0.0.1 {self.port}"}
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_shell(
            process.command, env=env, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.STDOUT
        )
        feeding = asyncio.create_task(_feed(process.stdin, child.stdin))
        assert child.stdout is not None
        while data := await child.stdout.read(1 << 16):
            process.stdout.write(data)
        process.exit(await child.wait())
        feeding.cancel()

    @property
    def connect_options(self) -> dict[str, Any]:
        return {
            "port": self.port,
            "username": "anybody",
            "client_keys": [str(self.folder / "id")],
            "known_hosts": str(self.folder / "known_hosts"),
            "config": None,
        }

    async def _close(self) -> None:
        self.acceptor.close()
        await self.acceptor.wait_closed()

    def close(self) -> None:
        self.call(self._close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()
