"""Elastic clusters: the number of workers follows the work."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Iterable
from inspect import isawaitable
from typing import Any

from dask.utils import parse_timedelta

from distributed import config
from distributed.core import Status
from distributed.deploy.hysteresis import Hysteresis

logger = logging.getLogger("distributed.deploy")

_ENDED = (Status.closing, Status.closed, Status.failed)


class Adaptive:
    """Asks the scheduler now and then how many workers the work wants, and scales a cluster accordingly.

    More workers come at once. A worker is ended when the scheduler could spare it ``wait_count`` times in a row, it
    has no task and, where it holds the only copy of something, that has been moved to others.

    Parameters
    ----------
    cluster : Cluster
        Has ``scale_up(n)`` and ``scale_down(workers)``, or at least ``scale(n)``; ``plan``, ``requested``,
        ``observed``.
    interval : float or str, optional
        Seconds between two looks; default ``distributed.adaptive.interval``.
    minimum, maximum : int, optional
        Bounds of the number of workers; default ``distributed.adaptive.{minimum, maximum}``.
    wait_count : int, optional
        Looks at which a worker must be spared before it is ended; default ``distributed.adaptive.wait-count``.
    target_duration : float or str, optional
        Seconds within which the present work should end; default ``distributed.adaptive.target-duration``.
    worker_key : callable, optional
        Kept. Workers that one job started are ended together, which a cluster says by ``group`` in its specification.

    Attributes
    ----------
    log : deque of (float, dict)
        Time and kind of the latest changes.

    Examples
    --------
    >>> cluster.adapt(minimum=0, maximum=10, interval="500ms")  # doctest: +SKIP
    """

    def __init__(
        self,
        cluster: Any,
        interval: float | str | None = None,
        minimum: int | None = None,
        maximum: float | None = None,
        wait_count: int | None = None,
        target_duration: float | str | None = None,
        worker_key: Any = None,
        **kwargs: Any,
    ) -> None:
        if kwargs:
            raise TypeError(f"Adaptive got unknown parameters: {', '.join(sorted(kwargs))}")
        self.cluster = cluster
        self.worker_key = worker_key
        self.interval = _seconds(interval, "interval")
        self.target_duration = _seconds(target_duration, "target-duration")
        self.minimum = int(_given(minimum, "minimum"))
        upper = float(_given(maximum, "maximum"))
        self.maximum: float = upper if math.isinf(upper) else int(upper)
        if not 0 <= self.minimum <= self.maximum:
            raise ValueError(
                f"minimum={self.minimum} and maximum={self.maximum}: there must be 0 <= minimum <= maximum"
            )
        self.wait_count = int(_given(wait_count, "wait-count"))
        self.log: deque[tuple[float, dict[str, Any]]] = deque(maxlen=10_000)
        self.stop_reason: str | None = None
        self._hysteresis: Hysteresis[Any] = Hysteresis(self.wait_count)
        self._task: asyncio.Task[None] | None = None
        self._adapting = asyncio.Lock()
        self.loop.add_callback(self._begin)

    # ------------------------------------------------------------ life

    def _begin(self) -> None:
        if self.stop_reason is None:
            self._task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        while getattr(self.cluster, "status", None) not in _ENDED:
            try:
                await self.adapt()
            except OSError as error:
                logger.info("Adaptive scaling: the scheduler does not answer: %s", error)
            except Exception as error:  # a worker that cannot be started must not be the end of adapting
                logger.warning("Adaptive scaling: %s", error)
            await asyncio.sleep(self.interval)

    def stop(self, reason: str = "unknown") -> None:
        """Leave the number of workers as it is from now on."""
        if self.stop_reason is None:
            self.stop_reason = reason
            if self.loop.is_running():
                self.loop.add_callback(self._end)

    def _end(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    @property
    def loop(self) -> Any:
        """The cluster's loop."""
        return self.cluster.loop

    # ------------------------------------------------------------ what there is

    @property
    def scheduler(self) -> Any:
        """Operations of the scheduler."""
        return self.cluster.scheduler_comm

    @property
    def plan(self) -> set[Any]:
        """Workers there should be."""
        return set(self.cluster.plan)

    @property
    def requested(self) -> set[Any]:
        """Workers that have been asked for."""
        return set(self.cluster.requested)

    @property
    def observed(self) -> set[Any]:
        """Workers that have arrived."""
        return set(self.cluster.observed)

    # ------------------------------------------------------------ one look

    async def adapt(self) -> None:
        """Look once, and scale if it is time to."""
        async with self._adapting:
            advice = await self.recommendations(await self.safe_target())
            status = advice.pop("status")
            if status == "same":
                return
            self.log.append((time.time(), {"status": status, **advice}))
            if status == "up":
                await self.scale_up(**advice)
            else:
                await self.scale_down(**advice)

    async def target(self) -> int:
        """How many workers the work wants, whatever the bounds."""
        return int(await self.scheduler.adaptive_target(target_duration=self.target_duration))

    async def safe_target(self) -> int:
        """:meth:`target` within ``minimum`` and ``maximum``."""
        return int(min(max(self.minimum, await self.target()), self.maximum))

    async def recommendations(self, target: int) -> dict[str, Any]:
        """What to do to have ``target`` workers.

        Returns
        -------
        dict
            ``{"status": "same"}``, ``{"status": "up", "n": int}`` or ``{"status": "down", "workers": names}``.
        """
        plan = self.plan
        if target >= len(plan):
            self._hysteresis.clear()
            return {"status": "up", "n": target} if target > len(plan) else {"status": "same"}
        surplus = len(plan) - target
        spared = sorted(plan - self.observed, key=str)[:surplus]  # they have not come yet: nobody misses them
        if len(spared) < surplus:
            spared += [name for name in await self.workers_to_close(target) if name not in spared]
        ripe = self._whole_groups(self._hysteresis.ripe(spared))
        return {"status": "down", "workers": ripe} if ripe else {"status": "same"}

    async def workers_to_close(self, target: int) -> list[Any]:
        """Names of workers without a task that the scheduler can best spare, so that ``target`` or more are left."""
        names = await self.scheduler.workers_to_close(target=target, attribute="name")
        workers = (await self.scheduler.identity())["workers"]
        busy = {address for address, keys in dict(await self.scheduler.processing()).items() if keys}
        working = {str(worker["name"]) for address, worker in workers.items() if address in busy}
        return [name for name in names if str(name) not in working]

    def _whole_groups(self, names: list[Any]) -> list[Any]:
        """Without those whose job has other workers that shall stay."""
        members = getattr(self.cluster, "_names_of", None)
        if members is None:
            return names
        chosen = {str(name) for name in names}
        torn: set[str] = set()
        for entry in getattr(self.cluster, "worker_spec", ()):
            group = {str(name) for name in members(entry)}
            if not group <= chosen:
                torn |= group
        return [name for name in names if str(name) not in torn]

    async def scale_up(self, n: int) -> None:
        """Have ``n`` workers, which are more than there are."""
        logger.info("Adaptive scaling to %d workers", n)
        await _finish(
            self.cluster.scale_up(n) if hasattr(self.cluster, "scale_up") else self.cluster.scale(n)
        )

    async def scale_down(self, workers: Iterable[Any]) -> None:
        """End these workers."""
        names = list(workers)
        if names:
            logger.info("Adaptive scaling ends workers %s", names)
            await _finish(self.cluster.scale_down(names))

    def __repr__(self) -> str:
        return f"<Adaptive: minimum={self.minimum}, maximum={self.maximum}, workers={len(self.plan)}>"


async def _finish(result: Any) -> None:
    if isawaitable(result):
        await result


def _given(value: Any, setting: str) -> Any:
    return config.get(f"distributed.adaptive.{setting}") if value is None else value


def _seconds(value: float | str | None, setting: str) -> float:
    return float(parse_timedelta(_given(value, setting), default="s"))
