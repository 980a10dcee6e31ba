"""Nothing happens at once."""

from __future__ import annotations

from distributed.deploy.hysteresis import Hysteresis


def test_only_what_is_proposed_several_times_in_a_row() -> None:
    hysteresis: Hysteresis[str] = Hysteresis(3)
    assert hysteresis.ripe(["a", "b"]) == []
    assert hysteresis.ripe(["a"]) == []
    assert hysteresis.ripe(["a", "b"]) == ["a"]
    assert hysteresis.ripe(["a", "b"]) == []
    assert hysteresis.ripe(["b"]) == ["b"]


def test_at_once_and_forgotten() -> None:
    assert Hysteresis[str](0).ripe(["a"]) == ["a"]
    hysteresis: Hysteresis[str] = Hysteresis(2)
    hysteresis.ripe(["a"])
    hysteresis.clear()
    assert hysteresis.ripe(["a"]) == []
