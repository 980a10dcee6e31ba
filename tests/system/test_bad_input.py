"""Whatever arrives on the ports, the computation goes on; each intruder is closed, with one log line."""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from system_bench import Bench, Command, wait_until
from system_tasks import slow_inc

from distributed import Client
from distributed.comm import connect
from distributed.exceptions import AuthenticationError
from distributed.security import ClusterKey, Security

#: Seconds within which whoever does not prove himself is closed; the limit itself is five.
PATIENCE = 15.0


def host_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


def closed_by_peer(sock: socket.socket, patience: float) -> bool:
    """Read until the other side closes. False when it has not within ``patience`` seconds."""
    sock.settimeout(patience)
    try:
        while sock.recv(4096):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


def send_raw(address: str, data: bytes) -> int:
    """Send bytes, wait for the end; the local port."""
    with socket.create_connection(host_port(address)) as sock:
        sock.sendall(data)
        port: int = sock.getsockname()[1]
        assert closed_by_peer(sock, PATIENCE), "still open"
    return port


async def send_proved(address: str, data: bytes, security: Security, *, stay: bool) -> int:
    """Prove oneself, then send raw bytes; wait for the other side to close if ``stay``, else close."""
    comm = await connect(f"tcp://{address}", security=security, timeout=10)
    closed = asyncio.Event()
    comm.start(lambda messages: None, lambda reason: closed.set())
    port: int = comm.get_extra_info("sockname")[1]
    comm._transport.write(data)  # type: ignore[attr-defined]  # there is no other way to be impolite
    if stay:
        await asyncio.wait_for(closed.wait(), 10)
    comm.abort()
    return port


@contextmanager
def undisturbed(client: Client, scheduler: Command) -> Iterator[Callable[[int], list[str]]]:
    """A computation that runs meanwhile and must come out right. Gives a function: log lines on a port."""
    before = client.map(slow_inc, range(100), delay=0.01, pure=False)
    yield lambda port: scheduler.errors(rf"[:\]]{port}\b")
    after = client.map(slow_inc, before, delay=0, pure=False)
    assert client.gather(after) == list(range(2, 102))
    assert "Traceback" not in scheduler.text


@pytest.fixture(scope="module")
def network(module_bench: Bench) -> Iterator[tuple[Client, Command, str]]:
    scheduler, address = module_bench.scheduler()
    module_bench.worker(address)
    with Client(address) as client:
        client.wait_for_workers(1)
        yield client, scheduler, address


def half_of_a_handshake() -> bytes:
    from distributed.comm.handshake import initiate

    opening = next(initiate(ClusterKey.generate(), peer="tcp://127.0.0.1:1")).out
    return bytes(opening[: len(opening) // 2])


RAW = {
    "HTTP": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "random bytes": secrets.token_bytes(4096),
    "half a handshake": half_of_a_handshake(),
    "silence": b"",
    "zeros": bytes(100_000),
}


@pytest.mark.parametrize("data", RAW.values(), ids=RAW.keys())
def test_strangers(network: tuple[Client, Command, str], data: bytes) -> None:
    client, scheduler, address = network
    with undisturbed(client, scheduler) as log:
        port = send_raw(address, data)
        wait_until(lambda: log(port), "the stranger is in the log")
    assert len(log(port)) == 1


@pytest.mark.parametrize("what", ["HTTP", "random bytes"])
@pytest.mark.parametrize("party", ["worker", "nanny"])
def test_strangers_elsewhere(
    network: tuple[Client, Command, str], module_bench: Bench, party: str, what: str
) -> None:
    client, scheduler, _ = network
    (worker,) = [command for command in module_bench.commands if command.name == "dworker"]
    ((own, described),) = client.scheduler_info()["workers"].items()
    target = (own if party == "worker" else described["nanny"]).rpartition("/")[2]
    with undisturbed(client, scheduler):
        port = send_raw(target, RAW[what])
    line = (
        rf"to tcp://{re.escape(target)}: \S*:{port}\b"  # an earlier stranger elsewhere may have had this port
    )
    wait_until(lambda: worker.errors(line), "the stranger is in the log")
    assert len(worker.errors(line)) == 1


def test_another_key(network: tuple[Client, Command, str], module_key: str) -> None:
    client, scheduler, address = network
    other = ClusterKey.generate()
    with undisturbed(client, scheduler):
        with pytest.raises(AuthenticationError) as caught:
            Client(address, security=Security(key=other), timeout=10)
        ours = ClusterKey.parse(module_key)
        assert other.id in str(caught.value)
        assert ours.id in str(caught.value)
        lines = wait_until(lambda: scheduler.errors(other.id), "the other key is in the log")
    assert len(lines) == 1
    assert other.text() not in scheduler.text
    assert module_key not in scheduler.text


def frame(body_nbytes: int, n_buffers: int = 0, *sizes: int) -> bytes:
    return struct.pack(f"<II{len(sizes)}Q", body_nbytes, n_buffers, *sizes)


TERABYTE = 10**12
PROVED = {
    "half a frame": (frame(1000) + b"x" * 500, False),
    "a terabyte of buffers": (frame(10, 1, TERABYTE) + b"x" * 10, True),
    "four gigabytes of body": (frame(2**32 - 1), True),
    "four billion buffers": (frame(10, 2**32 - 1), True),
    "not MessagePack": (frame(10) + b"\xc1" * 10, True),
    "no such message": (frame(3) + b"\x91\x91\x01", True),
    "an empty frame": (frame(0), True),
}


@pytest.mark.parametrize(("data", "stay"), PROVED.values(), ids=PROVED.keys())
def test_a_party_with_the_key_that_breaks_the_rules(
    network: tuple[Client, Command, str], module_key: str, data: bytes, stay: bool
) -> None:
    client, scheduler, address = network
    with undisturbed(client, scheduler) as log:
        security = Security(key=module_key)
        port = asyncio.run(send_proved(address, data, security, stay=stay))
        wait_until(lambda: log(port), "the breach is in the log")
    assert len(log(port)) == 1


def test_a_crowd_of_silent_strangers(network: tuple[Client, Command, str]) -> None:
    client, scheduler, address = network
    with undisturbed(client, scheduler):
        crowd = [socket.create_connection(host_port(address)) for _ in range(200)]
        with Client(address) as another:  # newcomers still get in
            assert another.submit(slow_inc, 10, delay=0).result(timeout=20) == 11
        for sock in crowd:
            with sock:
                assert closed_by_peer(sock, PATIENCE)
