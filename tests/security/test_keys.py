"""The cluster key: found, made once, never trusted from an open file, never shown."""

from __future__ import annotations

import base64
import copy
import multiprocessing
import os
import pickle
import stat
import threading
from pathlib import Path

import pytest

from distributed.deploy.local import local_security
from distributed.exceptions import KeyFileError, KeyNotFoundError, SecurityError
from distributed.security import ClusterKey, Security, find_key, keys
from distributed.security.keys import create_key_file, default_key_path, read_key_file


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("DISTRIBUTED_KEY", raising=False)
    return tmp_path


def write_key(path: Path, text: str, mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def test_no_key_is_an_error_that_names_three_ways() -> None:
    with pytest.raises(KeyNotFoundError) as info:
        find_key()
    for way in ("DISTRIBUTED_KEY", "--key-file", str(default_key_path())):
        assert way in str(info.value)
    assert not default_key_path().exists()


def test_the_first_start_makes_one_and_everybody_finds_it() -> None:
    key = find_key(create=True)
    path = default_key_path()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert find_key() == find_key(create=True) == key
    assert os.listdir(path.parent) == ["cluster.key"]
    assert find_key(key_file=path) == key


def test_the_environment_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    find_key(create=True)
    key = ClusterKey.generate()
    monkeypatch.setenv("DISTRIBUTED_KEY", key.text())
    assert find_key() == key
    monkeypatch.setenv("DISTRIBUTED_KEY", "nonsense")
    with pytest.raises(SecurityError, match="DISTRIBUTED_KEY is not a cluster key") as info:
        find_key()
    assert "nonsense" not in str(info.value)


def test_a_file_that_is_named_must_be_there(home: Path) -> None:
    with pytest.raises(KeyNotFoundError, match="there is no such file; look at its name, or copy"):
        find_key(key_file=home / "missing")


def test_a_key_is_never_made_where_somebody_has_named_a_file(home: Path) -> None:
    with pytest.raises(KeyNotFoundError, match="there is no such file"):
        find_key(create=True, key_file=home / "typo" / "cluster.key")
    assert not (home / "typo").exists()


def test_no_umask_opens_the_directories_of_the_key() -> None:
    before = os.umask(0)
    try:
        find_key(create=True)
    finally:
        os.umask(before)
    path = default_key_path()
    assert [stat.S_IMODE(p.stat().st_mode) for p in (path, path.parent, path.parent.parent)] == [
        0o600,
        0o700,
        0o700,
    ]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o602, 0o777])
def test_a_file_open_to_others_is_refused_with_the_command_to_run(mode: int) -> None:
    path = write_key(default_key_path(), ClusterKey.generate().text(), mode)
    with pytest.raises(KeyFileError, match=f"chmod 600 {path}"):
        find_key()
    with pytest.raises(KeyFileError, match="chmod"):
        find_key(create=True)


def test_a_file_of_somebody_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    write_key(default_key_path(), ClusterKey.generate().text())
    real = os.fstat

    def someone_elses(fd: int) -> os.stat_result:
        info = list(real(fd))
        info[4] = os.geteuid() + 1234
        return os.stat_result(info)

    monkeypatch.setattr(keys.os, "fstat", someone_elses)
    with pytest.raises(KeyFileError, match="belongs to user"):
        find_key()


@pytest.mark.parametrize("content", ["", "abc", "zz" * 32, "ab" * 31, "\xff\xfe", "ab" * 5000])
def test_a_file_with_something_else_in_it_is_refused(content: str) -> None:
    write_key(default_key_path(), content)
    with pytest.raises(KeyFileError, match="does not hold a cluster key"):
        find_key(create=True)


def test_what_is_no_file_is_refused(home: Path) -> None:
    with pytest.raises(KeyFileError):
        read_key_file(home)
    fifo = home / "fifo"
    os.mkfifo(fifo, 0o600)
    with pytest.raises(KeyFileError, match="not a regular file"):
        read_key_file(fifo)


def test_a_directory_that_cannot_be_made_is_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "file").write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "file"))
    with pytest.raises(KeyFileError, match="cannot be"):
        find_key(create=True)


def test_of_many_creators_at_once_all_hold_the_same_key(home: Path) -> None:
    path = home / "race" / "cluster.key"
    barrier = threading.Barrier(16)
    found: list[ClusterKey] = []

    def create() -> None:
        barrier.wait()
        found.append(read_key_file(path) or create_key_file(path))

    threads = [threading.Thread(target=create) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16
    assert len(set(found)) == 1
    assert os.listdir(path.parent) == ["cluster.key"]


def _create_in_a_process(path: str) -> str:
    return create_key_file(Path(path)).text()


def test_of_many_processes_at_once_all_hold_the_same_key(home: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        texts = pool.map(_create_in_a_process, [str(home / "cluster.key")] * 9, chunksize=1)
    assert len(set(texts)) == 1


def test_without_hard_links_it_works_too(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*args: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(keys.os, "link", no_links)
    path = home / "cluster.key"
    key = create_key_file(path)
    assert create_key_file(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_texts_of_a_key() -> None:
    key = ClusterKey.generate()
    secret = key.secret
    for text in (
        key.text(),
        f"  {key.text()}\n",
        base64.b64encode(secret).decode(),
        base64.urlsafe_b64encode(secret).decode(),
    ):
        assert ClusterKey.parse(text) == key
    with pytest.raises(SecurityError, match="32 bytes"):
        ClusterKey(b"short")


def test_a_key_is_never_shown() -> None:
    key = ClusterKey.generate()
    for shown in (
        repr(key),
        str(key),
        f"{key}",
        repr([key]),
        repr(Security(key=key)),
        str(vars(Security(key=key))),
    ):
        assert key.text() not in shown
        assert repr(key.secret) not in shown
    assert key.id in repr(key)
    assert len(key.id) == 16
    assert key.id not in key.text()
    assert key != ClusterKey.generate()
    assert key.__eq__("x") is NotImplemented
    assert pickle.loads(pickle.dumps(key)) == key == copy.deepcopy(key)


def test_the_path_follows_xdg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME")
    assert default_key_path() == Path.home() / ".config" / "distributed" / "cluster.key"
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative/is/ignored")
    assert default_key_path() == Path.home() / ".config" / "distributed" / "cluster.key"


def test_without_a_home_it_is_said_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers run under user numbers that the system does not know."""
    import pwd

    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(KeyNotFoundError, match="has no home directory") as caught:
        find_key(create=True)
    for way in ("DISTRIBUTED_KEY", "--key-file", "XDG_CONFIG_HOME"):
        assert way in str(caught.value)
    assert local_security(None).key is not None  # a cluster of one program needs no file


def test_a_hidden_key_is_known_and_nowhere_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setattr(keys, "_adopted", None)
    key = ClusterKey.generate()
    monkeypatch.setenv("DISTRIBUTED_KEY", key.text())
    keys.hide_key()
    assert "DISTRIBUTED_KEY" not in os.environ
    assert find_key() == key
    keys.hide_key()
    assert find_key() == key
    other = ClusterKey.generate()
    monkeypatch.setenv("DISTRIBUTED_KEY", other.text())  # said anew: that counts
    assert find_key() == other
    write_key(home / "file", key.text())
    assert find_key(key_file=home / "file") == key
