"""Other users of the machine cannot have their code run, nor write to what is ours."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from distributed import private_files
from distributed.diagnostics.plugin import UploadDirectory
from distributed.exceptions import UntrustedPathError
from distributed.private_files import (
    base_directory,
    check_own,
    private_directory,
    scratch_space,
    write_private,
)

STRANGER = 65534

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of another user")


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A ``/tmp`` of this test's own, with a umask that opens everything."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    folder.chmod(0o1777)
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    private_files._instead.cache_clear()
    private_files._tell_of_others.cache_clear()
    before = os.umask(0)
    yield folder
    os.umask(before)


def mode(path: str | Path) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)


def open_to_others(folder: Path) -> list[str]:
    """What others can write to below a folder."""
    found = [path for path in folder.rglob("*") if not path.is_symlink() and mode(path) & 0o022]
    return [str(path) for path in found]


def test_the_scratch_space_is_of_this_user_alone(temporary: Path) -> None:
    path = scratch_space()
    assert path == str(temporary / f"dask-scratch-space-{os.geteuid()}")
    assert mode(path) == 0o700
    assert scratch_space() == path


def test_what_is_missing_above_is_made_for_this_user_alone(tmp_path: Path) -> None:
    path = private_directory(str(tmp_path / "a" / "b" / "c"))
    assert [mode(p) for p in (path, os.path.dirname(path), tmp_path / "a")] == [0o700] * 3


@pytest.mark.parametrize("kind", ["link", "file", "open"])
def test_what_is_there_must_be_a_directory_of_ours(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "taken"
    if kind == "link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "file":
        path.touch()
    else:
        path.mkdir(mode=0o777)
    with pytest.raises(UntrustedPathError, match=r"taken (is not a directory|can be written by others)"):
        private_directory(str(path))
    with pytest.raises(UntrustedPathError):
        check_own(str(path))


@pytest.mark.parametrize("kind", ["link", "file", "open"])
def test_who_takes_the_name_of_the_scratch_space_does_not_hinder_us(
    temporary: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    test_what_is_there_must_be_a_directory_of_ours(temporary, kind)
    os.rename(temporary / "taken", temporary / f"dask-scratch-space-{os.geteuid()}")
    path = scratch_space()
    assert mode(path) == 0o700
    assert not os.path.islink(path)
    assert scratch_space() == path
    assert f"using {path}" in caplog.text


@needs_root
def test_a_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, STRANGER, STRANGER)
    link = tmp_path / "link"
    link.symlink_to(theirs)
    for path in (theirs, link, theirs / "new", link / "new" / "newer"):
        with pytest.raises(UntrustedPathError, match="theirs belongs to another user"):
            base_directory(str(path))
    with pytest.raises(UntrustedPathError, match="belongs to another user"):
        check_own(str(theirs))


@needs_root
def test_ours_below_one_of_somebody_else_is_used_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ours = tmp_path / "of a project" / "ours"
    ours.mkdir(parents=True, mode=0o700)
    os.chown(ours.parent, STRANGER, STRANGER)
    assert base_directory(str(ours / "new")) == str(ours / "new")
    assert f"user {STRANGER}, who owns {ours.parent}, can replace what is below it" in caplog.text


def test_a_directory_that_all_can_write_to_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "all").mkdir(mode=0o777)
    base_directory(str(tmp_path / "all"))
    assert f"everybody on this machine can replace what is in {tmp_path / 'all'}" in caplog.text


def test_files_are_not_written_through_links(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("untouched")
    (tmp_path / "link").symlink_to(precious)
    os.link(precious, tmp_path / "hard")
    for name in ("link", "hard"):
        with pytest.raises(UntrustedPathError):
            write_private(str(tmp_path / name), b"overwritten")
    assert precious.read_text() == "untouched"


def test_files_are_written_again_and_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("something longer")
    assert mode(path) == 0o666
    write_private(str(path), b"short")
    assert path.read_text() == "short"
    assert mode(path) == 0o600


@needs_root
def test_a_directory_is_uploaded_though_somebody_has_taken_its_name(tmp_path: Path, temporary: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "inside.py").write_text("value = 'right'")
    content = UploadDirectory(str(tmp_path / "project"))._content
    trap = temporary / content.name
    trap.mkdir()
    (trap / "theirs").touch(0o600)
    os.chown(trap, STRANGER, STRANGER)
    for _ in range(2):
        content.unpack(str(temporary))
    assert [path.name for path in trap.iterdir()] == ["theirs"]
    laid = list(temporary.rglob("inside.py"))
    assert len(laid) == 2
    assert open_to_others(temporary) == [str(trap)]


# ---------------------------------------------------------------- whole programs

UPLOADS = """
    import os, sys
    from pathlib import Path
    from distributed import Client, LocalCluster
    from distributed.diagnostics.plugin import UploadDirectory

    os.umask(0)

    if __name__ == "__main__":
        folder = Path(sys.argv[1])
        (folder / "project").mkdir(exist_ok=True)
        (folder / "project" / "inside.py").write_text("value = 'right'")
        (folder / "helper.py").write_text("value = 'right'")
        options = {"local_directory": sys.argv[3]} if len(sys.argv) > 3 else {}
        with LocalCluster(n_workers=1, threads_per_worker=1, processes=sys.argv[2] == "nanny", **options) as cluster:
            with Client(cluster) as client:
                client.upload_file(str(folder / "helper.py"))
                client.register_plugin(UploadDirectory(str(folder / "project"), update_path=True, mode="all"))

                def values():
                    import helper, project.inside
                    return helper.value, project.inside.value

                print(client.submit(values).result(), flush=True)
                print(*client.run(lambda: os.umask(os.umask(0))).values())
                input()
