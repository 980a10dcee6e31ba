"""A program on a network: its steps by real clients, compared with the serial reference."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import program_tasks as tasks
from random_programs import Program, Step
from serial_reference import Seen, Serial

from distributed import Client, Event, Queue, Variable, as_completed, fire_and_forget

PATIENCE = 100.0
#: Steps that take longer are told of.
SLOW = 15.0


def collection(kind: str, salt: int, n: int) -> Any:
    """A dask collection of one whole number."""
    if kind in ("array", "slices"):
        import dask.array as da

        array = (da.arange(n, chunks=max(n // 4, 1)) + salt) % 1_000_003
        return (da.concatenate([array, array[::-1]])[::3] if kind == "slices" else array).sum()
    if kind == "bag":
        import dask.bag as db

        return db.from_sequence(range(n), npartitions=3).map(lambda i: tasks.mix(salt, i)).sum()
    if kind == "named":  # a name that everybody uses again
        first = dask.delayed(tasks.mix)(salt, 1, dask_key_name="job-0")
        return dask.delayed(tasks.mix)(salt, first, dask_key_name="job-1")
    leaves = [dask.delayed(tasks.mix)(salt, i) for i in range(n)]
    while len(leaves) > 1:
        leaves = [dask.delayed(tasks.mix)(salt, *leaves[i : i + 3]) for i in range(0, len(leaves), 3)]
    return leaves[0]


class Live:
    """The state of one program on a network."""

    def __init__(self, address: str, program: Program, folder: Path) -> None:
        self.address = address
        self.program = program
        self.folder = folder
        self.clients = [Client(address, timeout=60, set_as_default=i == 0) for i in range(program.nclients)]
        self.slots: dict[str, Any] = {}
        self.cancelled: list[Any] = []
        self.actors: dict[str, tuple[Any, Any]] = {}
        self.handles: dict[tuple[Any, str, int], Any] = {}
        self.effects: list[Path] = []
        self.datasets: set[str] = set()

    def do(self, step: Step) -> Any:
        """What the step gives; raises what it raises."""
        client = self.clients[step.client]
        return getattr(self, f"do_{step.op}")(client, step.out, **step.args)

    def path(self, name: Any) -> Path:
        return self.folder / str(name)

    def keep_only(self, slots: Any) -> None:
        """Let go of the futures that stood on cancelled ones."""
        for name in [name for name in self.slots if name not in slots]:
            del self.slots[name]

    def take_away(self) -> None:
        """All that lies in the scheduler."""
        for (kind, _, _), handle in self.handles.items():
            handle.close() if kind is Queue else handle.delete()
        self.handles.clear()
        for name in self.datasets:
            with contextlib.suppress(KeyError):
                self.clients[0].unpublish_dataset(self.dataset(name))
        self.datasets.clear()

    def end(self) -> None:
        """Whatever is left."""
        if self.clients[0].status == "running":
            self.take_away()
        self.slots.clear()
        self.cancelled.clear()
        self.actors.clear()
        for client in self.clients:
            client.close()

    # ------------------------------------------------------------ tasks

    def do_submit(
        self,
        client: Client,
        out: str,
        function: str,
        salt: int,
        inputs: list[str],
        size: int,
        key: Any,
        delay: float,
        same_as: str | None = None,
    ) -> None:
        args = [size] if function == "bulk" else []
        values = [self.slots[name] for name in inputs]
        call = getattr(tasks, function)
        self.slots[out] = client.submit(call, salt, *args, *values, delay=delay, key=key, pure=False)

    def do_map(self, client: Client, out: str, salt: int, outs: list[str], delay: float) -> None:
        n = len(outs)
        futures = client.map(tasks.mix, [salt] * n, range(n), delay=delay)
        self.slots |= dict(zip(outs, futures, strict=True))

    def do_result(self, client: Client, out: str, slot: str) -> Any:
        return self.slots[slot].result(timeout=PATIENCE)

    def do_gather(self, client: Client, out: str, slots: list[str], errors: str) -> Any:
        return client.gather([self.slots[name] for name in slots], errors=errors)

    def do_release(self, client: Client, out: str, slot: str) -> None:
        del self.slots[slot]

    def do_cancel(self, client: Client, out: str, slot: str, keep: bool) -> None:
        future = self.slots.pop(slot)
        future.cancel()
        if keep:
            self.cancelled.append(future)

    def do_pause(self, client: Client, out: str, seconds: float) -> None:
        time.sleep(seconds)

    def do_restart(self, client: Client, out: str) -> None:
        client.restart()
        self.slots.clear()

    def do_get(self, client: Client, out: str, salts: list[int], edges: list[list[int]], delay: float) -> Any:
        graph = {
            f"step-{i}": (tasks.mix, salt, *(f"step-{j}" for j in inputs))
            for i, (salt, inputs) in enumerate(zip(salts, edges, strict=True))
        }
        return list(client.get(graph, list(graph)))

    def do_collection(self, client: Client, out: str, kind: str, salt: int, n: int) -> Any:
        return client.compute(collection(kind, salt, n), sync=True)

    def do_persist(self, client: Client, out: str, salt: int, n: int) -> Any:
        import dask.array as da

        persisted = client.persist(da.arange(n, chunks=3) + salt)
        return client.compute(persisted.sum(), sync=True)

    def do_retry(self, client: Client, out: str, salt: int, inputs: list[str]) -> None:
        path = self.path(salt)
        future = client.submit(tasks.fails_until, str(path), salt, *(self.slots[name] for name in inputs))
        with contextlib.suppress(tasks.ProgramError):
            raise AssertionError(f"{future.result(timeout=PATIENCE)} instead of an error")
        path.touch()
        future.retry()
        self.slots[out] = future

    def do_retries(self, client: Client, out: str, salt: int, times: int) -> None:
        path = self.path(salt)
        path.mkdir()
        self.slots[out] = client.submit(tasks.fails_at_first, str(path), times, salt, retries=times)

    def do_scatter(self, client: Client, out: str, salt: int, broadcast: bool) -> None:
        self.slots[out] = client.scatter(tasks.bulk(salt, 5_000), broadcast=broadcast)

    def do_replicate(self, client: Client, out: str, slot: str) -> None:
        client.replicate([self.slots[slot]], n=2)

    # ------------------------------------------------------------ several at once

    def do_completed(self, client: Client, out: str, first: list[int], more: list[int], delay: float) -> Any:
        more = list(more)
        completed = as_completed([client.submit(tasks.mix, salt, delay=delay) for salt in first])
        values = []
        for future in completed:
            values.append(future.result())
            if more:
                completed.add(client.submit(tasks.mix, more.pop(), delay=delay))
        while more:  # there were more than first
            values.append(client.submit(tasks.mix, more.pop()).result(timeout=PATIENCE))
        return sorted(values)

    def do_executor(self, client: Client, out: str, salts: list[int]) -> Any:
        with client.get_executor() as executor:
            return list(executor.map(tasks.mix, salts))

    def do_nested(self, client: Client, out: str, kind: str, salt: int, n: int) -> None:
        self.slots[out] = client.submit(tasks.nested, kind, salt, n, pure=False)

    def do_effect(self, client: Client, out: str, salt: int) -> None:
        path = self.path(salt)
        self.effects.append(path)
        fire_and_forget(client.submit(tasks.leave_mark, str(path)))

    def do_lock(self, client: Client, out: str, salts: list[int]) -> Any:
        name = f"lock-{self.program.seed}"
        return client.gather([client.submit(tasks.under_lock, name, salt) for salt in salts])

    # ------------------------------------------------------------ what lies in the scheduler

    def handle(self, kind: Any, name: str, client: Client) -> Any:
        known = (kind, name, self.clients.index(client))
        if known not in self.handles:
            self.handles[known] = kind(f"{name}-{self.program.seed}", client=client)
        return self.handles[known]

    def shared(self, value: int, slot: str | None) -> Any:
        return value if slot is None else self.slots[slot]

    def seen(self, value: Any) -> Any:
        return value.result(timeout=PATIENCE) if hasattr(value, "result") else value

    def do_queue_put(self, client: Client, out: str, name: str, value: int, slot: str | None) -> None:
        self.handle(Queue, name, client).put(self.shared(value, slot))

    def do_queue_get(self, client: Client, out: str, name: str) -> Any:
        return self.seen(self.handle(Queue, name, client).get(timeout=5))

    def do_variable_set(self, client: Client, out: str, name: str, value: int, slot: str | None) -> None:
        self.handle(Variable, name, client).set(self.shared(value, slot))

    def do_variable_get(self, client: Client, out: str, name: str) -> Any:
        return self.seen(self.handle(Variable, name, client).get(timeout=5))

    def dataset(self, name: str) -> str:
        return f"{name}-{self.program.seed}"

    def do_publish(self, client: Client, out: str, name: str, salt: int) -> None:
        self.datasets.add(name)
        value = [tasks.mix(salt, 1), client.submit(tasks.mix, salt, 2)]
        client.publish_dataset(value, name=self.dataset(name), override=True)

    def do_dataset_get(self, client: Client, out: str, name: str) -> Any:
        return [self.seen(value) for value in client.get_dataset(self.dataset(name))]

    def do_unpublish(self, client: Client, out: str, name: str) -> None:
        client.unpublish_dataset(self.dataset(name))

    def do_event(self, client: Client, out: str, name: str) -> Any:
        event = Event(name, client=client)
        other = Event(name, client=self.clients[-1])
        setting = threading.Timer(0.05, other.set)
        setting.start()
        is_set = event.wait(timeout=10)
        setting.join()
        return is_set

    def do_metadata(self, client: Client, out: str, value: int) -> Any:
        name = f"metadata-{value}"
        client.set_metadata(name, value)
        return client.get_metadata(name)

    def do_ask(self, client: Client, out: str, what: str) -> bool:
        answer: Callable[[], Any] = {
            "run_on_scheduler": lambda: client.run_on_scheduler(_scheduler_name) == "Scheduler",
            "who_has": lambda: isinstance(client.who_has(), dict),
            "nthreads": lambda: isinstance(client.nthreads(), dict),
        }[what]
        return bool(answer())

    def do_actor_new(self, client: Client, out: str, start: int) -> None:
        future = client.submit(tasks.Counter, start, actor=True)
        self.actors[out] = future, future.result(timeout=PATIENCE)

    def do_actor_add(self, client: Client, out: str, actor: str, k: int) -> Any:
        return self.actors[actor][1].add(k).result(timeout=PATIENCE)

    def do_close(self, client: Client, out: str, release: bool) -> None:
        """All that lies in the scheduler is taken away; futures go with their clients, or before."""
        if release:
            self.slots.clear()
            self.actors.clear()
        self.end()
        deadline = time.monotonic() + PATIENCE
        for path in self.effects:
            while not path.exists():
                assert time.monotonic() < deadline, f"{path.name}, fired and forgotten, was never run"
                time.sleep(0.01)


def _scheduler_name(dask_scheduler: Any) -> str:
    return type(dask_scheduler).__name__


def compare(
    live: Live, program: Program, accidents: Callable[[], set[str]], say: Callable[[str], None]
) -> str:
    """Do all steps of a program on both sides; the first complaint, or nothing."""
    serial = Serial()
    for i, step in enumerate(program.steps):
        judge = serial.expect(step)
        if judge is None:
            continue
        say(f"{i}: {step}")
        began = time.monotonic()
        try:
            seen = Seen(live.do(step))
        except Exception as error:
            # its traceback holds futures in the frames of what failed
            seen = Seen(None, error.with_traceback(None))
        live.keep_only(serial.slots)
        if (taken := time.monotonic() - began) > SLOW:
            print(f"slow {program.seed} step {i}, {taken:.0f} s: {step}", flush=True)
        if complaint := judge(seen, accidents()):
            return f"step {i}, {step}: {complaint}"
    return ""
