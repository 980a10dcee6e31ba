"""xgboost.dask: its collective runs between the workers."""

from __future__ import annotations

import dask.array as da
import xgboost as xgb
from xgboost import dask as dxgb

from distributed import Client, LocalCluster


def main() -> None:
    """Train a regression on two workers; predictions must be close."""
    with LocalCluster(n_workers=2, threads_per_worker=1) as cluster, Client(cluster) as client:
        rng = da.random.default_rng(1)
        x = rng.random((2000, 10), chunks=(250, 10))
        y = x[:, 0] * 3 + x[:, 1]
        x, y = client.persist([x, y])
        train = dxgb.DaskQuantileDMatrix(client, x, y)
        output = dxgb.train(
            client, {"tree_method": "hist", "max_depth": 4}, train, num_boost_round=20, evals=[(train, "t")]
        )
        assert isinstance(output["booster"], xgb.Booster)
        history = output["history"]["t"]["rmse"]
        predicted = dxgb.predict(client, output, x)
        error = float(((predicted - y) ** 2).mean().compute()) ** 0.5
        assert error < 0.15, error
        model = dxgb.DaskXGBRegressor(n_estimators=10)
        model.client = client
        model.fit(x, y)
        assert model.predict(x).compute().shape == (2000,)
        print(f"rmse {history[0]:.3f} -> {history[-1]:.3f}; of predictions {error:.3f}")


if __name__ == "__main__":
    main()
