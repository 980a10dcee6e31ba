"""What servers answer over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from http import HTTPStatus
from typing import Any

import pytest

from distributed import Client, Nanny, Scheduler, Worker
from distributed.core import Server, Status
from distributed.core.http import Answer, HTTPServer, health_route, metrics_route
from distributed.utils_test import gen_test, get_cert, inc, process_security


async def get(address: str, path: str, method: str = "GET") -> tuple[int, str, str]:
    """Status, type and body of an answer."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    async with asyncio.timeout(10):
        head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:])
    return int(head.split()[1]), fields["Content-Type"], body


async def get_json(address: str, path: str) -> Any:
    status, kind, body = await get(address, path)
    assert (status, kind) == (200, "application/json")
    return json.loads(body)


def respond(server: HTTPServer, request: bytes) -> tuple[bytes, bytes]:
    head, _, body = server.respond(request + b" HTTP/1.1\r\n\r\n").partition(b"\r\n\r\n")
    return head.split(b"\r\n")[0], body


def test_routes() -> None:
    status = "ok"
    server = HTTPServer(
        {
            "/health": health_route(lambda: {"status": status}),
            "/metrics": metrics_route(lambda: {"workers": 2, "seconds": 0.5}),
            "/text": lambda: "plain",
            "/teapot": lambda: Answer(b"\x00", "image/x", HTTPStatus.IM_A_TEAPOT),
        }
    )
    assert respond(server, b"GET /health?x=1") == (b"HTTP/1.1 200 OK", b'{"status": "ok"}\n')
    status = "draining"
    assert respond(server, b"GET /health") == (
        b"HTTP/1.1 503 Service Unavailable",
        b'{"status": "draining"}\n',
    )
    assert respond(server, b"HEAD /text") == (b"HTTP/1.1 200 OK", b"")
    assert respond(server, b"GET /text") == (b"HTTP/1.1 200 OK", b"plain")
    assert respond(server, b"GET /teapot") == (b"HTTP/1.1 418 I'm a Teapot", b"\x00")
    assert respond(server, b"POST /text")[0] == b"HTTP/1.1 405 Method Not Allowed"
    line, body = respond(server, b"GET /nowhere")
    assert line == b"HTTP/1.1 404 Not Found"
    assert b"/health, /metrics, /teapot, /text" in body
    assert respond(server, b"GET /metrics")[1].splitlines() == [
        b"# TYPE dask_workers gauge",
        b"dask_workers 2",
        b"# TYPE dask_seconds gauge",
        b"dask_seconds 0.5",
    ]


@gen_test()
async def test_start_http_server():
    async with Server(security=process_security()) as server:
        server.digest_metric("time-spent", 1.5)
        server.start_http_server({"/mine": lambda: {"answer": 42}}, "127.0.0.1:0", prefix="/below/this")
        http = server.http_server
        assert server.services["http"] is http
        assert server.service_ports == {"http": http.port}
        assert await get_json(http.address, "/below/this/health") == {"status": "ok"}
        assert await get_json(http.address, "/below/this/mine") == {"answer": 42}
        assert (await get_json(http.address, "/below/this/info.json"))["id"] == server.id
        assert "dask_time_spent 1.5" in (await get(http.address, "/below/this/metrics"))[2]
        assert (await get(http.address, "/health"))[0] == 404
        with pytest.raises(RuntimeError, match="already"):
            server.start_http_server([], None)
        server.status = Status.closing
        assert (await get(http.address, "/below/this/health"))[0] == 503
        server.status = Status.running
    with pytest.raises(ConnectionRefusedError):
        await get(http.address, "/below/this/health")


@gen_test()
async def test_where_it_listens():
    async with contextlib.AsyncExitStack() as stack:
        a, b, c = [await stack.enter_async_context(Server(security=process_security())) for _ in range(3)]
        a.start_http_server()
        assert a.http_server.address.startswith("127.0.0.1:")  # without a word, nobody from outside
        with pytest.raises(OSError, match="in use"):
            b.start_http_server([], f":{a.http_server.port}")
        assert b.http_server is None
        assert b.services == {}
        b.start_http_server([], ("127.0.0.1", 0))
        assert await get_json(b.http_server.address, "/health") == {"status": "ok"}
        with pytest.raises(TypeError, match="/x"):
            c.start_http_server([("/x", "no function")])
        c.start_http_server(default_port=0, dashboard_address="[::1]:0")
        assert c.http_server.address.startswith("[::1]:")


@gen_test()
async def test_encrypted():
    pytest.importorskip("cryptography")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(get_cert("tls-cert.pem"), get_cert("tls-key.pem"))
    trusting = ssl.create_default_context(cafile=get_cert("tls-ca-cert.pem"))
    async with Server(security=process_security()) as server:
        server.start_http_server(dashboard_address="127.0.0.1:0", ssl_options=context)
        port = server.http_server.port
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
        writer.write(b"GET /health HTTP/1.1\r\n\r\n")
        async with asyncio.timeout(10):
            assert (await reader.read()).endswith(b'{"status": "ok"}\n')
        writer.close()


def test_needs_a_loop():
    server = Server(security=process_security())
    with pytest.raises(RuntimeError, match="event loop"):
        server.start_http_server()


@gen_test()
async def test_scheduler_worker_nanny():
    security = process_security()
    async with (
        Scheduler(host="127.0.0.1", port=0, security=security) as s,
        Worker(s.address, nthreads=2, security=security) as w,
        Client(s.address, asynchronous=True, security=security) as client,
    ):
        s.start_http_server([("/api", lambda: sorted(s.workers))], dashboard_address=":0")
        w.start_http_server()
        future = client.submit(inc, 1)
        assert await future == 2
        assert await get_json(s.http_server.address, "/api") == [w.address]
        idle = await get_json(s.http_server.address, "/api/v1/check_idle")
        assert idle == {"idle_since": s.check_idle()}
        assert await get_json(s.http_server.address, "/api/v1/adaptive_target") == {"workers": 1}
        health = await get_json(s.http_server.address, "/health")
        assert (health["status"], health["workers"], health["tasks"]) == ("ok", 1, 1)
        numbers = (await get(s.http_server.address, "/metrics"))[2].splitlines()
        assert {"dask_workers 1", "dask_threads 2", "dask_clients 1", "dask_tasks_memory 1"} <= set(numbers)
        assert (await get_json(w.http_server.address, "/info.json"))["nthreads"] == 2
        info = await get_json(s.http_server.address, "/info.json")
        assert info["services"] == {"http": s.http_server.port}
        assert (await client.scheduler.identity())["services"] == info["services"]
        nanny = Nanny(s.address, security=security)
        nanny.start_http_server()
        assert await get(nanny.http_server.address, "/health") == (
            503,
            "application/json",
            '{"status": "init"}\n',
        )
        await nanny.close()
