"""Objects as a header and frames, by functions that may be registered for their types.

This is the interface that libraries know for their own types. What is registered with :data:`dask_serialize` is also
used wherever this package pickles an object of exactly that type: pickling is how results travel here.

Examples
--------
>>> class Point:
...     def __init__(self, x, y):
...         self.x, self.y = x, y
>>> @dask_serialize.register(Point)
... def _(point):
...     return {"x": point.x, "y": point.y}, []
>>> @dask_deserialize.register(Point)
... def _(header, frames):
...     return Point(header["x"], header["y"])
>>> header, frames = serialize(Point(1, 2))
>>> deserialize(header, frames).y
2
"""

from __future__ import annotations

import copyreg
import pickle as stdlib_pickle
import threading
from collections.abc import Callable, Iterable
from typing import Any

from distributed.protocol import pickle
from distributed.protocol.payload import Buffer, Serialized, pack, unpack

Header = dict[str, Any]


class _Registry:
    """Functions by type, also of base classes; a module's types can be registered when it is first needed."""

    def __init__(self, name: str, on_register: Callable[[type], None] | None = None) -> None:
        self.__name__ = name
        self._functions: dict[type, Callable[..., Any]] = {}
        self._lazy: dict[str, Callable[[], Any]] = {}
        self._on_register = on_register
        self._registering = threading.RLock()

    def register(self, type: Any, func: Callable[..., Any] | None = None) -> Any:
        """Use ``func`` for a type, or for each of a tuple of types; without ``func``: as a decorator."""

        def keep(func: Callable[..., Any]) -> Callable[..., Any]:
            for one in type if isinstance(type, tuple) else (type,):
                self._functions[one] = func
                if self._on_register is not None:
                    self._on_register(one)
            return func

        return keep if func is None else keep(func)

    def register_lazy(self, toplevel: str, func: Callable[[], Any] | None = None) -> Any:
        """Call ``func()``, which registers, when a type of the module ``toplevel`` is first met."""

        def keep(func: Callable[[], Any]) -> Callable[[], Any]:
            self._lazy[toplevel] = func
            return func

        return keep if func is None else keep(func)

    def dispatch(self, cls: type) -> Callable[..., Any]:
        """The function for a type, or for the nearest of its base classes. Raises TypeError when there is none."""
        for base in cls.__mro__:
            if base.__module__.partition(".")[0] in self._lazy:
                self._register_lazily(base.__module__.partition(".")[0])
            if base in self._functions:
                return self._functions[base]
        raise TypeError(f"{self.__name__}: nothing is registered for {cls.__module__}.{cls.__qualname__}")

    def _register_lazily(self, toplevel: str) -> None:
        """Once; another thread that needs it meanwhile waits."""
        with self._registering:
            if toplevel in self._lazy:
                self._lazy[toplevel]()
                self._lazy.pop(toplevel, None)

    def __call__(self, arg: Any, *args: Any, **kwargs: Any) -> Any:
        """Call the function of the argument's type, or of the argument if that is a type."""
        return self.dispatch(arg if isinstance(arg, type) else type(arg))(arg, *args, **kwargs)


def _pickle_by_registry(cls: type) -> None:
    copyreg.pickle(cls, _reduce)


def _reduce(x: Any) -> tuple[Any, ...]:
    header, frames = dask_serialize.dispatch(type(x))(x)
    return _rebuild, (type(x), header, [stdlib_pickle.PickleBuffer(frame) for frame in frames])


def _rebuild(cls: type, header: Header, frames: list[Any]) -> Any:
    return dask_deserialize.dispatch(cls)(header, frames)


#: ``@dask_serialize.register(cls)``: a function from an object to a header (a dict of plain values) and frames.
dask_serialize = _Registry("dask_serialize", _pickle_by_registry)

#: ``@dask_deserialize.register(cls)``: a function from header and frames to the object.
dask_deserialize = _Registry("dask_deserialize")


