"""Random programs: what a user may write, as a list of steps, the same for the same seed.

A step works on *slots*, names of futures, and on queues, variables, datasets and actors by name. A step whose slots are
missing is skipped, so that any part of a program is a program: ``--steps`` makes a found fault small.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from program_tasks import NESTED

#: Names that are used again and again, by each program with other work.
KEYS = [*(f"job-{i}" for i in range(4)), ("job", 0), ("job", 1)]
QUEUES = ["queue-a", "queue-b"]
VARIABLES = ["variable-a", "variable-b"]
DATASETS = ["dataset-a", "dataset-b"]
COLLECTIONS = ("array", "slices", "bag", "delayed", "named")
#: Operations that use such names; left out together by ``--without reuse``.
REUSING = ("reuse", "get")


class Step(NamedTuple):
    """One step: what is done, by which client, under which slot the result is known."""

    op: str
    client: int
    out: str
    args: dict[str, Any]

    def __repr__(self) -> str:
        words = ", ".join(f"{name}={value!r}" for name, value in self.args.items())
        return f"{self.out + ' = ' if self.out else ''}{self.op}({words}) by client {self.client}"


class Program(NamedTuple):
    """Steps and what else belongs to a program."""

    seed: int
    nclients: int
    steps: list[Step]


class Slot(NamedTuple):
    """What the generator knows of a future."""

    client: int
    key: Any
    ancestors: frozenset[str]
    fails: bool = False


class Generator:
    """Draws one program.

    Parameters
    ----------
    seed : int
    without : iterable of str
        Operations that are left out.
    """

    def __init__(self, seed: int, without: tuple[str, ...] = ()) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.without = without
        self.nclients = self.random.choice([1, 1, 2])
        self.slots: dict[str, Slot] = {}
        self.keys: dict[str, Any] = {}  # of all slots that ever were
        self.whose: dict[str, tuple[int, Any]] = {}
        self.users: dict[Any, set[int]] = {}  # clients that have had work under a name
        self.kept: set[str] = set()  # slots whose futures lie in a queue or a variable
        self.steps: list[Step] = []
        self.nsalts = 0
        self.queued = dict.fromkeys(QUEUES, 0)
        self.set_variables: set[str] = set()
        self.published: set[str] = set()
        self.actors: dict[str, int] = {}
        self.shared = False  # whether a future lies in a queue, a variable or a dataset

    def program(self) -> Program:
        """The program of this seed."""
        kinds: dict[str, int] = {
            "submit": 14,
            "reuse": 8,
            "same": 2,
            "map": 3,
            "result": 6,
            "gather": 3,
            "release": 3,
            "cancel": 3,
            "get": 3,
            "collection": 3,
            "persist": 1,
            "retry": 2,
            "retries": 1,
            "queue": 4,
            "variable": 3,
            "dataset": 2,
            "event": 1,
            "lock": 1,
            "actor": 3,
            "nested": 3,
            "completed": 2,
            "effect": 2,
            "scatter": 2,
            "replicate": 1,
            "executor": 1,
            "metadata": 1,
            "ask": 1,
            "restart": 0.3,
        }
        names = [name for name in kinds if name not in self.without]
        if "reuse" in self.without:
            names = [name for name in names if name not in REUSING]
        for _ in range(self.random.randint(8, 40)):
            name = self.random.choices(names, [kinds[name] for name in names])[0]
            draw: Callable[[], None] = getattr(self, f"draw_{name}")
            draw()
        for name in self.slots:
            self.add("result", self.slots[name].client, slot=name)
        self.add("close", 0, release=self.random.random() < 0.5)
        return Program(self.seed, self.nclients, self.steps)

    # ------------------------------------------------------------ parts of steps

    def add(self, op: str, client: int, out: str = "", **args: Any) -> None:
        self.steps.append(Step(op, client, out, args))

    def salt(self) -> int:
        """A number of this work alone."""
        self.nsalts += 1
        return self.seed * 10_000 + self.nsalts

    def client(self) -> int:
        return self.random.randrange(self.nclients)

    def new_slot(self, client: int, key: Any, inputs: list[str], fails: bool = False) -> str:
        name = f"f{len(self.steps)}"
        ancestors = frozenset(inputs).union(*(self.slots[i].ancestors for i in inputs))
        fails = fails or any(self.slots[i].fails for i in inputs)
        self.slots[name] = Slot(client, key, ancestors, fails)
        self.keys[name] = key
        self.whose[name] = client, key
        return name

    def some_slots(self, client: int, most: int) -> list[str]:
        names = [name for name, slot in self.slots.items() if slot.client == client]
        return self.random.sample(names, min(self.random.randint(0, most), len(names)))

    def one_slot(self, wanted: Callable[[Slot], bool] = lambda slot: True) -> str | None:
        names = [name for name, slot in self.slots.items() if wanted(slot)]
        return self.random.choice(names) if names else None

    def forget(self, name: str, cancelled: bool) -> None:
        """This slot is no more; a cancelled one takes with it what its client has of that key, and what needs it."""
        gone = self.slots.pop(name)
        if not cancelled:
            return
        names = {name}
        if gone.key is not None:
            names |= {other for other, whose in self.whose.items() if whose == gone[:2]}
        for other in [o for o, slot in self.slots.items() if o in names or names & slot.ancestors]:
            del self.slots[other]

    def take_over(self, client: int, keys: Iterable[Any]) -> None:
        """Names are used by this client now: what others say of them has reached the scheduler before.

        What two clients say has no order of its own; an answered question makes one.
        """
        for key in keys:
            for other in self.users.setdefault(key, set()) - {client}:
                self.add("ask", other, what="nthreads")
            self.users[key] = {client}

    def delay(self) -> float:
        return self.random.choice([0.0, 0.0, 0.0, 0.01, 0.05, 0.3])

    def free_key(self) -> Any:
        if "reuse" in self.without:
            return f"once-{self.salt()}"
        free = [key for key in KEYS if key not in self.used_keys()]
        return self.random.choice(free) if free else None

    def used_keys(self) -> set[Any]:
        """Names of futures that are held, and of those on which such stand: they may not get other work."""
        names = set(self.slots).union(self.kept, *(slot.ancestors for slot in self.slots.values()))
        return {self.keys.get(name) for name in names}

    # ------------------------------------------------------------ tasks

    def draw_submit(self, client: int | None = None, key: Any = None) -> None:
        client = self.client() if client is None else client
        if key is None and self.random.random() < 0.5:
            key = self.free_key()
        if key in KEYS:
            self.take_over(client, [key])
        inputs = self.some_slots(client, 3)
        function = self.random.choice(["mix", "mix", "other_mix", "bulk", "fail"])
        if function == "fail" and self.random.random() < 0.5:
            function = "mix"
        out = self.new_slot(client, key, inputs, function == "fail")
        size = self.random.choice([10, 2_000, 100_000])
        self.add(
            "submit",
            client,
            out,
            function=function,
            salt=self.salt(),
            inputs=inputs,
            size=size,
            key=key,
            delay=self.delay(),
        )

    def draw_reuse(self) -> None:
        """A key whose future is let go of in one way or another, and other work under it at once or later."""
        name = self.one_slot(lambda slot: slot.key in KEYS)
        if name is None:
            return self.draw_submit(key=self.free_key())
        slot = self.slots[name]
        if self.random.random() < 0.4:
            self.add("result", slot.client, slot=name)
        self.draw_leave(name)
        if self.random.random() < 0.3:
            self.add("pause", slot.client, seconds=self.random.choice([0.01, 0.1, 1.0]))
        if slot.key not in self.used_keys():
            self.draw_submit(self.client(), slot.key)

    def draw_leave(self, name: str) -> None:
        client = self.slots[name].client
        if self.random.random() < 0.5:
            self.add("cancel", client, slot=name, keep=self.random.random() < 0.5)
            self.forget(name, cancelled=True)
        else:
            self.add("release", client, slot=name)
            self.forget(name, cancelled=False)

    def draw_same(self) -> None:
        """The same work under the same key, by any client."""
        known = [step for step in self.steps if step.op == "submit" and step.out in self.slots]
        known = [step for step in known if step.args["key"] is not None and not step.args["inputs"]]
        if known:
            step = self.random.choice(known)
            client = self.client()
            slot = self.slots[step.out]
            self.users.setdefault(slot.key, set()).add(client)
            out = self.new_slot(client, slot.key, [], slot.fails)
            self.add("submit", client, out, **step.args | {"same_as": step.out})

    def draw_map(self) -> None:
        client = self.client()
        n = self.random.randint(1, 8)
        outs = [f"f{len(self.steps)}.{i}" for i in range(n)]
        for out in outs:
            self.slots[out] = Slot(client, None, frozenset())
        self.add("map", client, salt=self.salt(), outs=outs, delay=self.delay())

    def draw_result(self) -> None:
        if name := self.one_slot():
            self.add("result", self.slots[name].client, slot=name)

    def draw_gather(self) -> None:
        client = self.client()
        slots = self.some_slots(client, 6)
        self.add("gather", client, slots=slots, errors=self.random.choice(["raise", "skip"]))

    def draw_release(self) -> None:
        if name := self.one_slot():
            self.add("release", self.slots[name].client, slot=name)
            self.forget(name, cancelled=False)

    def draw_cancel(self) -> None:
        if name := self.one_slot():
            self.add("cancel", self.slots[name].client, slot=name, keep=self.random.random() < 0.5)
            self.forget(name, cancelled=True)

    def draw_get(self) -> None:
        """A graph of names that every program uses."""
        n = self.random.randint(1, 12)
        salts = [self.salt() for _ in range(n)]
        edges = [self.random.sample(range(i), min(i, self.random.randint(0, 3))) for i in range(n)]
        client = self.client()
        self.take_over(client, ["the names of graphs"])
        self.add("get", client, salts=salts, edges=edges, delay=self.delay())

    def draw_collection(self) -> None:
        kind = self.random.choice(COLLECTIONS)
        if kind == "named" and ("reuse" in self.without or {"job-0", "job-1"} & self.used_keys()):
            kind = "delayed"
        client = self.client()
        if kind == "named":
            self.take_over(client, ["job-0", "job-1"])
        self.add("collection", client, kind=kind, salt=self.salt(), n=self.random.randint(2, 30))

    def draw_persist(self) -> None:
        self.add("persist", self.client(), salt=self.salt(), n=self.random.randint(2, 30))

    def draw_retry(self) -> None:
        client = self.client()
        inputs = self.some_slots(client, 1)
        inputs = [name for name in inputs if not self.slots[name].fails]
        out = self.new_slot(client, None, inputs)
        self.add("retry", client, out, salt=self.salt(), inputs=inputs)

    def draw_retries(self) -> None:
        client = self.client()
        self.add(
            "retries",
            client,
            self.new_slot(client, None, []),
            salt=self.salt(),
            times=self.random.randint(1, 3),
        )

    def draw_scatter(self) -> None:
        client = self.client()
        out = self.new_slot(client, None, [])
        self.add("scatter", client, out, salt=self.salt(), broadcast=self.random.random() < 0.3)

    def draw_replicate(self) -> None:
        if name := self.one_slot(lambda slot: not slot.fails):
            self.add("replicate", self.slots[name].client, slot=name)

    def draw_restart(self) -> None:
        if not self.shared and not self.actors:
            self.add("restart", self.client())
            self.slots.clear()

    # ------------------------------------------------------------ several at once

    def draw_completed(self) -> None:
        first = [self.salt() for _ in range(self.random.randint(1, 6))]
        more = [self.salt() for _ in range(self.random.randint(0, 6))]
        self.add("completed", self.client(), first=first, more=more, delay=self.delay())

    def draw_executor(self) -> None:
        self.add("executor", self.client(), salts=[self.salt() for _ in range(5)])

    def draw_nested(self) -> None:
        client = self.client()
        kind = self.random.choice(NESTED)
        out = self.new_slot(client, None, [])
        self.add("nested", client, out, kind=kind, salt=self.salt(), n=self.random.randint(1, 5))

    def draw_effect(self) -> None:
        self.add("effect", self.client(), salt=self.salt())

    def draw_lock(self) -> None:
        self.add("lock", self.client(), salts=[self.salt() for _ in range(4)])

    # ------------------------------------------------------------ what lies in the scheduler

    def draw_queue(self) -> None:
        name = self.random.choice(QUEUES)
        if self.queued[name] and self.random.random() < 0.5:
            self.queued[name] -= 1
            self.add("queue_get", self.client(), name=name)
        else:
            self.queued[name] += 1
            client = self.client()
            slot = self.some_slot_to_share(client)
            self.add("queue_put", client, name=name, value=self.salt(), slot=slot)

    def some_slot_to_share(self, client: int) -> str | None:
        if self.random.random() < 0.7:
            return None
        name = self.one_slot(lambda slot: slot.client == client and slot.key is None and not slot.fails)
        if name is not None:
            self.shared = True
            self.kept |= {name, *self.slots[name].ancestors}
        return name

    def draw_variable(self) -> None:
        name = self.random.choice(VARIABLES)
        if name in self.set_variables and self.random.random() < 0.5:
            self.add("variable_get", self.client(), name=name)
        else:
            self.set_variables.add(name)
            client = self.client()
            slot = self.some_slot_to_share(client)
            self.add("variable_set", client, name=name, value=self.salt(), slot=slot)

    def draw_dataset(self) -> None:
        name = self.random.choice(DATASETS)
        if name not in self.published:
            self.published.add(name)
            self.add("publish", self.client(), name=name, salt=self.salt())
        elif self.random.random() < 0.6:
            self.add("dataset_get", self.client(), name=name)
        else:
            self.published.discard(name)
            self.add("unpublish", self.client(), name=name)

    def draw_event(self) -> None:
        self.add("event", self.client(), name=f"event-{self.salt()}")

    def draw_metadata(self) -> None:
        self.add("metadata", self.client(), value=self.salt())

    def draw_ask(self) -> None:
        self.add("ask", self.client(), what=self.random.choice(["run_on_scheduler", "who_has", "nthreads"]))

    def draw_actor(self) -> None:
        if self.actors and self.random.random() < 0.7:
            name = self.random.choice(list(self.actors))
            self.add("actor_add", self.actors[name], actor=name, k=self.random.randint(1, 1_000))
        else:
            name = f"a{len(self.steps)}"
            self.actors[name] = self.client()
            self.add("actor_new", self.actors[name], name, start=self.salt())


def generate(seed: int, without: tuple[str, ...] = ()) -> Program:
    """The program of a seed."""
    return Generator(seed, without).program()
