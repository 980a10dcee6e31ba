"""The client looks into the network, and moves data about in it: copies, dumps, stories, call stacks, speeds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distributed.client.future import futures_of
from distributed.client.options import worker_names
from distributed.client.waiting import wait
from distributed.loops import seconds

if TYPE_CHECKING:
    from distributed.client.session import Session


class InspectionMixin:
    """A part of ``Client``."""

    _session: Session
    sync: Callable[..., Any]
    id: str

    async def _call(self, op: str, /, **kwargs: Any) -> Any:
        raise NotImplementedError

    @property
    def futures(self) -> dict[Any, Any]:
        """What this client knows of the tasks that it has futures on: a :class:`FutureState` by key."""
        from distributed.client.future_state import FutureState

        self._session.settle()
        tasks = self._session.state.tasks
        return {key: FutureState(key, self) for key, task in tasks.items() if task.nfutures}

    # ------------------------------------------------------------ copies

    def replicate(
        self,
        futures: Any,
        n: int | None = None,
        workers: Any = None,
        branching_factor: int = 2,
        **kwargs: Any,
    ) -> Any:
        """Have ``n`` workers hold each of these results.

        Waits until they are computed.

        Parameters
        ----------
        futures : futures, or collections with futures
        n : int, optional
            Copies of each; default: on all workers.
        workers : iterable of str, optional
            Those that shall hold them.
        branching_factor : int
            How many workers fetch a result from the same holder at a time.
        """
        return self.sync(self._replicate, futures_of(futures), n, _names(workers), branching_factor, **kwargs)

    async def _replicate(self, futures: Any, n: int | None, workers: Any, branching_factor: int) -> None:
        await wait(futures)
        await self._call(
            "replicate",
            keys=[future.key for future in futures],
            n=n,
            workers=workers,
            branching_factor=branching_factor,
        )

    def rebalance(self, futures: Any = None, workers: Any = None, **kwargs: Any) -> Any:
        """Move results from workers that hold more bytes than others to those that hold fewer.

        Parameters
        ----------
        futures : futures, or collections with futures, optional
            What may be moved; default: everything.
        workers : iterable of str, optional
            Among which workers; default: all.

        Raises
        ------
        RuntimeError
            When some of it could not be moved.
        """
        return self.sync(self._rebalance, futures, _names(workers), **kwargs)

    async def _rebalance(self, futures: Any, workers: Any) -> None:
        keys = None
        if futures is not None:
            futures = futures_of(futures)
            await wait(futures)
            keys = [future.key for future in futures]
        answer = await self._call("rebalance", keys=keys, workers=workers)
        if answer["status"] != "OK":
            raise RuntimeError(
                f"rebalance: could not move {len(answer['keys'])} results: {answer['keys'][:5]}"
            )

    # ------------------------------------------------------------ looking

    def call_stack(self, futures: Any = None, keys: Iterable[Any] | None = None) -> Any:
        """What the threads of tasks that run now are doing.

        Parameters
        ----------
        futures : futures, optional
        keys : iterable, optional
            Of which tasks; default: all.

        Returns
        -------
        dict
            Worker's address to key to the lines of the call stack.
        """
        wanted = list(keys) if keys is not None else []
        wanted += [future.key for future in futures_of(futures)] if futures is not None else []
        return self.sync(self._call_stack, None if futures is None and keys is None else wanted)

    async def _call_stack(self, keys: Any) -> dict[str, dict[Any, Any]]:
        found = await self._call("get_call_stack", keys=keys)
        return {address: {key: tuple(lines) for key, lines in pairs} for address, pairs in found}

    def story(self, *keys_or_stimuli: Any, on_error: str = "raise") -> Any:
        """What happened to some tasks, on the scheduler and on all workers, oldest first on each.

        Parameters
        ----------
        *keys_or_stimuli : futures or keys
        on_error : {"raise", "ignore"}
            When a worker does not answer.

        Returns
        -------
        list of tuple
            Who tells it (``"scheduler"`` or an address), then what is told.
        """
        if on_error not in ("raise", "ignore"):
            raise ValueError(f"on_error= must be 'raise' or 'ignore', not {on_error!r}")
        keys = [getattr(key, "key", key) for key in keys_or_stimuli]
        return self.sync(self._story, keys, on_error)

    async def _story(self, keys: list[Any], on_error: str) -> list[tuple[Any, ...]]:
        told = [("scheduler", *entry) for entry in await self._call("story", keys_or_stimuli=keys)]
        answers = await self._call("broadcast", op="story", kwargs={"keys_or_stimuli": keys})
        for address, answer in answers:
            if answer["status"] == "OK":
                told += [(address, *entry) for entry in answer["result"]]
            elif on_error == "raise":
                raise OSError(f"story: {address} does not answer: {answer['text']}")
        return told

    def benchmark_hardware(self) -> Any:
        """Bytes a second of the hosts' memory and disk, and between workers.

        Returns
        -------
        dict
            ``memory``, ``disk`` and ``network``: from size ("1 MiB") to bytes a second. Takes some seconds.
        """
        return self.sync(self._call, "benchmark_hardware")

    def dump_cluster_state(
        self,
        filename: str = "dask-cluster-dump",
        write_from_scheduler: bool | None = None,
        exclude: Collection[str] = (),
        format: str = "msgpack",
        **storage_options: Any,
    ) -> Any:
        """Write all that scheduler and workers know into a file, for a bug report.

        Parameters
        ----------
        filename : str
            A path, or an address that ``fsspec`` can open; ``.msgpack.gz`` or ``.yaml`` is added. Read it with
            ``distributed.cluster_dump.load_dump``.
        write_from_scheduler : bool, optional
            Whether the scheduler writes it; default: for addresses such as ``s3://…``.
        exclude : collection of str
            Parts to leave out: ``tasks``, ``transition_log``, ``data``, ``logs``, ``config``…
        format : {"msgpack", "yaml"}
        """
        return self.sync(
            self._dump_cluster_state, filename, write_from_scheduler, list(exclude), format, storage_options
        )

    async def _dump_cluster_state(
        self,
        filename: str,
        from_scheduler: bool | None,
        exclude: list[str],
        format: str,
        options: dict[str, Any],
    ) -> None:
        from distributed.cluster_dump import write_dump

        if from_scheduler is None:
            from_scheduler = "://" in filename
        if from_scheduler:
            await self._call(
                "dump_cluster_state_to_url", url=filename, exclude=exclude, format=format, **options
            )
            return
        state = await self._call("get_cluster_state", exclude=exclude)
        await asyncio.to_thread(write_dump, state, filename, format, options)

    def write_scheduler_file(self, scheduler_file: str) -> None:
        """Write the scheduler's address into a file that other clients and workers can be given.

        Raises
        ------
        ValueError
            When this client was itself given one.
        """
        own = getattr(self, "scheduler_file", None)
        if own:
            raise ValueError(f"the scheduler's address is in {own} already")
        from distributed.scheduler_file import write_scheduler_file

        info = self.sync(self._call, "identity")
        write_scheduler_file(str(Path(scheduler_file)), info)

    @property
    def amm(self) -> ActiveMemoryManager:
        """The active memory manager, which this engine does not have."""
        return ActiveMemoryManager(self)

    # ------------------------------------------------------------ acting

    def restart_workers(
        self, workers: Iterable[str], timeout: float | str | None = None, raise_for_error: bool = True
    ) -> Any:
        """Have nannies start some workers anew; their results are computed again.

        Parameters
        ----------
        workers : iterable of str
            Addresses or names.
        timeout : float or str, optional
            Seconds for each; default 30.
        raise_for_error : bool
            Raise when one does not come back; else its answer says so.

        Returns
        -------
        dict
            Worker's address, as given, to "OK", "timed out" or what went wrong.

        Raises
        ------
        ValueError
            When one of them has no nanny.
        TimeoutError
        """
        limit = seconds(timeout)
        return self.sync(
            self._call,
            "restart_workers",
            workers=_names(workers),
            timeout=30.0 if limit is None else limit,
            on_error="raise" if raise_for_error else "return",
        )

    def get_executor(self, **kwargs: Any) -> Any:
        """This network as a ``concurrent.futures.Executor``; keywords go with every ``submit``."""
        from distributed.client.executor import ClientExecutor

        return ClientExecutor(self, **kwargs)


class ActiveMemoryManager:
    """There is none: results are moved when a worker is retired, and by ``rebalance`` and ``replicate``."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def running(self) -> Any:
        """False."""
        return self._client.sync(_no)

    def stop(self) -> Any:
        """Nothing: it does not run."""
        return self._client.sync(_no)

    def start(self) -> Any:
        """Raises NotImplementedError."""
        raise NotImplementedError("this engine has no active memory manager; see rebalance and replicate")

    run_once = start


async def _no() -> bool:
    return False


def _names(workers: Any) -> list[str] | None:
    return None if workers is None else list(worker_names(workers))
