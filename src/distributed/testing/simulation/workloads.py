"""Graphs to compute, and what must come out."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random

from distributed.client.state import Call, ClientTask, Function
from distributed.protocol.messages import Key, TaskOptions
from distributed.testing.simulation.reuse import Family, Work, add_generation

#: What a task that always raises says.
RAISED = "ValueError: raised by the task"


@dataclass
class Task:
    """What one key is."""

    key: str
    deps: tuple[str, ...] = ()
    seconds: float = 0.01
    raises: bool = False
    flaky: int = 0  # so many runs raise before one succeeds
    secedes: bool = False
    immovable: bool = False  # its result cannot leave the worker that made it
    options: TaskOptions = field(default_factory=TaskOptions)


class Graph:
    """All keys of a simulation. Two clients mean the same by the same key."""

    def __init__(self) -> None:
        self.tasks: dict[str, Task] = {}
        self.attempts: dict[str, int] = {}
        self.data: dict[str, int] = {}
        self.users: dict[str, str] = {}
        self.families: list[Family] = []
        self.named = False  # whether users chose the keys; else these are hashes, and stand in no graph
        self.works: dict[str, Work] = {}  # of families, by what their arguments say

    def family_of(self, key: str) -> Family | None:
        """The family whose key this is."""
        name = key.rpartition("-")[0]
        return next((family for family in self.families if family.name == name), None)

    def new_generation(self, random: Random, family: Family) -> int:
        """Other work under the keys of a family; gives its number."""
        number = add_generation(random, family)
        for work in family.generations[number].values():
            self.works.setdefault(work.text, work)
        return number

    def add(self, task: Task) -> Task:
        self.tasks[task.key] = task
        return task

    def add_data(self, random: Random) -> str:
        """A piece of data to scatter, and a task that uses it."""
        key = f"data-{len(self.data)}"
        self.data[key] = random.randrange(1 << 30)
        self.users[key] = self.add(Task(f"use-{key}", (key,), some_seconds(random))).key
        return key

    def run(
        self, key: str, args: bytes, deps: tuple[Key, ...], data: Mapping[Key, int]
    ) -> tuple[Task | Work, int | None]:
        """What a worker runs, and the result; None: it raises."""
        work = self.works.get(args.decode())
        values = [data[dep] for dep in deps]
        if work is not None:
            assert deps == work.deps, (work, deps)
            return work, None if work.raises else work.value(values)
        task = self.tasks[key]
        assert deps == task.deps, (key, deps, task.deps)
        attempt = self.attempts[key] = self.attempts.get(key, 0) + 1
        if task.raises or attempt <= task.flaky:
            return task, None
        return task, self.value(key, dict(zip(task.deps, values, strict=True)))

    def value(self, key: str, values: dict[str, int]) -> int:
        """The result of a task from those of its dependencies; the order of the dependencies matters."""
        text = repr((key, [values[dep] for dep in self.tasks[key].deps]))
        return zlib.crc32(text.encode())

    def expected(self, key: str) -> int | None:
        """The right result; None when the task, or one it stands on, raises."""
        values: dict[str, int | None] = {**self.data}
        for name in self.order(key):
            task = self.tasks[name]
            of = {dep: values[dep] for dep in task.deps}
            if task.raises or None in of.values():
                values[name] = None
            else:
                values[name] = self.value(name, of)  # type: ignore[arg-type]
        return values[key]

    def is_immovable(self, key: str) -> bool:
        """Whether the result cannot leave the worker that made it."""
        return key in self.tasks and self.tasks[key].immovable

    def may_be_apart(self, key: str) -> bool:
        """Whether this, or a task it stands on, uses two results that cannot leave their workers."""
        return any(sum(map(self.is_immovable, self.tasks[k].deps)) > 1 for k in self.order(key))

    def order(self, *keys: str) -> list[str]:
        """These tasks and all they stand on, dependencies first."""
        done: dict[str, None] = {}
        stack = [key for key in keys if key in self.tasks]
        while stack:
            key = stack[-1]
            left = [dep for dep in self.tasks[key].deps if dep not in done and dep in self.tasks]
            if left:
                stack += left
            else:
                done[stack.pop()] = None
        return list(done)

    def client_task(self, key: str) -> ClientTask:
        """The client's record of a task."""
        task = self.tasks[key]
        name = key.partition("-")[0]
        function = Function(name.encode().ljust(16), b"pickled " + name.encode(), 100)
        call = Call(function, name, task.options)
        return ClientTask(key, call, key.encode(), task.deps, named=self.named)


