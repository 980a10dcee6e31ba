"""What of a graph is needed, in which order it should run, and what users said about its tasks."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from distributed.client.future import Future, futures_of, packing
from distributed.client.options import task_options
from distributed.protocol.messages import Key, TaskOptions

if TYPE_CHECKING:
    from dask._task_spec import GraphNode

#: Annotations that decide where and how a task runs; others are kept with it for whoever reads them.
OPTIONS = ("workers", "resources", "retries", "priority", "allow_other_workers")

#: Keys that are sorted in one step.
SORTED_AT_ONCE = 1_000


def to_task_spec(dsk: Mapping[Key, Any]) -> dict[Key, GraphNode]:
    """A graph in dask's current form. Raises ``ValueError`` where a task contains itself."""
    from dask._task_spec import GraphNode, TaskRef, convert_legacy_graph

    if type(dsk) is dict and all(isinstance(node, GraphNode) for node in dsk.values()):
        return dsk
    before, packing.as_task_ref = packing.as_task_ref, True
    try:
        graph: dict[Key, GraphNode] = convert_legacy_graph(dict(dsk))
    except RecursionError:
        raise ValueError("a task of the graph is nested too deeply, or contains itself") from None
    finally:
        packing.as_task_ref = before
    if len(graph) < len(dsk):
        for key in dsk:
            if key not in graph and not isinstance(
                dsk[key], TaskRef
            ):  # a future stands for its own key, rightly
                raise ValueError(f"the graph contains a cycle: {key!r} is defined as itself")
    return graph


def futures_given(
    keys: Collection[Key], dsk: Mapping[Key, Any], expr: Any, graph: Mapping[Key, GraphNode]
) -> dict[Key, Future]:
    """Futures on these keys that stand in a graph, also those that dask left out of it as it was optimised.

    Parameters
    ----------
    keys : collection of keys
    dsk : dict
        The graph.
    expr : dask expression, optional
        What the graph is of.
    graph : dict
        The graph in dask's current form.
    """
    from dask._expr import Expr
    from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

    found: dict[Key, Future] = {}
    places: list[Any] = [dsk, expr]
    while places and len(found) < len(keys):
        place = places.pop()
        if isinstance(place, Expr):
            places += place.operands
        elif isinstance(place, HighLevelGraph):
            places += [layer for layer in place.layers.values() if isinstance(layer, MaterializedLayer)]
        elif isinstance(place, dict | MaterializedLayer):
            found |= {key: place[key] for key in keys if key in place and isinstance(place[key], Future)}
        elif isinstance(place, list | tuple):
            places += place
    if len(found) < len(keys):
        found |= {future.key: future for future in futures_of(list(graph.values()))}
    return found


class Plan:
    """A graph made ready to be sent.

    Attributes
    ----------
    order : list of keys
        What is needed, in the order in which it should run.
    ndependents : dict of key to int
        How many of the needed tasks list a key among their dependencies.
    external : list of keys
        What they depend on and is not in the graph.
    """

    __slots__ = ("external", "ndependents", "order")

    def __init__(self, graph: Mapping[Key, GraphNode], keys: list[Key]) -> None:
        """Raises ``ValueError``, showing it, if the graph contains a cycle."""
        needed: dict[Key, None] = {}
        external: dict[Key, None] = {}
        ndependents: dict[Key, int] = {}
        dependencies: dict[Key, Collection[Key]] = {}
        stack = list(keys)
        while stack:
            key = stack.pop()
            if key in needed:
                continue
            needed[key] = None
            deps = graph[key].dependencies
            inside = None
            for dep in deps:
                ndependents[dep] = ndependents.get(dep, 0) + 1
                if dep not in graph:
                    external[dep] = None
                    if inside is None:
                        inside = {dep for dep in deps if dep in graph}
                elif dep not in needed:
                    stack.append(dep)
            dependencies[key] = inside if inside is not None else deps
        self.external = list(external)
        self.ndependents = ndependents
        hanging = _hanging(needed, dependencies, ndependents, dict.fromkeys(keys))
        trunk = {key: graph[key] for key in needed if key not in hanging}
        if any(dep not in hanging for key in trunk for dep in dependencies[key]):
            for key in trunk:
                if not hanging.isdisjoint(dependencies[key]):
                    trunk[key] = _without(trunk[key], hanging)
            places = _places(trunk, graph, keys)
        else:  # what is wanted, each on a tree of its own
            places = [[key] for key in dict.fromkeys(keys)]
        self.order = _dependencies_first(places, dependencies)


def _hanging(
    needed: Mapping[Key, Any],
    dependencies: Mapping[Key, Collection[Key]],
    ndependents: Mapping[Key, int],
    wanted: Collection[Key],
) -> set[Key]:
    """Tasks on which, and on all that they stand on, one task alone depends: their place is right before that one.

    Most tasks of a reduction are such. dask's search for an order takes longer than all else, and as much memory as
    the graph, so it is spared them.
    """
    hanging: set[Key] = set()
    for key in reversed(needed):  # a task was found through the one that depends on it
        if ndependents.get(key) == 1 and key not in wanted and hanging.issuperset(dependencies[key]):
            hanging.add(key)
    return hanging


def _without(node: GraphNode, others: set[Key]) -> GraphNode:
    """A node that stands for this one where only dependencies count, and these are none."""
    from dask._task_spec import Task, TaskRef

    return Task(node.key, _without, *[TaskRef(dep) for dep in node.dependencies if dep not in others])


