"""A client on a host of its own: tasks on one worker that need results of the other. Prints JSON."""

from __future__ import annotations

import json
import sys
import time

from fault_tasks import noted, total

from distributed import Client


def main(address: str, folder: str) -> None:
    with Client(address) as client:
        client.wait_for_workers(2)
        here = client.map(noted, [f"first-{i}" for i in range(20)], folder=folder, workers=["one"])
        client.gather(here)
        print("ready", flush=True)
        sys.stdin.readline()
        begin = time.monotonic()
        there = [
            client.submit(noted, f"second-{i}", folder, future, workers=["two"])
            for i, future in enumerate(here)
        ]
        result = client.submit(total, there, workers=["two"]).result(timeout=90)
        print(json.dumps({"result": result, "seconds": time.monotonic() - begin}), flush=True)


main(*sys.argv[1:])
