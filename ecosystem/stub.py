"""A wheel named ``distributed`` without a single module, for packages that require that distribution.

``distributed-network`` provides the import package ``distributed``; a requirement, though, names a *distribution*. Were
pip to fetch the distribution ``distributed`` beside ours, two packages would write the same files. This wheel satisfies
the requirement instead: it holds metadata only, and requires ``distributed-network``.

    python ecosystem/stub.py --out wheels
    pip install --find-links wheels --constraint wheels/constraints.txt distributed-network dask-jobqueue
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import zipfile
from pathlib import Path

#: The release of ``distributed`` whose public interface ours follows; the suffix marks it and wins over that release.
VERSION = "2026.8.0+network"


def write_stub(directory: Path, version: str = VERSION) -> Path:
    """Write the wheel and ``constraints.txt``, which keeps pip from taking another one, into a directory.

    Parameters
    ----------
    directory : Path
        Made if it is not there.
    version : str
        Version that the requirement shall be met with.

    Returns
    -------
    Path
        Of the wheel.
    """
    directory.mkdir(parents=True, exist_ok=True)
    info = f"distributed-{version}.dist-info"
    files = {
        f"{info}/METADATA": (
            "Metadata-Version: 2.1\n"
            "Name: distributed\n"
            f"Version: {version}\n"
            "Summary: Nothing but the requirement of distributed-network, which provides the import package\n"
            "Requires-Python: >=3.11\n"
            "Requires-Dist: distributed-network\n"
        ),
        f"{info}/WHEEL": (
            "Wheel-Version: 1.0\nGenerator: distributed-network\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        ),
    }
    record = "".join(f"{name},sha256={_digest(text)},{len(text.encode())}\n" for name, text in files.items())
    files[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
    path = directory / f"distributed-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, text in files.items():
            wheel.writestr(zipfile.ZipInfo(name, date_time=(2026, 1, 1, 0, 0, 0)), text)
    (directory / "constraints.txt").write_text(f"distributed=={version}\n")
    return path


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--out", type=Path, default=Path("wheels"), help="directory (default: wheels)")
    print(write_stub(parser.parse_args().out))
