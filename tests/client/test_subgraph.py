from __future__ import annotations

import pickle
from operator import add, mul

from dask._task_spec import DataNode, Task, TaskRef

from distributed.client.subgraph import Inner, Subgraph


def test_runs_its_nodes_in_order_whatever_order_they_stand_in() -> None:
    nodes = {
        "out": Task("out", add, TaskRef("b"), TaskRef("c")),
        "c": Task("c", mul, TaskRef("b"), 10),
        "b": Task("b", add, TaskRef("in"), TaskRef("one")),
        "one": DataNode("one", 1),
    }
    subgraph = Subgraph(nodes, "out", ("in",))
    assert subgraph(1) == 22
    assert subgraph(2) == 33
    assert pickle.loads(pickle.dumps(subgraph))(1) == 22


def test_intermediate_values_are_let_go_when_nothing_needs_them_any_more() -> None:
    alive: list[int] = []

    class Value:
        def __init__(self, *before: object) -> None:
            alive.append(1)

        def __del__(self) -> None:
            alive.pop()

    def count(value: object) -> int:
        return len(alive)

    chain: dict[str, Task] = {"0": Task("0", Value, 0)}
    for i in range(1, 5):
        chain[str(i)] = Task(str(i), Value, TaskRef(str(i - 1)))
    chain["n"] = Task("n", count, TaskRef("4"))
    assert Subgraph(chain, "n", ())() == 1


def test_an_input_hides_a_node_of_the_same_name() -> None:
    assert Subgraph({"y": Task("y", add, TaskRef("x"), 1), "x": DataNode("x", 100)}, "y", ("x",))(1) == 2


def test_an_inner_call_is_evaluated_as_it_is_unpickled() -> None:
    payload = pickle.dumps([Inner(add, (1, Inner(mul, (2, 3), {})), {}), "as it is"])
    assert pickle.loads(payload) == [7, "as it is"]
