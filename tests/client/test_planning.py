from __future__ import annotations

import random
from operator import add
from typing import Any

import dask
import msgspec
import pytest
from dask._task_spec import DataNode, Task, TaskRef

from distributed.client.planning import SORTED_AT_ONCE, Options, Plan, annotations_of, to_task_spec
from distributed.protocol.messages import TaskOptions


def test_a_plan_holds_what_is_needed_dependencies_first() -> None:
    graph = {
        "a": Task("a", add, 1, 1),
        "b": Task("b", add, TaskRef("a"), TaskRef("outside")),
        "c": Task("c", add, TaskRef("a"), TaskRef("b")),
        "unneeded": Task("unneeded", add, 1, 1),
    }
    plan = Plan(graph, ["c"])
    assert plan.order == ["a", "b", "c"]
    assert plan.external == ["outside"]
    assert plan.ndependents == {"a": 2, "b": 1, "outside": 1}


def test_data_with_many_dependents_and_gathering_leaves_have_their_place() -> None:
    graph = {"data": DataNode("data", 1)}
    for i in range(20):
        graph[f"x{i}"] = Task(f"x{i}", add, TaskRef("data"), i)  # type: ignore[assignment]
    graph["all"] = to_task_spec({"all": [f"x{i}" for i in range(20)], **graph})["all"]
    plan = Plan(graph, ["all", "x3"])
    assert sorted(plan.order) == sorted(graph)
    place = {key: i for i, key in enumerate(plan.order)}
    for key, node in graph.items():
        assert all(place[dep] < place[key] for dep in node.dependencies)


def dependencies_first(plan: Plan, graph: dict[Any, Any]) -> bool:
    place = {key: i for i, key in enumerate(plan.order)}
    assert len(place) == len(plan.order)
    return all(place[dep] < place[key] for key in plan.order for dep in graph[key].dependencies)


def test_a_tree_runs_branch_by_branch_and_leaves_of_the_trunk_come_late() -> None:
    graph: dict[Any, Any] = {("leaf", i): Task(("leaf", i), abs, i) for i in range(8)}
    for i in range(4):
        graph["pair", i] = Task(("pair", i), add, TaskRef(("leaf", 2 * i)), TaskRef(("leaf", 2 * i + 1)))
    graph["late"] = DataNode("late", 1)
    graph["sum"] = Task("sum", max, *[TaskRef(("pair", i)) for i in range(4)], TaskRef("late"))
    order = Plan(graph, ["sum"]).order
    branches = [[("leaf", 2 * i), ("leaf", 2 * i + 1), ("pair", i)] for i in range(4)]
    assert order == [*(key for branch in branches for key in branch), "late", "sum"]


def test_what_hangs_on_one_task_runs_right_before_it() -> None:
    """Also where the rest of the graph is no tree, and has its order from dask."""
    graph: dict[Any, Any] = {"shared": Task("shared", abs, 1)}
    for i in range(50):
        graph["raw", i] = Task(("raw", i), abs, i)
        graph["load", i] = Task(("load", i), abs, TaskRef(("raw", i)))
        graph["mix", i] = Task(("mix", i), add, TaskRef(("load", i)), TaskRef("shared"))
    graph["sum"] = Task("sum", max, *[TaskRef(("mix", i)) for i in range(50)])
    plan = Plan(graph, ["sum"])
    assert set(plan.order) == set(graph)
    assert dependencies_first(plan, graph)
    place = plan.order.index
    for i in range(50):
        assert place(("load", i)) == place(("raw", i)) + 1
        assert place(("mix", i)) - place(("load", i)) in (1, 2)  # "shared" may stand between


def test_what_is_wanted_is_never_put_off() -> None:
    graph: dict[Any, Any] = {
        "a": Task("a", abs, 1),
        "b": Task("b", abs, TaskRef("a")),
        "c": Task("c", abs, TaskRef("b")),
        "other": Task("other", abs, 1),
    }
    assert Plan(graph, ["c", "b", "other"]).order in (["a", "b", "c", "other"], ["other", "a", "b", "c"])
    assert Plan(graph, ["other", "c", "other"]).order == ["other", "a", "b", "c"]


def test_keys_that_cannot_be_compared_and_very_many_of_them() -> None:
    names: list[Any] = [*range(SORTED_AT_ONCE), *(f"x{i}" for i in range(SORTED_AT_ONCE)), ("y", 1), b"z"]
    graph: dict[Any, Any] = {name: Task(name, abs, 1) for name in names}
    graph["sum"] = Task("sum", max, *map(TaskRef, names))
    plan = Plan(graph, ["sum"])
    assert set(plan.order) == set(graph)
    assert plan.order[-1] == "sum"
    numbers = {i: Task(i, abs, 1) for i in range(3 * SORTED_AT_ONCE)}
    graph = {**numbers, "sum": Task("sum", max, *map(TaskRef, numbers))}
    assert Plan(graph, ["sum"]).order == [*numbers, "sum"]


@pytest.mark.parametrize("seed", range(20))
def test_random_graphs(seed: int) -> None:
    rng = random.Random(seed)
    graph: dict[Any, Any] = {}
    for i in range(rng.choice((5, 60, 300))):
        deps = rng.sample(range(i), min(i, rng.choice((0, 0, 1, 1, 2, 5))))
        graph[i] = Task(i, max, *map(TaskRef, deps), 0)
    wanted = rng.sample(sorted(graph), rng.choice((1, 2, 5)))
    plan = Plan(graph, list(wanted))
    needed, stack = set(), list(wanted)
    while stack:
        key = stack.pop()
        needed.add(key)
        stack += graph[key].dependencies - needed
    assert set(plan.order) == needed
    assert dependencies_first(plan, graph)


def test_a_cycle_is_shown() -> None:
    graph = {
        "a": Task("a", abs, TaskRef("b")),
        "b": Task("b", abs, TaskRef("a")),
        "c": Task("c", abs, TaskRef("a")),
    }
    with pytest.raises(ValueError, match="cycle: 'a' -> 'b' -> 'a'"):
        Plan(graph, ["c"])


def test_annotations_of_a_layer_override_those_around_the_call_and_its_arguments() -> None:
    with dask.annotate(priority=5, workers=["a"]):
        options = Options({"priority": 1, "retries": 2}, {"priority": {"x": 9}})
    assert options.of("x") == TaskOptions(priority=9, retries=2, workers=("a",))
    assert options.of("y").priority == 1


def test_annotations_may_be_functions_of_the_key_and_others_are_kept() -> None:
    with dask.annotate(priority=lambda key: key[1], note="hello"):
        options = Options({}, {})
    assert options.of(("x", 3)).priority == 3
    assert msgspec.msgpack.decode(options.of(("x", 4)).annotations)["note"] == "hello"


def test_annotations_of_collections_are_found_by_key() -> None:
    with dask.annotate(priority=7):
        x = dask.delayed(add)(1, 2)
    from dask.base import collections_to_expr

    assert annotations_of(collections_to_expr([x]).optimize()) == {"priority": {x.key: 7}}  # type: ignore[no-untyped-call]
    assert annotations_of({"a": 1}) == {}
