"""Hosts as people write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from distributed.deploy.ssh_hosts import Host, is_loopback, read_hostfile, unique_labels


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("192.168.0.1", Host("192.168.0.1")),
        ("node-1.example.org:2222", Host("node-1.example.org", None, 2222)),
        ("ann@server", Host("server", "ann")),
        (" ann@server:22 ", Host("server", "ann", 22)),
        ("::1", Host("::1")),
        ("ann@[fd00::2]:2222", Host("fd00::2", "ann", 2222)),
        ("[fd00::2]", Host("fd00::2")),
    ],
)
def test_forms(text: str, host: Host) -> None:
    assert Host.parse(text) == host


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@server",
        "server:",
        "server:ssh",
        "server:0",
        "server:70000",
        "-oProxyCommand=x",
        "a b",
        "a:b:c",
        "[::1",
    ],
)
def test_what_is_no_host(text: str) -> None:
    with pytest.raises(ValueError, match="is no host"):
        Host.parse(text)


def test_file(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("\n# all of them\nalpha\nann@beta:2222 # two\n\n  gamma delta\n")
    assert [host.name for host in read_hostfile(path)] == ["alpha", "beta", "gamma", "delta"]
    path.write_text("alpha\nbeta:none\n")
    with pytest.raises(ValueError, match=r"hosts, line 2: 'beta:none' is no host"):
        read_hostfile(path)
    path.write_text("# nobody\n")
    with pytest.raises(ValueError, match="names no host"):
        read_hostfile(path)
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        read_hostfile(tmp_path / "none")


def test_labels_and_loopback() -> None:
    assert unique_labels([Host("a"), Host("a", "ann"), Host("b"), Host("a")]) == ["a", "a-2", "b", "a-3"]
    assert [is_loopback(name) for name in ("localhost", "127.0.0.3", "::1", "10.0.0.1", "host")] == [
        True,
        True,
        True,
        False,
        False,
    ]
