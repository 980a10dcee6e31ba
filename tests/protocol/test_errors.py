"""Exceptions travel with causes and tracebacks; those that cannot leave their text."""

from __future__ import annotations

import threading
import traceback
from typing import Any

import pytest
import tblib.pickling_support

from distributed.exceptions import RemoteError
from distributed.protocol.errors import pack_error, unpack_error, unpack_traceback


@pytest.fixture(params=[False, True], autouse=True)
def dask_has_registered_its_pickling(request: pytest.FixtureRequest) -> None:
    """What dask registers for pickling exceptions changes nothing here."""
    if request.param:
        tblib.pickling_support.install()


def raised(exc: BaseException, cause: BaseException | None = None) -> BaseException:
    def the_user_function() -> None:
        if cause is not None:
            try:
                raise cause
            except type(cause) as inner:
                raise exc from inner
        raise exc

    with pytest.raises(type(exc)) as info:
        the_user_function()
    return info.value


def test_type_arguments_traceback_and_cause_survive() -> None:
    packed = pack_error(raised(ValueError("x", 1), ZeroDivisionError("inner")))
    exc = unpack_error(packed.exception, packed.traceback, packed.exception_text)
    assert type(exc) is ValueError
    assert exc.args == ("x", 1)
    assert isinstance(exc.__cause__, ZeroDivisionError)
    text = "".join(traceback.format_exception(exc))
    assert text.count("the_user_function") == 3  # the cause once, where both were raised once each
    assert "direct cause" in text
    assert packed.exception_text == "ValueError('x', 1)"
    assert "the_user_function" in packed.traceback_text


def test_a_class_of_its_own_survives_with_its_attributes_and_notes() -> None:
    class Special(Exception):
        pass

    exc = Special("x")
    exc.detail = [1]  # type: ignore[attr-defined]
    exc.add_note("a note")
    packed = pack_error(raised(exc))
    back = unpack_error(packed.exception, packed.traceback)
    assert type(back).__name__ == "Special"
    assert back.detail == [1]  # type: ignore[attr-defined]
    assert back.__notes__ == ["a note"]


class NeedsTwo(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__("one only")


def test_a_constructor_with_other_parameters_does_no_harm() -> None:
    packed = pack_error(raised(NeedsTwo(1, 2)))
    exc = unpack_error(packed.exception, packed.traceback, packed.exception_text)
    assert type(exc) is NeedsTwo
    assert exc.args == ("one only",)
    assert "the_user_function" in "".join(traceback.format_exception(exc))


class Refuses(Exception):
    def __reduce__(self) -> Any:
        raise RuntimeError("not me")


def test_an_exception_that_refuses_leaves_its_text_and_traceback() -> None:
    packed = pack_error(raised(Refuses("said this")))
    assert packed.exception is None
    exc = unpack_error(packed.exception, packed.traceback, packed.exception_text)
    assert isinstance(exc, RemoteError)
    assert "said this" in str(exc)
    assert "the_user_function" in "".join(traceback.format_exception(exc))


def test_an_attribute_that_cannot_be_pickled_is_left_out() -> None:
    exc = KeyError("k")
    exc.lock = threading.Lock()  # type: ignore[attr-defined]
    packed = pack_error(raised(exc))
    back = unpack_error(packed.exception)
    assert type(back) is KeyError
    assert back.args == ("k",)


def test_exceptions_of_the_system_and_groups() -> None:
    for exc in (
        FileNotFoundError(2, "No such file", "name"),
        UnicodeDecodeError("utf-8", b"x", 0, 1, "why"),
        ExceptionGroup("two", [ValueError(1), KeyError("k")]),
    ):
        back = unpack_error(pack_error(raised(exc)).exception)
        assert type(back) is type(exc)
        assert repr(back) == repr(exc)
        assert str(back) == str(exc)


def test_an_exception_that_cannot_be_pickled_leaves_its_text() -> None:
    packed = pack_error(raised(ValueError(threading.Lock())))
    assert packed.exception is None
    assert "lock" in packed.exception_text


def test_a_cause_that_cannot_be_pickled_does_not_take_the_exception_with_it() -> None:
    packed = pack_error(raised(KeyError("k"), ValueError(threading.Lock())))
    exc = unpack_error(packed.exception, packed.traceback, packed.exception_text)
    assert isinstance(exc, KeyError)


def test_a_repr_that_raises_does_no_harm() -> None:
    class Rude(Exception):
        def __repr__(self) -> str:
            raise RuntimeError

    assert "Rude" in pack_error(raised(Rude())).exception_text


def test_garbage_becomes_a_remote_error() -> None:
    exc = unpack_error(b"garbage", b"garbage", "ValueError('x')")
    assert isinstance(exc, RemoteError)
    assert "ValueError('x')" in str(exc)
    assert unpack_traceback(b"garbage") is None
    assert isinstance(unpack_error(None), RemoteError)
    assert exc.__reduce__()[0] is RemoteError
