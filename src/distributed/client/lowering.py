"""Nodes of a dask graph as calls: which function, with which pickled arguments.

Most nodes are plain calls: their arguments, with references in place of other nodes, are pickled like those of
``submit``, and a worker calls the function without knowing of graphs. A function is pickled once for all nodes that
share it, as is the fused piece of a graph that many blocks of a collection share.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from types import BuiltinFunctionType, FunctionType
from typing import Any

from dask._task_spec import Alias, DataNode, Dict, GraphNode, List, NestedContainer, Set, Task, TaskRef, Tuple

from distributed.client.future import Future, packing
from distributed.client.owning import ForeignFutureError
from distributed.client.packing import Packer, frozen, functions
from distributed.client.state.records import Function
from distributed.client.subgraph import Inner, Subgraph, call, execute_graph_node
from distributed.protocol import refs
from distributed.protocol.messages import Key
from distributed.protocol.payload import OUT_OF_BAND_NBYTES, Payload, Serialized, pack
from distributed.protocol.refs import Ref

try:
    from dask._task_spec import _execute_subgraph, _identity_cast
except ImportError:  # another version of dask: such nodes are calls like others
    _execute_subgraph = _identity_cast = None  # type: ignore[assignment]

#: Other callables than functions and classes travel on their own if they are used at least so often.
SHARED = 2

_LEAVES = frozenset({str, int, float, bool, bytes, type(None), complex, slice})
_NAMED = frozenset({FunctionType, BuiltinFunctionType, type})
_BUILTINS = frozenset({list, tuple, set, frozenset})
_CONTAINERS: dict[type, Any] = {List: list, Tuple: tuple, Set: set}


def itself(value: Any) -> Any:
    """What data in a graph, and another name for a key, are computed by."""
    return value


class Lowering:
    """Lowers the nodes of one graph.

    Parameters
    ----------
    nodes : iterable of GraphNode
        Those that will be lowered: how often each function is used decides how it travels.
    client : Client
        Futures among the arguments must be of this client, or of another of the same scheduler.
    """

    def __init__(self, nodes: Iterable[GraphNode], client: Any) -> None:
        self._client = client
        self._held: list[Future] = []  # until the graph is submitted
        self._uses: dict[int, int] = {}
        self._functions: dict[Any, Function] = {}
        uses = self._uses
        for node in nodes:
            if type(node) is Task:
                shared = id(node.func) if node.func is not _execute_subgraph else id(node.args[0])
                uses[shared] = uses.get(shared, 0) + 1

    def lower(self, key: Key, node: GraphNode) -> tuple[Function, Payload, tuple[Key, ...]]:
        """The function, the payload of its arguments, and the keys that they refer to.

        Raises
        ------
        TypeError
            In one sentence: something cannot be pickled.
        """
        try:
            if type(node) is Task:
                func, args = node.func, node.args
                if func is _execute_subgraph and self._uses.get(id(args[0]), 0) >= SHARED:
                    function = self._subgraph(*args[:3])
                    args = args[3:]
                else:
                    function = self._function(func)
                    if function is self._shared(call):
                        args = (func, *args)
                plain = tuple([a if type(a) in _LEAVES else _plain(a) for a in args])
                kwargs = {k: _plain(v) for k, v in node.kwargs.items()} if node.kwargs else {}
                return self._packed(function, plain, kwargs, node)
            if type(node) is Alias:
                return self._packed(self._shared(itself), (Ref(node.target),), {}, node)
            if type(node) is DataNode:
                return self._packed(self._shared(itself), (node.value,), {}, node)
            return self._whole(node)
        except Exception as error:
            if isinstance(error, ForeignFutureError):
                raise
            first = (str(error).splitlines() or [""])[0]
            raise TypeError(f"cannot send the task {key!r}: {type(error).__name__}: {first}") from error

    def _packed(
        self, function: Function, args: tuple[Any, ...], kwargs: dict[str, Any], node: GraphNode
    ) -> tuple[Function, Payload, tuple[Key, ...]]:
        buffers: list[Any] = []
        deps: tuple[Key, ...] = tuple(node.dependencies)
        with refs.collecting() as noted:
            try:
                stream = pickle.dumps((args, kwargs), 5, buffer_callback=buffers.append)
                if (
                    not buffers
                    and not noted
                    and len(stream) < OUT_OF_BAND_NBYTES
                    and b"__main__" not in stream
                ):
                    return function, stream, deps
            except Exception:  # cloudpickle may be able to
                noted.append(None)
        packer = Packer(function, self._client)
        payload, more = packer.with_futures(args, kwargs)
        self._held += packer.held
        return function, payload, tuple(dict.fromkeys((*deps, *more)))

    def _whole(self, node: GraphNode) -> tuple[Function, Payload, tuple[Key, ...]]:
        """A node of a kind of its own travels as it is."""
        deps = tuple(node.dependencies)
        before, packing.as_task_ref = packing.as_task_ref, True
        try:
            payload = frozen(pack(((node, {dep: Ref(dep) for dep in deps}), {})))
        finally:
            packing.as_task_ref = before
        return self._shared(execute_graph_node), payload, deps

    def _function(self, func: Any) -> Function:
        if type(func) in _NAMED or self._uses.get(id(func), 0) >= SHARED:
            return self._shared(func)
        return self._shared(call)

    def _shared(self, func: Any) -> Function:
        found = self._functions.get(id(func))
        if found is None:
            found = self._functions[id(func)] = functions.get(func)
        return found

    def _subgraph(self, nodes: Any, output: Key, inputs: tuple[Key, ...]) -> Function:
        name = (id(nodes), output, tuple(inputs))
        found = self._functions.get(name)
        if found is None:
            before, packing.as_task_ref = packing.as_task_ref, True
            try:
                found = functions.get(Subgraph(nodes, output, tuple(inputs)))
            finally:
                packing.as_task_ref = before
            self._functions[name] = found
        return found


def _call(task: Any) -> Any:
    """A call among arguments: a list of references, or what is evaluated as the arguments are unpickled."""
    if task.func is _identity_cast and task.kwargs.get("typ") in _BUILTINS and len(task.kwargs) == 1:
        return task.kwargs["typ"]([a if type(a) in _LEAVES else _plain(a) for a in task.args])
    args = tuple([_plain(a) for a in task.args])
    return Inner(task.func, args, {name: _plain(value) for name, value in task.kwargs.items()})


def nbytes_of(payload: Payload) -> int:
    """What a payload counts for in a message."""
    return payload.nbytes if isinstance(payload, Serialized) else len(payload)


def _plain(arg: Any) -> Any:
    """An argument with references in place of nodes."""
    kind = type(arg)
    if kind in _LEAVES:
        return arg
    if kind is TaskRef or kind is Future:
        return Ref(arg.key)
    if isinstance(arg, GraphNode):
        if kind is DataNode:
            return arg.value  # type: ignore[attr-defined]
        if kind is Alias:
            return Ref(arg.target)  # type: ignore[attr-defined]
        if isinstance(arg, NestedContainer):
            constructor = _CONTAINERS.get(kind)
            if constructor is not None:
                return constructor([a if type(a) in _LEAVES else _plain(a) for a in arg.args])
            if kind is Dict:
                flat = arg.args
                return {_plain(flat[i]): _plain(flat[i + 1]) for i in range(0, len(flat), 2)}
        if kind is Task:
            return _call(arg)
        deps = arg.dependencies
        return Inner(execute_graph_node, (arg, {dep: Ref(dep) for dep in deps}), {})
    if isinstance(arg, TaskRef):
        return Ref(arg.key)
    return arg


__all__ = ["Lowering", "itself", "nbytes_of"]
