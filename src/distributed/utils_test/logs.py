"""What was logged, as text; and exceptions with their causes."""

from __future__ import annotations

import contextlib
import io
import logging
import re
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def captured_logger(
    logger: logging.Logger | str, level: int | str = logging.INFO, propagate: bool | None = None
) -> Iterator[io.StringIO]:
    """Inside, what goes to a logger is written into the text buffer that this gives.

    Parameters
    ----------
    logger : Logger or str
    level : int or str
        The logger's level meanwhile.
    propagate : bool, optional
        Whether the loggers above it get it too; default: as set.

    Examples
    --------
    >>> with captured_logger("distributed.example") as log:
    ...     logging.getLogger("distributed.example").info("here")
    >>> log.getvalue()
    'here\\n'
    """
    if isinstance(logger, str):
        logger = logging.getLogger(logger)
    before = logger.level, logger.handlers[:], logger.propagate
    buffer = io.StringIO()
    logger.setLevel(level)
    logger.handlers[:] = [logging.StreamHandler(buffer)]
    if propagate is not None:
        logger.propagate = propagate
    try:
        yield buffer
    finally:
        logger.setLevel(before[0])
        logger.handlers[:] = before[1]
        logger.propagate = before[2]


@contextlib.contextmanager
def captured_handler(handler: logging.StreamHandler[Any]) -> Iterator[io.StringIO]:
    """Inside, a stream handler writes into the text buffer that this gives."""
    buffer = io.StringIO()
    before = handler.setStream(buffer)
    try:
        yield buffer
    finally:
        if before is not None:
            handler.setStream(before)


@contextlib.contextmanager
def raises_with_cause(
    expected_exception: type[BaseException] | tuple[type[BaseException], ...],
    match: str | None,
    expected_cause: type[BaseException] | tuple[type[BaseException], ...],
    match_cause: str | None,
    *more_causes: type[BaseException] | tuple[type[BaseException], ...] | str | None,
) -> Iterator[None]:
    """Inside, an exception must be raised that has a certain cause.

    Parameters
    ----------
    expected_exception, expected_cause : type of exception
        Of what is raised, and of its ``__cause__``.
    match, match_cause : str, optional
        Patterns that are searched for in the texts.
    *more_causes
        Type and pattern of the cause's cause, and so on in pairs.

    Raises
    ------
    AssertionError
        When nothing is raised, or something else.
    """
    pairs = [(expected_exception, match), (expected_cause, match_cause)]
    pairs += list(zip(more_causes[::2], more_causes[1::2], strict=True))  # type: ignore[arg-type]
    try:
        yield
    except BaseException as raised:
        found: BaseException | None = raised
        if not isinstance(raised, expected_exception):
            raise
        for depth, (kind, pattern) in enumerate(pairs):
            where = "the exception" if depth == 0 else f"cause {depth}"
            if not isinstance(found, kind):
                raise AssertionError(f"{where} is {found!r}, not a {kind}") from raised
            assert found is not None
            if pattern is not None and not re.search(pattern, str(found)):
                raise AssertionError(f"{where} is {found!r}, which does not match {pattern!r}") from raised
            found = found.__cause__
    else:
        raise AssertionError(f"{expected_exception} was not raised")
