from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from distributed.preloading import process_preloads

SOURCE = """
import click

@click.command()
@click.option("--word")
@click.argument("rest", nargs=-1)
def dask_setup(server, word, rest):
    server.append(("setup", word, rest))

async def dask_teardown(server):
    server.append("teardown")
"""


def test_a_file_with_options(tmp_path: Path) -> None:
    file = tmp_path / "a_preload.py"
    file.write_text(SOURCE)
    server: list[object] = []

    async def main() -> None:
        preloads = process_preloads(server, [str(file)], ["--word", "hello", "more"])
        assert server == []
        await preloads.start()
        await preloads.teardown()

    asyncio.run(main())
    assert server == [("setup", "hello", ("more",)), "teardown"]


def test_text_and_modules() -> None:
    server: list[object] = []

    async def main() -> None:
        preloads = process_preloads(server, ["def dask_setup(server):\n    server.append(1)\n", "math"])
        assert len(preloads) == 2
        await preloads.start()

    asyncio.run(main())
    assert server == [1]


def test_what_is_not_there() -> None:
    with pytest.raises(ImportError, match="there is no such file"):
        process_preloads([], "/no/such/file.py")
    with pytest.raises(ImportError, match="no_such_module"):
        process_preloads([], "no_such_module")
    with pytest.raises(ValueError, match="2 preloads, but arguments for 1"):
        process_preloads([], ["math", "json"], [["a"]])


def test_one_that_fails_does_not_stop_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    server: list[object] = []
    text = "def dask_setup(server):\n    1 / 0\n", "def dask_setup(server):\n    server.append(1)\n"
    logger = logging.getLogger("distributed.preloading")
    logger.addHandler(caplog.handler)
    try:
        asyncio.run(process_preloads(server, text).start())
    finally:
        logger.removeHandler(caplog.handler)
    assert server == [1]
    assert "failed to start" in caplog.text
