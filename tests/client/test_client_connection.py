"""The client's connection: lost and found again, refused, closed."""

from __future__ import annotations

import asyncio
import gc
import operator
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import dask
import pytest
from fake_scheduler import FakeScheduler, Network
from test_client_calls import until

from distributed import CancelledError, Client, wait
from distributed.client import default_client, get_client
from distributed.exceptions import CommClosedError
from distributed.loops import LoopRunner
from distributed.protocol.messages import CloseClient, ReleaseKeys, SubmitTasks
from distributed.security import Security

OPEN = Security(insecure=True)


def test_a_cut_connection_is_made_again_and_everything_told_again(net: Network) -> None:
    client, scheduler = net.client, net.scheduler
    inner = client.submit(operator.neg, 1)
    done = client.submit(operator.neg, inner)
    big = client.submit(operator.mul, b"x", 5_000)
    wait([done, big], timeout=5)
    scheduler.hold = True
    pending = client.submit(operator.neg, 3)
    gone = client.submit(operator.neg, 4)
    until(lambda: len(scheduler.held) == 2)
    key_of_gone = gone.key
    del inner, gone
    gc.collect()
    until(lambda: key_of_gone in net.heard(ReleaseKeys))
    scheduler.heard.clear()
    scheduler.hold = False
    net.on_loop(scheduler.gone)
    assert pending.result(timeout=5) == -3
    assert done.result(timeout=5) == 1
    assert big.result(timeout=5) == b"x" * 5_000
    assert len(scheduler.streams) == 2
    told = [key for m in scheduler.heard if isinstance(m, SubmitTasks) for key in m.keys]
    assert len(told) == 4
    assert key_of_gone not in told
    assert client.status == "running"
    assert client.submit(operator.neg, 10).result(timeout=5) == -10


def test_a_connection_that_breaks_before_anybody_listens_is_noticed(net: Network) -> None:
    session = net.client._session
    connect = session._connect
    broken: list[Any] = []

    async def connect_and_break(session: Any) -> Any:
        assert connect is not None
        connection = await connect(session)
        if not broken:
            broken.append(connection)
            connection.abort()
        return connection

    session._connect = connect_and_break
    net.on_loop(net.scheduler.gone)
    until(lambda: broken)
    assert net.client.submit(operator.neg, 1).result(timeout=5) == -1
    assert len(net.client.nthreads()) == 1


def test_work_submitted_while_the_scheduler_is_away() -> None:
    runner = LoopRunner()
    runner.start()

    async def start(port: int = 0) -> FakeScheduler:
        return await FakeScheduler(port)

    first = runner.run_sync(start)
    port = int(first.address.rpartition(":")[2])
    second = None
    try:
        with Client(first.address, security=OPEN, set_as_default=False) as client:
            early = client.submit(operator.mul, b"y", 5_000)
            wait(early, timeout=5)
            runner.run_sync(first.close)
            until(lambda: client.status == "connecting")
            late = client.map(operator.neg, range(100))
            with pytest.raises(TimeoutError):
                late[0].result(timeout=0.05)
            second = runner.run_sync(start, port)
            assert client.gather(late) == [-i for i in range(100)]
            assert early.result(timeout=5) == b"y" * 5_000  # made anew: the new scheduler knew nothing
            assert client.ncores() == {second.address: 1}
    finally:
        if second is not None:
            runner.run_sync(second.close)
        runner.stop()


def test_a_scheduler_that_stays_away() -> None:
    runner = LoopRunner()
    runner.start()

    async def start() -> FakeScheduler:
        scheduler = await FakeScheduler()
        scheduler.hold = True
        return scheduler

    scheduler = runner.run_sync(start)
    with dask.config.set({"distributed.client.reconnect-timeout": "300 ms"}):
        client = Client(scheduler.address, security=OPEN, set_as_default=False)
    with client:
        future = client.submit(operator.neg, 1)
        caught: list[Any] = []

        def gather() -> None:
            try:
                client.gather([future])
            except CancelledError as error:
                caught.append(error)

        thread = threading.Thread(target=gather)
        thread.start()
        runner.run_sync(scheduler.close)
        runner.stop()
        with pytest.raises(CancelledError, match=r"stayed away for 0\.3 s"):
            future.result(timeout=10)
        thread.join(5)
        assert "stayed away" in str(caught[0])
        assert future.status == "lost"
        with pytest.raises(CommClosedError, match="stayed away"):
            client.submit(abs, 1)
        with pytest.raises(CommClosedError, match="stayed away"):
            client.ncores()


