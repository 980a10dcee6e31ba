"""The names the ecosystem imports from ``distributed.core``."""

from __future__ import annotations

import subprocess
import sys

import pytest

import distributed.core as core
from distributed.core import Status, clean_exception, error_message
from distributed.exceptions import RemoteError, WorkerStartTimeoutError


def test_every_name_is_there() -> None:
    for name in core.__all__:
        assert getattr(core, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing_such"):
        _ = core.nothing_such
    assert set(core.__all__) <= set(dir(core))


def test_status_has_the_words_users_know() -> None:
    assert {status.name for status in Status} == {
        *("undefined", "created", "init", "starting", "running", "paused", "stopping", "stopped"),
        *("closing", "closing_gracefully", "closed", "failed", "dont_reply"),
    }
    assert all(status.name == status.value for status in Status)
    assert Status.running.alive
    assert not Status.closed.alive


def test_exceptions_there_and_back() -> None:
    try:
        raise KeyError("k")
    except KeyError as exc:
        message = error_message(exc)
    assert message["status"] == "error"
    kind, exc, traceback = clean_exception(**message)
    assert kind is KeyError
    assert exc is not None
    assert exc.args == ("k",)
    assert traceback is not None
    assert clean_exception(None) == (type(None), None, None)
    assert clean_exception(b"garbage", b"garbage", exception_text="was a ValueError")[0] is RemoteError
    assert "was a ValueError" in str(clean_exception(b"garbage", exception_text="was a ValueError")[1])


def test_worker_start_timeout_reads_as_users_know_it() -> None:
    exc = WorkerStartTimeoutError(1, 2, 3.0)
    assert str(exc) == "Only 1/2 workers arrived after 3.0"
    assert isinstance(exc, TimeoutError)


def test_importing_it_loads_nothing_heavy() -> None:
    code = (
        "import sys, distributed.core as c; [getattr(c, n) for n in c.__all__];"
        "print(*[m for m in ('numpy', 'dask', 'tornado', 'psutil', 'tblib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
