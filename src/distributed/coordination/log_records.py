"""Logs of the network's processes, fetched or forwarded to the client's own loggers."""

from __future__ import annotations

import logging
from typing import Any

from distributed.diagnostics.plugin import WorkerPlugin

#: Topic of forwarded log records.
TOPIC = "forward-logging"


class ForwardLoggingPlugin(WorkerPlugin):
    """Sends what a worker logs to the scheduler's topic of log records.

    Parameters
    ----------
    logger_name : str or None
        None: the root logger.
    level : int or str
    topic : str
    """

    idempotent = True

    def __init__(self, logger_name: str | None, level: int | str, topic: str = TOPIC) -> None:
        self.logger_name = logger_name
        self.level = level
        self.topic = topic
        self.handler: logging.Handler | None = None

    def setup(self, worker: Any) -> None:
        self.handler = _ForwardingHandler(worker, self.topic, self.level)
        logger = logging.getLogger(self.logger_name)
        self._level = logger.level
        if logger.getEffectiveLevel() > self.handler.level:
            logger.setLevel(self.handler.level)
        logger.addHandler(self.handler)

    def teardown(self, worker: Any) -> None:
        if self.handler is not None:
            logger = logging.getLogger(self.logger_name)
            logger.removeHandler(self.handler)
            logger.setLevel(self._level)
            self.handler = None


class _ForwardingHandler(logging.Handler):
    def __init__(self, worker: Any, topic: str, level: int | str) -> None:
        super().__init__(level)
        self._worker = worker
        self._topic = topic

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._worker.log_event(self._topic, _as_dict(record))
        except Exception:
            self.handleError(record)


def _as_dict(record: logging.LogRecord) -> dict[str, Any]:
    """A record as it travels: formatted, so that its arguments need not."""
    attributes = {
        name: value
        for name, value in record.__dict__.items()
        if isinstance(value, str | int | float | type(None)) and name != "msg"
    }
    attributes["msg"] = record.getMessage()
    if record.exc_info:
        attributes["exc_text"] = logging.Formatter().formatException(record.exc_info)
    return attributes


class ClientLogs:
    """The client's half."""

    def __init__(self, client: Any) -> None:
        self.client = client

    async def forward(self, logger_name: str | None, level: int | str) -> Any:
        await self.client.extensions["topics"].subscribe(TOPIC, self._on_record)
        plugin = ForwardLoggingPlugin(logger_name, level)
        return await self.client.extensions["plugins"].register(plugin, _plugin_name(logger_name), True)

    async def unforward(self, logger_name: str | None) -> Any:
        return await self.client.extensions["plugins"].unregister("worker", _plugin_name(logger_name))

    def _on_record(self, event: tuple[float, Any]) -> None:
        record = logging.makeLogRecord(event[1])
        logger = logging.getLogger(record.name)
        if logger.isEnabledFor(record.levelno):
            logger.handle(record)

    async def of_scheduler(self, n: int | None) -> list[tuple[str, str]]:
        return [tuple(entry) for entry in await self.client._call("get_logs", n=n)]

    async def of_workers(
        self, n: int | None, workers: list[str] | None, nanny: bool
    ) -> dict[str, list[tuple[str, str]]]:
        answers = await self.client._call(
            "broadcast", op="get_logs", kwargs={"n": n}, workers=workers, nanny=nanny, on_error="return"
        )
        return {
            address: [tuple(entry) for entry in answer.get("result") or ()] for address, answer in answers
        }


def _plugin_name(logger_name: str | None) -> str:
    return f"forward-logging-{logger_name or '<root>'}"


__all__ = ["TOPIC", "ClientLogs", "ForwardLoggingPlugin"]
