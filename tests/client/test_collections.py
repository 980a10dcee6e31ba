"""Collections computed by a network in this process."""

from __future__ import annotations

from collections.abc import Iterator
from operator import add
from typing import Any

import dask
import pytest

from distributed import Client, Future, futures_of, wait

da = pytest.importorskip("dask.array")


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with Client(n_workers=2, threads_per_worker=1, processes=False) as client:
        yield client


@dask.delayed
def inc(x: Any) -> Any:
    return x + 1


def test_dask_finds_the_client_by_itself(client: Client) -> None:
    x = da.arange(100, chunks=10)
    assert dask.compute(x.sum(), inc(1), 7) == (4950, 2, 7)
    assert dask.base.get_scheduler() == client.get
    with dask.config.set(scheduler="threads"):
        assert dask.base.get_scheduler() != client.get


def test_compute_gives_futures_of_each_collection_and_what_is_none_as_it_is(client: Client) -> None:
    total, one, seven, nested = client.compute(
        [da.ones(10, chunks=2).sum(), inc(0), 7, [inc(1), {"a": inc(2)}]]
    )
    assert isinstance(total, Future)
    assert isinstance(one, Future)
    assert client.gather([total, one, nested]) == [10.0, 1, [2, {"a": 3}]]
    assert seven == 7
    assert client.compute(inc(5), sync=True) == 6
    assert client.compute(inc(5), optimize_graph=False).result() == 6


def test_persisted_collections_are_inputs_of_others(client: Client) -> None:
    x, y = client.persist([da.ones((20, 20), chunks=(5, 5)), inc(1)])
    assert len(futures_of(x)) == 16
    assert wait(x).not_done == set()
    assert float((x + x).sum().compute()) == 800
    assert inc(y).compute() == 3
    again = da.ones((20, 20), chunks=(5, 5))
    assert len(futures_of(client.normalize_collection(again))) == 16


def test_futures_and_collections_nested_in_arguments(client: Client) -> None:
    future = client.submit(add, 1, 2)
    assert inc(future).compute() == 4
    assert dask.delayed(list)([future, {"a": inc(future)}]).compute() == [3, {"a": 4}]
    assert client.submit(lambda parts: parts[0] + parts[1]["x"], [future, {"x": future}]).result() == 6
    assert client.get({"y": (add, future, 1), "z": ["y", future]}, ["y", "z"]) == [4, [4, 3]]


def test_futures_inside_of_data_beside_other_nodes(client: Client) -> None:
    from dask._task_spec import DataNode, Task, TaskRef

    future = client.submit(add, 10, 2)
    graph = {
        "a-box": Task("a-box", add, 1, 1),
        "b-box": Task("b-box", lambda x, parts: x + parts[0], TaskRef("a-box"), DataNode(None, [future])),
    }
    assert client.get(graph, "b-box") == 14


def test_keys_of_every_kind(client: Client) -> None:
    keys: list[Any] = ["a", ("b", 1), ("c", ("d", 2), 1.5), b"e", 30, 40.5]
    graph = {key: (add, i, 1) for i, key in enumerate(keys)}
    assert client.get(graph, keys) == [1, 2, 3, 4, 5, 6]


def test_an_error_is_raised_with_the_frames_of_the_user(client: Client) -> None:
    @dask.delayed
    def fail(x: int) -> float:
        return 1 / x

    with pytest.raises(ZeroDivisionError):
        inc(fail(0)).compute()
    with pytest.raises(ValueError, match="neither in the graph nor a future"):
        client.get({"y": dask._task_spec.Task("y", add, dask._task_spec.TaskRef("nowhere"), 1)}, "y")  # type: ignore[attr-defined]


def test_annotations_reach_the_scheduler(client: Client) -> None:
    with dask.annotate(priority=3, retries=2, resources={"nothing": 1}, note="hello"):
        x = inc(1)
    (future,) = client.compute([inc(x)], optimize_graph=False)

    def look(key: str, dask_scheduler: Any) -> Any:
        options = dask_scheduler.tasks[key].spec.options
        return options.priority, options.retries, options.resources, b"hello" in options.annotations

    assert client.run_on_scheduler(look, x.key) == (3, 2, (("nothing", 1.0),), True)
    assert client.run_on_scheduler(look, future.key) == (0, 0, (), False)
    future.cancel()


def test_a_graph_of_many_pieces_leaves_nothing_behind(client: Client) -> None:
    x = da.ones((400, 400), chunks=(10, 10))
    future = client.compute((x + x.T).sum())
    assert future.result() == 320_000
    future.release()

    def is_clean(dask_scheduler: Any) -> bool:
        state = dask_scheduler.state
        state.validate()
        return all(not cs.graphs for cs in state.clients.values()) and not any(
            "sum" in str(k) for k in state.tasks
        )

    for _ in range(500):
        client.get_versions()
        if client.run_on_scheduler(is_clean):
            break
    else:
        pytest.fail("the graph is still there")


def test_a_graph_whose_making_fails_leaves_nothing_behind(client: Client) -> None:
    graph: dict[Any, Any] = {("x", i): (add, i, 1) for i in range(3_000)}
    graph["bad"] = (sum, [("x", i) for i in range(3_000)], (i for i in range(3)))
    with pytest.raises(TypeError, match="cannot send the task 'bad'"):
        client.get(graph, "bad")

    def left(dask_scheduler: Any) -> list[Any]:
        return [key for key in dask_scheduler.tasks if key[0] == "x"]

    for _ in range(500):
        if not client.run_on_scheduler(left):
            break
    else:
        pytest.fail("what was sent of it is still there")


class Counter:
    n = 0

    def increment(self) -> int:
        self.n += 1
        return self.n


def test_results_of_collections_as_actors(client: Client) -> None:
    counter = client.compute(dask.delayed(Counter)(), actors=True).result()
    assert counter.increment().result() == 1
    assert counter.increment().result() == 2
