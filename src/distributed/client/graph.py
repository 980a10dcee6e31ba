"""Task graphs and collections: sent in pieces, made in the caller's thread."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from distributed.client.future import Future, make_future
from distributed.client.lowering import Lowering
from distributed.client.options import check_key, task_options
from distributed.client.owning import own
from distributed.client.planning import OPTIONS, Options, Plan, annotations_of, futures_given, to_task_spec
from distributed.client.state.graphs import GraphPiece
from distributed.client.state.records import ClientTask
from distributed.collector import building_much
from distributed.protocol.messages import Key

if TYPE_CHECKING:
    from dask._task_spec import GraphNode

    from distributed.client.session import Session

#: Numbers of the graphs of this process.
_graph_ids = itertools.count(1)


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
            _said(workers, allow_other_workers, resources, retries, priority, actors),
        )
        packed = _pack_keys(keys, futures)
        if not sync:
            return packed
        return self.gather(packed, direct=direct, asynchronous=asynchronous)  # type: ignore[attr-defined]

    def _graph_to_futures(self, dsk: Any, keys: list[Key], said: dict[str, Any]) -> dict[Key, Future]:
        """Submit a graph, piece by piece; a future for each of ``keys``. ``said``: options of the call."""
        with building_much():
            return self._submit(dsk, keys, said)

    def _submit(self, dsk: Any, keys: list[Key], said: dict[str, Any]) -> dict[Key, Future]:
        self._session.check_open()
        by_key = annotations_of(dsk)
        expr: Any = None
        if not isinstance(dsk, Mapping):
            if not hasattr(dsk, "__dask_graph__"):
                raise TypeError(f"get needs a graph (a dict or a dask expression), not {type(dsk).__name__}")
            expr, dsk = dsk, dsk.__dask_graph__()
            _forget_graph(expr)
        task_options(**{name: value for name, value in said.items() if name in OPTIONS})
        if said.pop("actor", False):  # of the results, not of what they are made from
            by_key = {**by_key, "actor": dict.fromkeys(keys, True)}
        options = Options(said, by_key)
        graph = dict(to_task_spec(dsk))
        futures: dict[Key, Future] = {}
        elsewhere = [key for key in keys if key not in graph]
        if elsewhere:
            futures.update(self._held(elsewhere, dsk, expr))
        wanted = {key: None for key in keys if key in graph}
        if wanted:
            plan = Plan(graph, list(wanted))
            given = self._given(plan.external, dsk, expr, graph)
            del dsk, expr
            self._submit_graph(graph, plan, wanted, options, futures)
            del given  # not before: the graph's tasks count from now on
        return futures

    def _held(self, keys: list[Key], dsk: Mapping[Key, Any], expr: Any) -> dict[Key, Future]:
        """Our futures on keys for which futures stand in a graph: what is persisted already."""
        given = futures_given(keys, dsk, expr, {})
        found: dict[Key, Future] = {}
        for key in keys:
            if key in given:
                found[key] = own(given[key], self)
            elif self._knows(key):
                found[key] = Future(key, self)  # type: ignore[arg-type]
            else:
                raise KeyError(f"the graph has no key {key!r}")
        return found

    def _knows(self, key: Key) -> bool:
        """Whether a future on this key lives here."""
        if key not in self._session.state.tasks:
            self._session.settle()
        return key in self._session.state.tasks

    def _given(
        self, keys: list[Key], dsk: Mapping[Key, Any], expr: Any, graph: Mapping[Key, GraphNode]
    ) -> list[Future]:
        """Our futures on what a graph takes from outside and is not known here: futures on it stand in the graph."""
        known = self._session.state.tasks
        missing = dict.fromkeys(key for key in keys if key not in known)
        if missing:
            self._session.settle()
            missing = dict.fromkeys(key for key in missing if key not in known)
        if not missing:
            return []
        found = futures_given(missing, dsk, expr, graph)
        for key in missing:
            if key not in found:
                raise ValueError(
                    f"the graph depends on {key!r}, which is neither in the graph nor a future in it"
                )
        return [own(found[key], self) for key in missing]

    def _submit_graph(
        self,
        graph: dict[Key, GraphNode],
        plan: Plan,
        wanted: Mapping[Key, None],
        options: Options,
        futures: dict[Key, Future],
    ) -> None:
        from dask._task_spec import Task
        from dask.utils import key_split

        lowering = Lowering((graph[key] for key in plan.order), self)
        names: dict[Any, str] = {}
        ndependents = plan.ndependents
        piece = GraphPiece(next(_graph_ids), self._session.state.nconnections)
        session = self._session
        posted = False
        try:
            for key in plan.order:
                node = graph.pop(key)  # freed one by one: a million nodes at once would stop all threads
                check_key(key)
                chosen = options.of(key)
                if chosen.actor and isinstance(node, Task):
                    factory = self.extensions["actors"].factory(node.func)  # type: ignore[attr-defined]
                    node = Task(key, factory, *node.args, **node.kwargs)
                function, payload, deps = lowering.lower(key, node)
                stem = key[0] if type(key) is tuple else key
                name = names.get(stem)
                if name is None:
                    name = names[stem] = str(key_split(stem))
                call = self._record(function, name, chosen)  # type: ignore[attr-defined]
                task = ClientTask(key, call, payload, deps)
                if key in wanted:
                    futures[key] = make_future(self, task)  # type: ignore[arg-type]
                    futures[key]._client = None  # bound when its submission is counted
                piece.add(task, ndependents.get(key, 0), key in wanted)
                if piece.full:
                    self._post(piece, futures)
                    posted = True
                    piece = piece.next()
            piece.message.last = True
            self._post(piece, futures)
        except BaseException:
            if posted:  # what was announced does not come
                session.post(session.state.handle_graph_end, piece.message.graph)
            raise

    def _post(self, piece: GraphPiece, futures: dict[Key, Future]) -> None:
        for task, wanted in zip(piece.tasks, piece.message.wanted, strict=True):
            if wanted:
                futures[task.key]._client = self  # type: ignore[assignment]
        self._session.post(self._session.state.handle_graph, piece.tasks, piece)

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
        said = _said(workers, allow_other_workers, resources, retries, priority, actors)
        if traverse:  # a list inside of the list is one result
            from dask.delayed import delayed

            given = [
                delayed(one) if isinstance(one, list | tuple | set | dict | Iterator) else one
                for one in given
            ]
        chosen = [one for one in given if is_dask_collection(one)]
        results: list[Any] = list(given)
        if chosen:
            with building_much():
                expr: Any = FinalizeCompute(collections_to_expr(chosen, optimize_graph))  # type: ignore[no-untyped-call]
                expr = expr.optimize()
                parts = [list(_flatten(part)) for part in expr.__dask_keys__()]
                if len(parts) != len(chosen):  # one list for all: as many keys
                    parts = [[key] for part in parts for key in part]
                futures = self._graph_to_futures(expr, [key for part in parts for key in part], said)
                del expr
            made = iter(
                [futures[part[0]] if len(part) == 1 else [futures[key] for key in part] for part in parts]
            )
            results = [next(made) if is_dask_collection(one) else one for one in given]
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
        from dask._expr import CompositeExpr
        from dask.base import _rebuild_composite_collection as _composite
        from dask.base import collections_to_expr, is_dask_collection

        single = not isinstance(collections, list | tuple | set | frozenset)
        given = [collections] if single else list(collections)
        for collection in given:
            if not is_dask_collection(collection):
                raise TypeError(f"persist takes dask collections, not {collection!r}")
        with building_much():
            expr: Any = collections_to_expr(given, optimize_graph).optimize()
            parts = [list(_flatten(part)) for part in expr.__dask_keys__()]
            said = _said(workers, allow_other_workers, resources, retries, priority, actors)
            futures = self._graph_to_futures(expr, [key for part in parts for key in part], said)
        results = []
        for i, (collection, part) in enumerate(zip(given, parts, strict=True)):
            if getattr(collection, "__dask_exprs__", None) is not None:
                operand = expr.operands[i] if len(expr.operands) == len(given) else None
                if isinstance(operand, CompositeExpr):
                    results.append(_composite(collection, operand, futures, cull_to_child_keys=True))
                    continue
            rebuild, args = collection.__dask_postpersist__()
            results.append(rebuild({key: futures[key] for key in part}, *args))
        return results[0] if single else results

    def normalize_collection(self, collection: Any) -> Any:
        """The same collection on the futures that this client has of its parts, instead of the tasks."""
        from dask.base import is_dask_collection

        if not is_dask_collection(collection):
            raise TypeError(f"normalize_collection takes a dask collection, not {collection!r}")
        self._session.settle()
        graph = dict(collection.__dask_graph__())
        known = self._session.state.tasks
        for key in graph:
            task = known.get(key)
            if task is not None and task.nfutures and task.reusable and not isinstance(graph[key], Future):
                graph[key] = Future(key, self)  # type: ignore[arg-type]
        rebuild, args = collection.__dask_postpersist__()
        return rebuild(graph, *args)


def _said(
    workers: Any, allow_other_workers: Any, resources: Any, retries: Any, priority: Any, actors: Any
) -> dict[str, Any]:
    """Options of a call by name."""
    return {
        "workers": workers,
        "allow_other_workers": bool(allow_other_workers and workers),  # dask-ml says so of all workers
        "resources": resources,
        "retries": retries,
        "priority": priority,
        "actor": bool(actors),
    }


async def _first(gathered: Any) -> Any:
    return (await gathered)[0]


def _forget_graph(expr: Any) -> None:
    """What a dask expression remembers of the graph that it gave us: ours is taken apart while it is sent."""
    getattr(expr, "__dict__", {}).pop("_optimized_dsk", None)


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


__all__ = ["GraphMixin"]
