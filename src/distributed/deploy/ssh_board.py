"""What ``dcluster`` shows: a live table of hosts below their lines on a terminal, plain lines elsewhere."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from dask.utils import format_bytes

from distributed.deploy.ssh_places import Place, State

_COLOURS = ("cyan", "green", "magenta", "yellow", "blue", "bright_cyan", "bright_green", "bright_magenta")
_STATE_STYLES = {
    State.CONNECTING: "dim",
    State.STARTING: "yellow",
    State.RUNNING: "green",
    State.FAILED: "bold red",
    State.STOPPED: "dim",
}
_INTERVAL = 0.1  # seconds between two drawings


class Board:
    """Plain lines, for files and pipes.

    Parameters
    ----------
    on_broken : callable
        Called once when nobody can see the output any more.
    """

    def __init__(
        self, places: Sequence[Place], on_broken: Callable[[], None], out: TextIO | None = None
    ) -> None:
        self.places = places
        self.out = out or sys.stdout
        self._on_broken = on_broken
        self._broken = False

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def say(self, text: str) -> None:
        """Text of our own."""
        self._write(text)

    def line(self, place: Place, text: str) -> None:
        """A line that a host printed."""
        self._write(f"{place.prefix} : {text}")

    def changed(self, place: Place) -> None:
        """A place's state has changed."""
        if place.state is State.FAILED:
            self._write(f"{place.prefix} : FAILED: {place.detail}")

    def settled(self) -> None:
        """Every place runs or has failed: show them all."""
        self._write(text_table(self.places))

    def _write(self, text: str) -> None:
        if self._broken:
            return
        try:
            self._print(text)
        except OSError:  # the reader of the pipe or the terminal is gone
            self._broken = True
            self._on_broken()

    def _print(self, text: str) -> None:
        print(text, file=self.out, flush=True)


class LiveBoard(Board):
    """The table at the bottom of a terminal, coloured lines above it."""

    def __init__(
        self, places: Sequence[Place], on_broken: Callable[[], None], out: TextIO | None = None
    ) -> None:
        from rich.console import Console
        from rich.live import Live

        super().__init__(places, on_broken, out)
        hosts = list(dict.fromkeys(place.host for place in places))
        self._colours = {host: _COLOURS[i % len(_COLOURS)] for i, host in enumerate(hosts)}
        self._console = Console(file=self.out, highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, get_renderable=self._table)
        self._planned: asyncio.TimerHandle | None = None

    def __enter__(self) -> Board:
        self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._planned is not None:
            self._planned.cancel()
        try:
            self._live.stop()
        except OSError:
            self._broken = True

    def line(self, place: Place, text: str) -> None:
        from rich.text import Text

        self._write(Text.assemble((place.prefix, self._colours[place.host]), " : ", Text.from_ansi(text)))  # type: ignore[arg-type]

    def changed(self, place: Place) -> None:
        super().changed(place)
        if self._planned is None:
            self._planned = asyncio.get_running_loop().call_later(_INTERVAL, self._draw)

    def settled(self) -> None:
        pass

    def _draw(self) -> None:
        self._planned = None
        if not self._broken:
            try:
                self._live.refresh()
            except OSError:
                self._broken = True
                self._on_broken()

    def _print(self, text: Any) -> None:
        self._console.print(text, markup=False, soft_wrap=True)

    def _table(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        shown, note = _fitting(self.places, self._console.height - 8)
        table = Table(caption=note, caption_justify="left")
        for heading, justify in zip(_HEADINGS, _JUSTIFY, strict=True):
            table.add_column(heading, justify=justify)  # type: ignore[arg-type]
        for place in shown:
            first, *others = row(place)
            role, state, *rest = others
            table.add_row(
                Text(first, self._colours[place.host]),
                role,
                Text(state, _STATE_STYLES[place.state]),
                *map(Text, rest),
            )
        return table


_HEADINGS = ("host", "role", "state", "workers", "threads", "memory", "")
_JUSTIFY = ("left", "left", "left", "right", "right", "right", "left")


def row(place: Place) -> tuple[str, ...]:
    """One place as text, in the order of the headings."""
    counts = ("", "", "")
    if place.nworkers and place.state is State.RUNNING:
        memory = format_bytes(place.memory) if place.memory else "no limit"
        counts = (str(place.nworkers), str(place.nthreads), memory)
    return (place.label, place.role, place.state.value, *counts, place.detail)


def text_table(places: Sequence[Place]) -> str:
    """All places as a table of plain text."""
    rows = [_HEADINGS, *map(row, places)]
    widths = [max(len(line[i]) for line in rows) for i in range(len(_HEADINGS))]
    lines = []
    for line in rows:
        cells = [
            cell.rjust(width) if justify == "right" else cell.ljust(width)
            for cell, width, justify in zip(line, widths, _JUSTIFY, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _fitting(places: Sequence[Place], height: int) -> tuple[Sequence[Place], str | None]:
    """The places that fit on the screen, those that do not run first, and a word about the others."""
    if len(places) <= max(height, 3):
        return places, None
    ordered = sorted(places, key=lambda place: place.role != "scheduler" and place.state is State.RUNNING)
    shown = ordered[: max(height, 3)]
    states = Counter(place.state.value for place in ordered[len(shown) :])
    return shown, "and " + ", ".join(f"{count} {state}" for state, count in states.items())


def make_board(places: Sequence[Place], on_broken: Callable[[], None], out: TextIO | None = None) -> Board:
    """The board that suits where the output goes."""
    if (out or sys.stdout).isatty():
        return LiveBoard(places, on_broken, out)
    return Board(places, on_broken, out)
