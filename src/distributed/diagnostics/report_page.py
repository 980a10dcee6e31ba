"""A report of what a network did in a while, as one HTML page that needs nothing else. Figures in, text out."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from typing import Any

from dask.utils import format_bytes

from distributed.diagnostics.profile import Profile
from distributed.scheduler.groups import group_name

#: Entry of a task stream: see :mod:`distributed.diagnostics.task_stream`.
Record = Mapping[str, Any]

#: Runs up to which the stream knows the key of each.
MAX_KEYS = 20_000

#: Rows of the table of tasks, and depth and smallest share of what is drawn of a profile.
MAX_NAMES = 100
MAX_DEPTH = 60
MIN_SHARE = 0.003


@dataclass(frozen=True, slots=True)
class Run:
    """One task that ran; times in seconds, ``start`` since the report's."""

    key: str
    name: str
    row: str
    start: float
    seconds: float
    failed: bool = False


@dataclass(frozen=True, slots=True)
class WorkerFigures:
    """One worker. ``series`` are figures of its heartbeats while the report was open, by name."""

    address: str
    name: str
    nthreads: int
    memory_limit: int
    series: Mapping[str, Sequence[float | None]]
    transfer_nbytes: float = 0.0
    transfer_seconds: float = 0.0
    compute_seconds: float = 0.0
    nruns: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """All that stands on the page."""

    title: str
    began: str
    wall: float
    runs: Sequence[Run]
    workers: Sequence[WorkerFigures]
    worker_profile: Profile | None = None
    scheduler_profile: Profile | None = None
    code: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)


def render(report: Report) -> str:
    """The page."""
    return _page(
        report.title,
        [
            ("Summary", _summary(report)),
            ("Tasks", _tasks(report)),
            ("Task stream", _stream(report.runs, report.wall)),
            ("Workers", _workers(report)),
            ("Where tasks spent their time", _icicle(report.worker_profile)),
            ("Where the scheduler spent its time", _icicle(report.scheduler_profile)),
            ("Calling code", f"<pre>{escape(report.code)}</pre>" if report.code else _none("not known")),
            ("Versions", _table(("package", "version"), report.versions.items())),
        ],
        draws=bool(report.runs),
    )


def render_stream(records: Sequence[Record], start: float | None = None) -> str:
    """A page of the task stream alone, from ``start`` (seconds since the epoch) or the first task on."""
    spans = [span for record in records for span in record["startstops"]]
    if start is None:
        start = min((span["start"] for span in spans), default=0.0)
    wall = max((span["stop"] for span in spans), default=start) - start
    runs = runs_of(records, start)
    return _page("Task stream", [("Task stream", _stream(runs, wall))], draws=bool(runs))


def render_profile(profile: Profile) -> str:
    """A page of a profile alone."""
    return _page("Profile", [("Where tasks spent their time", _icicle(profile))])


def runs_of(records: Iterable[Record], start: float) -> list[Run]:
    """What stands in a task stream; times are since ``start``, seconds since the epoch."""
    return [
        Run(
            key=str(record["key"]),
            name=group_name(record["key"]),
            row=f"{record['worker']} thread {record['thread']}",
            start=max(0.0, span["start"] - start),
            seconds=span["stop"] - span["start"],
            failed=record["status"] != "OK",
        )
        for record in records
        for span in record["startstops"]
    ]


def _page(title: str, sections: Iterable[tuple[str, str]], *, draws: bool = False) -> str:
    asset = files("distributed.diagnostics").joinpath
    body = "\n".join(f"<h2>{escape(name)}</h2>\n{content}" for name, content in sections)
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f"<title>{escape(title)}</title>\n"
        f"<style>\n{asset('report.css').read_text('utf-8')}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n{body}\n"
        + (f"<script>\n{asset('report.js').read_text('utf-8')}</script>\n" if draws else "")
        + "</body>\n</html>\n"
    )


# ---------------------------------------------------------------- figures


def _summary(report: Report) -> str:
    workers = report.workers
    nthreads = sum(worker.nthreads for worker in workers)
    compute = sum(run.seconds for run in report.runs)
    nfailed = len([run for run in report.runs if run.failed])
    busy = compute / (report.wall * nthreads) if report.wall and nthreads else 0.0
    rows = {
        "began": report.began,
        "wall time": _seconds(report.wall),
        "tasks": f"{len(report.runs):,}" + (f", {nfailed:,} of them failed" if nfailed else ""),
        "compute time": f"{_seconds(compute)}, {busy:.0%} of what the threads could do",
        "transfer time": f"{_seconds(sum(worker.transfer_seconds for worker in workers))}, "
        f"{format_bytes(int(sum(worker.transfer_nbytes for worker in workers)))} between workers",
        "workers": f"{len(workers):,}",
        "threads": f"{nthreads:,}",
        "memory": format_bytes(sum(worker.memory_limit for worker in workers)),
    }
    return _table((), rows.items())


def _tasks(report: Report) -> str:
    """By name: how many there were, and how long they took."""
    if not report.runs:
        return _none("no task ran")
    by_name: dict[str, list[Run]] = {}
    for run in report.runs:
        by_name.setdefault(run.name, []).append(run)
    totals = {name: sum(run.seconds for run in runs) for name, runs in by_name.items()}
    everything = sum(totals.values()) or 1.0
    names = sorted(totals, key=lambda name: -totals[name])
    rows = [
        (
            name,
            f"{len(by_name[name]):,}",
            f"{len([run for run in by_name[name] if run.failed]):,}",
            _seconds(totals[name]),
            _seconds(totals[name] / len(by_name[name])),
            _seconds(max(run.seconds for run in by_name[name])),
            _Markup(f'<i class="share" style="width:{100 * totals[name] / everything:.1f}px"></i>'),
        )
        for name in names[:MAX_NAMES]
    ]
    more = f"<p>and {len(names) - MAX_NAMES:,} other names</p>" if len(names) > MAX_NAMES else ""
    return _table(("name", "tasks", "failed", "total", "mean", "longest", "share"), rows) + more


