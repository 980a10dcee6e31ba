"""Warnings of ours that no handler of the program hears are printed, as they would be if we had no handlers either."""

from __future__ import annotations

import logging
import sys
from typing import Any

FORMAT = "%(asctime)s - %(name)s - %(levelname)s - %(message)s"

#: Handlers that we add ourselves; they are no sign that the program has set its logging up.
_own: list[logging.Handler] = []


class LastResort(logging.StreamHandler[Any]):
    """Prints warnings that no handler of the program hears.

    Python's own handler of last resort is silent as soon as a logger has any handler, be it one that only keeps lines.
    This one looks at each record, so a program may set up its logging when it likes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setLevel(logging.WARNING)
        self.setFormatter(logging.Formatter(FORMAT))

    @property
    def stream(self) -> Any:
        """Standard error as it is now: programs replace it."""
        return sys.stderr

    @stream.setter
    def stream(self, stream: Any) -> None:
        """Nothing: the class above wants to keep one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print it, unless somebody else does, or Python's own handler was taken away."""
        if self.stream is not None and logging.lastResort is not None and not _heard(record.name):
            super().emit(record)


def print_unheard() -> None:
    """From now on, print warnings of the loggers below ``distributed`` that no handler of the program hears."""
    if not any(isinstance(handler, LastResort) for handler in _own):
        add_own_handler(LastResort())


def add_own_handler(handler: logging.Handler) -> None:
    """Let a handler of ours hear the loggers below ``distributed``."""
    _own.append(handler)
    logging.getLogger("distributed").addHandler(handler)


def is_set_up(logger: logging.Logger) -> bool:
    """Whether the program, or its configuration, gave this logger a handler."""
    return any(handler not in _own for handler in logger.handlers)


def _heard(name: str) -> bool:
    logger: logging.Logger | None = logging.getLogger(name)
    while logger is not None:
        if is_set_up(logger):
            return True
        logger = logger.parent if logger.propagate else None
    return False
