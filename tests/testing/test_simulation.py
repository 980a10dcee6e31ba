"""Simulated networks of the real machines: fixed seeds, one new one each time, and the simulator itself."""

from __future__ import annotations

import random

import pytest

from distributed.client.state import machine as client_machine
from distributed.testing.simulation import SimulationError, World, invariants, play
from distributed.testing.simulation.__main__ import main
from distributed.testing.simulation.world import ACCIDENTS

#: About five seconds of a quiet machine.
SEEDS = range(100)


@pytest.mark.parametrize("first", SEEDS[::10])
def test_seeds(first: int) -> None:
    for seed in range(first, first + 10):
        play(seed)


def test_new_seed(request: pytest.FixtureRequest) -> None:
    """``--seed`` plays one again."""
    given: int | None = request.config.getoption("--seed")
    seed = random.SystemRandom().randrange(1 << 32) if given is None else given
    print("seed", seed)
    play(seed)


@pytest.mark.parametrize("accident", ACCIDENTS)
def test_each_accident_alone(accident: str) -> None:
    reports = [play(seed, (accident,)) for seed in range(1000, 1004)]
    assert all(set(report.naccidents) == {accident} for report in reports)


def test_a_seed_replays_exactly() -> None:
    assert play(7) == play(7)
    first, second = World(11), World(11)
    first.play()
    second.play()
    assert list(first.network.events) == list(second.network.events)
    assert play(7) != play(8)


def test_seeds_differ_in_what_goes_wrong() -> None:
    troubles = {World(seed).trouble for seed in range(50)}
    assert len(troubles) > 25
    assert any("kill-scheduler" in trouble for trouble in troubles)


# ---------------------------------------------------------------- the simulator finds what is wrong


def test_a_wrong_value_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "distributed.testing.simulation.workloads.Graph.value",
        lambda self, key, values: random.randrange(1 << 30),
    )
    with pytest.raises(SimulationError, match=r"seed 3: .* is .*, not "):
        play(3, ())


def test_a_lost_message_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that never hears of its results waits for ever; the error tells the story."""
    monkeypatch.setattr(
        "distributed.client.state.machine._HANDLERS",
        {kind: lambda state, message: None for kind in client_machine._HANDLERS},
    )
    with pytest.raises(SimulationError, match="not ended after 300 simulated seconds") as caught:
        play(3, ())
    text = str(caught.value)
    assert "last events:" in text
    assert "at the scheduler: <TaskState" in text


def test_what_is_left_behind_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distributed.worker.state.machine.WorkerState._handle_free_keys", lambda *args: None)
    with pytest.raises(SimulationError, match=r"holds other data|left at w"):
        play(3, ())


def test_an_unjustified_error_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invariants, "RAISED", "another text")
    world = next(world for world in map(World, range(100)) if _some_future_errs(world))
    with pytest.raises(SimulationError, match="has no reason to be erred"):
        world.play()


def _some_future_errs(world: World) -> bool:
    trial = World(world.seed)
    try:
        trial.play()
    except SimulationError as error:
        return "has no reason to be erred" in str(error)
    return False


def test_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["--seeds", "5:8"]) == 0
    assert capsys.readouterr().out.startswith("3 networks, ")
    monkeypatch.setattr("distributed.worker.state.machine.WorkerState._handle_free_keys", lambda *args: None)
    assert main(["--seeds", "3", "--quiet"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("seed 3: ")
    assert "1 failed" in out
