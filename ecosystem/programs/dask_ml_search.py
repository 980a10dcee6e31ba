"""dask-ml: preprocessing, k-means, incremental hyperparameter search (which talks to the client itself)."""

from __future__ import annotations

import dask.array as da
import numpy as np
from dask_ml.cluster import KMeans
from dask_ml.model_selection import IncrementalSearchCV
from dask_ml.preprocessing import StandardScaler
from sklearn.linear_model import SGDClassifier

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
        search = IncrementalSearchCV(
            SGDClassifier(tol=1e-3, penalty="elasticnet", random_state=0),
            {"alpha": np.logspace(-4, 0, 5)},
            n_initial_parameters=4,
            max_iter=8,
            random_state=0,
        )
        search.fit(scaled, y, classes=[0, 1])
        assert search.best_score_ > 0.8, search.best_score_
        assert client.scheduler_info()["workers"]
        print(f"best: {search.best_params_}, {search.best_score_:.3f}")


if __name__ == "__main__":
    main()
