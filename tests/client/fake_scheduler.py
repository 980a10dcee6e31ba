"""A scheduler and its only worker in one small object: enough of a network to test a client against.

Tasks run at once, in the scheduler's loop, unless ``hold`` is set: then only when ``release_held`` is called.
Results up to ``inline`` bytes travel with the completion; others are fetched by ``get_data`` or ``gather``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from distributed.client import Client
from distributed.core import Connection, Server
from distributed.loops import LoopRunner
from distributed.protocol import refs
from distributed.protocol.errors import pack_error
from distributed.protocol.messages import (
    CancelAnswered,
    CancelKeys,
    CloseClient,
    PutFunctions,
    ReleaseKeys,
    RetryKeys,
    SubmitGraph,
    SubmitTasks,
    TaskError,
    TasksCancelled,
    TasksErredForClient,
    TasksInMemory,
    WantKeys,
)
from distributed.protocol.payload import nbytes, pack, unpack
from distributed.security import Security


class FakeScheduler(Server):
    def __init__(self, port: int = 0, *, security: Security | None = None, inline: int = 1_000) -> None:
        super().__init__(
            {
                "register_client": self.register_client,
                "get_data": self.get_data,
                "gather": self.gather,
                "scatter": self.scatter,
                "ncores": lambda workers=None: {self.address: 1} if self.has_worker else {},
                "who_has": self.who_has,
                "has_what": lambda workers=None: [[self.address, list(self.data)]],
                "nbytes": lambda keys=None: [[key, nbytes(self.data[key])] for key in keys or self.data],
                "processing": lambda workers=None: [[self.address, list(self.held)]],
                "broadcast": self.broadcast,
                "run_function": self.run_function,
                "gone": self.gone,
            },
            security=security or Security(insecure=True),
        )
        self.port_wanted = port
        self.inline = inline
        self.hold = False
        self.has_worker = True
        self.refuse_get_data = False
        self.functions: dict[bytes, Any] = {}
        self.specs: dict[Any, tuple[bytes, Any, list[Any]]] = {}
        self.wants: set[Any] = set()
        self.data: dict[Any, Any] = {}
        self.errors: dict[Any, TaskError] = {}
        self.held: list[Any] = []
        self.runs: list[Any] = []  # keys, in the order in which they ran
        self.heard: list[Any] = []  # every stream message
        self.called: list[str] = []
        self.streams: list[Connection] = []

    async def on_start(self) -> None:
        await self.listen(f"tcp://127.0.0.1:{self.port_wanted}")

    # ------------------------------------------------------------ stream

    def register_client(
        self, comm: Connection, client: str, versions: Any = None, known: Any = None, topics: Any = ()
    ) -> dict[str, Any]:
        self.streams.append(comm)
        comm.on_stream = lambda messages: self.hear(comm, messages)
        workers = [self.address] if self.has_worker else []
        return {"status": "OK", "scheduler_id": self.id, "address": self.address, "workers": workers}

    def hear(self, comm: Connection, messages: list[Any]) -> None:
        self.heard += messages
        for message in messages:
            if isinstance(message, PutFunctions):
                self.functions.update(zip(message.ids, message.blobs, strict=True))
            elif isinstance(message, SubmitTasks):
                self.submit(comm, message)
            elif isinstance(message, SubmitGraph):
                self.submit_graph(comm, message)
            elif isinstance(message, WantKeys):
                for key in message.keys:
                    if key not in self.data:
                        comm.send(TasksCancelled([key], "unknown"))
                self.wants.update(message.keys)
                self.report(comm, message.keys)
            elif isinstance(message, ReleaseKeys):
                self.wants.difference_update(message.keys)
            elif isinstance(message, CancelKeys):
                hit = [key for key in message.keys if key in self.wants]
                self.wants.difference_update(hit)
                self.held = [key for key in self.held if key not in hit]
                comm.send(TasksCancelled(hit, message.reason))
                comm.send(CancelAnswered(message.keys))
            elif isinstance(message, RetryKeys):
                for key in message.keys:
                    del self.errors[key]
                    self.run(comm, key)
            elif isinstance(message, CloseClient):
                self.wants.clear()

    def submit(self, comm: Connection, message: SubmitTasks) -> None:
        for i, key in enumerate(message.keys):
            deps = message.deps[i] if message.deps is not None else []
            if key not in self.specs:
                self.specs[key] = message.fn, message.args[i], deps
            if message.wanted:
                self.wants.add(key)
            if self.hold:
                self.held.append(key)
            elif key not in self.data and key not in self.errors:
                self.run(comm, key)
        if not self.hold:
            self.report(comm, message.keys)

    def submit_graph(self, comm: Connection, message: SubmitGraph) -> None:
        for which, key, args, deps, wanted in zip(
            message.which, message.keys, message.args, message.deps, message.wanted, strict=True
        ):
            fn, name, options = message.calls[which]
            self.submit(comm, SubmitTasks(fn, name, [key], [args], [deps], options, wanted))

    def release_held(self) -> None:
        held, self.held = self.held, []
        for key in held:
            self.run(self.streams[-1], key)

    def run(self, comm: Connection, key: Any) -> None:
        fn, args, deps = self.specs[key]
        for dep in deps:
            if dep in self.errors:
                self.errors[key] = self.errors[dep]
                self.report(comm, [key])
                return
        self.runs.append(key)
        try:
            with refs.resolving({dep: unpack(self.data[dep]) for dep in deps}):
                positional, named = unpack(args)
            self.data[key] = pack(unpack(self.functions[fn])(*positional, **named))
        except Exception as error:
            own_frame = error.__traceback__
            packed = pack_error(error, own_frame.tb_next if own_frame is not None else None)
            self.errors[key] = TaskError(packed.exception, packed.traceback, packed.exception_text)
        self.report(comm, [key])

    def report(self, comm: Connection, keys: list[Any]) -> None:
        done = [key for key in keys if key in self.data and key in self.wants]
        if done:
            values = [self.data[key] for key in done]
            comm.send(
                TasksInMemory(
                    done,
                    [value if nbytes(value) <= self.inline else None for value in values],
                    [type(unpack(value)).__name__ for value in values],
                    [self.address] * len(done),
                )
            )
        failed = [key for key in keys if key in self.errors and key in self.wants]
        if failed:
            comm.send(TasksErredForClient(failed, [self.errors[key] for key in failed]))

    # ------------------------------------------------------------ calls

    def get_data(self, keys: list[Any], who: str) -> dict[str, Any]:
        self.called.append("get_data")
        if self.refuse_get_data:
            return {"status": "OK", "data": []}
        return {"status": "OK", "data": [[key, self.data[key]] for key in keys if key in self.data]}

    def gather(self, keys: list[Any]) -> dict[str, Any]:
        self.called.append("gather")
        missing = [key for key in keys if key not in self.data]
        if missing:
            return {"status": "error", "keys": missing}
        return {"status": "OK", "data": [[key, self.data[key]] for key in keys]}

    def scatter(
        self,
        keys: list[Any],
        payloads: list[Any],
        workers: Any = None,
        broadcast: Any = False,
        client: str = "",
        timeout: float = 5,
        works: Any = None,
        number: int = 0,
    ) -> list[Any]:
        if not self.has_worker:
            raise TimeoutError("no workers are running")
        self.data.update(zip(keys, payloads, strict=True))
        self.wants.update(keys)
        return [[key, [self.address]] for key in keys]

    def who_has(self, keys: Any = None) -> list[Any]:
        return [[key, [self.address] if key in self.data else []] for key in keys or self.data]

    def broadcast(
        self, op: str, kwargs: dict[str, Any], workers: Any = None, nanny: bool = False, on_error: str = ""
    ) -> list[Any]:
        if op == "versions":
            return [[self.address, {"status": "OK", "result": self.versions()}]]
        try:
            result = unpack(kwargs["function"])(*unpack(kwargs["args"]), **unpack(kwargs["kwargs"]))
        except Exception as error:
            packed = pack_error(error)
            return [
                [
                    self.address,
                    {"status": "error", "text": packed.exception_text, "exception": packed.exception},
                ]
            ]
        return [[self.address, {"status": "OK", "result": pack(result)}]]

    def run_function(self, function: Any, args: Any, kwargs: Any, wait: bool = True) -> Any:
        return pack(unpack(function)(*unpack(args), **unpack(kwargs)))

    def gone(self) -> None:
        """Cut all streams, as a dying scheduler would."""
        for stream in self.streams:
            stream.abort()


class Network:
    """A fake scheduler on a loop of its own and a synchronous client."""

    def __init__(self, scheduler: FakeScheduler, runner: LoopRunner, client: Client) -> None:
        self.scheduler = scheduler
        self.runner = runner
        self.client = client

    def on_loop(self, func: Any, *args: Any) -> Any:
        """Call a function on the scheduler's loop and wait for it."""

        async def call() -> Any:
            result = func(*args)
            return await result if asyncio.iscoroutine(result) else result

        return self.runner.run_sync(call)

    def heard(self, kind: type) -> list[Any]:
        """Keys of the messages of a kind so far."""
        return [key for message in self.scheduler.heard if type(message) is kind for key in message.keys]


@contextmanager
def network(**client_kwargs: Any) -> Iterator[Network]:
    runner = LoopRunner()
    runner.start()

    async def start() -> FakeScheduler:
        return await FakeScheduler()

    scheduler = runner.run_sync(start)
    try:
        client = Client(  # not entered: that would make it the current client of the tests
            scheduler.address,
            security=Security(insecure=True),
            timeout=5,
            set_as_default=False,
            **client_kwargs,
        )
        try:
            yield Network(scheduler, runner, client)
        finally:
            client.close()
    finally:
        runner.run_sync(scheduler.close)
        runner.stop()
