"""Task graphs: dask's low-level graphs as tasks of one shared function."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from distributed.client.future import Future, make_future, packing
from distributed.client.options import check_key, task_options
from distributed.client.packing import frozen, functions
from distributed.client.state.records import ClientTask
from distributed.protocol.messages import Key
from distributed.protocol.payload import pack
from distributed.protocol.refs import Ref

if TYPE_CHECKING:
    from dask._task_spec import GraphNode

    from distributed.client.session import Session

#: Tasks handed to the loop at once.
CHUNK = 2_000


def execute_graph_node(node: Any, values: Mapping[Key, Any]) -> Any:
    """Run one node of a dask graph on a worker. ``values``: the results of its dependencies."""
    return node(values)


class GraphMixin:
    """The part of ``Client`` that runs graphs."""

    _session: Session
    sync: Callable[..., Any]

    def get(
        self,
        dsk: Any,
        keys: Any,
        workers: Any = None,
        allow_other_workers: bool | None = None,
        resources: Any = None,
        sync: bool = True,
        asynchronous: bool | None = None,
        direct: bool | None = None,
        retries: int | None = None,
        priority: int = 0,
        fifo_timeout: Any = "60s",
        actors: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Compute keys of a dask graph.

        Parameters
        ----------
        dsk : dict or dask expression
            The graph.
        keys : key, or nested list of keys
        sync : bool, default True
            Wait for the results; False: return futures, in the shape of ``keys``.

        Raises
        ------
        ValueError
            The graph contains a cycle, or a task depends on what is neither in the graph nor a future.

        Examples
        --------
        >>> from operator import add
        >>> client.get({"x": (add, 1, 2)}, "x")  # doctest: +SKIP
        3
        """
        futures = self._graph_to_futures(
            dsk,
            list(_flatten(keys)),
            task_options(
                workers=workers,
                resources=resources,
                retries=retries,
                priority=priority,
                allow_other_workers=bool(allow_other_workers),
            ),
        )
        packed = _pack_keys(keys, futures)
        if not sync:
            return packed
        return self.gather(packed, direct=direct, asynchronous=asynchronous)  # type: ignore[attr-defined]

    def _graph_to_futures(self, dsk: Any, keys: list[Key], options: Any) -> dict[Key, Future]:
        """Submit a graph; a future for each of ``keys``."""
        self._session.check_open()
        if not isinstance(dsk, Mapping):
            if not hasattr(dsk, "__dask_graph__"):
                raise TypeError(f"get needs a graph (a dict or a dask expression), not {type(dsk).__name__}")
            dsk = dsk.__dask_graph__()
        graph = to_task_spec(dsk)
        futures: dict[Key, Future] = {}
        for key in keys:
            if key not in graph:
                held = dsk.get(key) if isinstance(dsk, Mapping) else None
                if not isinstance(held, Future):
                    raise KeyError(f"the graph has no key {key!r}")
                futures[key] = held
        order, external = plan(graph, [key for key in keys if key in graph])
        if external:
            self._session.settle()
        for key in external:
            if key not in self._session.state.tasks:
                raise ValueError(
                    f"the graph depends on {key!r}, which is neither in the graph nor a future of this client"
                )
        self._submit_nodes(graph, order, set(keys), options, futures)
        return futures

    def _submit_nodes(
        self,
        graph: dict[Key, GraphNode],
        order: list[Key],
        outputs: set[Key],
        options: Any,
        futures: dict[Key, Future],
    ) -> None:
        from dask.utils import key_split

        session = self._session
        function = functions.get(execute_graph_node)
        known = session.state.tasks
        tasks: list[ClientTask] = []
        wanted = False
        for key in order:
            check_key(key)
            node = graph[key]
            deps = tuple(node.dependencies)
            payload = _pack_node(key, node, deps)
            if (key in outputs) is not wanted or len(tasks) >= CHUNK:
                self._hand_over_nodes(tasks, wanted, futures)
                tasks, wanted = [], key in outputs
            task = known.get(key)
            if task is None or not task.reusable:
                task = ClientTask(key, self._record(function, str(key_split(key)), options), payload, deps)  # type: ignore[attr-defined]
            tasks.append(task)
        self._hand_over_nodes(tasks, wanted, futures)

    def _hand_over_nodes(self, tasks: list[ClientTask], wanted: bool, futures: dict[Key, Future]) -> None:
        if tasks:
            if wanted:
                for task in tasks:
                    futures[task.key] = make_future(self, task)  # type: ignore[arg-type]
            self._session.submit(tasks, wanted)

    # ------------------------------------------------------------ collections

    def compute(
        self,
        collections: Any,
        sync: bool = False,
        optimize_graph: bool = True,
        workers: Any = None,
        allow_other_workers: bool = False,
        resources: Any = None,
        retries: int = 0,
        priority: int = 0,
        fifo_timeout: Any = "60s",
        actors: Any = None,
        traverse: bool = True,
        **kwargs: Any,
    ) -> Any:
        """Compute dask collections: a future (or with ``sync`` the result) for each.

        Parameters
        ----------
        collections : collection, or list of collections
            What is no collection is returned as it is.

        Examples
        --------
        >>> client.compute(dask.delayed(sum)([1, 2])).result()  # doctest: +SKIP
        3
        """
        from dask._expr import FinalizeCompute
        from dask.base import collections_to_expr, is_dask_collection

        single = not isinstance(collections, list | tuple | set | frozenset)
        given = [collections] if single else list(collections)
        options = task_options(
            workers=workers,
            resources=resources,
            retries=retries,
            priority=priority,
            allow_other_workers=allow_other_workers,
        )
        results: list[Any] = []
        for collection in given:
            if not is_dask_collection(collection):
                results.append(collection)
                continue
            expr: Any = FinalizeCompute(collections_to_expr([collection], optimize_graph))  # type: ignore[no-untyped-call]
            if optimize_graph:
                expr = expr.optimize()
            keys = list(_flatten(expr.__dask_keys__()))
            futures = self._graph_to_futures(expr, keys, options)
            results.append(futures[keys[0]] if len(keys) == 1 else [futures[key] for key in keys])
        if sync:
            gathered = self.gather(results)  # type: ignore[attr-defined]
            if asyncio.iscoroutine(gathered):
                return _first(gathered) if single else gathered
            return gathered[0] if single else gathered
        return results[0] if single else results

    def persist(
        self,
        collections: Any,
        optimize_graph: bool = True,
        workers: Any = None,
        allow_other_workers: bool | None = None,
        resources: Any = None,
        retries: int | None = None,
        priority: int = 0,
        fifo_timeout: Any = "60s",
        actors: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Compute dask collections in the background; the same collections, on futures of their parts."""
        from dask.base import collections_to_expr, is_dask_collection

        single = not isinstance(collections, list | tuple | set | frozenset)
        given = [collections] if single else list(collections)
        for collection in given:
            if not is_dask_collection(collection):
                raise TypeError(f"persist takes dask collections, not {collection!r}")
        options = task_options(
            workers=workers,
            resources=resources,
            retries=retries,
            priority=priority,
            allow_other_workers=bool(allow_other_workers),
        )
        results = []
        for collection in given:
            expr: Any = collections_to_expr([collection], optimize_graph)
            if optimize_graph:
                expr = expr.optimize()
            keys = list(_flatten(expr.__dask_keys__()))
            futures = self._graph_to_futures(expr, keys, options)
            rebuild, args = collection.__dask_postpersist__()
            results.append(rebuild(futures, *args))
        return results[0] if single else results


async def _first(gathered: Any) -> Any:
    return (await gathered)[0]


def to_task_spec(dsk: Mapping[Key, Any]) -> dict[Key, GraphNode]:
    """A graph in dask's current form. Raises ``ValueError`` where a task contains itself."""
    from dask._task_spec import TaskRef, convert_legacy_graph

    with _as_task_refs():
        try:
            graph: dict[Key, GraphNode] = convert_legacy_graph(dict(dsk))
        except RecursionError:
            raise ValueError("a task of the graph is nested too deeply, or contains itself") from None
    for key in dsk:
        if key not in graph and not isinstance(dsk[key], TaskRef):  # a future stands for its own key, rightly
            raise ValueError(f"the graph contains a cycle: {key!r} is defined as itself")
    return graph


def plan(graph: dict[Key, GraphNode], keys: list[Key]) -> tuple[list[Key], list[Key]]:
    """What is needed for ``keys``, in the order in which it should run, and keys from outside of the graph.

    Raises
    ------
    ValueError
        The graph contains a cycle; the sentence shows it.
    """
    external: dict[Key, None] = {}
    needed: dict[Key, set[Key]] = {}
    open_: dict[Key, None] = {}  # the path from a root to here, in order
    for root in keys:
        if root in needed:
            continue
        stack: list[tuple[Key, Iterator[Key]]] = [(root, iter(graph[root].dependencies))]
        open_[root] = None
        while stack:
            key, deps = stack[-1]
            for dep in deps:
                if dep in needed:
                    continue
                if dep in open_:
                    path = list(open_)
                    cycle = [*path[path.index(dep) :], dep]
                    raise ValueError(f"the graph contains a cycle: {' -> '.join(map(repr, cycle))}")
                if dep not in graph:
                    external[dep] = None
                    continue
                open_[dep] = None
                stack.append((dep, iter(graph[dep].dependencies)))
                break
            else:
                stack.pop()
                del open_[key]
                needed[key] = {dep for dep in graph[key].dependencies if dep in graph}
    from dask.order import order

    chosen: Any = {key: graph[key] for key in needed}
    priorities: dict[Any, int] = order(chosen, dependencies=cast(Any, needed))
    return sorted(needed, key=priorities.__getitem__), list(external)


def _pack_node(key: Key, node: GraphNode, deps: tuple[Key, ...]) -> Any:
    try:
        with _as_task_refs():
            return frozen(pack(((node, {dep: Ref(dep) for dep in deps}), {})))
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        raise TypeError(f"cannot send the task {key!r}: {type(error).__name__}: {first}") from error


class _as_task_refs:
    """While inside, futures are pickled as references that a node of a graph resolves by itself."""

    def __enter__(self) -> None:
        self._before, packing.as_task_ref = packing.as_task_ref, True

    def __exit__(self, *exc_info: object) -> None:
        packing.as_task_ref = self._before


def _flatten(keys: Any) -> Iterator[Key]:
    if isinstance(keys, list):
        for part in keys:
            yield from _flatten(part)
    else:
        yield keys


def _pack_keys(keys: Any, futures: dict[Key, Future]) -> Any:
    if isinstance(keys, list):
        return [_pack_keys(part, futures) for part in keys]
    return futures[keys]


__all__ = ["GraphMixin", "execute_graph_node"]
