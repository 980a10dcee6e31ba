from __future__ import annotations

import functools
from operator import add
from typing import Any

import pytest
from dask._task_spec import Alias, DataNode, Dict, List, Task, TaskRef, _execute_subgraph

from distributed.client.lowering import Lowering
from distributed.client.state import Function
from distributed.client.subgraph import Subgraph, execute_graph_node
from distributed.protocol import refs
from distributed.protocol.payload import Payload, unpack


def run(function: Function, payload: Payload, **values: Any) -> Any:
    with refs.resolving(values):
        args, kwargs = unpack(payload)
    return unpack(function.blob)(*args, **kwargs)


def lower(node: Any, *others: Any) -> tuple[Function, Payload, tuple[Any, ...]]:
    return Lowering([node, *others], None).lower(node.key, node)


def test_a_plain_call_knows_nothing_of_graphs() -> None:
    function, payload, deps = lower(Task("y", add, TaskRef("x"), 1))
    assert unpack(function.blob) is add
    assert deps == ("x",)
    assert run(function, payload, x=2) == 3


@pytest.mark.parametrize(
    ("node", "result"),
    [
        (Alias("y", "x"), 5),
        (DataNode("y", [1, {"a": 2}]), [1, {"a": 2}]),
        (Task("y", sum, List(TaskRef("x"), 1, DataNode(None, 4))), 10),
        (Task("y", dict, Dict({"a": TaskRef("x")})), {"a": 5}),
        (Task("y", add, Task(None, add, TaskRef("x"), 1), Task(None, abs, -3)), 9),
        (Task("y", sum, List(Task(None, add, TaskRef("x"), 1), 1)), 7),
        (List(TaskRef("x"), 2), [5, 2]),
        (Task("y", functools.partial(pow, exp=2), TaskRef("x")), 25),
        (Task("y", sorted, List(3, TaskRef("x")), reverse=True), [5, 3]),
    ],
)
def test_every_kind_of_node_gives_what_dask_gives(node: Any, result: Any) -> None:
    function, payload, deps = Lowering([node], None).lower("y", node)
    assert set(deps) == set(node.dependencies)
    assert run(function, payload, x=5) == result == node({"x": 5} if "x" in node.dependencies else {})


def test_a_fused_piece_that_nodes_share_travels_once() -> None:
    inner = {"i": Task("i", add, TaskRef("in"), 1), "out": Task("out", abs, TaskRef("i"))}
    nodes = [Task(("y", i), _execute_subgraph, inner, "out", ("in",), TaskRef(("x", i))) for i in range(3)]
    lowering = Lowering(nodes, None)
    lowered = [lowering.lower(node.key, node) for node in nodes]
    assert len({function.id for function, _, _ in lowered}) == 1
    assert type(unpack(lowered[0][0].blob)) is Subgraph
    assert len(lowered[0][1]) < 120
    with refs.resolving({("x", 1): -3}):
        args, kwargs = unpack(lowered[1][1])
    assert unpack(lowered[1][0].blob)(*args, **kwargs) == 2


def test_a_node_of_a_kind_of_its_own_travels_as_it_is() -> None:
    class Special(Task):
        __slots__ = ()

        def __call__(self, values: Any = ()) -> Any:
            return "special"

    function, payload, deps = lower(Special("y", add, TaskRef("x"), 1))
    assert unpack(function.blob) is execute_graph_node
    assert deps == ("x",)
    assert run(function, payload, x=2) == "special"


def test_what_cannot_be_pickled_is_named() -> None:
    with pytest.raises(TypeError, match="cannot send the task 'y'"):
        lower(Task("y", add, (i for i in range(3)), 1))
