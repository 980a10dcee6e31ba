"""The last lines that this process logged, kept for whoever asks through a call."""

from __future__ import annotations

import copy
import logging
from collections import deque
from typing import Any

from distributed.unheard import FORMAT, add_own_handler, print_unheard


class LogKeeper(logging.Handler):
    """Keeps the last records of a logger, and nothing of what they are about."""

    def __init__(self, maxlen: int) -> None:
        super().__init__()
        self.records: deque[logging.LogRecord] = deque(maxlen=maxlen)
        self.setFormatter(logging.Formatter(FORMAT))

    def emit(self, record: logging.LogRecord) -> None:
        if record.args or record.exc_info:
            try:
                text = record.getMessage()
            except Exception:
                self.handleError(record)
                return
            error = self.formatter.formatException(record.exc_info) if record.exc_info else None  # type: ignore[union-attr]
            record = copy.copy(record)
            record.msg, record.args, record.exc_info, record.exc_text = text, None, None, error
        self.records.append(record)


_keeper: LogKeeper | None = None


def keep_logs() -> LogKeeper:
    """Begin to keep what the loggers below ``distributed`` say in this process; the one keeper."""
    global _keeper
    if _keeper is None:
        from distributed import config  # brings dask along, which those who only connect do without

        length = config.get("distributed.admin.log-length", None)
        _keeper = LogKeeper(10_000 if length is None else int(length))
        add_own_handler(_keeper)
        print_unheard()
    return _keeper


def read_logs(start: float = 0, n: int | None = None, timestamps: bool = False) -> list[tuple[Any, ...]]:
    """Pairs of level and line, newest first; triples with the time (seconds since the epoch) before them.

    Parameters
    ----------
    start : float
        Only what was logged after this time.
    n : int, optional
        At most so many, the newest.
    """
    keeper = keep_logs()
    records = [record for record in keeper.records if record.created > start]
    if n is not None:
        records = records[-n:] if n > 0 else []
    lines = [(record.created, record.levelname, keeper.format(record)) for record in reversed(records)]
    return lines if timestamps else [line[1:] for line in lines]
