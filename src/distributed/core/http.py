"""Answers to ``GET`` for those who watch services: a table of routes, no framework, nothing that could be changed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, TypeAlias

from distributed.comm.addressing import parse_host_port

#: Seconds for a request to come, and its bytes.
TIMEOUT = 5.0
LIMIT = 8192


@dataclass(frozen=True, slots=True)
class Answer:
    """What a route may give where text, or a value to be written as JSON, does not say enough."""

    body: str | bytes
    content_type: str = "text/plain; charset=utf-8"
    status: HTTPStatus = HTTPStatus.OK


#: Gives an :class:`Answer`, a text, or what can be written as JSON.
Route: TypeAlias = Callable[[], Any]


@dataclass
class HTTPServer:
    """Answers ``GET`` and ``HEAD`` by a table of routes; everything else with 404 or 405, and each with one answer.

    Attributes
    ----------
    routes : dict of str to callable
        By path, such as ``"/health"``. May be changed at any time.
    address : str
        Where it listens, ``"HOST:PORT"``; empty before :meth:`bind`.
    """

    routes: dict[str, Route] = field(default_factory=dict)
    address: str = ""
    _socket: socket.socket | None = None
    _server: asyncio.Server | None = None

    def bind(self, address: str | tuple[str, int], default_port: int = 0) -> None:
        """Take the port of ``"HOST:PORT"`` or, on loopback only, of ``":PORT"``. OSError if that is not possible.

        Who connects from now on is answered as soon as :meth:`serve` has begun.
        """
        host, port = parse_host_port(address, default_port)
        host = host or "127.0.0.1"
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family)
        host, port = self._socket.getsockname()[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def serve(self, ssl: Any = None) -> None:
        """Begin to answer."""
        assert self._socket is not None, "bind comes first"
        self._server = await asyncio.start_server(self._answer, sock=self._socket, limit=LIMIT, ssl=ssl)

    async def start(self, address: str) -> None:
        """Both."""
        self.bind(address)
        await self.serve()

    @property
    def port(self) -> int:
        """The port of :attr:`address`."""
        return int(self.address.rpartition(":")[2])

    def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()
        elif self._socket is not None:
            self._socket.close()

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
        path = rest.partition(b" ")[0].partition(b"?")[0].decode("latin-1")
        route = self.routes.get(path)
        if method not in (b"GET", b"HEAD"):
            answer = as_json({"status": "only GET is answered"}, HTTPStatus.METHOD_NOT_ALLOWED)
        elif route is None:
            there = ", ".join(sorted(self.routes)) or "nothing"
            answer = as_json({"status": f"there is only {there}"}, HTTPStatus.NOT_FOUND)
        else:
            answer = as_answer(route())
        data = answer.body.encode() if isinstance(answer.body, str) else answer.body
        head = (
            f"HTTP/1.1 {answer.status.value} {answer.status.phrase}\r\nContent-Type: {answer.content_type}\r\n"
            f"Content-Length: {len(data)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + (b"" if method == b"HEAD" else data)


def as_json(value: Any, status: HTTPStatus = HTTPStatus.OK) -> Answer:
    """A value written as JSON; what JSON does not know, as its text."""
    return Answer(json.dumps(value, default=str) + "\n", "application/json", status)


def as_answer(given: Any) -> Answer:
    """What a route gave, as an answer."""
    if isinstance(given, Answer):
        return given
    return Answer(given) if isinstance(given, str | bytes) else as_json(given)


def health_route(health: Callable[[], dict[str, Any]]) -> Route:
    """``/health``: what ``health()`` gives, 200 while its ``status`` is "ok", else 503."""

    def route() -> Answer:
        body = health()
        return as_json(body, HTTPStatus.OK if body["status"] == "ok" else HTTPStatus.SERVICE_UNAVAILABLE)

    return route


def metrics_route(metrics: Callable[[], Mapping[str, float]]) -> Route:
    """``/metrics``: numbers by name in the text format of Prometheus, as gauges of the prefix ``dask_``."""

    def route() -> Answer:
        lines = [f"# TYPE dask_{name} gauge\ndask_{name} {value}" for name, value in metrics().items()]
        return Answer("\n".join(lines) + "\n", "text/plain; version=0.0.4; charset=utf-8")

    return route


def under(prefix: str | None, path: str) -> str:
    """A path below a prefix.

    Examples
    --------
    >>> under("/", "/health"), under("mine/", "health"), under(None, "/")
    ('/health', '/mine/health', '/')
    """
    inner = (prefix or "").strip("/")
    return f"/{inner}/{path.lstrip('/')}" if inner else f"/{path.lstrip('/')}"
