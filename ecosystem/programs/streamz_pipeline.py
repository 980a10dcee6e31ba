"""streamz: a stream scattered to workers, mapped there, gathered in order."""

from __future__ import annotations

import asyncio

from streamz import Stream

from distributed import Client, LocalCluster
from distributed.utils_test import async_poll_for, slowinc


async def main() -> None:
    """Ten numbers through the network."""
    async with LocalCluster(n_workers=2, threads_per_worker=1, asynchronous=True) as cluster:
        async with Client(cluster, asynchronous=True):
            source = Stream(asynchronous=True)
            results = source.scatter().map(slowinc, delay=0.01).buffer(5).gather().sink_to_list()
            for number in range(10):
                await source.emit(number)
            await async_poll_for(lambda: len(results) == 10, timeout=30)
            assert results == list(range(1, 11)), results
            print(f"stream: {results}")


if __name__ == "__main__":
    asyncio.run(main())
