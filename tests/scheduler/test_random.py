"""Any sequence of events leaves the scheduler's machine consistent, ends every task and leaves nothing behind."""

from __future__ import annotations

import random

import pytest
from honest import World
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


def play(rng: random.Random, nsteps: int) -> None:
    world = World(rng)
    try:
        for _ in range(nsteps):
            world.step()
        world.settle()
        world.check_settled()
        world.release_all()
    except BaseException as error:
        error.add_note("\n".join(world.steps[-60:]))
        raise


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(st.randoms(use_true_random=False), st.integers(0, 120))
def test_any_sequence_small(rng: random.Random, nsteps: int) -> None:
    play(rng, nsteps)


@pytest.mark.parametrize("seed", range(150))
def test_any_sequence(seed: int) -> None:
    play(random.Random(seed), 300)


def test_any_sequence_new_seed(request: pytest.FixtureRequest) -> None:
    seed = request.config.getoption("--seed")
    for _ in range(20):
        one = random.SystemRandom().randrange(1 << 32) if seed is None else seed
        print("seed", one)
        play(random.Random(one), 500)
