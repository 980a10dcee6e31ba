"""``GET /health`` for those who watch services: one answer in JSON, no framework, nothing that could be changed."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any

from distributed.comm.addressing import parse_host_port

#: Seconds for a request to come, and its bytes.
TIMEOUT = 5.0
LIMIT = 8192


class HealthServer:
    """Answers ``/health`` with what ``health()`` gives: 200 while its ``status`` is "ok", else 503.

    Parameters
    ----------
    health : callable
        Gives a dict with a ``status``.
    """

    def __init__(self, health: Callable[[], dict[str, Any]]) -> None:
        self._health = health
        self._server: asyncio.Server | None = None

    async def start(self, address: str) -> None:
        """Listen at ``"HOST:PORT"`` or, on loopback only, at ``":PORT"``. OSError if that is not possible."""
        host, port = parse_host_port(address, 0)
        self._server = await asyncio.start_server(self._answer, host or "127.0.0.1", port, limit=LIMIT)

    @property
    def address(self) -> str:
        """Where it listens: ``"HOST:PORT"``."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            try:
                async with asyncio.timeout(TIMEOUT):
                    request = await reader.readuntil(b"\r\n\r\n")
                writer.write(self.respond(request))
                await writer.drain()
            finally:
                writer.close()

    def respond(self, request: bytes) -> bytes:
        """The whole answer to a request's head."""
        method, _, rest = request.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if method not in (b"GET", b"HEAD"):
            status, body = "405 Method Not Allowed", {"status": "only GET is answered"}
        elif path != b"/health":
            status, body = "404 Not Found", {"status": "there is only /health"}
        else:
            body = self._health()
            status = "200 OK" if body["status"] == "ok" else "503 Service Unavailable"
        data = json.dumps(body).encode() + b"\n"
        head = (
            f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n"
            "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + (b"" if method == b"HEAD" else data)
