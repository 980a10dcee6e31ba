"""Run programs of the ecosystem against this checkout, in environments that it makes, and print a table.

python ecosystem/run.py --only joblib,xarray
python ecosystem/run.py --bounded --jobs 2    # the part that continuous integration runs
python ecosystem/run.py --engine existing     # the same with the package that this one stands in for
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from stub import write_stub
from suite import SUITE, Entry

HERE = Path(__file__).parent
ROOT = HERE.parent
INSTALL_TIMEOUT = 900.0
#: The versions of others that are run against, so that what fails fails because of a change of ours. An environment
#: that cannot have those has a file of its own, with its name behind a hyphen.
PINNED = HERE / "constraints.txt"


@dataclass
class Result:
    """How one entry went."""

    name: str
    outcome: str
    seconds: float
    counts: str = ""
    notes: list[str] = field(default_factory=list)


def main() -> int:
    """Run what the arguments ask for; the number of entries that failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--only", help="names of entries, with commas between")
    parser.add_argument("--bounded", action="store_true", help="only the part for continuous integration")
    parser.add_argument("--engine", choices=("ours", "existing"), default="ours")
    parser.add_argument(
        "--venvs",
        type=Path,
        default=ROOT / ".venv-ecosystem",
        help="where the environments are (default: %(default)s)",
    )
    parser.add_argument("--jobs", type=int, default=1, help="entries that run at the same time (default: 1)")
    parser.add_argument(
        "--unpinned", action="store_true", help=f"the newest versions, not those of {PINNED.name}"
    )
    parser.add_argument("--install-only", action="store_true", help="make the environments, run nothing")
    parser.add_argument("--list", action="store_true", help="name the entries, run nothing")
    options = parser.parse_args()
    entries = select(options.only, bounded=options.bounded)
    if options.list:
        for entry in entries:
            print(f"{entry.name:20} {' '.join(entry.packages)}")
        return 0
    directory = options.venvs.resolve() / options.engine
    directory.mkdir(parents=True, exist_ok=True)
    wheels = build(directory / "wheels") if options.engine == "ours" else None
    print(f"{'entry':22}{'outcome':16}{'seconds':>8}  tests", flush=True)
    failed = 0
    for result in results(entries, directory, wheels, options):
        failed += result.outcome not in ("ok", "installed")
        print(line(result), flush=True)
    return failed


def results(
    entries: list[Entry], directory: Path, wheels: Path | None, options: argparse.Namespace
) -> Iterator[Result]:
    """Make the environments, one after the other, then run the entries, ``--jobs`` at a time."""
    problems: dict[str, str] = {}
    start = time.monotonic()
    for entry in entries:
        if entry.environment not in problems:
            versions = None if options.unpinned else pinned(entry.environment)
            problems[entry.environment] = prepare(entry, entries, directory, wheels, versions)
    state = "incomplete" if any(problems.values()) else "installed"
    yield Result("(environments)", state, time.monotonic() - start)

    def outcome(entry: Entry) -> Result:
        problem = problems[entry.environment]
        if problem:
            return Result(entry.name, "no environment", 0.0, notes=[problem])
        if options.install_only:
            return Result(entry.name, "installed", 0.0)
        return run(entry, directory / entry.environment, directory / "logs")

    with ThreadPoolExecutor(options.jobs) as pool:
        yield from pool.map(outcome, entries)


def select(only: str | None, *, bounded: bool) -> list[Entry]:
    """Entries by name, all of them by default. Raises SystemExit for an unknown name."""
    wanted = set(only.split(",")) if only else {entry.name for entry in SUITE}
    unknown = wanted - {entry.name for entry in SUITE}
    if unknown:
        raise SystemExit(f"no such entries: {', '.join(sorted(unknown))}; --list names them all")
    return [entry for entry in SUITE if entry.name in wanted and (entry.bounded or not bounded)]


# ---------------------------------------------------------------- environments


def build(wheels: Path) -> Path:
    """Wheels of this checkout and of the stub that stands in for the distribution ``distributed``."""
    write_stub(wheels)
    for old in wheels.glob("distributed_network-*.whl"):
        old.unlink()
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", str(wheels), str(ROOT)]
    subprocess.run(command, check=True, timeout=INSTALL_TIMEOUT)
    return wheels


def pinned(environment: str) -> Path:
    """The constraints for an environment."""
    own = PINNED.with_name(f"{PINNED.stem}-{environment}{PINNED.suffix}")
    return own if own.exists() else PINNED


def prepare(
    entry: Entry, entries: list[Entry], directory: Path, wheels: Path | None, versions: Path | None
) -> str:
    """Make or bring up to date the environment of an entry, for all of ``entries`` that share it.

    Returns
    -------
    str
        What went wrong, or nothing.
    """
    path = directory / entry.environment
    packages = {
        package for other in entries if other.environment == entry.environment for package in other.packages
    }
    marker = path / "packages.txt"
    pinned_by = [ROOT / "pyproject.toml", *([versions] if versions else [])]  # what we require, too
    pins = hashlib.sha256(b"".join(file.read_bytes() for file in pinned_by)).hexdigest()
    found = marker.read_text().split("\n") if marker.exists() else [""]
    python = path / "bin" / "python"
    try:
        if found[0] != pins or not packages.issubset(found[1:]):
            subprocess.run(
                [sys.executable, "-m", "venv", "--clear", "--without-pip", str(path)], check=True, timeout=60
            )
            engine = "distributed-network" if wheels else "distributed"
            pip(python, wheels, versions, [engine, *sorted(packages)])
            found = [pins, *sorted(packages)]
        elif wheels:
            pip(python, wheels, versions, ["--force-reinstall", "--no-deps", "distributed-network"])
        check_engine(python, ours=wheels is not None)
    except subprocess.TimeoutExpired:
        return f"the installation took longer than {INSTALL_TIMEOUT:.0f} s"
    except subprocess.CalledProcessError as error:
        return (error.stderr or b"").decode(errors="replace").strip()[-1500:]
    marker.write_text("\n".join(found))
    return ""


