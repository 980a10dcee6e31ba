from __future__ import annotations

import pytest

from distributed.deploy.local import LocalCluster, nprocesses_nthreads
from distributed.system import cpu_count

SHAPES = {
    1: (1, 1),
    2: (2, 1),
    4: (4, 1),
    6: (3, 2),
    7: (7, 1),
    8: (4, 2),
    20: (5, 4),
    32: (8, 4),
    80: (10, 8),
}


@pytest.mark.parametrize(("cores", "shape"), SHAPES.items())
def test_shapes(cores: int, shape: tuple[int, int]) -> None:
    assert nprocesses_nthreads(cores) == shape


def test_all_cores_are_used() -> None:
    for cores in range(1, 200):
        processes, threads = nprocesses_nthreads(cores)
        assert processes * threads == cores
    processes, threads = nprocesses_nthreads()
    assert processes * threads == cpu_count()


@pytest.mark.parametrize("nonsense", [-1, "2", 1.5])
def test_nonsense_numbers(nonsense: object) -> None:
    with pytest.raises(ValueError, match="n_workers must be a whole number"):
        LocalCluster(n_workers=nonsense)  # type: ignore[arg-type]
