"""What the suite runs: programs of ours around packages of others, and tests that those packages ship."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Entry:
    """One program or set of tests, and the environment it needs.

    Attributes
    ----------
    name : str
    packages : tuple of str
        What pip installs beside this package.
    program : str
        File in ``programs``, or empty.
    tests : tuple of str
        Arguments of pytest, or empty. ``--pyargs`` is given.
    plugins : tuple of str
        Modules of ``plugins``, with fixtures that the project's own ``conftest.py`` has.
    known : dict
        Tests that fail, by a part of their id, and the reason.
    timeout : float
        Seconds, without the installation.
    group : str
        Entries of one group share an environment: what users install together, and made once it serves them all.
    bounded : bool
        Whether it belongs to the part that continuous integration runs.
    """

    name: str
    packages: tuple[str, ...]
    program: str = ""
    tests: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()
    known: dict[str, str] = field(default_factory=dict)
    timeout: float = 300
    group: str = ""
    bounded: bool = False

    @property
    def environment(self) -> str:
        """Name of the virtual environment."""
        return self.group or self.name


PYTEST = ("pytest", "pytest-timeout")
DASK = ("dask[array,dataframe]", "pyarrow", "pandas", "numpy", "zarr", "graphviz", *PYTEST)
JOBLIB = ("scikit-learn", "joblib", *PYTEST)
XARRAY = ("xarray", "dask[array]", "netCDF4", "h5netcdf", "h5py", "zarr", *PYTEST)
XGBOOST = ("xgboost-cpu", "dask[array,dataframe]", "scikit-learn")
LIGHTGBM = ("lightgbm", "dask[array,dataframe]", "scikit-learn")
JOBQUEUE = ("dask-jobqueue", "pytest-asyncio", *PYTEST)

#: Reasons of failures that are known.
P2P = "imports distributed.shuffle: shuffling straight between workers is not in this release"
DAEMON = "expects worker processes that may not have children; ours may, so nothing is there to warn of"
STORY = "reads the words of the other package's log of its worker's state machine"

SUITE = (
    Entry("dataframe", DASK, program="dask_dataframe.py", group="stack", bounded=True),
    Entry("array", DASK, program="dask_array.py", group="stack", bounded=True),
    Entry(
        "dask-tests",
        DASK,
        tests=("dask.tests.test_distributed",),
        known={"test_fusion_barrier_task": P2P},
        timeout=1200,
        group="stack",
    ),
    Entry(
        "dask-tests-more",
        DASK,
        tests=(
            "dask.tests.test_layers",
            "dask.tests.test_order",
            "dask.tests.test_base",
            "dask.tests.test_delayed",
            "dask.tests.test_task_spec",
            "dask.tests.test_traceback",
            "dask.tests.test_expr",
            "dask.dataframe.dask_expr.tests.test_distributed",
            "dask.dataframe.dask_expr.tests.test_diagnostics",
            "dask.dataframe.dask_expr.io.tests.test_distributed",
            "-k=distributed or client or cluster or diagnostics or traceback or analyze",
        ),
        known={"dask_expr.tests.test_distributed": P2P},
        timeout=900,
        group="stack",
    ),
    Entry("joblib", JOBLIB, program="joblib_grid_search.py", group="stack", bounded=True),
    Entry(
        "joblib-tests",
        JOBLIB,
        tests=("joblib.test.test_dask",),
        plugins=("network_fixtures",),
        known={
            "test_joblib_warning_inside_dask_daemonic_worker": DAEMON,
            "test_no_undesired_distributed_cache_hit": f"{STORY}; fails with that package, too",
            "test_auto_scatter": STORY,
        },
        timeout=600,
        group="stack",
    ),
    Entry("xarray", XARRAY, program="xarray_climate.py", group="stack", bounded=True),
    Entry("xarray-tests", XARRAY, tests=("xarray.tests.test_distributed",), timeout=900, group="stack"),
    Entry("xgboost", XGBOOST, program="xgboost_train.py", group="stack", bounded=True),
    Entry("lightgbm", LIGHTGBM, program="lightgbm_train.py", group="stack", bounded=True),
    Entry("dask-image", ("dask-image",), program="dask_image_filter.py", group="stack", bounded=True),
    Entry("dask-ml", ("dask-ml",), program="dask_ml_search.py"),
    Entry("dask-jobqueue", JOBQUEUE, program="jobqueue_local.py", group="stack", bounded=True),
    Entry(
        "dask-jobqueue-tests",
        JOBQUEUE,
        tests=("dask_jobqueue.tests", "-k=not slurm_runner and not test_slurm_runner"),
        plugins=("network_fixtures", "jobqueue_fixtures"),
        known={
            "test_dashboard_link": "there is no dashboard yet",
            "test_forward_ip": "expects 0.0.0.0 for a scheduler on all interfaces; ours gives its outer address",
            "test_security": "encryption is not in this release; one of the files is not in the wheel",
        },
        timeout=900,
        group="stack",
    ),
    Entry(
        "prefect-dask",
        ("prefect-dask", "dask[array]", "fastapi<0.116"),
        program="prefect_flow.py",
        timeout=400,
    ),
    Entry("streamz", ("streamz", "pandas"), program="streamz_pipeline.py", group="stack", bounded=True),
)
