"""dask.array: rechunk, linear algebra, persisted arrays as inputs of further ones, annotations."""

from __future__ import annotations

import importlib.util

import dask
import dask.array as da
import numpy as np

from distributed import Client, LocalCluster, futures_of, wait

#: Ways to rechunk: by tasks always, straight between workers where this release has it.
METHODS = ("tasks", "p2p") if importlib.util.find_spec("distributed.shuffle") else ("tasks",)


def main() -> None:
    """Compare with numpy."""
    with LocalCluster(n_workers=2, threads_per_worker=2) as cluster, Client(cluster) as client:
        x = da.random.default_rng(1).random((1000, 1000), chunks=(250, 250)).persist()
        wait(x)
        assert len(futures_of(x)) == 16
        values = x.compute()
        product, mean = dask.compute(x @ x.T, x.rechunk((1000, 100)).mean(axis=0))
        np.testing.assert_allclose(product, values @ values.T)
        np.testing.assert_allclose(mean, values.mean(axis=0))
        for method in METHODS:
            with dask.config.set({"array.rechunk.method": method}):
                np.testing.assert_array_equal(x.rechunk((1000, 50)).T.compute(), values.T)
            print(f"rechunk method {method}")
        with dask.annotate(priority=10, retries=2, workers=list(client.scheduler_info()["workers"])[:1]):
            total = (x + 1).sum()
        np.testing.assert_allclose(total.compute(), (values + 1).sum())
        _, singular, _ = da.linalg.svd_compressed(x, k=5, seed=1)
        assert singular.compute()[0] > 400


if __name__ == "__main__":
    main()
