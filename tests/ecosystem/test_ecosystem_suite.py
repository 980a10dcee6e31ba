"""The suite that runs programs of others: what of it can be tested without installing them."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ECOSYSTEM = Path(__file__).parents[2] / "ecosystem"


@pytest.fixture
def modules(monkeypatch):
    """The modules of the suite, which is a program and no package."""
    monkeypatch.syspath_prepend(str(ECOSYSTEM))
    import run
    import stub
    import suite

    yield run, stub, suite
    for name in ("run", "stub", "suite"):
        sys.modules.pop(name, None)


def test_stub_is_a_wheel_of_metadata(modules, tmp_path):
    _, stub, _ = modules
    path = stub.write_stub(tmp_path)
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        assert all(name.startswith("distributed-2026.8.0+network.dist-info/") for name in names)
        metadata = wheel.read(names[0]).decode()
        assert "Requires-Dist: distributed-network\n" in metadata
        record = wheel.read(names[-1]).decode()
        digest = base64.urlsafe_b64encode(hashlib.sha256(metadata.encode()).digest()).decode().rstrip("=")
        assert f"sha256={digest},{len(metadata)}" in record
    assert (tmp_path / "constraints.txt").read_text() == "distributed==2026.8.0+network\n"


def test_entries_name_programs_and_plugins_that_are_there(modules):
    _, _, suite = modules
    assert len({entry.name for entry in suite.SUITE}) == len(suite.SUITE)
    for entry in suite.SUITE:
        assert bool(entry.program) != bool(entry.tests), entry.name
        assert not entry.program or (ECOSYSTEM / "programs" / entry.program).exists()
        assert all((ECOSYSTEM / "plugins" / f"{plugin}.py").exists() for plugin in entry.plugins)
        assert all(entry.known.values())
    assert any(entry.bounded for entry in suite.SUITE)


def test_every_package_is_pinned(modules):
    run, _, suite = modules
    for entry in suite.SUITE:
        names = {
            line.partition("==")[0].lower() for line in run.pinned(entry.environment).read_text().splitlines()
        }
        for package in entry.packages:
            assert re.split(r"[\[<>=]", package)[0].lower() in names, (entry.name, package)


def test_known_failures_do_not_fail_an_entry(modules, tmp_path):
    run, _, suite = modules
    report = tmp_path / "report.xml"
    report.write_text(
        "<testsuites><testsuite>"
        '<testcase classname="m" name="test_a"/>'
        '<testcase classname="m" name="test_b"><failure/></testcase>'
        '<testcase classname="m" name="test_c"><skipped/></testcase>'
        "</testsuite></testsuites>"
    )
    entry = suite.Entry("x", (), tests=("m",), known={"test_b": "for a reason", "test_c": "no more"})
    result = run.Result("x", "ok", 0.0)
    run.judge(entry, report, result)
    assert (result.outcome, result.counts) == ("ok", "1 passed, 1 failed, 1 skipped")
    assert result.notes == ["known: m::test_b: for a reason", "known to fail, and does not: test_c"]
    result = run.Result("x", "ok", 0.0)
    run.judge(suite.Entry("x", (), tests=("m",)), report, result)
    assert result.outcome == "failed"
    assert "m::test_b" in run.line(result)


def test_a_program_that_takes_too_long_is_killed_with_its_children(modules, tmp_path):
    run, _, _ = modules
    program = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    with (tmp_path / "log").open("wb") as output:
        assert run.call([sys.executable, "-c", program], 0.5, output, str(tmp_path), Path(sys.prefix)) is None
        assert run.call([sys.executable, "-c", "pass"], 30, output, str(tmp_path), Path(sys.prefix)) == 0


def test_the_command_lists_and_refuses():
    command = [sys.executable, str(ECOSYSTEM / "run.py")]
    listed = subprocess.run(
        [*command, "--list", "--bounded"], capture_output=True, text=True, check=True
    ).stdout
    assert "joblib" in listed
    assert "prefect" not in listed
    refused = subprocess.run([*command, "--only", "nonsense"], capture_output=True, text=True)
    assert refused.returncode == 1
    assert "no such entries: nonsense" in refused.stderr
