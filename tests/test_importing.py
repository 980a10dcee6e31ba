"""Imports, one at a time. What is imported here lies in packages that the test makes."""

from __future__ import annotations

import pickle
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distributed import importing
from distributed.protocol.payload import unpack

N = 6


class Package:
    """A package whose modules import each other in a ring, and which says when it is whole."""

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        folder = path / name
        folder.mkdir()
        (folder / "__init__.py").write_text(
            f"from {name} import gate\n" + self.imports(range(N)) + "whole = True\n"
        )
        (folder / "gate.py").write_text("import threading\nreached = threading.Semaphore(0)\n")
        for i in range(N):
            source = f"import sys, time\ntime.sleep(0.002)\nfrom {name} import m{(i + 1) % N}\n"
            source += f"def f():\n    return {i}, hasattr(sys.modules['{name}'], 'whole')\n"
            (folder / f"m{i}.py").write_text(source)

    def imports(self, numbers: Any) -> str:
        return "".join(f"import {self.name}.m{i}\n" for i in numbers)

    def payload(self, i: int) -> bytes:
        """A pickle of ``m{i}.f``, made without importing it."""

        def text(word: str) -> bytes:
            return b"\x8c" + bytes([len(word)]) + word.encode()

        return b"\x80\x05" + text(f"{self.name}.m{i}") + text("f") + b"\x93."


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(name: str) -> Package:
        return Package(tmp_path, name)

    yield make
    for name in [name for name in sys.modules if name.startswith("pkg_importing")]:
        del sys.modules[name]


def together(calls: list[Callable[[], Any]]) -> list[Any]:
    """Results or exceptions of calls in as many threads that begin at the same moment."""
    barrier = threading.Barrier(len(calls))
    outcomes: list[Any] = [None] * len(calls)

    def run(i: int, call: Callable[[], Any]) -> None:
        barrier.wait(10)
        try:
            outcomes[i] = call()
        except BaseException as error:
            outcomes[i] = error

    threads = [threading.Thread(target=run, args=pair, daemon=True) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    return outcomes


@pytest.mark.parametrize("round", range(5))
def test_modules_of_one_package_in_many_threads(package: Any, round: int) -> None:
    made = package(f"pkg_importing_{round}")
    outcomes = together([lambda i=i: unpack(made.payload(i))() for i in range(N)])
    assert outcomes == [(i, True) for i in range(N)]  # each function, of a package that was whole


def test_names_of_pandas_in_many_threads() -> None:
    """The packages of others are those that fail: a fresh interpreter, because they must not have been imported."""
    import subprocess

    program = """
import sys, threading
from distributed.protocol.payload import unpack
names = ["core.algorithms unique", "core.reshape.concat concat", "core.frame DataFrame", "core.series Series",
         "io.parsers.readers read_csv", "core.indexes.base Index"]
text = lambda word: b"\\x8c" + bytes([len(word)]) + word.encode()
payloads = [b"\\x80\\x05" + text("pandas." + n.split()[0]) + text(n.split()[1]) + b"\\x93." for n in names]
barrier, errors = threading.Barrier(len(names)), []
def load(payload):
    barrier.wait()
    try: unpack(payload)
    except BaseException as error: errors.append(error)
threads = [threading.Thread(target=load, args=(p,)) for p in payloads]
[t.start() for t in threads]; [t.join() for t in threads]
print(errors); sys.exit(bool(errors))
"""
    pytest.importorskip("pandas")
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_who_waits_lets_others_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that waits for another thread while it is imported, which has to import something itself."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "pkg_importing_waits.py").write_text(
        "import threading\n"
        "from distributed.importing import give_up_turn, require\n"
        "thread = threading.Thread(target=require, args=('pkg_importing_other',), daemon=True)\n"
        "thread.start()\n"
        "give_up_turn()\n"
        "thread.join(30)\n"
        "ended = not thread.is_alive()\n"
        "require('pkg_importing_third')\n"  # it does not ask for a turn again
    )
    (tmp_path / "pkg_importing_other.py").write_text("")
    (tmp_path / "pkg_importing_third.py").write_text("")
    monkeypatch.setattr(importing, "PATIENCE", 100.0)
    assert importing.require("pkg_importing_waits").ended
    assert together([lambda: importing.require("json").loads("1")]) == [1]


def test_an_object_that_waits_while_it_is_unpickled_holds_nobody_up(package: Any) -> None:
    made = package("pkg_importing_beside")
    asked, answered = threading.Event(), threading.Event()
    _Waits.action = lambda: asked.set() or answered.wait(30)

    def other() -> Any:
        assert asked.wait(30)
        found = unpack(made.payload(0))()
        answered.set()
        return found

    waited, found = together([lambda: unpack(pickle.dumps(_Waits(), 5)), other])
    assert waited is True
    assert found == (0, True)


class _Waits:
    action: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _wait, ()


def _wait() -> Any:
    return _Waits.action()


def test_what_cannot_be_imported() -> None:
    def text(word: str) -> bytes:
        return b"\x8c" + bytes([len(word)]) + word.encode()

    for module, name, error, words in [
        ("pkg_importing_nowhere", "f", ModuleNotFoundError, "No module named 'pkg_importing_nowhere'"),
        ("json.nowhere", "f", ModuleNotFoundError, "No module named 'json.nowhere'"),
        ("json", "no_such_name", AttributeError, "no_such_name"),
    ]:
        with pytest.raises(error, match=words):
            unpack(b"\x80\x05" + text(module) + text(name) + b"\x93.")
    assert unpack(pickle.dumps(pickle.Pickler.dump, 5)) is not None  # a dotted name
