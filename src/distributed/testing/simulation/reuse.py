"""Keys that users use again for other work, and what their futures may be worth then.

A *family* is a few keys; each of its *generations* is other work under them, of another shape. A family of one client
goes on to its next generation when that client holds no future on any of its keys that is not cancelled: from then on
the values are those of the new generation, exactly. A family that all clients use is looser, for a client may come
before another's release has arrived: there every value must be that of some generation on values of some generation.
"""

from __future__ import annotations

import itertools
import zlib
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from distributed.client.state import Call, ClientTask, Function
from distributed.protocol.messages import TaskOptions

if TYPE_CHECKING:
    from distributed.testing.simulation.parties import Client
    from distributed.testing.simulation.world import World

#: What stands for an error among the values.
RAISES = None


@dataclass(frozen=True)
class Work:
    """What one key is in one generation. ``data``: it is scattered, and this is its value."""

    key: str
    text: str
    function: str
    deps: tuple[str, ...]
    seconds: float
    raises: bool = False
    data: int | None = None
    secedes: bool = False

    def value(self, values: list[int]) -> int:
        """The result from those of its dependencies, in their order."""
        return zlib.crc32(repr((self.text, values)).encode())


@dataclass
class Family:
    """Keys that are used again. ``owner``: the only client that uses them; empty: all do."""

    name: str
    owner: str
    keys: tuple[str, ...]
    generations: list[dict[str, Work]] = field(default_factory=list)
    current: dict[str, int] = field(default_factory=dict)  # the generation of each client
    busy: dict[str, int] = field(default_factory=dict)  # what a client is still handing over

    def order(self, generation: int, keys: list[str]) -> list[str]:
        """These keys and all they stand on in a generation, dependencies first."""
        works = self.generations[generation]
        needed = set(keys)
        for key in reversed(self.keys):
            if key in needed:
                needed.update(works[key].deps)
        return [key for key in self.keys if key in needed]

    def allowed(self, client: str, key: str) -> set[int | None]:
        """What a future of this client may be worth; :data:`RAISES` where it may err."""
        exact = bool(self.owner)
        used = [self.current[client]] if exact else list(range(len(self.generations)))
        found: dict[str, set[int | None]] = {}
        for name in self.keys:
            values: set[int | None] = set()
            for work in (self.generations[g][name] for g in used):
                if work.data is not None:
                    values.add(work.data)
                elif work.raises:
                    values.add(RAISES)
                else:
                    for row in itertools.product(*(found[dep] for dep in work.deps)):
                        values.add(RAISES if RAISES in row else work.value(list(row)))  # type: ignore[arg-type]
            found[name] = values
            if name == key:
                break
        return found[key]


def add_family(random: Random, number: int, owner: str) -> Family:
    """A family without generations."""
    size = random.randint(1, 4) if owner else random.randint(1, 3)
    return Family(f"reuse-{number}", owner, tuple(f"reuse-{number}-{i}" for i in range(size)))


def add_generation(random: Random, family: Family) -> int:
    """Other work under the keys of a family; gives its number."""
    number = len(family.generations)
    works: dict[str, Work] = {}
    for i, key in enumerate(family.keys):
        before = family.keys[:i]
        deps = tuple(random.sample(before, min(len(before), random.choice((0, 1, 1, 2)))))
        same_call = bool(deps) and random.random() < 0.5  # only what it stands on makes it other work
        works[key] = Work(
            key,
            f"{key}#same({','.join(deps)})" if same_call else f"{key}#{number}",
            random.choice(("old", "new")) if not same_call else "same",
            deps,
            random.choice((0.001, 0.02, 0.1, 0.5)),
            raises=random.random() < 0.2 and not same_call,
            data=random.randrange(1 << 30) if i == 0 and random.random() < 0.25 else None,
        )
    family.generations.append(works)
    return number


def client_task(work: Work) -> ClientTask:
    """A client's record of this work."""
    function = Function(work.function.encode().ljust(16), b"pickled " + work.function.encode(), 100)
    return ClientTask(
        work.key, Call(function, "reuse", TaskOptions()), work.text.encode(), work.deps, named=True
    )


def user_reuses(world: World, client: Client) -> None:
    """The same work under the keys of a family, or other work."""
    mine = [family for family in world.graph.families if family.owner in ("", client.name)]
    family = world.random.choice(mine) if mine else None
    if family is None or family.busy.get(client.name):
        return
    live = [key for key in family.keys if client.is_live(key)]
    if live and world.random.random() < 0.2:
        key = world.random.choice(live)
        work = Work(key, f"{key}#other-{world.serial}", "other", (), 0.01)
        world.graph.works[work.text] = work
        world.network.note(client.name, f"submits other work under {key}, which is held")
        client.reuse_held(work)
        return
    if live and world.random.random() < 0.6:
        if world.random.random() < 0.5:
            world.network.note(client.name, f"releases {live}, to use them again")
            client.release(live)
        else:
            world.network.note(client.name, f"cancels {live}, to use them again")
            world.cancelled.update(live)
            client.cancel(live, world.random.random() < 0.3)
        live = []
    if client.name not in family.current or (not live and world.random.random() < 0.8):
        family.current[client.name] = world.graph.new_generation(world.random, family)
    some = world.random.sample(family.keys, world.random.randint(1, len(family.keys)))
    world.network.note(client.name, f"submits {some} of generation {family.current[client.name]}")
    client.reuse(family, some)


__all__ = ["RAISES", "Family", "Work", "add_family", "add_generation", "client_task", "user_reuses"]
