"""How much memory a network uses while something runs."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

from distributed.client.current import get_client

#: What can be measured, as the scheduler's ``memory`` has it.
MEASURES = ("process", "managed", "unmanaged", "optimistic")


class MemorySampler:
    """Samples the memory of all workers together.

    Attributes
    ----------
    samples : dict
        By label: pairs of time (seconds since the epoch) and bytes.

    Examples
    --------
    >>> sampler = MemorySampler()  # doctest: +SKIP
    >>> with sampler.sample("first try"):  # doctest: +SKIP
    ...     collection.compute()
    >>> sampler.to_pandas()  # doctest: +SKIP
    """

    def __init__(self) -> None:
        self.samples: dict[str, list[tuple[float, int]]] = {}

    def sample(
        self, label: str | None = None, *, client: Any = None, measure: str = "process", interval: float = 0.5
    ) -> Any:
        """Sample inside of a ``with``, or ``async with`` for an asynchronous client.

        Parameters
        ----------
        label : str, optional
        client : Client, optional
            Default: the current one.
        measure : {"process", "managed", "unmanaged", "optimistic"}
            All that the processes hold, only results, the rest, or what results alone would need.
        interval : float
            Seconds between two samples. Workers tell about themselves about once a second.
        """
        if measure not in MEASURES:
            raise ValueError(f"measure= is one of {', '.join(MEASURES)}, not {measure!r}")
        client = client or get_client()
        taken = self.samples[label or str(uuid.uuid4())] = []
        if client.asynchronous:
            return _sampling_async(client, taken, measure, interval)
        return _sampling(client, taken, measure, interval)

    def to_pandas(self, *, align: bool = False) -> Any:
        """A ``pandas.DataFrame`` of bytes: a column for each label, by time; ``align``: since its first sample."""
        import pandas as pd

        columns = {}
        for label, taken in self.samples.items():
            start = taken[0][0] if taken else 0.0
            times = pd.to_timedelta([t - start for t, _ in taken], unit="s")
            index = times if align else pd.to_datetime([t for t, _ in taken], unit="s")
            columns[label] = pd.Series([nbytes for _, nbytes in taken], index=index)
        return pd.DataFrame(columns).ffill()

    def plot(self, *, align: bool = False, **kwargs: Any) -> Any:
        """Draw :meth:`to_pandas` in GiB by its ``plot``, which takes the other parameters."""
        frame = self.to_pandas(align=align) / 2**30
        return frame.plot(**{"xlabel": "time", "ylabel": "memory (GiB)", **kwargs})


async def _take(client: Any, taken: list[tuple[float, int]], measure: str, interval: float) -> None:
    while True:
        taken.append((time.time(), int(await client._call("get_memory", measure=measure))))
        await asyncio.sleep(interval)


@contextlib.contextmanager
def _sampling(client: Any, taken: list[tuple[float, int]], measure: str, interval: float) -> Iterator[None]:
    async def begin() -> asyncio.Task[None]:
        return asyncio.create_task(_take(client, taken, measure, interval), name="sample memory")

    task = client.sync(begin, asynchronous=False)
    try:
        yield
    finally:
        client.sync(_stop, task, asynchronous=False)


@contextlib.asynccontextmanager
async def _sampling_async(
    client: Any, taken: list[tuple[float, int]], measure: str, interval: float
) -> AsyncIterator[None]:
    task = asyncio.create_task(_take(client, taken, measure, interval), name="sample memory")
    try:
        yield
    finally:
        await _stop(task)


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled() and task.exception() is not None:
        task.result()
