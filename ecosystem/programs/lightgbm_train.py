"""lightgbm.dask: sockets between the workers, which it finds by the client."""

from __future__ import annotations

import dask.array as da
import lightgbm as lgb

from distributed import Client, LocalCluster


def main() -> None:
    """Train a classifier on two workers; most predictions must be right."""
    with LocalCluster(n_workers=2, threads_per_worker=1) as cluster, Client(cluster) as client:
        x = da.random.default_rng(1).random((2000, 10), chunks=(250, 10)).persist()
        y = (x[:, 0] + x[:, 1] > 1).astype(int).persist()
        model = lgb.DaskLGBMClassifier(client=client, n_estimators=20, num_leaves=15, verbose=-1)
        model.fit(x, y)
        right = float((model.predict(x) == y).mean().compute())
        assert right > 0.9, right
        print(f"right: {right:.3f}")


if __name__ == "__main__":
    main()
