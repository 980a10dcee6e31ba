from __future__ import annotations

import threading
from pathlib import Path

import pytest

from distributed.scheduler_file import read_scheduler_address, remove_scheduler_file, write_scheduler_file

IDENTITY = {"id": "Scheduler-1", "address": "tcp://127.0.0.1:8786"}


def test_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "scheduler.json"
    write_scheduler_file(path, IDENTITY)
    assert read_scheduler_address(path) == "tcp://127.0.0.1:8786"
    assert [file.name for file in tmp_path.iterdir()] == ["scheduler.json"]


def test_waits_for_the_file(tmp_path: Path) -> None:
    path = tmp_path / "scheduler.json"
    path.write_text('{"addr')  # another scheduler is just writing it
    threading.Timer(0.2, write_scheduler_file, (path, IDENTITY)).start()
    assert read_scheduler_address(path, timeout=20) == "tcp://127.0.0.1:8786"


@pytest.mark.parametrize("content", [None, "", "[]", "{}"])
def test_gives_up(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "scheduler.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(TimeoutError, match=r"scheduler\.json: (there is no such file|it holds no JSON)"):
        read_scheduler_address(path, timeout=0.1)


def test_removes_only_its_own(tmp_path: Path) -> None:
    path = tmp_path / "scheduler.json"
    write_scheduler_file(path, IDENTITY)
    remove_scheduler_file(path, "Scheduler-2")
    assert path.exists()
    remove_scheduler_file(path, "Scheduler-1")
    assert not path.exists()
    remove_scheduler_file(path, "Scheduler-1")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        write_scheduler_file(tmp_path / "nowhere" / "scheduler.json", IDENTITY)
