"""A plugin for pytest: the fixtures of dask-jobqueue's own ``conftest.py``, for a machine without a queueing system."""

import dask
import dask_jobqueue
import pytest
from dask_jobqueue.local import LocalCluster

CLASSES = [
    dask_jobqueue.HTCondorCluster,
    dask_jobqueue.LSFCluster,
    dask_jobqueue.MoabCluster,
    dask_jobqueue.OARCluster,
    dask_jobqueue.PBSCluster,
    dask_jobqueue.SGECluster,
    dask_jobqueue.SLURMCluster,
    LocalCluster,
]


@pytest.fixture(params=CLASSES, ids=lambda cls: cls.__name__)
def Cluster(request):
    """Each of the classes, one after the other; HTCondor must be told how much disk to use."""
    with dask.config.set({"jobqueue.htcondor.disk": "1GB"}):
        yield request.param


@pytest.fixture
def EnvSpecificCluster():
    """The class that starts its jobs here."""
    return LocalCluster


def pytest_runtest_setup(item):
    """Tests that are marked with a queueing system need one."""
    systems = {name for mark in item.iter_markers("env") for name in mark.args}
    if systems:
        pytest.skip(f"needs {' or '.join(sorted(systems))}")
