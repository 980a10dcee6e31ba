from __future__ import annotations

import warnings

import pytest

from distributed import Client
from distributed.core.versions import VersionMismatchWarning, get_versions, mismatch


def test_equal_versions_are_no_mismatch() -> None:
    mine = get_versions()["packages"]
    assert mismatch({"client": mine, "scheduler": dict(mine)}) == ""


def test_every_difference_is_named_once() -> None:
    text = mismatch(
        {
            "client": {"numpy": "2.0", "dask": "1"},
            "scheduler": {"numpy": "1.0", "dask": "1"},
            "tcp://a:1": {"numpy": None, "dask": "1"},
            "tcp://b:1": {"numpy": None, "dask": "1"},
            "tcp://c:1": {"numpy": None, "dask": "1"},
        }
    )
    assert "numpy (client 2.0, scheduler 1.0, tcp://a:1, tcp://b:1 and 1 more without it)" in text
    assert "dask" not in text


def test_a_client_warns_once_and_check_raises() -> None:
    with Client(n_workers=2, processes=False, threads_per_worker=1) as client:
        assert set(client.get_versions(check=True)) == {"client", "scheduler", "workers"}

        def pretend(dask_scheduler: object) -> None:
            for ws in dask_scheduler.workers.values():  # type: ignore[attr-defined]
                ws.extra["packages"] = {**ws.extra["packages"], "numpy": "0.1"}

        client.run_on_scheduler(pretend)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with Client(client.scheduler.address):
                pass
        told = [w for w in caught if issubclass(w.category, VersionMismatchWarning)]
        assert len(told) == 1
        assert "numpy" in str(told[0].message)


def test_the_same_versions_warn_nobody() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", VersionMismatchWarning)
        with (
            Client(n_workers=1, processes=False) as client,
            pytest.raises(ValueError, match="must be a positive number"),
        ):
            client.wait_for_workers(0)
