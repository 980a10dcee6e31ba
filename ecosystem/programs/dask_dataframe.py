"""dask.dataframe: read_parquet, merge, groupby, to_parquet, shuffled between workers."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd

from distributed import Client, LocalCluster, wait

#: Ways to shuffle: by tasks always, straight between workers where this release has it.
METHODS = ("tasks", "p2p") if importlib.util.find_spec("distributed.shuffle") else ("tasks",)


def main() -> None:
    """Join sales with shops, sum by region, and compare with pandas."""
    rng = np.random.default_rng(1)
    sales = pd.DataFrame(
        {"shop": rng.integers(0, 50, 20_000), "amount": rng.random(20_000), "day": np.arange(20_000) % 30}
    )
    shops = pd.DataFrame({"shop": np.arange(50), "region": [f"r{n % 7}" for n in range(50)]})
    expected = sales.merge(shops, on="shop").groupby("region").amount.sum()
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        dd.from_pandas(sales, npartitions=8).to_parquet(path / "sales")
        dd.from_pandas(shops, npartitions=3).to_parquet(path / "shops")
        with LocalCluster(n_workers=2, threads_per_worker=2) as cluster, Client(cluster):
            left, right = dd.read_parquet(path / "sales"), dd.read_parquet(path / "shops")
            for method in METHODS:
                with dask.config.set({"dataframe.shuffle.method": method}):
                    joined = left.merge(right, on="shop")
                    sums = joined.groupby("region").amount.sum().compute()
                    pd.testing.assert_series_equal(sums.sort_index(), expected, check_index_type=False)
                    by_day = (
                        left.shuffle("day").map_partitions(lambda part: part.day.drop_duplicates()).compute()
                    )
                    assert sorted(by_day) == list(range(30)), "a day is in more than one partition"
                    print(f"shuffle method {method}: {len(sums)} regions")
            joined = left.merge(right, on="shop").persist()
            wait(joined)
            joined.to_parquet(path / "joined")
            assert len(dd.read_parquet(path / "joined")) == len(sales)


if __name__ == "__main__":
    main()
