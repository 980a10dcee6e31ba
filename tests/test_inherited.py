from __future__ import annotations

import subprocess
import sys

import pytest

from distributed import inherited

CODE = """
import sys
from distributed import inherited
inherited.expected = True
from distributed import config
values = {{"distributed": {{"comm": {{"default-scheme": "elsewhere"}}}}, "x_y": {value}}}
config.adopt(values)
print("dask" in sys.modules, config.get("distributed.comm.default_scheme"), config.get("x-y"), config.get("no.such", 5))
import dask.config
print(dask.config.get("distributed.comm.default-scheme"), dask.config.get("x_y"), config.get("x_y"))
dask.config.set({{"x_y": "later"}})
print(config.get("x_y"))
"""


@pytest.mark.parametrize(("value", "early"), [("1", "False"), ("(1, 2)", "True"), ("len", "True")])
def test_in_a_process_that_inherits(value: str, early: str) -> None:
    """What JSON cannot say is handed to dask itself."""
    result = subprocess.run(
        [sys.executable, "-c", CODE.format(value=value)], capture_output=True, text=True, check=True
    )
    shown = str(eval(value))
    assert result.stdout.splitlines() == [
        f"{early} elsewhere {shown} 5",
        f"elsewhere {shown} {shown}",
        "later",
    ]


def test_keys() -> None:
    values = {"a": {"b-c": 1, "d_e": 2}}
    assert inherited.get(values, "a.b_c") == 1
    assert inherited.get(values, "a.d-e") == 2
    for key in ("a.x", "a.b-c.d", "b"):
        with pytest.raises(KeyError, match=key):
            inherited.get(values, key)


def test_other_processes_inherit_nothing() -> None:
    assert inherited.lookup() is None
    assert not inherited.inherit({})  # dask is here
