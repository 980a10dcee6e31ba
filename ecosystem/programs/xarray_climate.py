"""xarray on dask arrays: open many files, rechunk, groupby, mean, write."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from distributed import Client, LocalCluster


def main() -> None:
    """A climatology of four years in four files, compared with the one computed in memory."""
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        parts = []
        for year in range(2000, 2004):
            time = pd.date_range(f"{year}-01-01", f"{year}-12-31")
            values = rng.random((len(time), 20, 30))
            part = xr.Dataset(
                {"temperature": (("time", "y", "x"), values)},
                coords={"time": time, "y": np.arange(20), "x": np.arange(30)},
            )
            part.to_netcdf(path / f"{year}.nc", engine="h5netcdf")
            parts.append(part)
        expected = xr.concat(parts, "time").temperature.groupby("time.month").mean()
        with LocalCluster(n_workers=2, threads_per_worker=2) as cluster, Client(cluster):
            data = xr.open_mfdataset(
                str(path / "*.nc"), parallel=True, engine="h5netcdf", chunks={"time": 100}, data_vars="all"
            )
            monthly = data.temperature.chunk({"time": -1, "x": 10}).groupby("time.month").mean()
            xr.testing.assert_allclose(monthly.compute(), expected)
            persisted = data.persist()
            anomaly = persisted.temperature.groupby("time.month") - monthly
            assert abs(float(anomaly.mean())) < 1e-9
            persisted.chunk({"time": 100}).to_zarr(path / "all.zarr", zarr_format=2)
            written = xr.open_zarr(path / "all.zarr")
            np.testing.assert_allclose(float(written.temperature.mean()), float(data.temperature.mean()))
            persisted.to_netcdf(path / "all.nc", engine="netcdf4")
            print(f"monthly means: {monthly.shape}")
            data.close()


if __name__ == "__main__":
    main()