def _workers(report: Report) -> str:
    if not report.workers:
        return _none("there was no worker")
    rows = []
    for worker in report.workers:
        busy = worker.compute_seconds / (report.wall * worker.nthreads) if report.wall else 0.0
        cpu, memory = _values(worker.series.get("cpu")), _values(worker.series.get("memory"))
        rows.append(
            (
                f"{worker.name} at {worker.address}" if worker.name != worker.address else worker.address,
                f"{worker.nthreads}",
                f"{worker.nruns:,}",
                f"{busy:.0%}",
                _Markup(_line(cpu, 100.0 * worker.nthreads) + f" {max(cpu):.0f} %" if cpu else "-"),
                _Markup(
                    _line(memory, worker.memory_limit) + f" {format_bytes(int(max(memory)))}"
                    if memory
                    else "-"
                ),
                format_bytes(worker.memory_limit) if worker.memory_limit else "-",
                format_bytes(int(worker.transfer_nbytes)),
                _seconds(worker.transfer_seconds),
            )
        )
    head = ("worker", "threads", "tasks", "busy", "CPU, most", "memory, most", "limit", "received", "in")
    return _table(head, rows)


def _values(series: Sequence[float | None] | None) -> list[float]:
    return [float(value) for value in series or () if value is not None]


def _line(values: Sequence[float], top: float) -> str:
    """A small curve of figures as they came, from 0 to ``top`` or the largest of them."""
    top = max(top, max(values), 1e-9)
    step = 120 / max(1, len(values) - 1)
    points = " ".join(f"{i * step:.1f},{20 - 19 * value / top:.1f}" for i, value in enumerate(values))
    return f'<svg width="120" height="21" role="img"><polyline points="{points}"/></svg>'


# ---------------------------------------------------------------- pictures


def _stream(runs: Sequence[Run], wall: float) -> str:
    """What ``report.js`` draws."""
    if not runs:
        return _none("no task ran")
    names = {name: i for i, name in enumerate(dict.fromkeys(run.name for run in runs))}
    rows = {row: i for i, row in enumerate(sorted({run.row for run in runs}))}
    data = {
        "wall": wall,
        "names": list(names),
        "rows": list(rows),
        "name": [names[run.name] for run in runs],
        "row": [rows[run.row] for run in runs],
        "start": [round(run.start, 6) for run in runs],
        "seconds": [round(run.seconds, 6) for run in runs],
        "failed": [i for i, run in enumerate(runs) if run.failed],
        "keys": [run.key for run in runs] if len(runs) <= MAX_KEYS else None,
    }
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    return (
        "<p>A row for each thread of a worker, a box for each task; failed ones are black. Drag to zoom in, double "
        'click to see all.</p>\n<canvas id="canvas"></canvas>\n<p id="what"></p>\n'
        f'<script type="application/json" id="stream">{text}</script>'
    )


def _icicle(profile: Profile | None) -> str:
    """A profile from above: each frame as wide as its share, what it called underneath."""
    if profile is None or not profile["count"]:
        return _none("nothing was seen")
    looks = f"<p>{profile['count']:,} looks at running threads. Hovering shows file and line.</p>\n"
    return looks + f'<div class="icicle">{_node(profile, 1.0, 0)}</div>'


def _node(profile: Profile, share: float, depth: int) -> str:
    """``share``: of the whole profile."""
    count = profile["count"]
    about = profile["description"]
    children = sorted(profile["children"].values(), key=lambda child: -child["count"])
    below = "".join(
        f'<div class="node" style="width:{100 * child["count"] / count:.2f}%">'
        f"{_node(child, share * child['count'] / count, depth + 1)}</div>"
        for child in children
        if depth < MAX_DEPTH and share * child["count"] / count >= MIN_SHARE
    )
    hue = 20 + sum(map(ord, about["filename"])) % 40
    title = f"{about['name']} {about['filename']}:{about['line_number']} {about['line']} ({share:.1%})"
    bar = f'<b style="background:hsl({hue} 80% 75%)" title="{escape(title)}">{escape(about["name"] or "all")}</b>'
    if not depth:
        return f'<div class="node" style="width:100%">{bar}<div class="below">{below}</div></div>'
    return f'{bar}<div class="below">{below}</div>'


# ---------------------------------------------------------------- text


class _Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    top = f"<thead><tr>{''.join(f'<th>{escape(name)}</th>' for name in head)}</tr></thead>" if head else ""
    lines = "\n".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table>{top}<tbody>\n{lines}\n</tbody></table>"


def _cell(value: str) -> str:
    return f"<td>{value if isinstance(value, _Markup) else escape(value)}</td>"


def _none(text: str) -> str:
    return f'<p class="none">{escape(text)}</p>'


def _seconds(value: float) -> str:
    """Seconds as people read them.

    Examples
    --------
    >>> _seconds(0.0000421), _seconds(0.25), _seconds(3725.5)
    ('42.1 us', '250 ms', '1 h 2 min 6 s')
    """
    if value < 1:
        unit, factor = ("ms", 1e3) if value >= 1e-3 or not value else ("us", 1e6)
        return f"{value * factor:.3g} {unit}"
    if value < 60:
        return f"{value:.3g} s"
    minutes, seconds = divmod(math.floor(value + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours} h " if hours else "") + f"{minutes} min {seconds} s"