def some_seconds(random: Random) -> float:
    """Durations as they are: most of a kind, some much longer."""
    return random.choice((0.001, 0.005, 0.02, 0.02, 0.1, 0.5))


def some_options(random: Random) -> TaskOptions:
    workers: tuple[str, ...] = random.choice(((),) * 8 + (("w0",), ("w0", "w1")))
    return TaskOptions(
        priority=random.choice((0,) * 6 + (1, -1)),
        workers=workers,
        allow_other_workers=random.random() < 0.5,
        resources=(("GPU", 1.0),) if random.random() < 0.1 and not workers else (),
    )


def plain(random: Random, graph: Graph, name: str, deps: tuple[str, ...] = ()) -> str:
    """One more task, with one or the other peculiarity."""
    flaky = random.choice((0,) * 12 + (1, 2))
    options = some_options(random)
    if flaky:
        options = TaskOptions(retries=3)
    task = Task(
        name,
        deps,
        some_seconds(random),
        raises=random.random() < 0.03,
        flaky=flaky,
        secedes=random.random() < 0.05,
        options=options,
    )
    return graph.add(task).key


def tasks_of_map(random: Random, graph: Graph, prefix: str) -> list[str]:
    return [plain(random, graph, f"inc-{prefix}-{i}") for i in range(random.randint(1, 30))]


def tree(random: Random, graph: Graph, prefix: str) -> list[str]:
    level = [plain(random, graph, f"load-{prefix}-{i}") for i in range(random.randint(2, 16))]
    depth = 0
    while len(level) > 1:
        depth += 1
        level = [
            plain(random, graph, f"add-{prefix}-{depth}-{i}", tuple(level[i : i + 2]))
            for i in range(0, len(level), 2)
        ]
    return level


def chains(random: Random, graph: Graph, prefix: str) -> list[str]:
    ends = []
    for i in range(random.randint(1, 5)):
        key = plain(random, graph, f"start-{prefix}-{i}")
        for j in range(random.randint(1, 8)):
            key = plain(random, graph, f"step-{prefix}-{i}-{j}", (key,))
        ends.append(key)
    return ends


def sockets(random: Random, graph: Graph, prefix: str) -> list[str]:
    """Results that cannot leave their workers, each with some users; sometimes one uses two of them."""
    keys = []
    made = []
    for i in range(random.randint(1, 3)):
        options = TaskOptions(workers=random.choice(((), ("w0",), ("w1",))), allow_other_workers=True)
        task = Task(f"socket-{prefix}-{i}", (), some_seconds(random), immovable=True, options=options)
        stuck = graph.add(task).key
        made.append(stuck)
        data = plain(random, graph, f"load-{prefix}-{i}")
        users = [
            graph.add(Task(f"look-{prefix}-{i}-{j}", random.choice(((stuck,), (stuck, data))), 0.01)).key
            for j in range(random.randint(1, 6))
        ]
        keys += [graph.add(Task(f"all-{prefix}-{i}", tuple(users))).key, stuck]
    if len(made) > 1 and random.random() < 0.3:
        keys.append(graph.add(Task(f"both-{prefix}", tuple(made[:2]))).key)
    return keys


def anything(random: Random, graph: Graph, prefix: str) -> list[str]:
    keys: list[str] = []
    for i in range(random.randint(3, 25)):
        deps = tuple(random.sample(keys, min(len(keys), random.choice((0, 1, 1, 2, 3)))))
        keys.append(plain(random, graph, f"any-{prefix}-{i}", deps))
    return random.sample(keys, random.randint(1, len(keys)))


WORKLOADS: dict[str, Callable[[Random, Graph, str], list[str]]] = {
    "map": tasks_of_map,
    "tree": tree,
    "chains": chains,
    "dag": anything,
    "sockets": sockets,
}
