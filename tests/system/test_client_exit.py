"""A program ends at once when it is done, whatever waits for its client; what has begun is finished or told."""

from __future__ import annotations

import re
import subprocess
import sys
from types import SimpleNamespace

import pytest

from distributed.client.future import make_future
from distributed.client.state import ClientTask

#: Seconds for a program that takes less than one: whether it ends, not how fast.
LIMIT = 60

TOLD = "told: the client, or its scheduler, was closed"

PROGRAM = """
import sys, threading, time
from distributed import Client, LocalCluster, Queue, as_completed

def held():
    time.sleep(1_000_000)

if __name__ == "__main__":
    cluster = LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None)
    client = Client(cluster)
    begun = threading.Event()
    done, pending = client.submit(abs, -1), client.submit(held)

    def told(call, *args):
        begun.set()
        try:
            print("got", call(*args), flush=True)
        except Exception as error:
            print("told:", error, flush=True)

    def finish():
        begun.wait()
        time.sleep(0.2)
        return "finished"

    what, how = sys.argv[1:]
    if what == "callback-result":
        done.add_done_callback(lambda _: told(pending.result))
    elif what == "callback-busy":
        done.add_done_callback(lambda _: told(finish))
    elif what == "callback-pending":
        pending.add_done_callback(lambda future: told(future.result))
        begun.set()
    elif what == "executor":
        client.get_executor().submit(held).add_done_callback(lambda future: told(future.result))
        begun.set()
    else:
        calls = {"result": pending.result, "gather": lambda: client.gather([pending]),
                 "queue": lambda: Queue("nothing").get(),
                 "completed": lambda: [future.result() for future in as_completed([pending])]}
        threading.Thread(target=told, args=(calls[what],), daemon=True).start()
    begun.wait()
    if how == "close":
        client.close()
        cluster.close()
        while threading.active_count() > 2 and what in ("result", "gather", "completed", "queue"):
            time.sleep(0.01)  # daemons are not waited for
"""


@pytest.mark.parametrize("how", ["exit", "close"])
@pytest.mark.parametrize("what", ["callback-result", "callback-busy", "callback-pending", "executor"])
def test_callbacks_are_finished_or_told(what: str, how: str) -> None:
    assert _run(what, how) == ("got finished" if what == "callback-busy" else TOLD)


@pytest.mark.parametrize("what", ["result", "gather", "completed", "queue"])
def test_threads_that_wait_are_told(what: str) -> None:
    assert _run(what, "close") == TOLD


def _run(what: str, how: str) -> str:
    program = subprocess.run(
        [sys.executable, "-c", PROGRAM, what, how], capture_output=True, text=True, timeout=LIMIT
    )
    assert program.returncode == 0, program.stderr
    assert "Traceback" not in program.stderr
    line = program.stdout.strip()
    return TOLD if re.fullmatch("told: .* was closed( before '.*' was answered)?", line) else line


def test_a_future_that_outlives_the_modules_is_collected_without_a_word() -> None:
    """The interpreter has set their names to None by then."""

    class Session:
        def release(self, task: ClientTask) -> None:
            raise TypeError("'NoneType' object is not callable")

    future = make_future(SimpleNamespace(_session=Session()), ClientTask("key"))  # type: ignore[arg-type]
    future.__del__()
    future._client = None
