"""Calls to bytes: functions and arguments are pickled once, and their content makes the key.

The same function with the same argument bytes has the same key, so asking twice costs one computation.
"""

from __future__ import annotations

import operator
import sys
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable
from hashlib import blake2b
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

from distributed.client.errors import failure_of
from distributed.client.future import Future
from distributed.client.owning import own
from distributed.client.state.records import Function
from distributed.forks import module_lock
from distributed.protocol import refs
from distributed.protocol.messages import Key
from distributed.protocol.payload import Payload, Serialized, pack, pickle_with
from distributed.protocol.payload import nbytes as payload_nbytes

#: Pickled functions remembered by content.
CACHE_SIZE = 512


class Uploaded:
    """What this process has uploaded: modules by their top-level name, with a hash of the file.

    A module travels as its name. So that the same call is the same work only as long as the module is the same, the
    content of modules that a pickle mentions is part of the hash.
    """

    def __init__(self) -> None:
        self.digests: dict[bytes, bytes] = {}

    def note(self, names: Iterable[str], content: bytes) -> None:
        """A file with modules of these names has been uploaded."""
        self.digests.update(dict.fromkeys((name.encode() for name in names), digest(content)))
        functions.forget_objects()

    def salt(self, payload: Payload) -> bytes:
        """What to hash with a payload: nothing if it mentions no uploaded module."""
        if not self.digests:
            return b""
        stream = payload.frames[0] if isinstance(payload, Serialized) else payload
        text = stream if isinstance(stream, bytes) else bytes(stream)
        return b"".join(hash for name, hash in self.digests.items() if name in text)


class FunctionCache:
    """Functions already pickled: by the function object where it can be referred to weakly, and by content."""

    _lock = module_lock()

    def __init__(self) -> None:
        self._by_object: weakref.WeakKeyDictionary[Any, tuple[Function, list[Any]]] = (
            weakref.WeakKeyDictionary()
        )
        self._by_id: OrderedDict[bytes, Function] = OrderedDict()

    def get(self, func: Callable[..., Any]) -> Function:
        """The pickled function.

        Raises
        ------
        TypeError
            In one sentence, when ``func`` cannot be pickled.
        """
        captured: list[Any] = []
        cacheable = type(func) is FunctionType and capture(func, captured, set())
        if cacheable:
            found = self._by_object.get(func)
            if found is not None:
                function, before = found
                if len(before) == len(captured) and all(map(operator.is_, before, captured)):
                    return function
        try:
            blob = frozen(pack(func))
        except Exception as error:
            raise TypeError(_cannot_pickle("function", name_of(func), error)) from error
        id = digest(blob, uploaded.salt(blob))
        with self._lock:
            function = self._by_id.get(id) or Function(id, blob, payload_nbytes(blob))
            self._by_id[id] = function
            self._by_id.move_to_end(id)
            if len(self._by_id) > CACHE_SIZE:
                self._by_id.popitem(last=False)
            if cacheable:
                self._by_object[func] = function, captured
        return function

    def forget_objects(self) -> None:
        """The same object may stand for other code from now on."""
        with self._lock:
            self._by_object.clear()


#: Objects whose value cannot change: the same object pickles to the same bytes.
_CONSTANTS = (int, float, str, bytes, bool, complex, type(None), ModuleType, BuiltinFunctionType)


def capture(func: FunctionType, captured: list[Any], seen: set[int]) -> bool:
    """List the objects whose values travel inside the pickle of ``func``; False if one of them may change in place.

    A function of an importable module travels as a name. One of ``__main__``, a lambda or a closure travels by value
    with the globals and cells it refers to, and those may be others at the next call.
    """
    if id(func) in seen:
        return True
    seen.add(id(func))
    captured.append(func.__code__)
    module = sys.modules.get(func.__module__) if func.__module__ != "__main__" else None
    if module is not None and getattr(module, func.__qualname__, None) is func:
        return True
    if func.__dict__:
        return False
    values: list[Any] = list(func.__defaults__ or ())
    values += (func.__kwdefaults__ or {}).values()
    for cell in func.__closure__ or ():
        try:
            values.append(cell.cell_contents)
        except ValueError:
            return False  # not filled yet
    codes = [func.__code__]
    while codes:
        code = codes.pop()
        values += [func.__globals__[name] for name in code.co_names if name in func.__globals__]
        codes += [const for const in code.co_consts if isinstance(const, CodeType)]
    for value in values:
        if isinstance(value, FunctionType):
            if not capture(value, captured, seen):
                return False
            continue  # what it stands for is listed; itself it could be the key of a weak dictionary
        if isinstance(value, type):
            if value.__module__ == "__main__" or "<" in value.__qualname__:
                return False
        elif type(value) not in _CONSTANTS:
            return False
        captured.append(value)
    return True


