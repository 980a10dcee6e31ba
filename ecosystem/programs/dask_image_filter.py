"""dask-image: filters and measurements over chunks with halos."""

from __future__ import annotations

import dask.array as da
import numpy as np
from dask_image import ndfilters, ndmeasure
from scipy import ndimage

from distributed import Client, LocalCluster


def main() -> None:
    """Compare with scipy."""
    with LocalCluster(n_workers=2, threads_per_worker=2) as cluster, Client(cluster):
        image = da.random.default_rng(1).random((600, 600), chunks=(150, 150)).persist()
        values = image.compute()
        smooth = ndfilters.gaussian_filter(image, sigma=3)
        np.testing.assert_allclose(smooth.compute(), ndimage.gaussian_filter(values, sigma=3), atol=1e-8)
        labels, count = ndmeasure.label(smooth > 0.5)
        expected, expected_count = ndimage.label(smooth.compute() > 0.5)
        assert int(count.compute()) == expected_count
        assert ((labels.compute() > 0) == (expected > 0)).all()
        print(f"{expected_count} labels")


if __name__ == "__main__":
    main()
