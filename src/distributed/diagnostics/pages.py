"""The client's half of pages: what it was told, written to a file of its own."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from distributed.diagnostics.report_page import render_profile, render_stream


class ClientPages:
    """Writes pages that need nothing else."""

    def __init__(self, client: Any) -> None:
        pass

    async def write_stream(self, filename: str, records: list[Any], start: float | None = None) -> None:
        await asyncio.to_thread(_write, filename, render_stream, records, start)

    async def write_profile(self, filename: str, profile: Any) -> None:
        await asyncio.to_thread(_write, filename, render_profile, profile)


def _write(filename: str, render: Any, *args: Any) -> None:
    Path(filename).write_text(render(*args), encoding="utf-8")
