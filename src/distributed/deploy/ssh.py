"""A cluster over SSH, from a program. On the command line the same is ``dcluster``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from distributed.deploy.local import local_security
from distributed.deploy.spec import SpecCluster
from distributed.deploy.spec_process import Process, SpecProcess, class_name, workers_spec
from distributed.deploy.ssh_connection import Connections, close
from distributed.deploy.ssh_hosts import Host
from distributed.deploy.ssh_process import OWN_ADDRESS, RemoteProcess, remote_command
from distributed.security import Security

__all__ = ["SSHCluster", "Scheduler", "Worker"]


class SSHProcess(SpecProcess):
    """Servers on a host that SSH reaches.

    Parameters
    ----------
    address : str
        The host, as ``user@host:port``.
    connect_options : mapping
        For ``asyncssh.connect``.
    """

    def __init__(
        self,
        address: str,
        connect_options: Mapping[str, Any],
        spec: dict[str, Any],
        remote_python: str | None,
        security: Security | None,
        connections: Connections | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(spec, security or local_security(None), **kwargs)
        self.host = Host.parse(address)
        self.where = self.host.name
        self.connect_options = dict(connect_options)
        self.remote_python = remote_python or sys.executable
        self._connections = connections or Connections()
        self._connection: Any = None
        self._listen_here = False

    async def _make_process(
        self, module: str, words: list[str], text: str, on_line: Callable[[str], None]
    ) -> Process:
        try:
            self._connection = await self._connections.connect(self.host, self.connect_options)
        except OSError as error:
            raise RuntimeError(f"{self.where}: {error}") from None
        if self._listen_here:
            words = [*words, "--default-host", OWN_ADDRESS]
        command = remote_command(self.remote_python, module, words)
        return RemoteProcess(self._connection, command, text, on_line)

    async def close(self) -> None:
        await super().close()
        if self._connection is not None:
            await close(self._connection)
            self._connection = None


class Scheduler(SSHProcess):
    """A scheduler on a host.

    Parameters
    ----------
    address : str
        The host.
    connect_options : dict
        For ``asyncssh.connect``.
    kwargs : dict
        Parameters of ``distributed.Scheduler``.
    remote_python : str, optional
        Python there; default: the path of this one.
    listen_here : bool
        Listen at the address by which SSH reaches the host, where ``kwargs`` name no host and no interface.
    """

    def __init__(
        self,
        address: str,
        connect_options: Mapping[str, Any],
        kwargs: dict[str, Any],
        remote_python: str | None = None,
        security: Security | None = None,
        connections: Connections | None = None,
        listen_here: bool = True,
    ) -> None:
        spec = {"cls": "distributed.Scheduler", "opts": kwargs}
        super().__init__(address, connect_options, spec, remote_python, security, connections)
        self._listen_here = listen_here


class Worker(SSHProcess):
    """One or several workers on a host.

    Parameters
    ----------
    scheduler : str
        Its address.
    address, connect_options, remote_python
        As for :class:`Scheduler`.
    kwargs : dict
        Parameters of the class of worker; besides ``n_workers``: how many of them.
    worker_class : str
        Dotted name.
    name : optional
        Of the worker; with several -0, -1, … is appended.
    """

    def __init__(
        self,
        scheduler: str,
        address: str,
        connect_options: Mapping[str, Any],
        kwargs: dict[str, Any],
        worker_class: str = "distributed.Nanny",
        remote_python: str | None = None,
        loop: Any = None,
        name: Any = None,
        security: Security | None = None,
        connections: Connections | None = None,
    ) -> None:
        options = dict(kwargs)
        n_workers = options.pop("n_workers", 1)
        spec = workers_spec(class_name(worker_class), options, name, n_workers)
        super().__init__(
            address,
            connect_options,
            spec,
            remote_python,
            security,
            connections,
            scheduler=scheduler,
            name=name,
            nservers=n_workers,
        )


def SSHCluster(
    hosts: Sequence[str] | None = None,
    connect_options: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    worker_options: Mapping[str, Any] | None = None,
    scheduler_options: Mapping[str, Any] | None = None,
    worker_class: Any = "distributed.Nanny",
    remote_python: str | Sequence[str] | None = None,
    **kwargs: Any,
) -> SpecCluster:
    """A cluster over SSH: a scheduler on the first host, workers on all others.

    Name the first host twice to have a worker there too.

    Parameters
    ----------
    hosts : sequence of str
        Like ``192.168.0.1``, ``ann@server``, ``ann@server:2222``.
    connect_options : mapping, or one a host, optional
        For ``asyncssh.connect``: ``username``, ``client_keys``, ``known_hosts``, … What is left out comes from
        ``~/.ssh/config``, the agent and the usual key files.
    worker_options : mapping, optional
        Parameters of every worker, such as ``nthreads`` and ``memory_limit``; besides ``n_workers``: how many a host.
    scheduler_options : mapping, optional
        Parameters of the scheduler, such as ``port``.
    worker_class : str or type
        Default: a worker under a nanny.
    remote_python : str, or one a host, optional
        Python on the hosts; default: the path of this one.
    **kwargs
        For :class:`SpecCluster`, such as ``asynchronous``, ``security``, ``name``.

    Returns
    -------
    SpecCluster

    Examples
    --------
    >>> cluster = SSHCluster(["head", "node1", "node2"], worker_options={"nthreads": 4})  # doctest: +SKIP
    >>> client = Client(cluster)  # doctest: +SKIP
    """
    if not hosts or isinstance(hosts, str):
        raise ValueError('SSHCluster needs a list of hosts: SSHCluster(["head", "node1", "node2"])')
    if len(hosts) < 2:
        raise ValueError(
            f"SSHCluster needs a host for workers besides the scheduler's: SSHCluster([{hosts[0]!r}, {hosts[0]!r}])"
        )
    security = local_security(kwargs.pop("security", None))
    connections = Connections()
    options = _one_each(connect_options or {}, hosts, "connect_options", Mapping)
    pythons = _one_each(remote_python, hosts, "remote_python", str)
    shared = {"security": security, "connections": connections}
    scheduler = {
        "cls": Scheduler,
        "options": {
            "address": hosts[0],
            "connect_options": options[0],
            "kwargs": {"port": 0, **(scheduler_options or {})},
            "remote_python": pythons[0],
            # others could not reach the address by which we reach our own machine
            "listen_here": not Host.parse(hosts[0]).is_loopback
            or all(Host.parse(h).is_loopback for h in hosts),
            **shared,
        },
    }
    given = dict(worker_options or {})
    group = [f"-{i}" for i in range(given["n_workers"])] if given.get("n_workers", 1) > 1 else None
    workers = {
        i: {
            "cls": Worker,
            "options": {
                "address": host,
                "connect_options": options[i + 1],
                "kwargs": given,
                "worker_class": worker_class,
                "remote_python": pythons[i + 1],
                **shared,
            },
            **({"group": group} if group else {}),
        }
        for i, host in enumerate(hosts[1:])
    }
    return SpecCluster(workers, scheduler, name=kwargs.pop("name", "SSHCluster"), security=security, **kwargs)


def _one_each(value: Any, hosts: Sequence[str], what: str, kind: type) -> list[Any]:
    """The value for each host."""
    if value is None or isinstance(value, kind):
        return [value] * len(hosts)
    if len(value) != len(hosts):
        raise ValueError(
            f"{what}: {len(value)} are given for {len(hosts)} hosts; give one for all, or one for each"
        )
    return list(value)
