from __future__ import annotations

import asyncio
import functools
import logging
import sys
from pathlib import Path

import pytest

from distributed import host, logs, utils


def test_every_listed_name_is_there() -> None:
    assert [name for name in utils.__all__ if not hasattr(utils, name)] == []


def test_ports() -> None:
    assert host.parse_ports("3000:3002") == [3000, 3001, 3002]
    assert host.parse_ports("8786") == [8786]
    assert host.parse_ports([1, 2]) == [1, 2]
    assert host.parse_ports(None) == [None]
    for nonsense in ("abc", "3:x", "9:3", 70_000, "70000"):
        with pytest.raises(ValueError, match="port"):
            host.parse_ports(nonsense)


def test_addresses_of_this_host() -> None:
    assert host.get_ip().count(".") == 3
    assert host.ensure_ip("localhost") == "127.0.0.1"
    assert host.ensure_ip("10.0.0.7") == "10.0.0.7"
    with pytest.raises(ValueError, match=r"no network interface named 'nope0'; this machine has: "):
        host.get_ip_interface("nope0")


@pytest.mark.skipif(sys.platform != "linux", reason="the loopback interface has another name")
def test_address_of_an_interface() -> None:
    assert host.get_ip_interface("lo") == "127.0.0.1"


def test_terms() -> None:
    assert utils.import_term("os.path.join") is __import__("os").path.join
    assert utils.import_term("math") is __import__("math")
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        utils.import_term("math.nope")


def test_files_are_imported_again(tmp_path: Path) -> None:
    file = tmp_path / "imported_by_a_test.py"
    file.write_text("x = 1")
    (module,) = utils.import_file(str(file))
    assert module.x == 1
    file.write_text("x = 'another'")
    (module,) = utils.import_file(str(file))
    assert module.x == "another"
    assert str(tmp_path) not in sys.path
    with pytest.raises(ValueError, match=r"neither a \.py"):
        utils.import_file("thing.txt")


def test_coroutine_functions() -> None:
    async def f(x: int) -> int:
        return x

    class Callable:
        async def __call__(self) -> None: ...

    assert utils.iscoroutinefunction(f)
    assert utils.iscoroutinefunction(functools.partial(f, 1))
    assert utils.iscoroutinefunction(Callable())
    assert not utils.iscoroutinefunction(Callable)
    assert not utils.iscoroutinefunction(len)


def test_errors_are_logged_and_go_on() -> None:
    @utils.log_errors
    def f() -> None:
        raise ZeroDivisionError("f")

    @utils.log_errors()
    async def g() -> None:
        raise ZeroDivisionError("g")

    records: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("distributed.utils")
    logger.addHandler(handler)
    try:
        with pytest.raises(ZeroDivisionError):
            f()
        with pytest.raises(ZeroDivisionError):
            asyncio.run(g())
        with pytest.raises(ZeroDivisionError), utils.log_errors():
            raise ZeroDivisionError("h")
    finally:
        logger.removeHandler(handler)
    assert records == ["f", "g", "h"]


def test_deadline() -> None:
    assert utils.Deadline.after(0).expired
    never = utils.Deadline.after(None)
    assert not never.expires
    assert never.remaining is None
    assert not never.expired
    assert 9 < (utils.Deadline.after(10).remaining or 0) <= 10


def test_all_cancels_the_rest() -> None:
    async def main() -> None:
        cancelled = asyncio.Event()

        async def slow() -> None:
            try:
                await asyncio.sleep(100)
            finally:
                cancelled.set()

        async def fails() -> None:
            await asyncio.sleep(0)
            raise ValueError("here")

        with pytest.raises(ValueError, match="here"):
            await utils.All([slow(), fails()])
        assert cancelled.is_set()

    asyncio.run(main())


def test_options_of_a_command() -> None:
    assert utils.cli_keywords({"x": 123, "save_file": "foo.txt"}) == ["--x", "123", "--save-file", "foo.txt"]
    command = "distributed.cli.dask_worker"
    assert utils.cli_keywords({"nthreads": 2}, cmd=command) == ["--nthreads", "2"]
    with pytest.raises(ValueError, match="'apples'"):
        utils.cli_keywords({"apples": 2}, cmd=command)


def test_logs_are_shown_as_text() -> None:
    assert "&lt;b&gt;" in logs.Log("<b>")._repr_html_()
    assert "<details>" in logs.Logs({"worker": logs.Log("a line")})._repr_html_()


def test_a_file_that_comes_late(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError, match="could not read"):
        utils.json_load_robust(str(tmp_path / "nope.json"), timeout=0.01)
    (tmp_path / "there.json").write_text("[1]")
    assert utils.json_load_robust(str(tmp_path / "there.json")) == [1]


def test_slow_blocks_warn() -> None:
    with pytest.warns(UserWarning, match="took"), utils.warn_on_duration("1us", "took {duration:.1f}"):
        sum(range(10_000))