def pip(python: Path, wheels: Path | None, versions: Path | None, arguments: list[str]) -> None:
    """Install with our own pip; with our wheels, nothing but the stub can be taken for ``distributed``.

    Nothing is compiled ahead: of all that is installed here, little is imported.
    """
    ours = ["--find-links", str(wheels), "--constraint", str(wheels / "constraints.txt")] if wheels else []
    pins = ["--constraint", str(versions)] if versions else []
    options = ["-q", "--no-compile", "--disable-pip-version-check", "--no-warn-script-location"]
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", *options]
    subprocess.run(
        [*command, *ours, *pins, *arguments], check=True, timeout=INSTALL_TIMEOUT, capture_output=True
    )


def check_engine(python: Path, *, ours: bool) -> None:
    """Raise CalledProcessError unless the package under test is the one that is imported there."""
    program = (
        "import importlib.metadata as m, sys\n"
        f"found = any(d.metadata['Name'] == 'distributed-network' for d in m.distributions())\n"
        f"sys.exit(0 if found is {ours} else 'the other engine is installed here')"
    )
    subprocess.run([str(python), "-I", "-c", program], check=True, timeout=60, capture_output=True)


# ---------------------------------------------------------------- running


def run(entry: Entry, environment: Path, logs: Path) -> Result:
    """Run an entry in its environment; its output goes to a file that is named where it fails."""
    logs.mkdir(exist_ok=True)
    log, report = logs / f"{entry.name}.log", logs / f"{entry.name}.xml"
    report.unlink(missing_ok=True)
    python = str(environment / "bin" / "python")
    if entry.program:
        command = [python, str(HERE / "programs" / entry.program)]
    else:
        command = [
            python,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--timeout=120",
            f"--config-file={os.devnull}",  # not ours, though the tests may lie in this checkout
            f"--rootdir={next(environment.glob('lib/python*/site-packages'))}",  # tests are named by module
            f"--junitxml={report}",
        ]
        for plugin in entry.plugins:
            command += ["-p", plugin]
        command += ["--continue-on-collection-errors", "--pyargs", *entry.tests]
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ecosystem-") as scratch, log.open("wb") as output:
        status = call(command, entry.timeout, output, scratch, environment)
    result = Result(entry.name, "ok", time.monotonic() - start)
    if entry.tests and report.exists():
        judge(entry, report, result)
    elif status != 0:
        result.outcome = "failed"
        result.notes.append(tail(log))
    if status is None:
        result.outcome = "timeout"
        result.notes.append(f"took longer than {entry.timeout:.0f} s; {tail(log)}")
    if result.outcome != "ok":
        result.notes.append(f"output: {log}")
    return result


def call(command: list[str], timeout: float, output: object, scratch: str, environment: Path) -> int | None:
    """Status of a program in a scratch directory with a key of its own; None when it was killed after the timeout."""
    variables = {
        **{
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTHON", "DASK_", "DISTRIBUTED_"))
        },
        "XDG_CONFIG_HOME": f"{scratch}/config",
        "PREFECT_HOME": f"{scratch}/prefect",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # its own server, before ours is asked for anything
        "TMPDIR": scratch,
        "PATH": f"{environment / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(HERE / "plugins"),
    }
    process = subprocess.Popen(
        command,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd=scratch,
        env=variables,
        start_new_session=True,  # type: ignore[call-overload]
    )
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def judge(entry: Entry, report: Path, result: Result) -> None:
    """Counts of a report of pytest; failures that are known are noted with their reason."""
    passed = skipped = 0
    failed: list[str] = []
    for case in ET.parse(report).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(name)
        elif case.find("skipped") is not None:
            skipped += 1
        else:
            passed += 1
    known = {name: reason for name in failed for part, reason in entry.known.items() if part in name}
    result.counts = f"{passed} passed, {len(failed)} failed, {skipped} skipped"
    result.notes += [f"known: {name}: {reason}" for name, reason in known.items()]
    stale = [part for part in entry.known if not any(part in name for name in failed)]
    result.notes += [f"known to fail, and does not: {part}" for part in stale]
    unknown = [name for name in dict.fromkeys(failed) if name not in known]
    if unknown or not passed:
        result.outcome = "failed"
        result.notes += unknown


def tail(log: Path, nlines: int = 6) -> str:
    """The last lines of an output."""
    return "\n".join(log.read_text(errors="replace").strip().splitlines()[-nlines:])


def line(result: Result) -> str:
    """A row of the table, with what went wrong or is known underneath."""
    row = f"{result.name:22}{result.outcome:16}{result.seconds:8.1f}  {result.counts}".rstrip()
    return "\n".join([row, *(f"    {line}" for note in result.notes for line in note.splitlines())])


if __name__ == "__main__":
    sys.exit(min(main(), 1))
