"""``dask ssh`` and ``python -m distributed.cli.dask_ssh``: the same as ``dcluster``."""

from __future__ import annotations

from distributed.cli.dcluster import main

__all__ = ["main"]

if __name__ == "__main__":
    main(prog_name="dask-ssh")
