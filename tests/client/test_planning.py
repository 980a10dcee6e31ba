from __future__ import annotations

from operator import add

import dask
import msgspec
import pytest
from dask._task_spec import DataNode, Task, TaskRef

from distributed.client.planning import Options, Plan, annotations_of, to_task_spec
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