def serialize(
    x: Any,
    serializers: Iterable[str] | None = None,
    on_error: str = "message",
    context: Any = None,
    iterate_collection: bool | None = None,
) -> tuple[Header, list[Any]]:
    """An object as a header and frames.

    Parameters
    ----------
    x : object
        A :class:`Serialize` or :class:`ToPickle` stands for what is in it.
    serializers : iterable of str, optional
        Ways to try in order: "dask" (what is registered), "pickle", "error". Default: these three.
    on_error : {"message", "raise"}
        When none does: a header and frame that raise when they are deserialized, or TypeError now.
    context, iterate_collection
        Accepted, without a meaning.
    """
    if isinstance(x, Serialize | ToPickle):
        x = x.data
    problem: BaseException | None = None
    for name in ("dask", "pickle", "error") if serializers is None else serializers:
        try:
            if name == "dask":
                header, frames = dask_serialize.dispatch(type(x))(x)
                return {"serializer": "dask", "type": pickle.dumps(type(x)), "inner": header}, list(frames)
            if name == "pickle":
                packed = pack(x)
                frames = packed.frames if isinstance(packed, Serialized) else [packed]
                return {"serializer": "pickle"}, list(frames)
        except Exception as error:
            problem = error
    text = f"{type(x).__module__}.{type(x).__qualname__} cannot be serialized: {problem}"
    if on_error == "raise":
        raise TypeError(text) from problem
    return {"serializer": "error"}, [text.encode()]


def deserialize(header: Header, frames: list[Any], deserializers: Iterable[str] | None = None) -> Any:
    """The object of a header and frames. Raises TypeError for a way that is not among ``deserializers``."""
    name = header["serializer"]
    if name == "error":
        raise TypeError(bytes(frames[0]).decode())
    if deserializers is not None and name not in deserializers:
        raise TypeError(f"this was serialized by {name!r}, which is not among {list(deserializers)}")
    if name == "dask":
        return dask_deserialize.dispatch(pickle.loads(header["type"]))(header["inner"], frames)
    if name == "pickle":
        return unpack(Serialized(frames) if len(frames) > 1 else bytes(frames[0]))
    raise TypeError(f"unknown serializer {name!r}")


class Serialize(Serialized):
    """Marks an object in a call's arguments: it travels pickled, and whoever receives it unpickles it.

    Parameters
    ----------
    data : object
    """

    __slots__ = ("data",)

    def __init__(self, data: Any) -> None:
        self.data = data
        packed = pack(data)
        frames: list[Buffer] = packed.frames if isinstance(packed, Serialized) else [packed]
        super().__init__(frames)

    def __repr__(self) -> str:
        return f"<Serialize: {self.data!r}>"


class ToPickle(Serialize):
    """As :class:`Serialize`: there is only one way here."""

    __slots__ = ()


#: Another name of :class:`Serialize`.
to_serialize = Serialize


def register_generic(
    cls: type,
    serializer_name: str = "dask",
    serialize_func: _Registry = dask_serialize,
    deserialize_func: _Registry = dask_deserialize,
) -> None:
    """Serialize objects of a class by their attributes, each in its own way.

    For classes whose objects are nothing but their ``__dict__``, some of it large.
    """

    def to_frames(x: Any) -> tuple[Header, list[Any]]:
        headers: dict[str, Any] = {}
        frames: list[Any] = []
        for name, value in vars(x).items():
            header, parts = serialize(value, on_error="raise")
            headers[name] = (header, len(parts))
            frames += parts
        return {"attributes": headers}, frames

    def from_frames(header: Header, frames: list[Any]) -> Any:
        x: Any = object.__new__(cls)
        at = 0
        for name, (inner, count) in header["attributes"].items():
            setattr(x, name, deserialize(inner, frames[at : at + count]))
            at += count
        return x

    serialize_func.register(cls, to_frames)
    deserialize_func.register(cls, from_frames)


def dumps(
    msg: Any, serializers: Iterable[str] | None = None, on_error: str = "message", **kwargs: Any
) -> list[Any]:
    """An object as a list of frames, for :func:`loads`: a pickled header, then the frames of :func:`serialize`."""
    header, frames = serialize(msg, serializers, on_error)
    return [pickle.dumps(header), *frames]


def loads(frames: list[Any], deserializers: Iterable[str] | None = None, **kwargs: Any) -> Any:
    """The object of frames that :func:`dumps` made."""
    return deserialize(pickle.loads(frames[0]), frames[1:], deserializers)
