"""joblib's dask backend: a grid search of scikit-learn, scattered data, nested parallelism."""

from __future__ import annotations

import joblib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC

from distributed import Client, LocalCluster


def main() -> None:
    """Find the same best parameters as without a network."""
    digits = load_digits()
    x, y = digits.data[:600], digits.target[:600]
    grid = {"C": [0.1, 1.0, 10.0], "gamma": [0.0001, 0.001, 0.01]}
    here = GridSearchCV(SVC(), grid, cv=3).fit(x, y)
    with LocalCluster(n_workers=2, threads_per_worker=2) as cluster, Client(cluster):
        with joblib.parallel_config(backend="dask"):
            there = GridSearchCV(SVC(), grid, cv=3, n_jobs=-1).fit(x, y)
        np.testing.assert_allclose(here.cv_results_["mean_test_score"], there.cv_results_["mean_test_score"])
        assert here.best_params_ == there.best_params_
        with joblib.parallel_config(backend="dask", scatter=[x, y]):
            forest = GridSearchCV(
                RandomForestClassifier(random_state=0, n_jobs=2), {"n_estimators": [5, 10]}, cv=2
            )
            forest.fit(x, y)
        print(f"best: {there.best_params_}, {there.best_score_:.3f}; forest: {forest.best_score_:.3f}")


if __name__ == "__main__":
    main()
