"""Steps of single tasks, for plugins and programs that run inside the scheduler.

The engine itself never calls these: it is moved by messages, in batches. Each method here is one event of the machine
(:mod:`distributed.scheduler.state.orders`), followed up at once; what there is to say leaves at the end of the turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from distributed.protocol.errors import exception_text, pack_error
from distributed.protocol.messages import Key, Message, TaskError, TasksErred, TasksFinished
from distributed.protocol.payload import Payload, Serialized, pack
from distributed.scheduler.extending import Extending
from distributed.scheduler.groups import group_name
from distributed.scheduler.state import orders, worker_events

if TYPE_CHECKING:
    from distributed.scheduler.state import TaskState, WorkerState


class Steps(Extending):
    """Mixed into :class:`~distributed.scheduler.server.Scheduler`.

    Attributes
    ----------
    transition_counter_max : int or False
        More transitions than this are taken for a bug, and an AssertionError at the end of the turn: for tests.
    """

    transition_counter_max: int | bool = False

    @property
    def transition_counter(self) -> int:
        """How many transitions there have been."""
        return self.state.ntransitions

    def flush(self) -> None:
        super().flush()
        most = self.transition_counter_max
        assert most is False or self.transition_counter <= most, f"more than {most} transitions"

    def _carry_out(
        self, stimulus_id: str | None, order: Callable[..., Any], *args: Any, source: str = ""
    ) -> Any:
        self.state.begin(source, stimulus_id or order.__name__, time.monotonic())
        try:
            return order(self.state, *args)
        finally:
            self.schedule_flush()

    # ------------------------------------------------------------ what happens to a task

    def transition(self, key: Key, finish: str, stimulus_id: str, **kwargs: Any) -> dict[Key, str]:
        """Bring a task to another state, with all that follows from it.

        Parameters
        ----------
        key : key
        finish : str
            "released": free its result, take it back from its worker, or forgive its error; who still needs the result
            gets it computed again, which must be possible. "waiting": the same, and somebody must need it.
            "forgotten": cancel it and all that depend on it, for every client. "memory": ``worker=`` holds its result
            (``nbytes=``, ``typename=``). "erred": it has raised ``exception=`` (``traceback=``, ``worker=``).
            "processing": send it to ``worker=``.
        stimulus_id : str
            Why; stands in the story of the task.

        Returns
        -------
        dict
            Empty: what follows has been followed up, nothing is left to be done.

        Raises
        ------
        KeyError
            When there is no such task or worker.
        ValueError
            When the task cannot come to this state, "queued" and "no-worker" in particular: where a task waits is
            decided by the scheduler. Nothing has changed then.
        """
        ts = self.state.tasks[key]
        if finish in ("released", "waiting"):
            self._carry_out(stimulus_id, orders.drop_result if finish == "released" else orders.compute, ts)
        elif finish == "forgotten":
            self._carry_out(stimulus_id, orders.give_up, ts, f"forgotten by {stimulus_id}")
        elif finish == "memory":
            ws = self._worker_of(kwargs, key, finish)
            nbytes, typename = int(kwargs.get("nbytes", -1)), str(kwargs.get("typename", ""))
            self._carry_out(stimulus_id, orders.hold, ts, ws, nbytes, typename)
        elif finish == "erred":
            self._carry_out(stimulus_id, orders.fail, ts, _as_error(key, kwargs))
        elif finish == "processing":
            self._carry_out(stimulus_id, orders.send, ts, self._worker_of(kwargs, key, finish))
        else:
            raise ValueError(f"{key!r} cannot be brought to {finish!r}: that is decided by the scheduler")
        return {}

    def transitions(self, recommendations: Mapping[Key, str], stimulus_id: str) -> None:
        """:meth:`transition` for several, in this order; keys that are not (or no longer) known are passed over."""
        for key, finish in recommendations.items():
            if key in self.state.tasks:
                self.transition(key, finish, stimulus_id)

    def _worker_of(self, kwargs: Mapping[str, Any], key: Key, finish: str) -> WorkerState:
        address = kwargs.get("worker")
        if address is None:
            raise ValueError(f"{key!r} cannot be brought to {finish!r} without worker=")
        return self.state.workers[address]

    def send_task_to_worker(self, worker: str, ts: TaskState) -> None:
        """Have a task that could run started by this worker, whatever that has to do already.

        Raises
        ------
        ValueError
            When it cannot run now, or not there.
        """
        self._carry_out(None, orders.send, ts, self.state.workers[worker])

    def set_restrictions(self, worker: Mapping[Key, Collection[str] | str | None]) -> None:
        """Say of tasks, by key, which workers may run them (addresses, names, hosts); None: all may.

        A task that waits is placed anew; one that was given to a worker that may not run it any more is asked back, and
        comes unless it has begun there. The client that submitted it does not hear of it: should the scheduler be
        restarted, the task comes with the restrictions it had.

        Raises
        ------
        KeyError
            When there is no such task.
        ValueError
            When it is data, which no worker runs.
        """
        found = {self.state.tasks[key]: allowed for key, allowed in worker.items()}
        for ts, allowed in found.items():
            named = [allowed] if isinstance(allowed, str) else allowed
            self._carry_out("set-restrictions", orders.restrict, ts, named)

    def new_task(self, key: Key, spec: Any, state: str = "released", computation: Any = None) -> TaskState:
        """Make the record of a task that nobody has asked for yet.

        Who is to have it is said by :meth:`client_desires_keys`. What nobody has asked for after
        ``scheduler.client-ttl`` is forgotten.

        Parameters
        ----------
        key : key
            One that is not known.
        spec : callable, tuple, TaskSpec or None
            A function without arguments; a function and its arguments, such as ``(add, 1, 2)``, pickled here and now;
            ``ts.spec`` of another task, whose arguments are then not taken over; or None: data that may come.
        state : str
            Only "released".
        computation
            Not used.

        Raises
        ------
        ValueError
            When there is such a task, or ``state`` is another.
        """
        if state != "released":
            raise ValueError(
                f"a new task is 'released', not {state!r}: it is computed once somebody needs it"
            )
        args: Payload = b""
        if callable(spec) or isinstance(spec, tuple):
            function, *arguments = spec if isinstance(spec, tuple) else (spec,)
            blob = pack(function)
            args = pack((tuple(arguments), {}))
            spec = group_name(key), _digest(blob), blob
        elif spec is not None:
            args = pack(((), {}))
        made: TaskState = self._carry_out("new-task", orders.define, key, spec, args)
        return made

    # ------------------------------------------------------------ what workers say of a task

    def handle_task_finished(self, key: Key, worker: str, stimulus_id: str, **msg: Any) -> None:
        """As if a worker had said that a task has finished there.

        ``msg``: ``nbytes``, ``typename`` (or ``type``), ``startstops`` or ``duration`` in seconds, and ``run_id``, the
        number under which the task was sent; a task that was sent again meanwhile is not meant. Should the worker not
        hold the result after all, it is computed again when somebody asks for it.
        """
        ts = self.state.tasks.get(key)
        seq = msg.get("run_id", -1 if ts is None else ts.seq)
        spans = [span for span in msg.get("startstops") or () if span["action"] == "compute"]
        duration = float(msg.get("duration", sum(span["stop"] - span["start"] for span in spans)))
        typename = str(msg.get("typename") or msg.get("type") or "")
        message = TasksFinished([key], [seq], [int(msg.get("nbytes", -1))], [duration], [typename], [None])
        self._said(worker, stimulus_id, message)

    def handle_task_erred(self, key: Key, stimulus_id: str, **msg: Any) -> None:
        """As if a worker had said that a task has raised; it is run again while it has retries left.

        ``msg``: ``exception`` and ``traceback``, as they are or pickled; ``worker``, default: the one that was given
        the task; ``run_id`` as for :meth:`handle_task_finished`.
        """
        ts = self.state.tasks.get(key)
        if ts is None or ts.processing_on is None:
            return
        worker = msg.get("worker") or ts.processing_on.address
        message = TasksErred([key], [msg.get("run_id", ts.seq)], [_as_error(key, {**msg, "worker": worker})])
        self._said(worker, stimulus_id, message)

    def stimulus_task_finished(
        self, worker: str, stimulus_id: str, key: Key, run_id: int, metadata: Any = None, **kwargs: Any
    ) -> None:
        """:meth:`handle_task_finished`; ``metadata`` becomes that of the task."""
        if metadata:
            self.set_metadata(keys=[str(key)], value=metadata)
        self.handle_task_finished(key, worker, stimulus_id, run_id=run_id, **kwargs)

    def stimulus_task_erred(
        self, worker: str, stimulus_id: str, key: Key, run_id: int, **kwargs: Any
    ) -> None:
        """:meth:`handle_task_erred`."""
        self.handle_task_erred(key, stimulus_id, worker=worker, run_id=run_id, **kwargs)

    def _said(self, worker: str, stimulus_id: str, message: TasksFinished | TasksErred) -> None:
        ws = self.state.workers.get(worker)
        if ws is not None:
            if self.wants_transitions:
                self.worker_said(worker, [message])
            self._carry_out(stimulus_id, worker_events.EVENTS[type(message)], ws, message, source=worker)

    # ------------------------------------------------------------ to clients

    def report(self, msg: Message, ts: TaskState | None = None, client: str | None = None) -> None:
        """One message (of ``protocol.messages``) to one client, to those that want a task, or to all."""
        if client is not None:
            peers = [client]
        else:
            peers = [cs.name for cs in ts.who_wants] if ts is not None else list(self.state.clients)
        for peer in peers:
            self.send_to_peer(peer, msg)


def _as_error(key: Key, kwargs: Mapping[str, Any]) -> TaskError:
    """What is known of an error, its exception as it is or pickled already."""
    exception, traceback = kwargs.get("exception"), kwargs.get("traceback")
    if exception is None:
        raise ValueError(f"{key!r} cannot err without exception=")
    worker = kwargs.get("worker")
    error = TaskError(exception, traceback, blamed_key=key, erred_on=[worker] if worker else [])
    if isinstance(exception, BaseException):
        packed = pack_error(exception, traceback)
        error.exception, error.traceback = packed.exception, packed.traceback
        error.exception_text, error.traceback_text = exception_text(exception), packed.traceback_text
    else:
        error.exception_text = str(kwargs.get("exception_text", ""))
        error.traceback_text = str(kwargs.get("traceback_text", ""))
    return error


def _digest(payload: Payload) -> bytes:
    """The content hash by which functions are known."""
    frames = payload.frames if isinstance(payload, Serialized) else [payload]
    hasher = blake2b(digest_size=16)
    for frame in frames:
        hasher.update(frame)
    return hasher.digest()
