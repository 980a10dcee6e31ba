"""Helpers that other packages import from here; what has a theme of its own lives in a module of its own."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import importlib.util
import inspect
import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import timedelta
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from distributed import uploads
from distributed.host import ensure_ip, get_ip, get_ip_interface, get_ipv6, open_port, parse_ports
from distributed.logs import Log, Logs, silence_logging, silence_logging_cmgr
from distributed.threadstate import thread_state

if TYPE_CHECKING:
    from dask.utils import has_keyword, key_split, parse_bytes, parse_timedelta

    from distributed.loops import LoopRunner, SyncMethodMixin, sync

__all__ = [
    "All",
    "Deadline",
    "Log",
    "Logs",
    "LoopRunner",
    "SyncMethodMixin",
    "TimeoutError",
    "cli_keywords",
    "ensure_ip",
    "format_dashboard_link",
    "get_ip",
    "get_ip_interface",
    "get_ipv6",
    "has_arg",
    "has_keyword",
    "import_file",
    "import_term",
    "is_kernel",
    "iscoroutinefunction",
    "json_load_robust",
    "key_split",
    "log_errors",
    "nbytes",
    "open_port",
    "parse_bytes",
    "parse_ports",
    "parse_timedelta",
    "silence_logging",
    "silence_logging_cmgr",
    "sync",
    "thread_state",
    "wait_for",
    "warn_on_duration",
]

logger = logging.getLogger(__name__)
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

TimeoutError = TimeoutError

# Names whose home loads more than this module should.
_ELSEWHERE = {
    "LoopRunner": "distributed.loops",
    "SyncMethodMixin": "distributed.loops",
    "sync": "distributed.loops",
    "key_split": "dask.utils",
    "parse_bytes": "dask.utils",
    "parse_timedelta": "dask.utils",
    "format_bytes": "dask.utils",
    "funcname": "dask.utils",
    "tmpfile": "dask.utils",
    "has_keyword": "dask.utils",
}


def __getattr__(name: str) -> Any:
    home = _ELSEWHERE.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


# ---------------------------------------------------------------- modules and callables


def import_term(name: str) -> Any:
    """The object that a dotted name such as ``"distributed.Worker"`` means; without dots, a module.

    Examples
    --------
    >>> import_term("math.sin")
    <built-in function sin>
    """
    module_name, _, attribute = name.rpartition(".")
    if not module_name:
        return importlib.import_module(name)
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except AttributeError:
        raise AttributeError(f"module {module_name!r} has no attribute {attribute!r}") from None


def import_file(path: str) -> list[ModuleType]:
    """Import a ``.py``, ``.zip`` or ``.egg`` file by its path, again if it was imported before."""
    return uploads.import_anew(path)


def has_arg(func: Callable[..., Any], argname: str) -> bool:
    """Whether ``func`` has a parameter of that name (``**kwargs`` does not count)."""
    try:
        return argname in inspect.signature(func).parameters
    except (TypeError, ValueError):
        return False


def iscoroutinefunction(f: Any) -> bool:
    """Whether calling ``f`` gives a coroutine; looks through partials and at ``__call__``."""
    while isinstance(f, functools.partial):
        f = f.func
    if inspect.iscoroutinefunction(f):
        return True
    if inspect.isroutine(f) or inspect.isclass(f):
        return False
    return inspect.iscoroutinefunction(getattr(type(f), "__call__", None))  # noqa: B004 - not to see if callable


# ---------------------------------------------------------------- waiting and time


class Deadline:
    """A moment after which something is too late.

    Parameters
    ----------
    expires_at : float, optional
        Seconds since the epoch; None: never.
    """

    started_at: float = 0.0
    started_at_mono: float = 0.0
    expires_at: float | None = None
    expires_at_mono: float | None = None

    def __init__(self, expires_at: float | None = None) -> None:
        self.started_at = time.time()
        self.started_at_mono = time.monotonic()
        self.expires_at = expires_at
        self.expires_at_mono = (
            None if expires_at is None else self.started_at_mono + (expires_at - self.started_at)
        )

    @classmethod
    def after(cls, duration: float | None = None) -> Deadline:
        """A deadline so many seconds from now; None: never."""
        return cls(None if duration is None else time.time() + duration)

    @property
    def duration(self) -> float | None:
        """Seconds from the start to the deadline, None for never."""
        return None if self.expires_at_mono is None else self.expires_at_mono - self.started_at_mono

    @property
    def expires(self) -> bool:
        """Whether there is a deadline at all."""
        return self.expires_at is not None

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started_at_mono

    @property
    def remaining(self) -> float | None:
        """Seconds left, never negative; None for never."""
        return None if self.expires_at_mono is None else max(0.0, self.expires_at_mono - time.monotonic())

    @property
    def expired(self) -> bool:
        """Whether it is too late."""
        return self.remaining == 0


async def wait_for(fut: Awaitable[T], timeout: float | None) -> T:
    """``asyncio.wait_for`` that raises :class:`TimeoutError`."""
    async with asyncio.timeout(timeout):
        return await fut


async def All(args: Iterable[Awaitable[T]], quiet_exceptions: Any = ()) -> list[T]:
    """Results of several awaitables in order; the first exception cancels the rest and is raised."""
    tasks = [asyncio.ensure_future(arg) for arg in args]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


@contextlib.contextmanager
def warn_on_duration(duration: str | float | timedelta, msg: str) -> Iterator[None]:
    """Warn with ``msg`` (in which ``{duration}`` stands for the seconds) when the block takes longer."""
    from dask.utils import parse_timedelta

    start = time.monotonic()
    yield
    took = time.monotonic() - start
    if took > parse_timedelta(duration):
        warnings.warn(msg.format(duration=took), stacklevel=2)


def json_load_robust(fn: str, load: Callable[[Any], Any] = json.load, timeout: float | None = None) -> Any:
    """Read a JSON file that another process may only be about to write.

    Raises
    ------
    TimeoutError
        When it is not there, or not complete, after ``timeout`` seconds (None: wait for ever).
    """
    deadline = Deadline.after(timeout)
    while True:
        try:
            with open(fn) as file:
                return load(file)
        except (OSError, ValueError) as error:
            if deadline.expired:
                raise TimeoutError(f"could not read {fn} within {timeout:g} seconds: {error}") from None
        time.sleep(0.05)


# ---------------------------------------------------------------- errors


def log_errors(func: Any = None, /, *, pdb: bool = False, unroll_stack: int = 0) -> Any:
    """Log whatever exception leaves a function or a block, then let it go on.

    ``@log_errors``, ``@log_errors()`` and ``with log_errors():`` all work, on coroutine functions too.
    """
    guard = _LogErrors(pdb)
    return guard if func is None else guard(func)


_NOT_ERRORS = (asyncio.CancelledError, SystemExit, KeyboardInterrupt, GeneratorExit)


class _LogErrors:
    def __init__(self, pdb: bool) -> None:
        self.pdb = pdb

    def __call__(self, func: F) -> F:
        if iscoroutinefunction(func):

            @functools.wraps(func)
            async def run_async(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return await func(*args, **kwargs)

            return run_async  # type: ignore[return-value]

        @functools.wraps(func)
        def run(*args: Any, **kwargs: Any) -> Any:
            with self:
                return func(*args, **kwargs)

        return run  # type: ignore[return-value]

    def __enter__(self) -> None:
        return None

    def __exit__(self, exc_type: Any, exc: BaseException | None, traceback: Any) -> None:
        if exc is None or isinstance(exc, _NOT_ERRORS):
            return
        logger.exception("%s", exc)
        if self.pdb:
            import pdb

            pdb.post_mortem(traceback)


# ---------------------------------------------------------------- texts


def format_dashboard_link(host: str, port: int | str) -> str:
    """Address of the dashboard as ``distributed.dashboard.link`` of the configuration spells it."""
    import dask.config

    template = dask.config.get("distributed.dashboard.link", "{scheme}://{host}:{port}/status")
    secure = dask.config.get("distributed.scheduler.dashboard.tls.cert", None)
    values = {**os.environ, "scheme": "https" if secure else "http", "host": host, "port": port}
    return str(template).format(**values)


def cli_keywords(
    d: dict[str, Any], cls: Callable[..., Any] | None = None, cmd: str | ModuleType | None = None
) -> list[str]:
    """A dictionary as command line options.

    Parameters
    ----------
    d : dict
        Options and values; ``_`` becomes ``-``.
    cls : callable, optional
        Raise when it does not take one of these.
    cmd : str or module, optional
        A click command (or the module whose ``main`` it is); raise when it does not know one of these.

    Examples
    --------
    >>> cli_keywords({"x": 123, "save_file": "foo.txt"})
    ['--x', '123', '--save-file', 'foo.txt']
    """
    if cls is not None or cmd is not None:
        known = _known_options(cmd)
        for name in d:
            if name not in known and not (cls is not None and _takes(cls, name)):
                raise ValueError(f"neither the command nor the class knows the option {name!r}")
    words: list[str] = []
    for name, value in d.items():
        words += ["--" + name.replace("_", "-"), str(value)]
    return words


def _known_options(cmd: str | ModuleType | None) -> set[str]:
    if cmd is None:
        return set()
    module = importlib.import_module(cmd) if isinstance(cmd, str) else cmd
    return {parameter.name for parameter in module.main.params}


def _takes(cls: Callable[..., Any], name: str) -> bool:
    from dask.utils import has_keyword

    return bool(has_keyword(cls, name))  # type: ignore[no-untyped-call]


def nbytes(frame: Any, _bytes_like: tuple[type, ...] = (bytes, bytearray)) -> int:
    """Bytes in a frame: of a bytes-like object or of anything with ``nbytes``."""
    if isinstance(frame, _bytes_like):
        return len(frame)  # type: ignore[arg-type]
    return int(frame.nbytes)


def is_kernel() -> bool:
    """Whether this process is a Jupyter kernel."""
    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    return getattr(get_ipython(), "kernel", None) is not None
