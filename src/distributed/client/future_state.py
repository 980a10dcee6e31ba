"""What a client knows of one key, as ``client.futures`` gives it."""

from __future__ import annotations

import builtins
from types import TracebackType
from typing import Any

from distributed.client.errors import remote_exception, remote_traceback
from distributed.client.future import Future
from distributed.protocol.errors import pack_error
from distributed.protocol.messages import Message, TaskError, TasksErredForClient, TasksInMemory, TasksLost


class FutureState:
    """A look at one key of a client. All is as it is at that moment; nothing here keeps the task alive.

    :meth:`finish`, :meth:`lose`, :meth:`reset` and :meth:`set_error` say to the client what its scheduler might say,
    for programs that stand between both. They change what this client believes, wake up who waits for it, and tell
    nobody else; what the scheduler says next of the key holds again. A key that is cancelled stays so.

    Parameters
    ----------
    key : str or tuple
    client : Client, optional
        Default: the current one.
    """

    __slots__ = ("_client", "key")

    def __init__(self, key: Any, client: Any = None) -> None:
        from distributed.client.current import default_client

        self.key = key
        self._client = default_client(client)

    @property
    def _task(self) -> Any:
        self._client._session.settle()
        return self._client._session.state.tasks.get(self.key)

    @property
    def status(self) -> str:
        """``pending``, ``finished``, ``error``, ``cancelled`` or ``lost``; "cancelled" too once nobody has a future."""
        task = self._task
        return "cancelled" if task is None else str(task.status)

    @property
    def type(self) -> Any:
        """Of the result, as far as it is known."""
        task = self._task
        return None if task is None else task.type or None

    @property
    def exception(self) -> BaseException | None:
        """What the task raised; None unless it erred."""
        task = self._task
        return remote_exception(task) if task is not None and task.status == "error" else None

    @property
    def traceback(self) -> Any:
        """Of the exception; None unless it erred."""
        task = self._task
        return remote_traceback(task) if task is not None and task.status == "error" else None

    def done(self) -> bool:
        """Whether it is not pending any more."""
        return self.status != "pending"

    async def wait(self, timeout: float | None = None) -> None:
        """Return when it is done. Raises TimeoutError after ``timeout`` seconds."""
        task = self._task
        if task is not None:
            await self._client._wait_tasks([task], timeout)

    def cancel(self, reason: str | None = None, msg: str | None = None) -> Any:
        """Cancel the task, as ``client.cancel``."""
        return self._client.cancel([self._future()], reason=reason, msg=msg)

    def retry(self) -> Any:
        """Run the task again if it has erred, as ``client.retry``."""
        return self._client.retry([self._future()])

    # ------------------------------------------------------------ as the scheduler would say it

    def finish(self, type: Any = None) -> None:
        """The result is there; where it lies is asked for when it is needed. ``type``: its class, or the name of it."""
        name = type.__qualname__ if isinstance(type, builtins.type) else str(type or "")
        self._hear(TasksInMemory([self.key], [None], [name], [""]))

    def reset(self) -> None:
        """The result is not there any more, and will be computed again: pending."""
        self._hear(TasksLost([self.key]))

    def lose(self) -> None:
        """The result is not there any more, and nobody will compute it again: lost."""
        self.reset()
        session = self._client._session
        session.post(session.state.abandon, "given up by FutureState.lose", [self.key])
        session.settle()

    def set_error(self, exception: BaseException, traceback: TracebackType | None = None) -> None:
        """The task has raised this."""
        packed = pack_error(exception, traceback)
        self._hear(TasksErredForClient([self.key], [TaskError(*packed, blamed_key=self.key)]))

    def _hear(self, message: Message) -> None:
        session = self._client._session
        session.post(session.state.handle_message, message)
        session.settle()

    def _future(self) -> Future:
        return Future(self.key, self._client)

    def __repr__(self) -> str:
        return f"<FutureState {self.key!r}: {self.status}>"