functions = FunctionCache()
uploaded = Uploaded()


def digest(payload: Payload, salt: bytes = b"") -> bytes:
    """16 byte content hash of a payload, out-of-band buffers included."""
    hasher = blake2b(salt, digest_size=16)
    if isinstance(payload, Serialized):
        for frame in payload.frames:
            hasher.update(frame)
    else:
        hasher.update(payload)
    return hasher.digest()


def name_of(func: Any) -> str:
    """Short name of a callable, the prefix of its tasks' keys."""
    name = getattr(func, "__name__", None)
    if name == "<lambda>":
        return "lambda"
    if isinstance(name, str) and name.isidentifier():
        return name
    from dask.utils import funcname

    found = str(funcname(func))  # looks into partials and the like
    return found if found.isidentifier() else type(func).__name__


class Packer:
    """Packs the arguments of many calls of one function.

    Parameters
    ----------
    function : Function
        Its id is part of every key.
    client : Client
        Futures in arguments must be of this client, or of another of the same scheduler.

    Attributes
    ----------
    held : list of Future
        Own futures in place of others' ones: to be kept until the calls are submitted.
    inside : list of Future
        Those inside of other objects among the arguments of the last call. They travel as futures; the task may ask for
        their results, so they are to be kept until it is done.
    """

    def __init__(self, function: Function, client: Any) -> None:
        self._hasher = blake2b(function.id, digest_size=16)
        self._client = client
        self.held: list[Future] = []
        self.inside: list[Future] = []

    def pack(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Payload, tuple[Key, ...]]:
        """Payload of one pair of arguments, and the keys of the futures in them.

        Raises
        ------
        TypeError
            When an argument cannot be pickled.
        ValueError
            When a future belongs to a client of another scheduler.
        """
        with refs.collecting() as noted:
            payload = self._pickle((args, kwargs))
            if not noted:
                return payload, ()
        payload, deps = self.with_futures(args, kwargs)
        self.inside = [own(future, self._client) for future in noted if future.key not in deps]
        return payload, deps

    def with_futures(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Payload, tuple[Key, ...]]:
        """The same for arguments in whose pickle a future showed up."""
        found: dict[Key, None] = {}
        pair = refs.replace((args, kwargs), self._key_of, found)
        return self._pickle(pair), tuple(found)

    def key(self, prefix: str, payload: Payload) -> str:
        """``prefix`` and 32 hexadecimal digits of what the function and its arguments are."""
        hasher = self._hasher.copy()
        hasher.update(uploaded.salt(payload))
        if isinstance(payload, Serialized):
            for frame in payload.frames:
                hasher.update(frame)
        else:
            hasher.update(payload)
        return f"{prefix}-{hasher.hexdigest()}"

    def hashing(self) -> Any:
        """A hash object that has taken in the function: copy it, update it with a payload."""
        return self._hasher

    def _key_of(self, obj: Any) -> Key | None:
        if not isinstance(obj, Future):
            return None
        mine = own(obj, self._client)
        if mine._task.status in ("cancelled", "lost"):
            raise failure_of(mine._task)
        if mine is not obj:
            self.held.append(mine)
        return obj.key

    def _pickle(self, pair: Any) -> Payload:
        try:
            return frozen(pack(pair))
        except RecursionError:
            raise TypeError("the arguments are nested too deeply to be pickled") from None
        except Exception as error:
            raise TypeError(_cannot_pickle_arguments(pair, error)) from error


def frozen(payload: Payload) -> Payload:
    """The same payload, in which nothing can change any more.

    What is submitted is sent later, and kept to be submitted again; a buffer that the caller can still write to (an
    array, say) is therefore copied. Read-only buffers are not.
    """
    if isinstance(payload, Serialized):
        payload.frames[:] = [
            frame if isinstance(frame, bytes) or memoryview(frame).readonly else bytes(frame)
            for frame in payload.frames
        ]
    return payload


def _cannot_pickle(what: str, name: str, error: Exception) -> str:
    return f"cannot send {what} {name}: it cannot be pickled ({type(error).__name__}: {_first_line(error)})"


def _cannot_pickle_arguments(pair: Any, error: Exception) -> str:
    """Name the argument that is to blame."""
    try:
        args, kwargs = pair
        named = [(f"argument {i}", value) for i, value in enumerate(args)]
        named += [(f"argument {name!r}", value) for name, value in kwargs.items()]
    except (TypeError, ValueError):
        named = []
    for name, value in named:
        try:
            pickle_with(value, None)
        except Exception as own:
            return _cannot_pickle(name, f"of type {type(value).__qualname__}", own)
    return f"cannot send the arguments: they cannot be pickled ({type(error).__name__}: {_first_line(error)})"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]