def test_nobody_listens() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    begin = time.monotonic()
    with pytest.raises(OSError, match=str(port)):
        Client(f"127.0.0.1:{port}", timeout=0.3, security=OPEN)
    assert time.monotonic() - begin < 5


def test_arguments_that_make_no_sense() -> None:
    with pytest.raises(TypeError, match="'n_workers' are arguments of a LocalCluster"):
        Client("127.0.0.1:1", n_workers=1)
    with pytest.raises(TypeError, match="needs an address"):
        Client(5)
    with pytest.raises(RuntimeError, match="asynchronous=True needs a running event loop"):
        Client("127.0.0.1:1", asynchronous=True)


def test_scheduler_file(net: Network, tmp_path: Any) -> None:
    path = tmp_path / "scheduler.json"
    path.write_text(f'{{"address": "{net.scheduler.address}", "id": "x"}}')
    with Client(scheduler_file=str(path), security=OPEN, set_as_default=False) as client:
        assert client.submit(abs, -1).result(timeout=5) == 1
        assert client.scheduler_address == net.scheduler.address
    with pytest.raises(OSError, match="no such file"):
        Client(scheduler_file=str(tmp_path / "none"), timeout=0.1, security=OPEN)


def test_a_scheduler_object() -> None:
    async def main() -> None:
        async with FakeScheduler() as scheduler:
            async with Client(scheduler, security=OPEN, asynchronous=True, set_as_default=False) as client:
                assert client.scheduler_address == scheduler.address

    asyncio.run(main())


def test_close(net: Network) -> None:
    net.scheduler.hold = True
    client = Client(net.scheduler.address, security=OPEN, set_as_default=False)
    future = client.submit(operator.neg, 1)
    client.close()
    assert client.status == "closed"
    until(lambda: any(isinstance(m, CloseClient) for m in net.scheduler.heard))  # in another thread
    assert future.status == "lost"
    with pytest.raises(CancelledError, match="the client was closed"):
        future.result(timeout=5)
    with pytest.raises(RuntimeError, match="this client is closed"):
        client.submit(abs, 1)
    client.close()
    del future


def test_current_clients(net: Network) -> None:
    with pytest.raises(ValueError, match="no client"):
        default_client()
    with pytest.raises(ValueError, match="no client"):
        get_client()
    with pytest.raises(ValueError, match="no client"):
        Client.current()
    first = Client(net.scheduler.address, security=OPEN)
    second = Client(net.scheduler.address, security=OPEN)
    assert default_client() is get_client() is Client.current() is second
    with first.as_current():
        assert get_client() is first
        assert Client.current(allow_global=False) is first
    with pytest.raises(ValueError, match="no client"):
        Client.current(allow_global=False)
    second.close()
    assert default_client() is first
    assert get_client(net.scheduler.address) is first
    first.close()
    with pytest.raises(ValueError, match="no client"):
        get_client()


def test_heartbeats(net: Network) -> None:
    with Client(
        net.scheduler.address, security=OPEN, set_as_default=False, heartbeat_interval=0.01
    ) as client:
        until(lambda: sum(type(m).__name__ == "ClientHeartbeat" for m in net.scheduler.heard) > 2)
        assert repr(client) == f"<Client: {client.scheduler_address!r} processes=0 threads=0>"


SCRIPT = """
import operator, sys, threading, time
from distributed import Client
from distributed.security import Security

client = Client(sys.argv[1], security=Security(insecure=True))
{body}
"""


def run_script(net: Network, body: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT.format(body=body), net.scheduler.address],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_a_program_that_just_ends(net: Network) -> None:
    done = run_script(net, "f = client.map(operator.neg, range(1000)); print(sum(client.gather(f)))")
    assert (done.returncode, done.stdout, done.stderr) == (0, "-499500\n", "")
    until(lambda: any(isinstance(m, CloseClient) for m in net.scheduler.heard))  # in another thread


def test_ctrl_c_interrupts_waiting(net: Network) -> None:
    net.scheduler.hold = True
    program = subprocess.Popen(
        [
            sys.executable,
            "-c",
            SCRIPT.format(
                body="f = client.submit(operator.neg, 1)\n"
                "try:\n    f.result()\nexcept KeyboardInterrupt:\n    print('interrupted', f.status)"
            ),
            net.scheduler.address,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until(lambda: net.scheduler.held, timeout=20)
        os.kill(program.pid, signal.SIGINT)
        out, err = program.communicate(timeout=20)
    finally:
        program.kill()
    assert (out, err) == ("interrupted pending\n", "")
