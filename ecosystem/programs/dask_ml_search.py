"""dask-ml: preprocessing, k-means, a search over hyperparameters, predictions block by block.

Its incremental search fails with this dask and the existing engine in the same way: it computes inside the loop.
"""

from __future__ import annotations

import dask.array as da
import numpy as np
from dask_ml.cluster import KMeans
from dask_ml.model_selection import GridSearchCV
from dask_ml.preprocessing import StandardScaler
from dask_ml.wrappers import ParallelPostFit
from sklearn.linear_model import LogisticRegression

from distributed import Client, LocalCluster


def main() -> None:
    """Search on two workers."""
    with LocalCluster(n_workers=2, threads_per_worker=1) as cluster, Client(cluster) as client:
        x = da.random.default_rng(1).random((2000, 5), chunks=(200, 5)).persist()
        y = (x[:, 0] > x[:, 1]).astype(int).persist()
        scaled = StandardScaler().fit_transform(x)
        np.testing.assert_allclose(scaled.mean(axis=0).compute(), 0, atol=1e-8)
        means = KMeans(n_clusters=3, random_state=0, max_iter=10).fit(scaled)
        assert means.cluster_centers_.shape == (3, 5)
        grid = {"C": [0.01, 0.1, 1.0], "fit_intercept": [True, False]}
        search = GridSearchCV(LogisticRegression(), grid, cv=3)
        search.fit(scaled, y)
        assert search.best_score_ > 0.9, search.best_score_
        wrapped = ParallelPostFit(LogisticRegression()).fit(*da.compute(scaled[:400], y[:400]))
        assert float((wrapped.predict(scaled) == y).mean().compute()) > 0.9
        assert client.scheduler_info()["workers"]
        print(f"best: {search.best_params_}, {search.best_score_:.3f}")


if __name__ == "__main__":
    main()
