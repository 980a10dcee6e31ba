"""What a worker calls for the nodes of a graph that are no plain calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from distributed.protocol.messages import Key


def execute_graph_node(node: Any, values: Mapping[Key, Any]) -> Any:
    """Run one node of a dask graph. ``values``: the results of its dependencies."""
    return node(values)


def call(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """A function that travels with its arguments: for those that are called only once."""
    return function(*args, **kwargs)


class Inner:
    """A call among the arguments of another: unpickling it gives its result."""

    __slots__ = ("args", "func", "kwargs")

    def __init__(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.func = func
        self.args = args
        self.kwargs = kwargs

    def __reduce__(self) -> tuple[Any, ...]:
        return _evaluate, (self.func, self.args, self.kwargs)


def _evaluate(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return func(*args, **kwargs)


class Subgraph:
    """A fused piece of a graph: a function of what it takes from outside.

    It travels once for all tasks that share it, and its order is found once for all their calls.

    Parameters
    ----------
    nodes : dict of key to dask GraphNode
    output : key
        Whose value is the result.
    inputs : tuple of keys
        What the arguments of a call stand for.

    Examples
    --------
    >>> from dask._task_spec import Task, TaskRef
    >>> Subgraph({"y": Task("y", abs, TaskRef("x"))}, "y", ("x",))(-1)
    1
    """

    __slots__ = ("_steps", "inputs", "nodes", "output")

    def __init__(self, nodes: dict[Key, Any], output: Key, inputs: tuple[Key, ...]) -> None:
        self.nodes = nodes
        self.output = output
        self.inputs = inputs
        self._steps: list[tuple[Key, Any, tuple[Key, ...]]] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Subgraph, (self.nodes, self.output, self.inputs)

    def __call__(self, *values: Any) -> Any:
        steps = self._steps
        if steps is None:
            steps = self._steps = self._order()
        have = dict(zip(self.inputs, values, strict=True))
        del values
        for key, node, done in steps:
            have[key] = node(have)
            for dep in done:
                del have[dep]
        return have[self.output]

    def _order(self) -> list[tuple[Key, Any, tuple[Key, ...]]]:
        """The nodes, dependencies first, each with the values that are not needed after it."""
        given = set(self.inputs)
        order: list[Key] = []
        seen = set(given)
        stack = [] if self.output in given else [self.output]
        while stack:
            key = stack[-1]
            missing = [dep for dep in self.nodes[key].dependencies if dep not in seen]
            if key in seen or not missing:
                stack.pop()
                if key not in seen:
                    seen.add(key)
                    order.append(key)
            else:
                stack += missing
        steps: list[tuple[Key, Any, tuple[Key, ...]]] = []
        later = {self.output}
        for key in reversed(order):
            node = self.nodes[key]
            done = tuple(dep for dep in node.dependencies if dep not in later)
            later.update(done)
            steps.append((key, node, done))
        return steps[::-1]


__all__ = ["Inner", "Subgraph", "call", "execute_graph_node"]
