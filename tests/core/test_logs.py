"""The last log lines are kept, and nothing of what they are about."""

from __future__ import annotations

import gc
import logging
import sys
import weakref

import pytest

from distributed.core.logs import LogKeeper


class Thing:
    def __repr__(self) -> str:
        return "a thing"


def record(thing: Thing, error: bool) -> logging.LogRecord:
    try:
        raise ValueError(repr(thing))
    except ValueError:
        return logging.LogRecord(
            "distributed.x",
            logging.ERROR,
            __file__,
            1,
            "about %r",
            (thing,),
            sys.exc_info() if error else None,
        )


@pytest.mark.parametrize("error", [True, False])
def test_what_a_line_is_about_is_not_kept(error: bool) -> None:
    gc.collect()
    gc.disable()
    try:
        keeper, thing = LogKeeper(10), Thing()
        gone = weakref.ref(thing)
        line = record(thing, error)
        keeper.handle(line)
        assert line.args == (thing,)  # for handlers after this one
        del thing, line
        assert gone() is None
        (kept,) = keeper.records
        text = keeper.format(kept)
        assert text.startswith(f"{kept.asctime} - distributed.x - ERROR - about a thing")
        assert ("ValueError: a thing" in text) == error
    finally:
        gc.enable()


def test_a_line_that_cannot_be_formatted_is_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    keeper = LogKeeper(10)
    keeper.handle(logging.LogRecord("distributed.x", logging.INFO, __file__, 1, "%d", ("no number",), None))
    assert not keeper.records
    assert "Logging error" in capsys.readouterr().err