def _places(
    trunk: dict[Key, GraphNode], graph: Mapping[Key, GraphNode], keys: list[Key]
) -> list[list[Key] | None]:
    """The keys of ``trunk`` in dask's order. ``ValueError`` where there is none."""
    from dask.order import order

    try:
        priorities: dict[Any, int] = order(trunk)  # type: ignore[arg-type]
    except RuntimeError:
        raise ValueError(f"the graph contains a cycle: {_cycle(graph, keys)}") from None
    # not sorted(): of a million keys that would be one step that lets no other thread in
    places: list[list[Key] | None] = [None] * len(trunk)
    for key, place in priorities.items():
        here = places[place]
        if here is None:
            places[place] = [key]
        else:
            here.append(key)
    return places


def _dependencies_first(
    places: Sequence[list[Key] | None], dependencies: Mapping[Key, Collection[Key]]
) -> list[Key]:
    """These keys in this order, but nothing before what it depends on."""
    ordered: list[Key] = []
    seen: set[Key] = set()
    for keys in places:
        for first in keys or ():
            stack = [first]
            while stack:
                key = stack[-1]
                missing = [dep for dep in dependencies[key] if dep not in seen] if key not in seen else ()
                if missing:
                    stack += _last_first(missing, dependencies) if len(missing) > 1 else missing
                else:
                    stack.pop()
                    if key not in seen:
                        seen.add(key)
                        ordered.append(key)
    return ordered


def _last_first(keys: list[Key], dependencies: Mapping[Key, Collection[Key]]) -> list[Key]:
    """What one task depends on, backwards: first what stands on others, in the order of the keys, at last the rest.

    The results of the rest are held from when they are made until the task runs, so they are made late.
    """
    leaves = _backwards([key for key in keys if not dependencies[key]])
    return leaves + _backwards([key for key in keys if dependencies[key]])


def _backwards(keys: list[Key]) -> list[Key]:
    """Sorted from the last to the first, in steps that let other threads in."""
    parts = [keys[i : i + SORTED_AT_ONCE] for i in range(0, len(keys), SORTED_AT_ONCE)]
    try:
        parts = [sorted(part, reverse=True) for part in parts]
        return parts[0] if len(parts) == 1 else list(heapq.merge(*parts, reverse=True))
    except TypeError:  # numbers and names
        parts = [sorted(part, key=str, reverse=True) for part in parts]
        return list(heapq.merge(*parts, key=str, reverse=True))


def _cycle(graph: Mapping[Key, GraphNode], keys: list[Key]) -> str:
    """The first cycle found below these keys."""
    done: set[Key] = set()
    for root in keys:
        stack: list[tuple[Key, Iterator[Key]]] = [(root, iter(graph[root].dependencies))]
        path: dict[Key, None] = {root: None}
        while stack:
            key, deps = stack[-1]
            for dep in deps:
                if dep in path:
                    nodes = list(path)
                    return " -> ".join(map(repr, [*nodes[nodes.index(dep) :], dep]))
                if dep not in done and dep in graph:
                    path[dep] = None
                    stack.append((dep, iter(graph[dep].dependencies)))
                    break
            else:
                stack.pop()
                done.add(key)
                del path[key]
    return "?"


def annotations_of(dsk: Any) -> dict[str, dict[Key, Any]]:
    """What was annotated, by annotation and key: ``{"priority": {key: 1}}``."""
    if isinstance(dsk, Mapping):
        found: dict[str, dict[Key, Any]] = {}
        for layer in getattr(dsk, "layers", {}).values():
            for name, value in (getattr(layer, "annotations", None) or {}).items():
                mine = found.setdefault(name, {})
                for key in layer:
                    mine[key] = value(key) if callable(value) else value
        return found
    get = getattr(dsk, "__dask_annotations__", None)
    return dict(get()) if get is not None else {}


class Options:
    """The options of every task of a graph: those of the call, of ``dask.annotate`` around it, and of the task's layer.

    The nearer to the task the stronger: what a layer was annotated with overrides what the call said.
    """

    def __init__(self, said: dict[str, Any], by_key: dict[str, dict[Key, Any]]) -> None:
        """``said``: the arguments of the call that were given. ``by_key``: see :func:`annotations_of`."""
        from dask.base import get_annotations

        around = get_annotations()
        self._base = {**around, **{name: value for name, value in said.items() if value}}
        self._by_key = by_key
        self._made: dict[Any, TaskOptions] = {}
        self._varies = bool(by_key) or any(callable(value) for value in self._base.values())
        self._default = TaskOptions() if self._varies else _options(self._base)

    def of(self, key: Key) -> TaskOptions:
        """The options of one task."""
        if not self._varies:
            return self._default
        annotations = {name: value(key) if callable(value) else value for name, value in self._base.items()}
        for name, values in self._by_key.items():
            if key in values:
                annotations[name] = values[key]
        ident = tuple((name, repr(value)) for name, value in annotations.items())
        made = self._made.get(ident)
        if made is None:
            made = self._made[ident] = _options(annotations)
        return made


def _options(annotations: dict[str, Any]) -> TaskOptions:
    known = {name: annotations[name] for name in OPTIONS if annotations.get(name) is not None}
    if known.get("allow_other_workers") and not known.get("workers"):
        del known["allow_other_workers"]
    options = task_options(**known)
    rest = {name: value for name, value in annotations.items() if name not in ("actor", "actors")}
    if annotations.get("actor") or annotations.get("actors"):
        options = msgspec.structs.replace(options, actor=True)
    if rest.keys() - OPTIONS:
        blob = msgspec.msgpack.encode(rest, enc_hook=repr)
        options = msgspec.structs.replace(options, annotations=blob)
    return options


__all__ = ["Options", "Plan", "annotations_of", "to_task_spec"]
