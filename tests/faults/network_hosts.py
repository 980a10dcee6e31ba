"""Hosts of a test's own: network namespaces on one bridge, and links between them that can be cut."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path

from fault_bench import FaultBench
from system_bench import Command

NET = "10.213.7"


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=10)


def why_not() -> str:
    """Why there can be no such hosts here; empty if there can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs root on Linux"
    name = f"fault-{uuid.uuid4().hex[:6]}"
    try:
        ip("netns", "add", name)
        ip("netns", "del", name)
    except (OSError, subprocess.SubprocessError) as error:
        return f"network namespaces cannot be made here: {error}"
    return ""


class Hosts:
    """``n`` hosts with the addresses ``10.213.7.1`` and so on; host 0 is for scheduler and client's proxies."""

    def __init__(self, n: int) -> None:
        self.tag = f"f{os.getpid() % 100_000}"
        self.n = n
        self.switch = f"{self.tag}-sw"
        ip("netns", "add", self.switch)
        ip("-n", self.switch, "link", "add", "br0", "type", "bridge", "forward_delay", "0")
        ip("-n", self.switch, "link", "set", "br0", "up")
        for i in range(n):
            host = self.name(i)
            ip("netns", "add", host)
            ip(
                "-n",
                host,
                "link",
                "add",
                "eth0",
                "type",
                "veth",
                "peer",
                "name",
                f"p{i}",
                "netns",
                self.switch,
            )
            ip("-n", self.switch, "link", "set", f"p{i}", "master", "br0", "up")
            ip("-n", host, "link", "set", "lo", "up")
            ip("-n", host, "addr", "add", f"{self.address(i)}/24", "dev", "eth0")
            ip("-n", host, "link", "set", "eth0", "up")

    def name(self, i: int) -> str:
        return f"{self.tag}-{i}"

    def address(self, i: int) -> str:
        return f"{NET}.{i + 1}"

    def cut(self, i: int, j: int) -> None:
        """What ``i`` sends to ``j`` is lost without a word, so nothing gets through in either direction."""
        ip(
            "-n",
            self.name(i),
            "neigh",
            "replace",
            self.address(j),
            "lladdr",
            "02:00:00:00:00:01",
            "dev",
            "eth0",
        )
        ip(
            "-n",
            self.name(j),
            "neigh",
            "replace",
            self.address(i),
            "lladdr",
            "02:00:00:00:00:01",
            "dev",
            "eth0",
        )

    def heal(self, i: int, j: int) -> None:
        """Does nothing where there is no cut."""
        for one, other in ((i, j), (j, i)):
            words = ["ip", "-n", self.name(one), "neigh", "del", self.address(other), "dev", "eth0"]
            subprocess.run(words, check=False, capture_output=True, timeout=10)

    def unplug(self, i: int) -> None:
        """Pull host ``i``'s cable."""
        ip("-n", self.switch, "link", "set", f"p{i}", "down")

    def plug(self, i: int) -> None:
        ip("-n", self.switch, "link", "set", f"p{i}", "up")

    def remove(self) -> None:
        for name in [*(self.name(i) for i in range(self.n)), self.switch]:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True, timeout=10)


class HostBench(FaultBench):
    """Commands on hosts."""

    def __init__(self, folder: Path, key: str, hosts: Hosts) -> None:
        super().__init__(folder, key)
        self.hosts = hosts

    def on(self, i: int, name: str, *arguments: str) -> Command:
        prefix = ("ip", "netns", "exec", self.hosts.name(i))
        command = Command(name, list(arguments), self.env, self.folders["cwd"], prefix=prefix)
        self.commands.append(command)
        return command

    def program(self, i: int, path: Path, *arguments: str) -> subprocess.Popen[str]:
        """A Python program of the test's on a host."""
        return subprocess.Popen(
            ["ip", "netns", "exec", self.hosts.name(i), sys.executable, str(path), *arguments],
            env=self.env,
            cwd=self.folders["cwd"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
