"""Operations of the scheduler that only look: who is there, who has what, what happened to a task."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from distributed.protocol.messages import Key
from distributed.scheduler.base import SchedulerBase

if TYPE_CHECKING:
    from distributed.scheduler.state import WorkerState

#: A mapping by key, as it travels: keys need not be strings, which keys of a MessagePack map must be here.
Pairs = list[list[Any]]


class Queries(SchedulerBase):
    """What may be asked of a scheduler; mixed into :class:`~distributed.scheduler.server.Scheduler`."""

    def query_handlers(self) -> dict[str, Any]:
        of_workers = {
            "ncores": self.get_ncores,
            "nthreads": self.get_ncores,
            "ncores_running": self.get_ncores_running,
            "who_has": self.get_who_has,
            "has_what": self.get_has_what,
            "nbytes": self.get_nbytes,
            "processing": self.get_processing,
        }
        return {
            **{op: self._once_mustered(handler) for op, handler in of_workers.items()},
            "identity": self.identity,
            "get_task_status": self.get_task_status,
            "story": self.get_story,
            "adaptive_target": self.adaptive_target,
            "workers_to_close": self.workers_to_close,
        }

    def _once_mustered(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        """Just after a restart it would answer for the few workers that are back already: it waits for all of them."""

        async def wait(kwargs: dict[str, Any]) -> Any:
            await self.mustered()
            return handler(**kwargs)

        def ask(**kwargs: Any) -> Any:
            return wait(kwargs) if self.state.awaited else handler(**kwargs)

        return ask

    def identity(self, n_workers: int = -1) -> dict[str, Any]:
        """Who this scheduler is and which workers it has (the first ``n_workers`` of them; -1: all)."""
        workers = list(self.state.workers.values())
        shown = workers if n_workers < 0 else workers[:n_workers]
        return {
            "type": type(self).__name__,
            "id": self.id,
            "address": self.address,
            "services": self.service_ports,
            "started": self.time_started,
            "n_workers": len(workers),
            "total_threads": sum(ws.nthreads for ws in workers),
            "total_memory": sum(ws.memory_limit for ws in workers),
            "workers": {ws.address: worker_identity(ws) for ws in shown},
        }

    def get_ncores(self, workers: Iterable[str] | None = None) -> dict[str, int]:
        """Threads of each worker, by address."""
        return {ws.address: ws.nthreads for ws in self.select_workers(workers)}

    def get_ncores_running(self, workers: Iterable[str] | None = None) -> dict[str, int]:
        """Threads of each worker that takes tasks, by address."""
        return {ws.address: ws.nthreads for ws in self.select_workers(workers) if ws.status == "running"}

    def get_who_has(self, keys: Iterable[Key] | None = None) -> Pairs:
        """Pairs of a key and the addresses that hold its result."""
        tasks = self.state.tasks
        if keys is None:
            return [[key, [ws.address for ws in ts.who_has]] for key, ts in tasks.items()]
        return [[key, [ws.address for ws in tasks[key].who_has] if key in tasks else []] for key in keys]

    def get_has_what(self, workers: Iterable[str] | None = None) -> Pairs:
        """Pairs of an address and the keys that worker holds."""
        return [[ws.address, [ts.key for ts in ws.has_what]] for ws in self.select_workers(workers)]

    def get_nbytes(self, keys: Iterable[Key] | None = None, summary: bool = True) -> Pairs:
        """Pairs of a key and its size in bytes; with ``summary`` of a name and the sum of its tasks' sizes."""
        if keys is not None:
            tasks = [self.state.tasks[key] for key in keys if key in self.state.tasks]
        else:
            tasks = [ts for ts in self.state.tasks.values() if ts.nbytes >= 0]
        if not summary or keys is not None:
            return [[ts.key, ts.nbytes] for ts in tasks]
        total: dict[str, int] = {}
        for ts in tasks:
            name = ts.spec.name if ts.spec is not None else ts.type
            total[name] = total.get(name, 0) + ts.nbytes
        return [[name, nbytes] for name, nbytes in total.items()]

    def get_processing(self, workers: Iterable[str] | None = None) -> Pairs:
        """Pairs of an address and the keys that were given to that worker."""
        return [[ws.address, [ts.key for ts in ws.processing]] for ws in self.select_workers(workers)]

    def get_task_status(self, keys: Iterable[Key]) -> Pairs:
        """Pairs of a key and its state, None where it is not known."""
        tasks = self.state.tasks
        return [[key, tasks[key].state if key in tasks else None] for key in keys]

    def get_story(self, keys_or_stimuli: Iterable[Key]) -> list[tuple[Key, str, str, str, float]]:
        """What happened to some keys: (key, start, finish, stimulus_id, time), oldest first."""
        return self.state.story(*keys_or_stimuli)

    def adaptive_target(self, target_duration: float | str | None = None) -> int:
        """How many workers would finish what there is to do within ``target_duration`` (seconds or "5s")."""
        from distributed import config

        goal = config.seconds("distributed.adaptive.target-duration", 5.0)
        if target_duration is not None:
            from dask.utils import parse_timedelta

            goal = parse_timedelta(target_duration)
        state = self.state
        workers = list(state.workers.values())
        queued = state.queue.seconds + sum(ws.backlog.seconds for ws in workers)
        occupancy = sum(ws.occupancy for ws in workers) + queued
        threads = -(-occupancy // (goal or 5.0))
        ntasks = (
            len(state.queue)
            + len(state.unrunnable)
            + sum(len(ws.processing) + len(ws.backlog) for ws in workers)
        )
        per_worker = max(1, round(sum(ws.nthreads for ws in workers) / len(workers))) if workers else 1
        target = int(-(-min(threads, ntasks) // per_worker))
        if not target and ntasks:
            target = 1
        return max(target, 1) if any(ws.has_what for ws in workers) else target

    def workers_to_close(
        self,
        memory_ratio: int | float | None = None,
        n: int | None = None,
        minimum: int | None = None,
        target: int | None = None,
        attribute: str = "address",
        key: Any = None,
    ) -> list[Any]:
        """Workers that can best be spared: idle ones, those with the least data first.

        Parameters
        ----------
        n : int, optional
            How many to close. Default: as many as are idle while the others can hold ``memory_ratio`` (2) times
            the data.
        minimum, target : int, optional
            Leave at least so many; close down to so many.
        attribute : str
            What to return of each worker: ``address`` or ``name``.
        """
        everybody = list(self.state.workers.values())
        workers = self.valid_workers_downscaling(everybody)
        if target is not None:
            n = max(0, len(everybody) - target)
        if n is None and not workers:
            return []
        idle_first = sorted(workers, key=lambda ws: (len(ws.processing) + len(ws.backlog), ws.nbytes))
        if n is not None:
            chosen = idle_first[: max(0, min(n, len(everybody) - (minimum or 0)))]
        else:
            if self.state.queue or self.state.unrunnable:
                return []
            ratio = memory_ratio or 2
            needed = ratio * sum(ws.nbytes for ws in everybody)
            limit = sum(ws.memory_limit for ws in everybody)
            chosen = []
            for ws in idle_first:
                if ws.processing or ws.backlog or len(everybody) - len(chosen) <= (minimum or 0):
                    break
                limit -= ws.memory_limit
                if limit < needed:
                    break
                chosen.append(ws)
        return [getattr(ws, attribute) for ws in chosen]


def worker_identity(ws: WorkerState) -> dict[str, Any]:
    """One worker as ``identity`` shows it."""
    return {
        "type": "Worker",
        "id": ws.server_id,
        "host": ws.host,
        "name": ws.name,
        "nthreads": ws.nthreads,
        "memory_limit": ws.memory_limit,
        "resources": ws.resources,
        "status": ws.status,
        "last_seen": ws.last_seen,
        "metrics": ws.metrics,
        "local_directory": ws.extra.get("local_directory", ""),
        "services": ws.extra.get("services") or {},
        "nanny": ws.extra.get("nanny"),
    }
