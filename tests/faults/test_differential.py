"""The differential soak in bounded form, with a new seed each time; longer: ``differential_soak.py --minutes 15``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.timeout(320)
def test_random_programs_give_what_plain_python_gives() -> None:
    script = Path(__file__).with_name("differential_soak.py")
    ended = subprocess.run(
        [sys.executable, str(script), "--minutes", "0.4"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=310,
    )
    print(ended.stdout)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "10 programs more" in ended.stdout
