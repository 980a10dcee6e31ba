"""Connections and programs over SSH, against a server of the test's own."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("asyncssh")

from ssh_server import SSHServer

from distributed.deploy.ssh_connection import Connections, SSHError, close
from distributed.deploy.ssh_hosts import Host
from distributed.deploy.ssh_process import OWN_ADDRESS, RemoteProcess, remote_command


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SSHServer]:
    server = SSHServer(tmp_path_factory.mktemp("ssh"))
    yield server
    server.close()


def test_many_connections_at_once(server: SSHServer) -> None:
    async def main() -> None:
        connections = Connections(server.connect_options)
        opened = await asyncio.gather(*(connections.connect(Host("127.0.0.1")) for _ in range(20)))
        await asyncio.gather(*map(close, opened))

    asyncio.run(main())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"port": 1}, r"^connection refused at port 1"),
        ({"client_keys": None, "agent_path": None}, r"^user anybody was not let in"),
        ({"known_hosts": b""}, r"^its host key is not among your known_hosts"),
        ({"client_keys": ["/nowhere/key"]}, r"^SSH settings: .*No such file"),
    ],
)
def test_causes_in_words(server: SSHServer, change: dict[str, object], words: str) -> None:
    async def main() -> None:
        with pytest.raises(SSHError, match=words):
            await Connections({**server.connect_options, **change}).connect(Host("127.0.0.1"))

    asyncio.run(main())


def test_a_name_nobody_knows_and_silence() -> None:
    async def main() -> None:
        connections = Connections({"config": None, "known_hosts": None}, timeout=0.3)
        with pytest.raises(SSHError, match=r"(?i)name|address|no answer"):
            await connections.connect(Host("no-such-host.invalid"))
        silent = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
        port = silent.sockets[0].getsockname()[1]
        with pytest.raises(SSHError, match=rf"^no answer at port {port} within 0\.3 s"):
            await connections.connect(Host("127.0.0.1", None, port))
        silent.close()

    asyncio.run(main())


async def run(server: SSHServer, command: str, text: str = "") -> RemoteProcess:
    connection = await Connections(server.connect_options).connect(Host("127.0.0.1"))
    process = RemoteProcess(connection, command, text)
    await process.start()
    await asyncio.wait_for(process.ended.wait(), 20)
    await close(connection)
    return process


ECHO = "import sys; print(sys.argv[1:]); print(sys.stdin.readline().strip(), file=sys.stderr)"


def test_words_arrive_as_they_are(server: SSHServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "echo_words.py").write_text(ECHO)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    words = ["a b", "it's", "$HOME", "`id`", '"', "*", OWN_ADDRESS]
    process = asyncio.run(run(server, remote_command(sys.executable, "echo_words", words), "line\n"))
    assert list(process.last_lines) == [repr([*words[:-1], "127.0.0.1"]), "line"]
    assert process.exit_status == 0
    assert "line" not in server.commands[-1]


def test_log_file(server: SSHServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "echo_words.py").write_text(ECHO)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    file = tmp_path / "logs here" / "one.log"
    command = remote_command(sys.executable, "echo_words", ["x"], log_file=str(file))
    process = asyncio.run(run(server, command, "line\n"))
    assert file.read_text().splitlines() == list(process.last_lines) == ["['x']", "line"]
    assert process.exit_status == 0


def test_a_log_file_hides_no_failure_and_is_for_its_owner_to_write(server: SSHServer, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        command = remote_command(
            sys.executable, "no_such_module", [], log_file=str(tmp_path / "logs" / "one.log")
        )
        process = asyncio.run(run(server, command))
    finally:
        os.umask(before)
    assert process.exit_status == 1
    assert "no_such_module" in (tmp_path / "logs" / "one.log").read_text()
    assert not [
        path for path in (tmp_path / "logs", tmp_path / "logs" / "one.log") if path.stat().st_mode & 0o022
    ]


def test_how_it_ended(server: SSHServer) -> None:
    process = asyncio.run(run(server, "echo one; exit 3"))
    assert process.describe_end() == "ended with exit status 3: one"
    process = asyncio.run(run(server, remote_command("/nowhere/python", "x", [])))
    assert re.search(r"/nowhere/python.*--remote-python", process.describe_end())


def test_the_end_of_its_input_stops_it(server: SSHServer) -> None:
    async def main() -> None:
        connection = await Connections(server.connect_options).connect(Host("127.0.0.1"))
        process = RemoteProcess(connection, "cat; echo stops")
        await process.start()
        assert await process.stop() is True
        assert list(process.last_lines) == ["stops"]
        await close(connection)

    asyncio.run(main())
