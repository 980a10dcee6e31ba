"""Addresses as users write them."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distributed.comm import addressing
from distributed.comm.addressing import (
    coerce_to_address,
    get_address_host,
    get_address_host_port,
    get_local_address_for,
    get_tcp_server_address,
    normalize_address,
    own_ip,
    parse_address,
    parse_host_port,
    resolve_address,
    unparse_host_port,
)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("127.0.0.1:8786", "tcp://127.0.0.1:8786"),
        ("tcp://1.2.3.4:5", "tcp://1.2.3.4:5"),
        (("1.2.3.4", 5), "tcp://1.2.3.4:5"),
        (["::1", 5], "tcp://[::1]:5"),
        ("localhost", "tcp://localhost"),
        ("[::1]:5", "tcp://[::1]:5"),
        ("inproc://a/b/c", "inproc://a/b/c"),
    ],
)
def test_what_users_give_becomes_an_address(given: Any, expected: str) -> None:
    assert coerce_to_address(given) == expected


@pytest.mark.parametrize(
    ("address", "error"),
    [
        ("localhost", "missing port number.*'localhost:8786'"),
        ("::1", "needs brackets"),
        ("[::1", "stands as in"),
        ("[::1]8786", "stands as in"),
        ("a:b", "a port is a number"),
        ("a:-1", "a port is a number"),
        ("a:70000", "a port is a number"),
        ("a:٣", "a port is a number"),
    ],
)
def test_what_is_no_host_and_port_is_said(address: str, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        parse_host_port(address)


@given(st.ip_addresses().map(str), st.integers(0, 65535))
def test_hosts_and_ports_there_and_back(host: str, port: int) -> None:
    assert parse_host_port(unparse_host_port(host, port)) == (host, port)
    assert parse_host_port(unparse_host_port(host), port) == (host, port)
    assert get_address_host_port(coerce_to_address((host, port))) == (host, port)
    assert get_address_host(coerce_to_address((host, port))) == host


@given(st.text(max_size=30))
def test_any_text_parses_or_is_a_value_error(text: str) -> None:
    try:
        host, port = parse_host_port(parse_address(text)[1], 1)
    except ValueError:
        return
    assert isinstance(host, str)
    assert 0 <= port <= 65535


def test_schemes() -> None:
    assert parse_address("a:1") == ("tcp", "a:1")
    assert normalize_address("tls://a:1") == "tls://a:1"
    with pytest.raises(ValueError, match="no scheme"):
        parse_address("a:1", strict=True)
    with pytest.raises(TypeError, match="not tuple"):
        parse_address(("a", 1))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="host and port"):
        get_address_host_port("inproc://a/1/2")
    assert get_address_host("inproc://a/1/2") == "a"
    assert resolve_address("inproc://a/1/2") == "inproc://a/1/2"


def test_names_resolve_and_own_addresses_are_real() -> None:
    assert resolve_address("tcp://localhost:5") in ("tcp://127.0.0.1:5", "tcp://[::1]:5")
    assert resolve_address("tcp://:80") == "tcp://127.0.0.1:80"
    assert get_local_address_for("tcp://127.0.0.1:1") == "tcp://127.0.0.1"
    assert get_local_address_for("inproc://a/b/c") == "inproc://"
    with socket.socket() as sock:
        sock.bind((own_ip(), 0))


def test_a_machine_without_a_network_is_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> Any:
        raise OSError("Network is unreachable")

    monkeypatch.setattr(addressing, "local_ip_towards", fail)
    monkeypatch.setattr(addressing.socket, "getaddrinfo", fail)
    assert own_ip.__wrapped__() == "127.0.0.1"
    assert own_ip.__wrapped__(True) == "::1"


def test_where_a_server_of_others_listens() -> None:
    tornado_server = pytest.importorskip("tornado.tcpserver").TCPServer

    async def main() -> None:
        async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0) as server:
            host, port = get_tcp_server_address(server)
            assert host == "127.0.0.1"
            with socket.create_connection((host, port), timeout=10):
                pass
        server = tornado_server()
        with pytest.raises(RuntimeError, match="does not listen"):
            get_tcp_server_address(server)
        server.listen(0, "127.0.0.1")
        _, port = get_tcp_server_address(server)
        with socket.create_connection(("127.0.0.1", port), timeout=10):
            pass
        server.stop()

    asyncio.run(main())
