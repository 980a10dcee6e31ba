"""A cluster on this machine, in processes or threads."""

from __future__ import annotations

import logging
import math
import os
from typing import Any

from distributed import system
from distributed.deploy.spec import SpecCluster
from distributed.exceptions import KeyFileError, KeyNotFoundError
from distributed.security import ClusterKey, Security, as_security
from distributed.security.keys import default_key_path

logger = logging.getLogger("distributed.deploy")

_NANNY = "distributed.nanny.Nanny"
_SHARE = object()  # a memory limit that nobody has given


class LocalCluster(SpecCluster):
    """A scheduler in this process and workers on this machine.

    Parameters
    ----------
    name : str, optional
    n_workers : int, optional
        Number of workers. Default: by the cores, see :func:`nprocesses_nthreads`; one if not ``processes``.
    threads_per_worker : int, optional
        Default: the cores shared out among the workers.
    processes : bool, optional
        Whether each worker has a process of its own with a nanny (the default), or all live in this process.
    host, ip : str, optional
        Where scheduler and workers listen; default ``127.0.0.1``: nobody from outside reaches them.
    scheduler_port : int
        0 takes any free port.
    silence_logs : int, str or False
        Level below which the log of this package is silent.
    dashboard_address, worker_dashboard_address, services, worker_services, service_kwargs
        Accepted; there is no dashboard yet.
    asynchronous : bool
        Whether methods are awaited: ``async with LocalCluster(asynchronous=True) as cluster``.
    security : Security, bool, optional
        Default: the user's cluster key, made now if there is none; True: a key for this cluster only.
    protocol : str, optional
        ``"tcp://"``, or ``"inproc://"`` (the default if not ``processes``).
    blocked_handlers : list of str, optional
        Operations of the scheduler that are refused, such as ``["run_function"]``; for those of workers, set
        ``distributed.worker.blocked-handlers``.
    interface : str, optional
        Network interface to listen on.
    worker_class : type, optional
        Default: ``Nanny`` for processes, else ``Worker``.
    scheduler_kwargs : dict, optional
        Further parameters of the scheduler.
    **worker_kwargs
        Further parameters of every worker, such as ``resources`` and ``memory_limit="4GiB"``; default: an equal share
        of the machine's memory for each of ``n_workers``.

    Examples
    --------
    >>> with LocalCluster(n_workers=2) as cluster, cluster.get_client() as client:  # doctest: +SKIP
    ...     client.submit(sum, [1, 2]).result()
    3
    """

    def __init__(
        self,
        name: str | None = None,
        n_workers: int | None = None,
        threads_per_worker: int | None = None,
        processes: bool | None = None,
        loop: Any = None,
        start: bool | None = None,
        host: str | None = None,
        ip: str | None = None,
        scheduler_port: int = 0,
        silence_logs: int | str | bool = logging.WARNING,
        dashboard_address: str | None = ":8787",
        worker_dashboard_address: str | None = None,
        diagnostics_port: Any = None,
        services: Any = None,
        worker_services: Any = None,
        service_kwargs: Any = None,
        asynchronous: bool = False,
        security: Security | bool | None = None,
        protocol: str | None = None,
        blocked_handlers: Any = None,
        interface: str | None = None,
        worker_class: Any = None,
        scheduler_kwargs: dict[str, Any] | None = None,
        scheduler_sync_interval: float | str = 1,
        **worker_kwargs: Any,
    ) -> None:
        if ip is not None:
            host = ip
        for parameter, value in (("n_workers", n_workers), ("threads_per_worker", threads_per_worker)):
            if value is not None and (not isinstance(value, int) or value < 0):
                raise ValueError(f"{parameter} must be a whole number, not {value!r}")
        if processes is None:
            processes = worker_class is None or "Nanny" in _class_name(worker_class)
        if worker_class is None:
            worker_class = _NANNY if processes else "distributed.worker.Worker"
        n_workers, threads_per_worker = share_cores(n_workers, threads_per_worker, processes)
        if protocol is None:
            protocol = "tcp" if processes or host or interface or scheduler_port else "inproc"
        protocol = protocol.removesuffix("://")
        if host is None and interface is None and protocol != "inproc":
            host = "127.0.0.1"
        resolved = local_security(security)
        limit = share_memory(worker_kwargs.pop("memory_limit", _SHARE), n_workers, threads_per_worker)
        worker_options = {
            "host": host,
            "nthreads": threads_per_worker,
            "memory_limit": limit or 0,
            "interface": interface,
            "protocol": protocol,
            "security": resolved,
            "silence_logs": silence_logs,
            **worker_kwargs,
        }
        if worker_dashboard_address is not None:
            worker_options["dashboard_address"] = worker_dashboard_address
        scheduler_options = {
            "host": host,
            "port": scheduler_port,
            "interface": interface,
            "protocol": protocol,
            "security": resolved,
            "dashboard": bool(dashboard_address),
            "dashboard_address": dashboard_address,
            **({} if blocked_handlers is None else {"blocked_handlers": blocked_handlers}),
            **(scheduler_kwargs or {}),
        }
        worker = {"cls": worker_class, "options": worker_options}
        self._nlaunched = n_workers if worker_class == _NANNY else 0
        self._launched: list[Any] = []
        super().__init__(
            name=name,
            scheduler={"cls": "distributed.scheduler.Scheduler", "options": scheduler_options},
            workers=dict.fromkeys(range(n_workers), worker),
            worker=worker,
            loop=loop,
            asynchronous=asynchronous,
            silence_logs=silence_logs,
            security=resolved,
            scheduler_sync_interval=scheduler_sync_interval,
        )

    async def _start(self) -> None:
        if self._nlaunched:  # they import while the scheduler starts here
            from distributed.nanny.environment import worker_environment
            from distributed.nanny.process import LaunchedProcess

            assert self.new_spec is not None
            env = worker_environment(self.new_spec["options"].get("env"))
            count, self._nlaunched = self._nlaunched, 0
            for _ in range(count):
                self._launched.append(LaunchedProcess(env))
        await super()._start()

    def _make_worker(self, name: Any) -> Any:
        worker = super()._make_worker(name)
        if self._launched:
            worker.adopt(self._launched.pop())
        return worker

    async def _close_now(self) -> None:
        while self._launched:
            self._launched.pop().discard()
        await super()._close_now()

    @property
    def scheduler_info(self) -> dict[str, Any]:
        """What the scheduler says of itself and its workers; fresh, it is in this process."""
        scheduler = self.scheduler
        if scheduler is None or not scheduler.status.alive:
            return self._scheduler_info
        identity: dict[str, Any] = scheduler.identity()
        return identity

    def start_worker(self, *args: Any, **kwargs: Any) -> None:
        """Does no longer exist; use :meth:`scale`."""
        raise NotImplementedError("start_worker: use cluster.scale(n) to have more workers")


