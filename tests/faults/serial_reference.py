"""What a program must give: its steps one after another in plain Python, and which losses its faults excuse.

``expect(step)`` takes a step and returns its *judge*: a function of what the network gave and of the accidents since
the program began, that returns a complaint, or nothing. Only losses that ``docs/guarantees.md`` tells of are excused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import dask
from program_tasks import ProgramError, bulk, mix, nested_value, other_mix
from random_programs import Step


class Outcome(NamedTuple):
    """A slot's right value, or the salts of the errors of which it must raise one."""

    value: Any = None
    errors: frozenset[int] = frozenset()
    lossy: bool = False  # stands on scattered data, which may be lost with its worker
    ancestors: frozenset[str] = frozenset()


class Seen(NamedTuple):
    """What the network gave."""

    value: Any = None
    error: BaseException | None = None

    def __repr__(self) -> str:
        return f"{type(self.error).__name__}: {self.error}" if self.error is not None else brief(self.value)


Judge = Callable[[Seen, set[str]], str]


def brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 200 else f"{text[:200]}…"


def just(value: Any, *excuses: tuple[str, str]) -> Judge:
    """Right is this value; excused are errors of these names after accidents of these kinds."""

    def judge(seen: Seen, accidents: set[str]) -> str:
        if seen.error is None and seen.value == value:
            return ""
        if excused(seen, accidents, excuses):
            return ""
        return f"{seen} instead of {brief(value)}"

    return judge


def excused(seen: Seen, accidents: set[str], excuses: tuple[tuple[str, str], ...]) -> bool:
    name = type(seen.error).__name__
    return any(name == error and accident in accidents for error, accident in excuses)


LOST_DATA = ("LostDataError", "worker")


