"""The soak in bounded form, with a new seed each time; ``python tests/faults/soak.py --minutes 15`` for longer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_faults_every_second() -> None:
    script = Path(__file__).with_name("soak.py")
    ended = subprocess.run(
        [sys.executable, str(script), "--minutes", "0.5"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=190,
    )
    print(ended.stdout)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "computations of" in ended.stdout
