"""``Security`` carries what users of the field give it, and the key."""

from __future__ import annotations

import asyncio
import pickle
from pathlib import Path

import dask
import pytest

from distributed import Client, LocalCluster, Scheduler, Worker
from distributed.comm import listen
from distributed.core import Server
from distributed.exceptions import KeyNotFoundError, SecurityError
from distributed.security import ClusterKey, Security, find_key
from distributed.security.keys import create_key_file


@pytest.fixture(autouse=True)
def no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("DISTRIBUTED_KEY", raising=False)


def test_certificates_that_are_not_used_are_told(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        Security(tls_client_cert="of this test", tls_max_version=1.2)
    (record,) = caplog.records
    assert record.getMessage().startswith("tls_client_cert, tls_max_version: this release does not encrypt")


def test_known_parameters_are_kept() -> None:
    security = Security(
        require_encryption=True,
        tls_ca_file="ca.pem",
        tls_scheduler_cert="s.pem",
        tls_scheduler_key="sk.pem",
        tls_ciphers="X",
        extra_conn_args={"headers": {"a": "b"}},
    )
    assert security.require_encryption is True
    assert security.tls_ca_file == "ca.pem"
    assert security.tls_worker_cert is None
    assert security.get_tls_config_for_role("scheduler") == {
        "ca_file": "ca.pem",
        "cert": "s.pem",
        "key": "sk.pem",
        "ciphers": "X",
    }
    assert security.get_connection_args("client")["security"] is security
    assert security.get_connection_args("client")["extra_conn_args"] == {"headers": {"a": "b"}}
    assert security.get_listen_args("worker")["require_encryption"] is True
    with pytest.raises(ValueError, match="unknown role 'boss'"):
        security.get_connection_args("boss")
    assert "tls_ca_file" in repr(security)


def test_unknown_parameters_are_refused() -> None:
    with pytest.raises(TypeError, match="tls_typo"):
        Security(tls_typo="x")


def test_where_the_key_comes_from(tmp_path: Path) -> None:
    key = ClusterKey.generate()
    assert Security(key=key).key is key
    assert Security(key=key.secret).key == key
    assert Security(key=key.text()).key == key
    with pytest.raises(KeyNotFoundError):
        _ = Security().key
    with pytest.raises(KeyNotFoundError):
        _ = Security(key_file=tmp_path / "none").key
    with pytest.raises(KeyNotFoundError, match="typo: there is no such file"):
        Security(key_file=tmp_path / "typo").cluster_key(create=True)
    assert not (tmp_path / "typo").exists()
    assert find_key(create=True) == Security().key
    assert Security(insecure=True).key is None
    assert Security(insecure=True).cluster_key(create=True) is None
    assert Security.temporary().key != Security.temporary().key


@pytest.mark.parametrize(
    ("value", "truth"), [("no", False), ("false", False), ("off", False), ("yes", True), (1, True)]
)
def test_a_setting_that_says_no_does_not_mean_yes(value: object, truth: bool) -> None:
    with dask.config.set({"distributed.security.insecure": value}):
        assert Security().insecure is truth
    with dask.config.set({"distributed.comm.require-encryption": value}):
        assert Security().require_encryption is truth


def test_a_setting_that_says_neither_is_an_error() -> None:
    with dask.config.set({"distributed.security.insecure": "maybe"}):
        with pytest.raises(
            SecurityError, match=r"distributed\.security\.insecure must be true or false, not 'maybe'"
        ):
            Security()


def test_parameters_may_be_a_dict_and_nothing_else_is_taken_for_nothing() -> None:
    async def main() -> None:
        key = ClusterKey.generate().text()
        given = {"key": key}
        async with (
            Scheduler(port=0, host="127.0.0.1", security=given) as scheduler,
            Worker(scheduler.address, security=given, nthreads=1),
            Client(scheduler.address, security=given, asynchronous=True) as client,
        ):
            assert await client.submit(abs, -1) == 1
        async with LocalCluster(n_workers=0, protocol="tcp", security=given, asynchronous=True) as cluster:
            assert cluster.security.key.text() == key
        for make in (Server, Client, LocalCluster):
            with pytest.raises(TypeError, match="security must be a Security"):
                make(security="tls")

    asyncio.run(main())


def test_settings_are_the_defaults(tmp_path: Path) -> None:
    settings = {
        "distributed.comm.require-encryption": True,
        "distributed.comm.tls.ca-file": "ca.pem",
        "distributed.comm.tls.worker.cert": "w.pem",
        "distributed.security.key-file": str(tmp_path / "configured"),
        "distributed.security.insecure": True,
    }
    with dask.config.set(settings):
        security = Security()
        assert security.require_encryption
        assert security.tls_ca_file == "ca.pem"
        assert security.get_tls_config_for_role("worker")["cert"] == "w.pem"
        assert security.insecure
        assert not Security(insecure=False).insecure
        assert not Security(key=b"x" * 32).insecure
        assert not Security(require_encryption=False, tls_ca_file="other").require_encryption
        with pytest.raises(KeyNotFoundError, match="configured: there is no such file"):
            find_key(create=True)
        made = create_key_file(tmp_path / "configured")
        assert find_key() == made
    assert not Security().insecure


@pytest.mark.parametrize(
    "kwargs", [{"key": b"x" * 32, "insecure": True}, {"key": b"x" * 32, "key_file": "f"}]
)
def test_contradictions_are_refused(kwargs: dict[str, object]) -> None:
    with pytest.raises(SecurityError):
        Security(**kwargs)  # type: ignore[arg-type]


def test_it_pickles_with_its_key_and_shows_none() -> None:
    security = Security.temporary()
    assert security.key is not None
    assert pickle.loads(pickle.dumps(security)).key == security.key
    assert security.key.text() not in repr(security)
    assert "insecure" in repr(Security(insecure=True))
    assert "key_file" in repr(Security(key_file="k"))


def test_encryption_that_is_demanded_and_not_there_is_refused() -> None:
    async def main() -> None:
        with pytest.raises(SecurityError, match="cannot encrypt"):
            await listen(
                "tcp://127.0.0.1:0",
                lambda comm: None,
                security=Security(require_encryption=True, insecure=True),
            )

    asyncio.run(main())
