"""The file by which a scheduler tells workers and clients on a shared file system where it is.

JSON with at least ``address`` and ``id``. It holds no secret: who wants to connect needs the cluster key
besides.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

_INTERVAL = 0.05  # seconds between two looks


def write_scheduler_file(path: str | os.PathLike[str], identity: dict[str, Any]) -> None:
    """Write what a scheduler says of itself; readers see the whole file or none."""
    import tempfile

    target = Path(path)
    try:
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise OSError(f"cannot write the scheduler file {target}: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(identity, file, indent=2, default=str)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


def remove_scheduler_file(path: str | os.PathLike[str], scheduler_id: str) -> None:
    """Remove the file if it still is the one of this scheduler."""
    try:
        if json.loads(Path(path).read_text()).get("id") == scheduler_id:
            os.unlink(path)
    except (OSError, ValueError):
        pass  # gone, or somebody else's


def read_scheduler_address(path: str | os.PathLike[str], timeout: float | None = None) -> str:
    """The address in a scheduler file, waiting for the file to appear.

    Parameters
    ----------
    timeout : float, optional
        Seconds; None waits for ever.

    Raises
    ------
    TimeoutError
        When there is no such file, or no address in it, in time.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        try:
            return str(json.loads(Path(path).read_text())["address"])
        except FileNotFoundError:
            problem = "there is no such file"
        except OSError as error:
            problem = error.strerror or str(error)
        except (ValueError, KeyError, TypeError):
            problem = "it holds no JSON with an address"
        if deadline is not None and time.monotonic() >= deadline:
            raise TimeoutError(f"scheduler file {os.fspath(path)}: {problem} (waited {timeout:g} s)")
        time.sleep(_INTERVAL)
