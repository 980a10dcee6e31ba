"""Cut links and peers that do not read."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import dask
import pytest
from fault_bench import HERE
from fault_tasks import block_of, inc, notes
from network_hosts import HostBench, Hosts, why_not
from system_bench import wait_until

from distributed import Client, Scheduler, Worker
from distributed.comm.handshake import initiate
from distributed.comm.tcp import TcpComm, Timeouts
from distributed.exceptions import CommClosedError
from distributed.scheduler.slow_peers import SlowPeers

REASON = why_not()
N = 20_000


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    if REASON:
        pytest.skip(REASON)
    hosts = Hosts(3)
    yield hosts
    hosts.remove()


@pytest.fixture
def host_bench(tmp_path: Path, key: str, hosts: Hosts) -> Iterator[HostBench]:
    bench = HostBench(tmp_path, key, hosts)
    bench.configure(comm__timeouts__connect="1s", comm__timeouts__tcp="2s", scheduler__worker_ttl="3s")
    yield bench
    for command in bench.commands:
        command.end()


def network(bench: HostBench) -> str:
    """A scheduler on host 0, workers ``one`` and ``two`` on hosts 1 and 2."""
    address = f"{bench.hosts.address(0)}:8786"
    bench.on(0, "dscheduler", "--host", bench.hosts.address(0), "--port", "8786").line(0)
    for i, name in ((1, "one"), (2, "two")):
        bench.on(i, "dworker", address, "--name", name, "--nthreads", "1").line(1)
    return address


@contextlib.contextmanager
def client_on(bench: HostBench, i: int, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = bench.program(i, HERE / "partition_program.py", *arguments)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            stream.close()


@pytest.mark.parametrize("cut", ["between the workers", "the holder from all"])
def test_a_cut_between(host_bench: HostBench, notes_folder: str, cut: str) -> None:
    """Two workers only: results go through the scheduler, nothing is run again. A worker from all: its work is."""
    address = network(host_bench)
    hosts = host_bench.hosts
    with client_on(host_bench, 0, address, notes_folder) as client:
        assert client.stdout.readline() == "ready\n", client.stderr.read()
        if cut == "between the workers":
            hosts.cut(1, 2)
        else:
            hosts.unplug(1)
        client.stdin.write("go\n")
        client.stdin.flush()
        if cut != "between the workers":
            scheduler = host_bench.commands[0]
            wait_until(lambda: scheduler.errors("is gone|counted as dead"), "the cut is noticed", 30)
            hosts.plug(1)
        answer = json.loads(client.stdout.readline() or "{}")
        assert answer.get("result") == 40, (answer, client.poll(), [c.text for c in host_bench.commands])
        print(f"{cut}: {answer['seconds']:.1f} s")
        assert answer["seconds"] < 30
    lines = notes(notes_folder)
    if cut == "between the workers":
        assert len(lines) == len(set(lines)) == 40
    else:
        assert {line for line in lines if lines.count(line) > 1} <= {f"first-{i}" for i in range(20)}


# ---------------------------------------------------------------- peers that do not read


def test_a_client_that_does_not_read_is_disconnected(key: str, caplog: pytest.LogCaptureFixture) -> None:
    """The scheduler's memory does not grow with what it has to say to somebody who does not listen."""

    async def run() -> None:
        limit = 2**20
        settings = {"slow-peer-limit": str(limit), "slow-peer-patience": "500ms"}
        with dask.config.set({f"distributed.scheduler.{name}": value for name, value in settings.items()}):
            async with (
                Scheduler(port=0, host="127.0.0.1") as scheduler,
                Worker(scheduler.address, nthreads=1),
                Client(scheduler.address, asynchronous=True) as good,
                Client(scheduler.address, asynchronous=True) as deaf,
            ):
                futures = deaf.map(block_of, range(N))
                connection = deaf._session.connection
                connection.comm._transport.pause_reading()
                deaf._session.flush()
                await until(lambda: scheduler._streams[deaf.id].write_buffer_nbytes > limit)
                server_side = scheduler._streams[deaf.id]
                await until(lambda: server_side.closed)
                assert server_side.write_buffer_nbytes == 0, "what waited for it is let go"
                assert "does not read" in caplog.text
                assert await good.submit(inc, 1) == 2, "nobody else notices"
                connection.comm._transport.resume_reading()
                assert await deaf.gather(futures) == [block_of(i) for i in range(N)], "it comes back"

    asyncio.run(run())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - nothing tells us
            await asyncio.sleep(0.01)


def test_who_is_slow() -> None:
    slow = SlowPeers(limit=100, patience=10)
    assert slow.look([("a", 100), ("b", 101)], 0.0) == []
    assert slow.look([("a", 100), ("b", 101)], 9.9) == []
    assert slow.look([("a", 100), ("b", 150)], 10.0) == [("b", 150)]


def test_a_large_answer_that_gets_smaller_is_not_slow() -> None:
    slow = SlowPeers(limit=100, patience=10)
    assert [slow.look([("a", 1_000_000 - i)], 9.0 * i) for i in range(5)] == [[]] * 5
    assert slow.look([("a", 50)], 50.0) == []
    assert slow.look([("a", 1_000)], 100.0) == [], "the time begins anew"


def test_who_is_gone_is_forgotten() -> None:
    slow = SlowPeers(limit=100, patience=10)
    slow.look([("a", 500)], 0.0)
    slow.look([], 5.0)
    assert slow.look([("a", 500)], 11.0) == []


def test_a_peer_that_is_gone_before_it_could_be_asked(key: str) -> None:
    """Found by the soak: the system knows no name any more for the other end of such a connection."""

    class Gone(asyncio.Transport):
        def get_extra_info(self, name: str, default: object = None) -> object:
            return {"sockname": ("127.0.0.1", 5)}.get(name, default)

        def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
            pass

        def write(self, data: object) -> None:
            pass

    async def run() -> None:
        ended: list[Exception | None] = []
        comm = TcpComm(
            lambda peer: initiate(None, peer=peer),
            lambda _, error: ended.append(error),
            Timeouts.configured(),
        )
        comm.connection_made(Gone())
        comm.connection_lost(None)
        assert [type(error) for error in ended] == [CommClosedError]

    asyncio.run(run())
