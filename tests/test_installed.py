from __future__ import annotations

import importlib.metadata
import os
import sys
from pathlib import Path

import pytest

from distributed.core.versions import PACKAGES, get_versions
from distributed.installed import installed_version


def test_it_finds_what_the_standard_library_finds() -> None:
    """For everything installed here, under the name that the package gives itself."""
    for distribution in importlib.metadata.distributions():
        name = distribution.metadata["Name"]
        assert installed_version(name) == importlib.metadata.version(name), name


def test_versions_of_the_packages_that_matter() -> None:
    versions = get_versions(["pytest", "no-such-package"])["packages"]
    assert versions["distributed-network"] == importlib.metadata.version("distributed-network")
    assert versions["pytest"] == pytest.__version__
    assert versions["no-such-package"] is None
    assert set(PACKAGES) < set(versions)


def test_names_are_compared_as_installers_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Some_Long.Name-1.0+local.dist-info").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    for name in ("some-long-name", "Some_Long.Name", "SOME__long-name"):
        assert installed_version(name) == "1.0+local"


def test_the_first_on_the_search_path_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, version in (("first", "2.0"), ("second", "1.0")):
        (tmp_path / folder / f"thing-{version}.dist-info").mkdir(parents=True)
    search_path = [str(tmp_path / name) for name in ("missing", "first", "second")]
    monkeypatch.setattr(sys, "path", search_path)
    assert installed_version("thing") == "2.0"
    monkeypatch.setattr(sys, "path", search_path[::-1])
    assert installed_version("thing") == "1.0"


def test_what_is_installed_later_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert installed_version("late") is None
    before = os.stat(tmp_path).st_mtime_ns
    (tmp_path / "late-3.dist-info").mkdir()
    os.utime(tmp_path, ns=(before, before + 1_000_000_000))  # not within one tick of the file system's clock
    assert installed_version("late") == "3"


def test_the_older_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inplace.egg-info").mkdir()
    (tmp_path / "inplace.egg-info" / "PKG-INFO").write_text(
        "Metadata-Version: 2.1\nName: In.Place\nVersion: 0.3\n"
    )
    (tmp_path / "plain-1.egg-info").write_text("Name: plain\nVersion: 1\n")
    (tmp_path / "broken.egg-info").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert [installed_version(name) for name in ("in-place", "plain", "broken")] == ["0.3", "1", None]
