"""Uploaded modules, in a process of ours and in a program of the user's."""

from __future__ import annotations

import importlib
import io
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from distributed import importing, uploads


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test has its own books; what it imports is gone afterwards."""
    for books in ("_uploads", "_current"):
        monkeypatch.setattr(uploads, books, {})
    monkeypatch.setattr(uploads, "_directories", set())
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    added = sys.modules.keys() - before
    importing.forget(added)
    for name in added:
        del sys.modules[name]
    importlib.invalidate_caches()


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "own_process", True)


def package(value: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("up_package/__init__.py", "from up_package.part import f\n")
        archive.writestr("up_package/part.py", f"def f(): return {value}\n")
    return file.getvalue()


def value_of(name: str, function: str = "f") -> Any:
    return getattr(importlib.import_module(name), function)()


@pytest.mark.parametrize("own", [True, False])
def test_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: bool) -> None:
    """Of the same size within the same second: neither tells Python that it has changed. What is gone is gone."""
    monkeypatch.setattr(uploads, "own_process", own)
    for value in range(6):
        source = f"def f(): return {value}\ndef only_in_{value}(): pass\n"
        assert uploads.install(str(tmp_path), "up_again.py", source.encode())
        assert value_of("up_again") == value
        there = [name for name in vars(sys.modules["up_again"]) if name.startswith("only")]
        assert there == [f"only_in_{value}"]


@pytest.mark.parametrize("own", [True, False])
def test_parts_of_an_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: bool) -> None:
    monkeypatch.setattr(uploads, "own_process", own)
    for kind in ("zip", "egg"):
        for value in (1, 2, 3):
            uploads.install(str(tmp_path), f"up.{kind}", package(value))
            assert (value_of("up_package"), value_of("up_package.part")) == (value, value)
        assert not uploads.install(str(tmp_path), f"up.{kind}", package(3)) or kind == "egg"


def test_what_has_not_changed_is_left_alone(tmp_path: Path, ours: None) -> None:
    uploads.install(str(tmp_path), "up_same.py", b"seen = []\n")
    module = importlib.import_module("up_same")
    module.seen.append(1)
    assert not uploads.install(str(tmp_path), "up_same.py", b"seen = []\n")
    assert importlib.import_module("up_same") is module
    assert module.seen == [1]


@pytest.mark.parametrize(
    "how", ["import up_helper\ndef f(): return up_helper.f()", "from up_helper import f"]
)
def test_who_imports_it_agrees_with_who_comes_later(tmp_path: Path, ours: None, how: str) -> None:
    """Also indirectly. Others keep their state."""
    where = str(tmp_path)
    uploads.install(where, "up_helper.py", b"def f(): return 1\n")
    uploads.install(where, "up_middle.py", how.encode())
    uploads.install(where, "up_top.py", b"from up_middle import f\n")
    uploads.install(where, "up_beside.py", b"state = []\n")
    beside = importlib.import_module("up_beside")
    running = importlib.import_module("up_top").f
    for value in (2, 3):
        uploads.install(where, "up_helper.py", f"def f(): return {value}\n".encode())
        assert value_of("up_top") == value
    assert running() == 1 if how.startswith("from") else running() in (1, 3)
    assert importlib.import_module("up_beside") is beside


def test_who_holds_the_module_holds_the_new_one(
    tmp_path: Path, ours: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "up_user.py").write_text("import up_held\ndef f(): return up_held.f()\n")
    where = str(tmp_path / "uploads")
    uploads.install(where, "up_held.py", b"def f(): return 1\n")
    assert value_of("up_user") == 1
    uploads.install(where, "up_held.py", b"def f(): return 2\n")
    assert value_of("up_user") == 2


def test_a_module_that_cannot_be_imported_changes_nothing(tmp_path: Path, ours: None) -> None:
    where = str(tmp_path)
    uploads.install(where, "up_bad.py", b"def f(): return 1\n")
    module = importlib.import_module("up_bad")
    for source in (b"def (\n", b"1 / 0\n", b"import up_no_such_module\n"):
        with pytest.raises((SyntaxError, ZeroDivisionError, ImportError)):
            uploads.install(where, "up_bad.py", source)
        assert importlib.import_module("up_bad") is module
        assert (tmp_path / "up_bad.py").read_bytes() == b"def f(): return 1\n"
        with pytest.raises((SyntaxError, ZeroDivisionError, ImportError)):
            uploads.install(where, "up_worse.py", source)
        assert not (tmp_path / "up_worse.py").exists()


def test_who_can_no_longer_be_imported_is_named(
    tmp_path: Path, ours: None, caplog: pytest.LogCaptureFixture
) -> None:
    where = str(tmp_path)
    uploads.install(where, "up_lost.py", b"def f(): return 1\ndef g(): return 1\n")
    uploads.install(where, "up_loser.py", b"from up_lost import g\n")
    uploads.install(where, "up_lost.py", b"def f(): return 2\n")
    assert "the uploaded module up_loser cannot be imported any more" in caplog.text
    assert value_of("up_lost") == 2
    with pytest.raises(ImportError):
        importlib.import_module("up_loser")


def test_without_loading(tmp_path: Path, ours: None) -> None:
    uploads.install(str(tmp_path), "up_lazy.py", b"def f(): return 1\n", load=False)
    assert "up_lazy" not in sys.modules
    assert value_of("up_lazy") == 1
    uploads.install(str(tmp_path), "up_lazy.py", b"def f(): return 2\n", load=False)
    assert "up_lazy" not in sys.modules
    assert value_of("up_lazy") == 2


def test_other_files_are_files(tmp_path: Path) -> None:
    assert not uploads.install(str(tmp_path), "data.txt", b"x")
    assert (tmp_path / "data.txt").read_bytes() == b"x"


# ---------------------------------------------------------------- a program of the user's


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The program's own module, imported from its own place."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "up_own.py").write_text("def f(): return 1\ndef gone(): pass\nstate = []\n")
    return importlib.import_module("up_own")


def test_a_worker_in_the_program_has_the_new_code(tmp_path: Path, program: Any) -> None:
    """In the very module, so that who has imported it agrees with who looks it up."""
    uploads.install(str(tmp_path / "a"), "up_own.py", b"def f(): return 2\n")
    assert importlib.import_module("up_own") is program
    assert program.f() == 2
    assert not hasattr(program, "gone")
    assert program.__file__ == str(tmp_path / "up_own.py")
    with pytest.raises(ZeroDivisionError):
        uploads.install(str(tmp_path / "a"), "up_own.py", b"def f(): return 3\n1 / 0\n")
    assert program.f() == 2


def test_a_scheduler_in_the_program_leaves_its_modules_alone(tmp_path: Path, program: Any) -> None:
    uploads.install(str(tmp_path / "scheduler"), "up_own.py", b"def f(): return 2\n", update_own=False)
    assert importlib.import_module("up_own") is program
    assert program.f() == 1
    uploads.install(str(tmp_path / "worker"), "up_own.py", b"def f(): return 2\n")
    assert program.f() == 2


def test_what_is_removed_is_not_found(tmp_path: Path) -> None:
    uploads.install(str(tmp_path), "up_removed.py", b"def f(): return 1\n", load=False)
    uploads.remove(str(tmp_path))
    assert str(tmp_path) not in sys.path
    with pytest.raises(ImportError):
        importlib.import_module("up_removed")


def test_a_directory_that_is_preferred(tmp_path: Path, ours: None) -> None:
    for value in (1, 2):
        (tmp_path / str(value) / "up_directory").mkdir(parents=True)
        (tmp_path / str(value) / "up_directory" / "__init__.py").write_text(f"def f(): return {value}\n")
        uploads.prefer(str(tmp_path / str(value)))
        assert value_of("up_directory") == value
