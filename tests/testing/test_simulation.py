"""Simulated networks of the real machines: fixed seeds, one new one each time, and the simulator itself."""

from __future__ import annotations

import itertools
import random

import pytest

from distributed.client.state import machine as client_machine
from distributed.protocol.messages import PutFunctions, SubmitTasks
from distributed.scheduler.state import SchedulerState, absence, placement
from distributed.testing.simulation import SimulationError, World, invariants, play
from distributed.testing.simulation.__main__ import main
from distributed.testing.simulation.bounds import low_bounds
from distributed.testing.simulation.campaign import play_all
from distributed.testing.simulation.shrinking import attempt, shrink
from distributed.testing.simulation.world import ACCIDENTS, MIN_FAULTS, MIN_TASKS, NAMES, Size

#: About five seconds of a quiet machine.
SEEDS = range(60)

#: As many again, which nobody has played before.
NEW = 40


@pytest.mark.parametrize("first", SEEDS[::10])
def test_seeds(first: int) -> None:
    for seed in range(first, first + 10):
        report = play(seed)
        assert report.ntasks >= MIN_TASKS
        assert sum(report.naccidents.values()) >= MIN_FAULTS


def test_new_seeds(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> None:
    """``--seed`` plays one again; the figures and seeds of every run are printed."""
    given: int | None = request.config.getoption("--seed")
    first = random.SystemRandom().randrange(1 << 32) if given is None else given
    seeds = range(first, first + (NEW if given is None else 1))
    tally = play_all(seeds, failures=1)
    with capsys.disabled():
        print(f"\nseeds {seeds.start}:{seeds.stop}: {tally}")
        print(f"these few networks reached of the transitions: {tally.coverage.brief()}")
    assert not tally.failures, f"--seed {tally.failures[0][0]}: {tally.failures[0][1]}"


@pytest.mark.parametrize("accident", ACCIDENTS)
def test_each_accident_alone(accident: str) -> None:
    with_another = {"client-gives-up": "cut-client", "keep": "retire-several"}
    alone = (accident, with_another[accident]) if accident in with_another else (accident,)
    reports = [play(seed, alone) for seed in range(1000, 1006)]
    happened = set().union(*(report.naccidents for report in reports))
    assert happened == set(alone)


def test_a_seed_replays_exactly() -> None:
    assert play(7) == play(7)
    first, second = World(11), World(11)
    first.play()
    second.play()
    assert list(first.network.events) == list(second.network.events)
    assert play(7) != play(8)


def test_some_networks_come_to_every_bound() -> None:
    before = absence.MAX_MOVED, placement.MAX_COMPARED
    lowered = set()
    for seed in range(3):
        with low_bounds(seed):
            lowered.add((absence.MAX_MOVED, placement.MAX_COMPARED))
        assert before == (absence.MAX_MOVED, placement.MAX_COMPARED)
    assert len(lowered) == 3


def test_who_left_stays_in_no_book() -> None:
    state = SchedulerState()
    state.add_worker("a", now=0.0)
    state.add_client("c", now=0.0)
    state.handle_client("c", PutFunctions([b"f"], [b"f"]), 0.0)
    state.handle_client("c", SubmitTasks(b"f", "f", ["x"], [b""]), 0.0)
    list(state.drain(0.0))
    state.remove_worker("a", 1.0)
    state.validate()
    assert not state.freed


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


def test_a_machine_that_always_asks_for_another_turn_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SchedulerState, "unfinished", True)
    with pytest.raises(SimulationError, match="go on for ever while no time passes"):
        play(3, ())


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


def test_a_failing_network_is_made_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distributed.worker.state.machine.WorkerState._handle_free_keys", lambda *args: None)
    smallest = shrink(4)
    assert smallest is not None
    assert smallest.ntasks < 20
    assert smallest.naccidents == 0
    assert smallest.size.workers == 2
    assert f"--size {smallest.size}" in smallest.replay
    again = attempt(World(smallest.seed, smallest.trouble, smallest.size))
    assert again is not None
    assert str(again.error) == str(smallest.error)


def test_sizes_are_written_and_read() -> None:
    assert Size.parse(str(Size())) == Size()
    assert all(str(size) != str(Size()) for size in Size().smaller())


def test_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["--seeds", "5:8", "--size", "20,1,2,3,2,3"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("seeds 5:8\n3 networks, ")
    assert "transitions of the scheduler: " in out
    monkeypatch.setattr("distributed.worker.state.machine.WorkerState._handle_free_keys", lambda *args: None)
    assert main(["--seeds", "3", "--quiet"]) == 1
    out = capsys.readouterr().out
    assert "\nseed 3: " in out
    assert "1 failed" in out
    line = next(line for line in out.splitlines() if line.startswith("again: python -m "))
    assert main([*line.split()[4:], "--quiet", "--no-shrink"]) == 1


def test_several_processes_tell_the_same() -> None:
    one, two = (play_all(range(20), size=Size(20, 1, 3), processes=n) for n in (1, 2))
    assert one.nmessages == two.nmessages
    assert one.coverage.reached == two.coverage.reached


@pytest.mark.parametrize("seed", range(3))
def test_workers_that_never_reach_each_other_compute_nothing_twice(seed: int) -> None:
    """What they need of each other goes through the scheduler: the detour, not the lineage."""
    world = World(seed, ())
    world.partitions = {frozenset(pair) for pair in itertools.combinations(NAMES, 2)}
    seen: list[str] = []
    world.network.note = lambda who, what: seen.append(str(what))  # type: ignore[method-assign]
    world.play()
    assert any(" asks " in f" {what}" for what in seen)
    tasks = world.graph.tasks
    alone = {
        key: n for key, n in world.graph.attempts.items() if not tasks[key].flaky and not tasks[key].raises
    }
    assert alone
    assert sum(alone.values()) <= 1.1 * len(alone)  # users cancel, retry and submit again meanwhile
