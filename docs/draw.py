#!/usr/bin/env python3
"""Draw the pictures of the documentation as SVG, with nothing but the standard library.

python3 docs/draw.py network                 # docs/images/network.svg
python3 docs/draw.py figures FIGURES.json    # docs/images/figures.svg, of benchmarks/run.py --json
"""

from __future__ import annotations

import json
import sys
from html import escape
from pathlib import Path

IMAGES = Path(__file__).parent / "images"
INK, FAINT, PAPER = "#1f2933", "#7b8794", "#ffffff"
CLIENT, SCHEDULER, WORKER = "#2f6fb0", "#b0562f", "#2f8f5b"
FONT = "font-family='system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif'"


class Drawing:
    """SVG elements, collected."""

    def __init__(self, width: int, height: int, title: str) -> None:
        size = f"viewBox='0 0 {width} {height}' width='{width}'"
        self.parts = [
            f"<svg xmlns='http://www.w3.org/2000/svg' {size} {FONT} role='img'>",
            f"<title>{escape(title)}</title>",
            "<defs><marker id='tip' viewBox='0 0 8 8' refX='7' refY='4' markerWidth='7' markerHeight='7' "
            f"orient='auto-start-reverse'><path d='M0 0 8 4 0 8z' fill='{FAINT}'/></marker></defs>",
        ]
        self.box(0, 0, width, height, PAPER, radius=12)

    def box(self, x: float, y: float, width: float, height: float, fill: str, radius: float = 8) -> None:
        """A filled rectangle."""
        self.parts.append(
            f"<rect x='{x:g}' y='{y:g}' width='{width:g}' height='{height:g}' rx='{radius:g}' fill='{fill}'/>"
        )

    def text(self, x: float, y: float, text: str, size: int = 13, fill: str = INK, **more: str) -> None:
        """One line of text; ``anchor`` start, middle or end; ``weight`` of the font."""
        anchor, weight = more.get("anchor", "start"), more.get("weight", "400")
        self.parts.append(
            f"<text x='{x:g}' y='{y:g}' font-size='{size}' fill='{fill}' text-anchor='{anchor}' "
            f"font-weight='{weight}'>{escape(text)}</text>"
        )

    def arrow(self, x1: float, y1: float, x2: float, y2: float, dashed: bool = False) -> None:
        """A line with a tip at both ends."""
        dash = " stroke-dasharray='4 4'" if dashed else ""
        self.parts.append(
            f"<line x1='{x1:g}' y1='{y1:g}' x2='{x2:g}' y2='{y2:g}' stroke='{FAINT}' stroke-width='1.5'"
            f"{dash} marker-start='url(#tip)' marker-end='url(#tip)'/>"
        )

    def party(self, x: float, y: float, size: tuple[float, float], fill: str, lines: list[str]) -> None:
        """A box with a heading and some smaller lines."""
        width, height = size
        self.box(x, y, width, height, fill)
        top = y + height / 2 - 9 * (len(lines) - 1) + 5
        self.text(x + width / 2, top, lines[0], 15, PAPER, anchor="middle", weight="600")
        for i, line in enumerate(lines[1:], 1):
            self.text(x + width / 2, top + 19 * i, line, 12, "#f3f5f7", anchor="middle")

    def save(self, name: str) -> Path:
        """Write the file."""
        path = IMAGES / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join([*self.parts, "</svg>"]) + "\n")
        return path


def network() -> Path:
    """One network: who holds what, and who speaks with whom."""
    drawing = Drawing(820, 330, "A network: clients, one scheduler, workers under nannies")
    for y, name in ((50, "Client"), (190, "Client")):
        drawing.party(30, y, (170, 90), CLIENT, [name, "owns its graph,", "holds futures"])
    drawing.party(
        325,
        105,
        (170, 120),
        SCHEDULER,
        ["Scheduler", "an index: who has what,", "what runs where;", "opens no payload"],
    )
    for y, name in ((25, "Worker 1"), (125, "Worker 2"), (225, "Worker n")):
        drawing.box(608, y, 190, 82, "#dfeee5")
        drawing.text(703, y + 76, "nanny: starts it again", 11, "#3d6b50", anchor="middle")
        drawing.party(614, y + 6, (178, 56), WORKER, [name, "threads, results"])
    for y1, y2 in ((95, 140), (235, 190)):
        drawing.arrow(204, y1, 321, y2)
    for y1, y2 in ((140, 60), (165, 160), (190, 260)):
        drawing.arrow(499, y1, 604, y2)
    drawing.arrow(703, 110, 703, 124, dashed=True)
    drawing.arrow(703, 210, 703, 224, dashed=True)
    drawing.text(262, 70, "calls and graphs,", 12, FAINT, anchor="middle")
    drawing.text(262, 86, "as columns", 12, FAINT, anchor="middle")
    drawing.text(500, 262, "tasks out,", 12, FAINT, anchor="middle")
    drawing.text(500, 278, "completions back", 12, FAINT, anchor="middle")
    note = "Workers hand results straight to each other. Every connection starts with a proof of the key."
    drawing.text(410, 321, note, 12, FAINT, anchor="middle")
    return drawing.save("network.svg")


def figures(source: Path) -> Path:
    """CPU per task of every contender as bars."""
    data = json.loads(source.read_text())
    titles = {
        "ours": "distributed-network",
        "peer": "distributed, defaults",
        "peer-inf": "distributed, saturation inf",
        "ray": "Ray",
        "pool": "ProcessPoolExecutor",
    }
    rows = [(titles[name], row["throughput"]["cpu_us"]["total"]) for name, row in data["main"].items()]
    height = 96 + 44 * len(rows)
    drawing = Drawing(820, height, "CPU microseconds per task")
    drawing.text(30, 36, "CPU per task, all processes together", 17, weight="600")
    subtitle = "gather(map(inc, range(n))), one worker of one thread; microseconds; less is better"
    drawing.text(30, 56, subtitle, 12, FAINT)
    scale = 440 / max(value for _, value in rows)
    for i, (title, value) in enumerate(rows):
        y = 76 + 44 * i
        drawing.text(220, y + 21, title, 13, anchor="end", weight="600" if i == 0 else "400")
        drawing.box(232, y, scale * value, 30, WORKER if i == 0 else "#b9c2cc", radius=4)
        ratio = "" if i == 0 else f" · {value / rows[0][1]:.1f}×"
        drawing.text(242 + scale * value, y + 20, f"{value:,.0f} µs{ratio}")
    machine = data["machine"]
    foot = f"{machine['cores']} cores of {machine['processor']}, Python {machine['python']}, {data['day']}"
    drawing.text(790, height - 10, foot, 11, FAINT, anchor="end")
    return drawing.save("figures.svg")


def main(arguments: list[str]) -> int:
    """The command."""
    match arguments:
        case ["network"]:
            print(network())
        case ["figures", source]:
            print(figures(Path(source)))
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
