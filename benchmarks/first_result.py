#!/usr/bin/env python3
"""From nothing to the first result on a ``LocalCluster`` of two workers: this package and the existing one, in one run.

    python3 benchmarks/first_result.py              # ten rounds, the two in turns
    python3 benchmarks/first_result.py --rounds 3
    python3 benchmarks/first_result.py --ours PYTHON --peer PYTHON   # environments that are there already

Three figures of each, medians over the rounds: seconds from ``LocalCluster(n_workers=2)`` to
``submit(abs, -1).result()``; the same from the start of the program, imports included; CPU seconds of all processes,
the end of the cluster included. Environments are made where they are missing, as in ``run.py``. Both have their byte
code compiled before the first round, as an installer does: a start is measured, not a compiler.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

from run import python_of

PROGRAM = """
import json, sys, time
if __name__ == "__main__":
    from distributed import Client, LocalCluster
    begin = time.monotonic()
    cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    client = Client(cluster)
    assert client.submit(abs, -1).result() == 1
    end = time.monotonic()
    client.close()
    cluster.close()
    print(json.dumps({"cluster": end - begin, "program": end - float(sys.argv[1])}))
"""


#: Compiles what is not yet compiled in an interpreter's environment, the package itself where it is installed in place.
COMPILE = """
import compileall, importlib.util, os, sysconfig
for folder in sysconfig.get_path("purelib"), os.path.dirname(importlib.util.find_spec("distributed").origin):
    compileall.compile_dir(folder, quiet=2)
"""


def compile_all(python: str) -> None:
    """Have the byte code of an environment ready."""
    subprocess.run([python, "-W", "ignore", "-c", COMPILE], env=plain_environment(), timeout=600, check=True)


def plain_environment() -> dict[str, str]:
    """This process's environment without what changes how Python finds and keeps modules."""
    hidden = {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE"}
    return {name: value for name, value in os.environ.items() if name not in hidden}


def measure(python: str) -> dict[str, float]:
    """One run of the program; seconds."""
    before = os.times()
    begin = time.monotonic()
    done = subprocess.run(
        [python, "-W", "ignore", "-c", PROGRAM, str(begin)],
        env=plain_environment(),
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
        check=True,
    )
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {**figures, "cpu": used}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument(
        "--ours", metavar="PYTHON", help="interpreter of an environment that has this package"
    )
    parser.add_argument("--peer", metavar="PYTHON", help="interpreter of one that has the existing package")
    parser.add_argument("--json", metavar="FILE", help="keep the figures")
    args = parser.parse_args()
    pythons = {"ours": args.ours or python_of("ours"), "peer": args.peer or python_of("peer")}
    for python in pythons.values():
        compile_all(python)
        measure(python)  # files are in memory
    samples: dict[str, list[dict[str, float]]] = {name: [] for name in pythons}
    for _ in range(args.rounds):
        for name, python in pythons.items():
            samples[name].append(measure(python))
    titles = {
        "cluster": "LocalCluster(n_workers=2) to the first result, s",
        "program": "start of the program to the first result, s",
        "cpu": "CPU of all processes, s",
    }
    figures = {
        name: {figure: statistics.median(s[figure] for s in found) for figure in titles}
        for name, found in samples.items()
    }
    print(f"medians of {args.rounds} rounds, {os.cpu_count()} cores, Python {sys.version.split()[0]}")
    print(f"{'':50} {'ours':>8} {'existing':>9} {'ratio':>7}")
    for figure, title in titles.items():
        ours, peer = figures["ours"][figure], figures["peer"][figure]
        print(f"{title:50} {ours:8.3f} {peer:9.3f} {ours / peer:7.2f}")
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"samples": samples, "medians": figures}, file, indent=2)


if __name__ == "__main__":
    main()