class Serial:
    """The plain execution of one program."""

    def __init__(self) -> None:
        self.slots: dict[str, Outcome] = {}
        self.whose: dict[str, Any] = {}  # client and key of all slots that ever were, where the key was given
        self.queues: dict[str, list[Any]] = {}
        self.variables: dict[str, Any] = {}
        self.datasets: dict[str, Any] = {}
        self.actors: dict[str, int] = {}
        self.effects: list[str] = []
        self.restarted = False  # all that workers had is gone

    def expect(self, step: Step) -> Judge | None:
        """The judge of this step; None where it cannot be done."""
        args = step.args
        needed = [args.get("slot"), *args.get("inputs", ()), *args.get("slots", ()), args.get("same_as")]
        if any(name is not None and name not in self.slots for name in needed):
            return None
        judge: Judge | None = getattr(self, f"expect_{step.op}")(step, **args)
        return judge

    # ------------------------------------------------------------ tasks

    def outcome(self, inputs: list[str], value: Callable[..., Any]) -> Outcome:
        """Of a task with these inputs."""
        known = [self.slots[name] for name in inputs]
        ancestors = frozenset(inputs).union(*(one.ancestors for one in known))
        lossy = any(one.lossy for one in known)
        errors = frozenset[int]().union(*(one.errors for one in known))
        if errors:
            return Outcome(None, errors, lossy, ancestors)
        try:
            return Outcome(value(*(one.value for one in known)), errors, lossy, ancestors)
        except ProgramError as error:
            return Outcome(None, frozenset(error.args), lossy, ancestors)

    def judge_of(self, outcome: Outcome) -> Judge:
        def judge(seen: Seen, accidents: set[str]) -> str:
            if not outcome.errors and seen.error is None and seen.value == outcome.value:
                return ""
            if _raised(seen, outcome.errors):
                return ""
            if outcome.lossy and excused(seen, accidents, (LOST_DATA,)):
                return ""
            right = f"ProgramError of {set(outcome.errors)}" if outcome.errors else brief(outcome.value)
            return f"{seen} instead of {right}"

        return judge

    def expect_submit(
        self, step: Step, function: str, salt: int, inputs: list[str], size: int, key: Any, **rest: Any
    ) -> Judge:
        def value(*values: Any) -> Any:
            if function == "fail":
                raise ProgramError(salt)
            if function == "bulk":
                return bulk(salt, size, *values)
            return (mix if function == "mix" else other_mix)(salt, *values)

        self.whose[step.out] = None if key is None else (step.client, key)
        self.slots[step.out] = self.outcome(inputs, value)
        return just(None)

    def expect_map(self, step: Step, salt: int, outs: list[str], delay: float) -> Judge:
        self.slots |= {out: Outcome(mix(salt, i)) for i, out in enumerate(outs)}
        return just(None)

    def expect_result(self, step: Step, slot: str) -> Judge:
        return self.judge_of(self.slots[slot])

    def expect_gather(self, step: Step, slots: list[str], errors: str) -> Judge:
        outcomes = [self.slots[name] for name in slots]
        bad = frozenset[int]().union(*(outcome.errors for outcome in outcomes))
        good = [outcome.value for outcome in outcomes if not outcome.errors]

        def judge(seen: Seen, accidents: set[str]) -> str:
            if any(outcome.lossy for outcome in outcomes) and "worker" in accidents:
                return ""
            if errors == "raise" and bad:
                return "" if _raised(seen, bad) else f"{seen} instead of an error of {set(bad)}"
            right = seen.error is None and seen.value == good
            return "" if right else f"{seen} instead of {brief(good)}"

        return judge

    def expect_release(self, step: Step, slot: str) -> Judge:
        del self.slots[slot]
        return just(None)

    def expect_cancel(self, step: Step, slot: str, keep: bool) -> Judge:
        whose = self.whose.get(slot)
        names = {slot} | {name for name, other in self.whose.items() if whose is not None and other == whose}
        for name in [n for n, one in self.slots.items() if n in names or names & one.ancestors]:
            del self.slots[name]
        return just(None)

    def expect_pause(self, step: Step, seconds: float) -> Judge:
        return just(None)

    def expect_restart(self, step: Step) -> Judge:
        self.slots.clear()
        self.restarted = True
        return just(None)

    def expect_get(self, step: Step, salts: list[int], edges: list[list[int]], delay: float) -> Judge:
        values: list[int] = []
        for salt, inputs in zip(salts, edges, strict=True):
            values.append(mix(salt, *(values[i] for i in inputs)))
        return just(values)

    def expect_collection(self, step: Step, kind: str, salt: int, n: int) -> Judge:
        from live_programs import collection

        return just(dask.compute(collection(kind, salt, n), scheduler="sync")[0])

    def expect_persist(self, step: Step, salt: int, n: int) -> Judge:
        return just(sum(i + salt for i in range(n)))

    def expect_retry(self, step: Step, salt: int, inputs: list[str]) -> Judge:
        outcome = self.slots[step.out] = self.outcome(inputs, lambda *values: mix(salt, *values))
        return just(None, LOST_DATA) if outcome.lossy else just(None)

    def expect_retries(self, step: Step, salt: int, times: int) -> Judge:
        self.slots[step.out] = Outcome(mix(salt))
        return just(None)

    def expect_scatter(self, step: Step, salt: int, broadcast: bool) -> Judge:
        self.slots[step.out] = Outcome(bulk(salt, 5_000), lossy=True)
        return just(None)

    def expect_replicate(self, step: Step, slot: str) -> Judge:
        outcome = self.slots[slot]
        if outcome.errors:
            return lambda seen, accidents: ""
        return just(None, LOST_DATA) if outcome.lossy else just(None)

    # ------------------------------------------------------------ several at once

    def expect_completed(self, step: Step, first: list[int], more: list[int], delay: float) -> Judge:
        return just(sorted(mix(salt) for salt in first + more))

    def expect_executor(self, step: Step, salts: list[int]) -> Judge:
        return just([mix(salt) for salt in salts])

    def expect_nested(self, step: Step, kind: str, salt: int, n: int) -> Judge:
        self.slots[step.out] = Outcome(nested_value(kind, salt, n))
        return just(None)

    def expect_effect(self, step: Step, salt: int) -> Judge:
        self.effects.append(str(salt))
        return just(None)

    def expect_lock(self, step: Step, salts: list[int]) -> Judge:
        return just([mix(salt) for salt in salts])

    # ------------------------------------------------------------ what lies in the scheduler

    def share(self, value: int, slot: str | None) -> Any:
        return value if slot is None else self.slots[slot].value

    def lossy_value(self, slot: str | None) -> bool:
        return slot is not None and self.slots[slot].lossy

    def expect_queue_put(self, step: Step, name: str, value: int, slot: str | None) -> Judge:
        if slot is not None and self.slots[slot].errors:
            return None  # type: ignore[return-value]
        self.queues.setdefault(name, []).append(self.share(value, slot))
        return just(None)

    def expect_queue_get(self, step: Step, name: str) -> Judge | None:
        items = self.queues.get(name, [])
        if not items:
            return None

        def judge(seen: Seen, accidents: set[str]) -> str:
            if seen.error is None and seen.value == items[0]:
                del items[0]
                return ""
            if "scheduler" in accidents:
                if seen.error is None and seen.value in items:  # those before it are lost
                    del items[: items.index(seen.value) + 1]
                    return ""
                if isinstance(seen.error, TimeoutError):
                    items.clear()
                    return ""
            if excused(seen, accidents, (LOST_DATA,)):
                del items[0]
                return ""
            return f"{seen} instead of {brief(items[0])} of {brief(items)}"

        return judge

    def expect_variable_set(self, step: Step, name: str, value: int, slot: str | None) -> Judge:
        if slot is not None and self.slots[slot].errors:
            return None  # type: ignore[return-value]
        self.variables[name] = self.share(value, slot)
        return just(None)

    def expect_variable_get(self, step: Step, name: str) -> Judge | None:
        if name not in self.variables:
            return None
        return self.shared(just(self.variables[name], ("TimeoutError", "scheduler"), LOST_DATA))

    def expect_publish(self, step: Step, name: str, salt: int) -> Judge:
        self.datasets[name] = [mix(salt, 1), mix(salt, 2)]
        return just(None)

    def expect_dataset_get(self, step: Step, name: str) -> Judge | None:
        if name not in self.datasets:
            return None
        return self.shared(just(self.datasets[name], ("KeyError", "scheduler")))

    def shared(self, right: Judge) -> Judge:
        """What is found where only the scheduler knew how to compute it, and the workers have it or had it."""
        restarted = self.restarted

        def judge(seen: Seen, accidents: set[str]) -> str:
            gone = type(seen.error).__name__ in ("LostDataError", "FutureCancelledError")
            if gone and "scheduler" in accidents and (restarted or "worker" in accidents):
                return ""
            return right(seen, accidents)

        return judge

    def expect_unpublish(self, step: Step, name: str) -> Judge | None:
        if self.datasets.pop(name, None) is None:
            return None
        return just(None, ("KeyError", "scheduler"))

    def expect_event(self, step: Step, name: str) -> Judge:
        def judge(seen: Seen, accidents: set[str]) -> str:
            return (
                ""
                if seen.value is True or ("scheduler" in accidents and seen.value is False)
                else f"{seen}, not True"
            )

        return judge

    def expect_metadata(self, step: Step, value: int) -> Judge:
        return just(value, ("KeyError", "scheduler"))

    def expect_ask(self, step: Step, what: str) -> Judge:
        return just(True)

    def expect_actor_new(self, step: Step, start: int) -> Judge:
        def judge(seen: Seen, accidents: set[str]) -> str:
            if seen.error is None:
                self.actors[step.out] = start
            return just(None, LOST_DATA)(seen, accidents)

        return judge

    def expect_actor_add(self, step: Step, actor: str, k: int) -> Judge | None:
        if actor not in self.actors:
            return None
        self.actors[actor] += k
        right = self.actors[actor]

        def judge(seen: Seen, accidents: set[str]) -> str:
            # an actor lives and dies with its worker
            return "" if seen.value == right or "worker" in accidents else f"{seen} instead of {right}"

        return judge

    def expect_close(self, step: Step, release: bool) -> Judge:
        return just(None)


def _raised(seen: Seen, salts: frozenset[int]) -> bool:
    error: Any = seen.error
    return type(error).__name__ == "ProgramError" and error.args[0] in salts
