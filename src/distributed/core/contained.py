"""Users' code on loops of ours: whatever it raises is an error of it, and ends nothing else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

from distributed.protocol.errors import exception_text


@contextlib.contextmanager
def contained(what: Any) -> Iterator[None]:
    """What is raised inside and would end the process becomes a RuntimeError that names it.

    Parameters
    ----------
    what : str, callable or other object
        Who raises, for the error's text.
    """
    try:
        yield
    except (Exception, asyncio.CancelledError):
        raise
    except BaseException as error:
        name = what if isinstance(what, str) else getattr(what, "__qualname__", type(what).__name__)
        text = f"{name} raised {exception_text(error)}"
        if isinstance(error, SystemExit | KeyboardInterrupt):
            text += ", which would have ended its process"
        raise RuntimeError(text).with_traceback(error.__traceback__) from None
