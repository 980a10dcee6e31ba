"""Tests with a network in their own event loop: ``gen_cluster`` and ``gen_test``."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from typing import Any

import dask.config

from distributed.client import Client
from distributed.loop_threads import new_event_loop
from distributed.scheduler import Scheduler
from distributed.security import Security
from distributed.utils_test.environment import process_security
from distributed.utils_test.leaks import check_tasks, clean
from distributed.worker import Worker

#: Settings under which the decorators run tests, below ``config=``.
CONFIG: dict[str, Any] = {"distributed.comm.timeouts.connect": "5s"}

TWO_WORKERS = (("127.0.0.1", 1), ("127.0.0.1", 2))

TestFunction = Callable[..., Coroutine[Any, Any, Any]]


def gen_test(
    timeout: float = 30,
    config: Mapping[str, Any] | None = None,
    clean_kwargs: Mapping[str, Any] | None = None,
) -> Callable[[TestFunction], Callable[..., Any]]:
    """Decorator: run a coroutine function as a test, in an event loop of its own.

    Parameters
    ----------
    timeout : float
        Seconds it may take.
    config : mapping, optional
        Configuration meanwhile.
    clean_kwargs : mapping, optional
        For :func:`~distributed.utils_test.clean`: what is not to be looked at, as ``{"threads": False}``.

    Raises
    ------
    TimeoutError
        After ``timeout``; a note says where the test was.
    Leak
        When the test leaves threads, sockets, child processes, open clients or running tasks behind.

    Examples
    --------
    >>> @gen_test()
    ... async def test_sleep():
    ...     await asyncio.sleep(0)
    >>> test_sleep()
    """
    _no_bare_decorator(timeout, "gen_test")

    def decorate(func: TestFunction) -> Callable[..., Any]:
        _check_coroutine(func, "gen_test")

        @functools.wraps(func)
        def test(*args: Any, **kwargs: Any) -> Any:
            return run_test(lambda: func(*args, **kwargs), timeout, config, clean_kwargs)

        return test

    return decorate


def gen_cluster(
    nthreads: Sequence[tuple[Any, ...]] | None = None,
    scheduler: str = "127.0.0.1",
    timeout: float = 30,
    security: Security | Mapping[str, Any] | None = None,
    Worker: Callable[..., Any] = Worker,
    client: bool = False,
    scheduler_kwargs: Mapping[str, Any] | None = None,
    worker_kwargs: Mapping[str, Any] | None = None,
    client_kwargs: Mapping[str, Any] | None = None,
    active_rpc_timeout: float = 1,
    config: Mapping[str, Any] | None = None,
    clean_kwargs: Mapping[str, Any] | None = None,
    allow_unclosed: bool = True,
) -> Callable[[TestFunction], Callable[..., Any]]:
    """Decorator: run a coroutine function as a test, with a network in the same event loop.

    The function gets the client (if ``client``), the scheduler and the workers as its first arguments; others are left
    to pytest (fixtures, parameters). All of them are real: they talk by TCP on loopback, with a cluster key that exists
    in memory only.

    Parameters
    ----------
    nthreads : list of tuple, optional
        Host (empty: 127.0.0.1) and number of threads of each worker, and a dict of further parameters if need be.
        Default: two workers with 1 and 2 threads.
    scheduler : str
        Host of the scheduler.
    timeout : float
        Seconds the test may take.
    security : Security or mapping, optional
        Default: a key that all tests of this process share.
    Worker : type
        ``Nanny`` for workers in processes of their own.
    client : bool
    scheduler_kwargs, worker_kwargs, client_kwargs : mapping, optional
        Further parameters.
    config, clean_kwargs
        As for :func:`gen_test`.
    active_rpc_timeout, allow_unclosed
        Accepted, without a meaning: a connection that outlives the test is always an error.

    Raises
    ------
    TimeoutError, Leak
        As :func:`gen_test`.

    Examples
    --------
    >>> @gen_cluster(client=True)
    ... async def test_submit(c, s, a, b):
    ...     assert await c.submit(abs, -1) == 1
    >>> test_submit()
    """
    _no_bare_decorator(nthreads, "gen_cluster")
    specs = TWO_WORKERS if nthreads is None else tuple(nthreads)
    n_given = bool(client) + 1 + len(specs)

    def decorate(func: TestFunction) -> Callable[..., Any]:
        _check_coroutine(func, "gen_cluster")

        @functools.wraps(func)
        def test(*outer: Any, **kwargs: Any) -> Any:
            async def body() -> Any:
                async with network(
                    specs,
                    scheduler=scheduler,
                    security=security,
                    worker_class=Worker,
                    client=client,
                    scheduler_kwargs=scheduler_kwargs,
                    worker_kwargs=worker_kwargs,
                    client_kwargs=client_kwargs,
                ) as parties:
                    return await func(*outer, *parties, **kwargs)

            return run_test(body, timeout, config, clean_kwargs, func=func)

        test.__signature__ = _without_given(func, n_given)  # type: ignore[attr-defined]
        return test

    return decorate


def gen_tls_cluster(**kwargs: Any) -> Callable[[TestFunction], Callable[..., Any]]:
    """As :func:`gen_cluster`, over encrypted connections with certificates made for the tests of this process."""
    from distributed.utils_test.tls import tls_only_security

    kwargs.setdefault("nthreads", [("tls://127.0.0.1", 1), ("tls://127.0.0.1", 2)])
    kwargs.setdefault("scheduler", "tls://127.0.0.1")
    return gen_cluster(security=kwargs.pop("security", None) or tls_only_security(), **kwargs)


@contextlib.asynccontextmanager
async def network(
    nthreads: Sequence[tuple[Any, ...]] = TWO_WORKERS,
    *,
    scheduler: str = "127.0.0.1",
    security: Security | Mapping[str, Any] | None = None,
    worker_class: Callable[..., Any] = Worker,
    client: bool = False,
    scheduler_kwargs: Mapping[str, Any] | None = None,
    worker_kwargs: Mapping[str, Any] | None = None,
    client_kwargs: Mapping[str, Any] | None = None,
) -> AsyncIterator[list[Any]]:
    """A network in this event loop, closed at the end: the client (if wanted), the scheduler, the workers.

    Parameters as for :func:`gen_cluster`.
    """
    if isinstance(security, Mapping):
        security = Security(**security)
    keys = {"security": security or process_security()}
    async with contextlib.AsyncExitStack() as stack:
        s = await stack.enter_async_context(
            Scheduler(
                **{"host": scheduler, "port": 0, "dashboard": False, **keys, **(scheduler_kwargs or {})}
            )
        )
        workers = [
            worker_class(
                s.address,
                **{
                    "nthreads": count,
                    "name": name,
                    "host": host or "127.0.0.1",
                    **keys,
                    **(worker_kwargs or {}),
                }
                | (more[0] if more else {}),
            )
            for name, (host, count, *more) in enumerate(nthreads)
        ]
        stack.push_async_callback(_close_all, workers)
        await asyncio.gather(*workers)
        parties = [s, *workers]
        if client:
            options = {"asynchronous": True, **keys, **(client_kwargs or {})}
            parties.insert(0, await stack.enter_async_context(Client(s.address, **options)))
        yield parties


async def _close_all(servers: list[Any]) -> None:
    await asyncio.gather(*(server.close() for server in servers))


# ---------------------------------------------------------------- running


def run_test(
    body: Callable[[], Coroutine[Any, Any, Any]],
    timeout: float,
    config: Mapping[str, Any] | None = None,
    clean_kwargs: Mapping[str, Any] | None = None,
    *,
    func: TestFunction | None = None,
) -> Any:
    """Run a coroutine in a loop of its own, for so many seconds, and see that nothing is left behind."""
    with clean(**(clean_kwargs or {})), dask.config.set({**CONFIG, **(config or {})}):
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            return runner.run(_in_time(body, timeout))


async def _in_time(body: Callable[[], Coroutine[Any, Any, Any]], timeout: float) -> Any:
    before = asyncio.all_tasks()
    task = asyncio.create_task(body(), name="test")
    try:
        await asyncio.wait([task], timeout=timeout)
    except asyncio.CancelledError:  # Ctrl-C
        task.cancel()
        await asyncio.wait([task])
        raise
    if task.done():
        result = task.result()
        await check_tasks(before)
        return result
    stacks = _stacks(before)
    task.cancel()
    await asyncio.wait([task], timeout=30)
    error = TimeoutError(f"the test took longer than {timeout:g} s")
    error.add_note(stacks)
    raise error


def _stacks(before: set[asyncio.Task[Any]]) -> str:
    """Where every task waits, outermost call first."""
    lines = []
    for task in asyncio.all_tasks() - before - {asyncio.current_task()}:
        lines.append(f"task {task.get_name()!r} waits at\n")
        coroutine: Any = task.get_coro()
        while (frame := getattr(coroutine, "cr_frame", None)) is not None:
            lines += traceback.format_list(traceback.extract_stack(frame, limit=1))
            coroutine = coroutine.cr_await
    return "".join(lines)


# ---------------------------------------------------------------- decorating


def _no_bare_decorator(first: Any, name: str) -> None:
    if callable(first):
        raise TypeError(f"write @{name}() with parentheses")


def _check_coroutine(func: Any, name: str) -> None:
    if not inspect.iscoroutinefunction(func):
        raise TypeError(
            f"@{name} needs a coroutine function: async def {getattr(func, '__name__', 'test')}(...)"
        )


def _without_given(func: TestFunction, n_given: int) -> inspect.Signature:
    """The signature that pytest shall see: without the parties, which are not fixtures."""
    signature = inspect.signature(func)
    parameters = list(signature.parameters.values())
    start = 1 if parameters and parameters[0].name == "self" else 0
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    end = start
    while end < len(parameters) and end - start < n_given and parameters[end].kind in positional:
        end += 1
    takes_rest = end < len(parameters) and parameters[end].kind is inspect.Parameter.VAR_POSITIONAL
    if end - start < n_given and not takes_rest:
        raise TypeError(
            f"{func.__name__} must take {n_given} arguments for the parties of its network, not {end - start}"
        )
    rest = [p for p in parameters[end:] if p.kind is not inspect.Parameter.VAR_POSITIONAL]
    return signature.replace(parameters=[*parameters[:start], *rest])