"""


class Program:
    """The uploads in a process, under a key of its own."""

    def __init__(self, folder: Path, *words: str) -> None:
        script = folder / "uploads.py"
        script.write_text(textwrap.dedent(UPLOADS))
        self.process = subprocess.Popen(
            [sys.executable, script, folder, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"DISTRIBUTED_KEY": "a" * 64},
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self) -> str:
        """The rest of what it says."""
        return self.process.communicate("\n", timeout=60)[0]


@pytest.mark.parametrize("kind", ["nanny", "worker"])
def test_uploads_open_nothing_to_others(tmp_path: Path, temporary: Path, kind: str) -> None:
    program = Program(tmp_path, kind)
    assert program.line() == "('right', 'right')"
    assert program.line() == "0"  # what tasks write has the modes that their users are used to
    assert list(temporary.rglob("helper.py"))
    assert list(temporary.rglob("inside.py"))
    outermost = [path for path in temporary.iterdir() if mode(path) & 0o077]
    assert outermost == []
    assert [path for path in open_to_others(temporary) if "project/__pycache__" not in path] == []
    assert program.end() == ""


@needs_root
@pytest.mark.parametrize("kind", ["nanny", "worker"])
def test_another_user_who_was_first_neither_hinders_nor_runs_code(
    tmp_path: Path, temporary: Path, kind: str
) -> None:
    for name in ("dask-scratch-space", f"dask-scratch-space-{os.geteuid()}"):
        (temporary / name).mkdir()
        os.chown(temporary / name, STRANGER, STRANGER)
    program = Program(tmp_path, kind)
    output = [program.line() for _ in range(2)]
    output.append(program.end())
    assert "('right', 'right')" in "\n".join(output)
    assert not [path for path in temporary.rglob("*") if path.parent.name.startswith("dask-scratch-space-0/")]
    for name in ("dask-scratch-space", f"dask-scratch-space-{os.geteuid()}"):
        assert list((temporary / name).iterdir()) == []


@needs_root
@pytest.mark.parametrize("kind", ["nanny", "worker"])
def test_a_local_directory_of_another_user_is_one_clear_error(tmp_path: Path, kind: str) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o777)
    os.chown(theirs, STRANGER, STRANGER)
    program = Program(tmp_path, kind, str(theirs))
    output = program.end()
    assert program.process.returncode == 1
    assert f"UntrustedPathError: the directory {theirs} belongs to another user ({STRANGER})" in output
    assert list(theirs.iterdir()) == []
