"""Budgets: what keeps the code base small enough to be held in one head."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest

from distributed import Client

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "src").rglob("*.py"))
MAX_LINES_OF_FILE = 600
MAX_LINES_OF_FUNCTION = 80

#: Functions that may be longer: "module.path:Class.function": "the day it was allowed and the reason".
LONG_FUNCTIONS: dict[str, str] = {}

#: What `import distributed` and its main names must not load: each delays a worker's first task.
HEAVY = {
    *("numpy", "pandas", "pyarrow", "bokeh", "aiohttp", "asyncssh", "cryptography", "IPython"),
    *("dask.dataframe", "dask.array"),
}


#: What a worker process must not have loaded when its worker has started, besides. Together they took a third of a
#: second of processor time; tasks load what they need.
NOT_IN_WORKERS = {
    *(
        "dask",
        "yaml",
        "tornado",
        "rich",
        "click",
        "toolz",
        "tblib",
        "psutil",
        "cryptography",
        "multiprocessing",
    ),
    *("importlib.metadata", "email", "tempfile", "shutil", "html", "http", "unittest", "pdb"),
    *("distributed.client", "distributed.scheduler", "distributed.deploy", "distributed.diagnostics"),
    *("distributed.nanny.nanny", "distributed.coordination", "distributed.utils_test"),
}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Name (module:Class.function) and lines below signature and docstring of every function of a file."""

    def visit(node: ast.AST, prefix: str) -> Iterator[tuple[str, int]]:
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield from visit(child, prefix)
                continue
            name = prefix + child.name
            if not isinstance(child, ast.ClassDef):
                body = child.body[1:] if ast.get_docstring(child) is not None else child.body
                lines = (child.end_lineno or 0) - body[0].lineno + 1 if body else 0
                yield name, lines
            yield from visit(child, name + ".")

    yield from visit(ast.parse(path.read_text()), module_name(path) + ":")


def test_no_file_is_longer_than_one_concept_needs() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in SOURCES}
    assert lengths
    assert {path: lines for path, lines in lengths.items() if lines > MAX_LINES_OF_FILE} == {}


def test_no_function_is_longer_than_a_screen() -> None:
    lengths = {name: lines for path in SOURCES for name, lines in functions(path)}
    too_long = {name: lines for name, lines in lengths.items() if lines > MAX_LINES_OF_FUNCTION}
    assert {name: lines for name, lines in too_long.items() if name not in LONG_FUNCTIONS} == {}
    assert set(LONG_FUNCTIONS) <= set(too_long), "an exception that is needed no more stays in LONG_FUNCTIONS"


def test_every_module_says_what_it_is() -> None:
    trees = {module_name(path): ast.parse(path.read_text()) for path in SOURCES}
    silent = [name for name, tree in trees.items() if tree.body and ast.get_docstring(tree) is None]
    assert silent == []


def test_every_public_name_can_be_imported() -> None:
    distributed = importlib.import_module("distributed")
    assert len(distributed.__all__) == len(set(distributed.__all__))
    assert [name for name in distributed.__all__ if getattr(distributed, name, None) is None] == []


@pytest.mark.parametrize(
    "statement", ["import distributed", "from distributed import Client, Scheduler, Worker"]
)
def test_importing_loads_nothing_heavy(statement: str) -> None:
    program = f"import sys; {statement}; print(' '.join(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    assert HEAVY & set(loaded) == set()


def test_a_worker_process_starts_with_little() -> None:
    with Client(n_workers=1, threads_per_worker=1) as client:
        (loaded,) = client.run(eval, "sorted(__import__('sys').modules)").values()
    assert "distributed.worker.server" in loaded
    assert (HEAVY | NOT_IN_WORKERS) & set(loaded) == set()


# ---------------------------------------------------------------- what the documents promise


def commands_of(document: Path) -> list[list[str]]:
    """Words of each command in the shell blocks: lines of ``sh``, lines after ``$`` of ``console``."""
    commands = []
    for language, block in re.findall(r"```(sh|bash|console)\n(.+?)```", document.read_text(), re.S):
        for line in block.splitlines():
            if language == "console":
                if not line.startswith("$ "):
                    continue
                line = line[2:]
            lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;")
            lexer.whitespace_split = True
            for is_operator, words in groupby(lexer, lambda word: set(word) <= set("&|;")):
                if not is_operator:
                    commands.append(list(words))
    return commands


DOCUMENTED = [
    pytest.param(document, words, id=f"{document.name}: {' '.join(words)[:60]}")
    for document in (ROOT / "README.md", ROOT / "CONTRIBUTING.md")
    for words in commands_of(document)
]


@pytest.mark.parametrize(("document", "words"), DOCUMENTED)
def test_documented_commands_exist(document: Path, words: list[str]) -> None:
    """The program is a command of ours, a file of the repository or a known tool; named files are there."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    words = [word for word in words if not re.fullmatch(r"\w+=.*", word)]
    program = words[0]
    assert (
        program in project["scripts"]
        or program.startswith(".venv/bin/")
        or (ROOT / program).is_file()
        or shutil.which(program)
    ), f"{document.name} calls {program}, which is nowhere"
    for word in words[1:]:
        if re.fullmatch(r"(examples|benchmarks|scripts|tests|docs)/[\w./]+", word):
            assert (ROOT / word.partition("::")[0]).exists(), (
                f"{document.name} names {word}, which is not there"
            )
    if program in project["scripts"]:
        module, function = project["scripts"][program].split(":")
        command = getattr(importlib.import_module(module), function)
        known = {
            option for parameter in command.params for option in [*parameter.opts, *parameter.secondary_opts]
        }
        for word in words[1:]:
            if word.startswith("--"):
                assert word.partition("=")[0] in known | {"--help", "--version"}, f"{program} has no {word}"


DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []
