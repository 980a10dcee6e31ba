"""A failing network made smaller: fewer tasks, parties, acts of users, accidents and kinds of accidents."""

from __future__ import annotations

from dataclasses import dataclass

from distributed.testing.simulation.invariants import SimulationError
from distributed.testing.simulation.world import Size, World

#: Networks that are tried at most for one failure.
MAX_TRIALS = 300


@dataclass(frozen=True)
class Failure:
    """A network in which an invariant is broken; the same parameters break it again.

    Attributes
    ----------
    seed : int
    trouble : tuple of str
        The kinds of accidents.
    size : Size
    error : SimulationError
    ntasks, naccidents : int
        How much of it there was in the end.
    """

    seed: int
    trouble: tuple[str, ...]
    size: Size
    error: SimulationError
    ntasks: int
    naccidents: int

    @property
    def replay(self) -> str:
        """The command that plays it again."""
        trouble = " ".join(f"--trouble {name}" for name in self.trouble) or "--trouble none"
        return f"python -m distributed.testing.simulation --seeds {self.seed} --size {self.size} {trouble}"


def attempt(world: World) -> Failure | None:
    """Play one network; None if all holds."""
    try:
        world.play()
    except SimulationError as error:
        naccidents = sum(world.naccidents.values())
        return Failure(world.seed, world.trouble, world.size, error, len(world.graph.tasks), naccidents)
    return None


def shrink(seed: int, trouble: tuple[str, ...] | None = None, size: Size | None = None) -> Failure | None:
    """The smallest failing network that can be found from this one; None if it does not fail.

    Anything that fails counts, whichever invariant it breaks. A smaller network under the same seed takes other
    turns, so a few seeds beside it are tried, too.
    """
    best = attempt(World(seed, trouble, size))
    if best is None:
        return None
    trials = 0
    progress = True
    while progress and trials < MAX_TRIALS:
        progress = False
        for smaller_trouble, smaller in _smaller(best):
            for other in range(best.seed, best.seed + 6):
                trials += 1
                found = attempt(World(other, smaller_trouble, smaller))
                if found is not None:
                    best, progress = found, True
                    break
            if progress or trials >= MAX_TRIALS:
                break
    return best


def _smaller(failure: Failure) -> list[tuple[tuple[str, ...], Size]]:
    fewer = [tuple(other for other in failure.trouble if other != name) for name in failure.trouble]
    return [(failure.trouble, size) for size in failure.size.smaller()] + [
        (names, failure.size) for names in fewer
    ]


__all__ = ["Failure", "attempt", "shrink"]