def nprocesses_nthreads(n: int | None = None) -> tuple[int, int]:
    """A sensible number of worker processes, and threads of each, for so many cores.

    Up to four cores each gets a process; beyond that about as many processes as threads: processes keep Python code
    from waiting for each other, threads share memory.

    Parameters
    ----------
    n : int, optional
        Cores; default: those of this machine.

    Examples
    --------
    >>> nprocesses_nthreads(4), nprocesses_nthreads(8), nprocesses_nthreads(64)
    ((4, 1), (4, 2), (8, 8))
    """
    if n is None:
        n = system.cpu_count()
    processes = n if n <= 4 else min(p for p in range(math.isqrt(n - 1) + 1, n + 1) if n % p == 0)
    return processes, n // processes


def share_cores(n_workers: int | None, nthreads: int | None, processes: bool) -> tuple[int, int]:
    """Number of workers and threads of each, from what a user left open."""
    ncores = system.cpu_count()
    if n_workers is None and nthreads is None:
        return nprocesses_nthreads(ncores) if processes else (1, ncores)
    if n_workers is None:
        assert nthreads is not None
        return (max(1, ncores // max(1, nthreads)) if processes else 1), nthreads
    if nthreads is None:
        return n_workers, max(1, ncores // max(1, n_workers))
    return n_workers, nthreads


def share_memory(limit: Any, n_workers: int, nthreads: int) -> int | None:
    """Bytes for each of so many workers of this machine; None for no limit. What is not given is shared out equally."""
    if limit is _SHARE:
        return (
            system.memory_limit() // n_workers if n_workers else system.worker_memory_limit("auto", nthreads)
        )
    return system.worker_memory_limit(limit, nthreads, nworkers=n_workers)


def local_security(security: Security | bool | None) -> Security:
    """The user's key, so that clients find this cluster by its address; where it cannot be kept, one in memory."""
    security = as_security(security)
    if isinstance(security, Security):
        security.cluster_key(create=True)
        return security
    if security is True:
        return Security.temporary()
    result = Security()
    try:
        result.cluster_key(create=True)
    except (KeyFileError, KeyNotFoundError) as error:  # the second: this user has no home directory
        if isinstance(error, KeyFileError) and os.path.lexists(default_key_path()):
            raise  # there is one, but it cannot be trusted: say so
        logger.info("This cluster has a key in memory only: %s", error)
        return Security(key=ClusterKey.generate())
    return result


def _class_name(cls: Any) -> str:
    return cls if isinstance(cls, str) else " ".join(base.__name__ for base in cls.__mro__)
