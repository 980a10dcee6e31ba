"""What tests on hosts of their own have in common."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from typing import Any

from beds import Bed, Bench, Running, wait_until

HOSTS = ["1", "2", "3", "4"]


def on(bed: Bed, host: str, *words: str) -> list[str]:
    """The command line that runs ``words`` on a host."""
    return [bed.script, "exec", host, *words]


def program(text: str, scheduler: str = "192.168.0.1:8786") -> str:
    """What a user would write: ``client`` is there for ``text``, its ``answer`` is printed as JSON."""
    return (
        "import json, socket\nfrom bed_tasks import double\nfrom distributed import Client\n"
        f"with Client('{scheduler}') as client:\n"
        + textwrap.indent(textwrap.dedent(text), "    ")
        + "\n    print(json.dumps(answer))\n"
    )


def client_on_head(bed: Bed, bench: Bench, text: str) -> Any:
    """The answer of a program that runs on the head."""
    words = on(bed, "head", sys.executable, "-c", program(text))
    done = subprocess.run(words, capture_output=True, text=True, timeout=90, env=bench.env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def nothing_left(bed: Bed, bench: Bench) -> None:
    for host in HOSTS:
        wait_until(lambda host=host: not bed.processes(host), f"nothing runs on {host}")  # type: ignore[misc]
    assert bench.files_left() == []


def start(bed: Bed, bench: Bench, hosts: str, *words: str) -> Running:
    """``dcluster 192.168.0.{…}`` on the head, the braces expanded by its shell."""
    command = " ".join(bench.dcluster("--nthreads", "1", *words))
    return bench.start(on(bed, "head", "bash", "-c", f"exec {command} {hosts}"))
