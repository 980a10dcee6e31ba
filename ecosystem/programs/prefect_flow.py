"""prefect-dask: a flow whose tasks run on our workers."""

from __future__ import annotations

import os

from prefect import flow, task
from prefect_dask import DaskTaskRunner, get_dask_client


@task
def double(x: int) -> tuple[int, int]:
    """Twice as much, and where."""
    return 2 * x, os.getpid()


@task
def through_dask(n: int) -> int:
    """Use a dask client inside a task."""
    import dask.array as da

    with get_dask_client():
        return int(da.arange(n, chunks=10).sum().compute())


@flow(task_runner=DaskTaskRunner(cluster_kwargs={"n_workers": 2, "threads_per_worker": 1}))
def doubled(numbers: list[int]) -> tuple[list[int], bool, int]:
    """All numbers doubled, whether elsewhere, and a sum computed by dask."""
    results = [future.result() for future in [double.submit(x) for x in numbers]]
    elsewhere = all(pid != os.getpid() for _, pid in results)
    return [value for value, _ in results], elsewhere, through_dask.submit(100).result()


def main() -> None:
    """Run the flow."""
    values, elsewhere, total = doubled([1, 2, 3])
    assert values == [2, 4, 6]
    assert elsewhere, "tasks ran in the process of the flow"
    assert total == 4950
    print(f"flow: {values}, {total}")


if __name__ == "__main__":
    main()
