"""The layers of docs/architecture.md, and the purity of the state machines."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STATES = sorted(path for path in (ROOT / "src" / "distributed").rglob("*.py") if "state" in path.parts)

#: Whatever reaches outside or depends on when it runs: time comes in as a number, chance as a seed.
FORBIDDEN = {
    *(
        "asyncio",
        "concurrent",
        "multiprocessing",
        "queue",
        "selectors",
        "subprocess",
        "threading",
        "tornado",
        "uvloop",
    ),
    *("logging", "os", "psutil", "secrets", "select", "signal", "socket", "ssl", "time"),
}
FORBIDDEN_CALLS = {"open", "print", "input"}


def imports_of(path: Path) -> set[str]:
    """Top names of everything a file imports, at its top or inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add((node.module or "").partition(".")[0])
    return names


def test_the_three_machines_are_there() -> None:
    assert {path.parts[path.parts.index("state") - 1] for path in STATES} == {"scheduler", "worker", "client"}


@pytest.mark.parametrize("path", STATES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_states_are_pure(path: Path) -> None:
    assert imports_of(path) & FORBIDDEN == set()
    source = path.read_text()
    assert set(re.findall(r"(?<![.\w])random\.(\w+)", source)) <= {"Random"}, "chance without a seed"
    assert "Random()" not in source, "chance without a seed"
    calls = {
        node.func.id
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert calls & FORBIDDEN_CALLS == set()


def test_layers_hold() -> None:
    """import-linter keeps every contract of pyproject.toml."""
    beside = Path(sys.executable).with_name("lint-imports")
    command = str(beside) if beside.exists() else shutil.which("lint-imports")
    if command is None:
        pytest.skip("import-linter is not installed: it comes with the extra 'dev'")
    result = subprocess.run([command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert result.returncode == 0, result.stdout + result.stderr
