"""``performance_report``: the page, and what is looked at for it."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import tempfile
import threading
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from distributed import Client, performance_report
from distributed.client import performance_report as same
from distributed.diagnostics import report_page
from distributed.diagnostics.performance_report import LoopProfile
from distributed.diagnostics.profile import create
from distributed.diagnostics.report_page import Report, Run, WorkerFigures, render
from distributed.utils_test import async_poll_for, cluster, gen_cluster, inc

VOID = {"meta", "br", "img", "link"}


class Page(HTMLParser):
    """A page taken apart; fails where a tag is left open, or something is to be loaded."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.text: list[str] = []
        self.stream: Any = None
        self.nodes: list[str] = []
        self.ids: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        given = dict(attrs)
        assert not {"src", "href"} & set(given), f"{tag} {given} is not on the page itself"
        self.ids += [given["id"]] if "id" in given else []
        if tag == "b":
            self.nodes.append(given["title"])
        if tag not in VOID and tag != "polyline":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag if tag != "polyline" else True

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["script"] and data.startswith("{"):
            self.stream = json.loads(data)
        elif data.strip() and self.open[-1:] not in (["script"], ["style"]):
            self.text.append(data.strip())

    def after(self, label: str) -> str:
        """The cell behind one."""
        return self.text[self.text.index(label) + 1]


def figures(**kwargs: Any) -> WorkerFigures:
    defaults: dict[str, Any] = {
        "address": "tcp://10.0.0.1:4000",
        "name": "alice",
        "nthreads": 2,
        "memory_limit": 2**30,
        "series": {},
    }
    return WorkerFigures(**{**defaults, **kwargs})


def profile_of(*counts: tuple[str, int]) -> dict[str, Any]:
    """A profile of calls nested in each other."""
    root = node = create()
    for name, count in counts:
        node["count"] = max(node["count"], count)
        description = {"name": name, "filename": f"{name}.py", "line_number": 1, "line": ""}
        child = {"count": count, "identifier": name, "description": description, "children": {}}
        node["children"][name] = child
        node = child
    return root


def test_the_page() -> None:
    runs = [
        Run("('x-1', 0)", "x", "w thread 0", 0.0, 1.0),
        Run("y-2", "y", "w thread 1", 0.5, 0.25, failed=True),
        Run("x-3", "x", "w thread 0", 1.0, 0.5),
    ]
    series = {"cpu": [10.0, None, 150.0], "memory": [2**20, 2**21]}
    worker = figures(
        series=series, transfer_nbytes=2**20, transfer_seconds=0.5, compute_seconds=1.75, nruns=3
    )
    page = Page(
        render(
            Report(
                title="A report",
                began="today",
                wall=2.0,
                runs=runs,
                workers=[worker],
                worker_profile=profile_of(("outer", 100), ("inner", 40), ("rare", 1)),
                code="if a < b:\n    pass",
                versions={"dask": "1"},
            )
        )
    )
    assert page.after("wall time") == "2 s"
    assert page.after("tasks") == "3, 1 of them failed"
    assert page.after("compute time") == "1.75 s, 44% of what the threads could do"
    assert page.after("transfer time") == "500 ms, 1.00 MiB between workers"
    assert (page.after("threads"), page.after("memory")) == ("2", "1.00 GiB")
    i = page.text.index("x")  # of the table of tasks
    assert page.text[i : i + 6] == ["x", "2", "0", "1.5 s", "750 ms", "1 s"]
    assert page.after("alice at tcp://10.0.0.1:4000") == "2"
    assert {"150 %", "2.00 MiB", "44%"} <= set(page.text)
    assert page.stream == {
        "wall": 2.0,
        "names": ["x", "y"],
        "rows": ["w thread 0", "w thread 1"],
        "name": [0, 1, 0],
        "row": [0, 1, 0],
        "start": [0.0, 0.5, 1.0],
        "seconds": [1.0, 0.25, 0.5],
        "failed": [1],
        "keys": ["('x-1', 0)", "y-2", "x-3"],
    }
    assert [title.split()[0] for title in page.nodes] == [":0", "outer", "inner", "rare"]
    assert page.nodes[2].endswith("(40.0%)")
    assert "if a < b:\n    pass" in page.text


def test_what_users_name_is_text() -> None:
    evil = "</script><script>alert(1)</script>"
    page = Page(
        render(
            Report(
                title=evil,
                began=evil,
                wall=1.0,
                runs=[Run(evil, evil, evil, 0.0, 1.0)],
                workers=[figures(name=evil)],
                worker_profile=profile_of((evil, 1)),
                code=evil,
                versions={evil: evil},
            )
        )
    )
    assert page.stream["keys"] == page.stream["names"] == [evil]
    assert page.text.count(evil) >= 5
    assert page.ids == ["canvas", "what", "stream"]


def test_nothing_happened() -> None:
    page = Page(render(Report(title="x", began="", wall=0.0, runs=[], workers=[])))
    assert {"no task ran", "there was no worker", "nothing was seen"} <= set(page.text)
    assert page.ids == []


def test_what_is_too_much_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_page, "MAX_KEYS", 2)
    monkeypatch.setattr(report_page, "MAX_NAMES", 2)
    runs = [Run(f"k{i}", f"n{i}", "w", 0.0, 1.0 + i) for i in range(3)]
    deep = profile_of(*((f"f{i}", 1000) for i in range(500)))
    page = Page(render(Report("x", "", 1.0, runs, [], deep, profile_of(("most", 1000), ("some", 2)))))
    assert page.stream["keys"] is None
    assert "and 1 other names" in page.text
    assert len(page.nodes) == report_page.MAX_DEPTH + 1 + 2


@pytest.mark.skipif(shutil.which("node") is None, reason="no JavaScript here")
def test_the_script_draws(tmp_path: Path) -> None:
    """With a page that notes what is drawn on it."""
    runs = [
        Run("a", "x", "w 0", 0.0, 1.0),
        Run("b", "y", "w 1", 1.0, 1.0, failed=True),
    ]
    text = render(Report("x", "", 2.0, runs, []))
    [data] = re.findall(r'<script type="application/json" id="stream">(.*?)</script>', text)
    script = text.rpartition("<script>")[2].partition("</script>")[0]
    stage = f"""
    const boxes = [], on = {{}}, what = {{textContent: ""}};
    const pen = {{fillStyle: "", fillRect(...box) {{ boxes.push([this.fillStyle, ...box]); }}}};
    const canvas = {{clientWidth: 100, style: {{}}, getContext: () => pen,
      addEventListener: (name, f) => {{ on[name] = f; }}}};
    globalThis.window = {{addEventListener() {{}}}};
    const parts = {{canvas, what, stream: {{textContent: {json.dumps(data)}}}}};
    globalThis.document = {{getElementById: (id) => parts[id]}};
    {script}
    const first = boxes.splice(0);
    on.mousemove({{offsetX: 75, offsetY: 20}});
    const named = what.textContent;
    on.mousemove({{offsetX: 75, offsetY: 2}});
    const nothing = what.textContent;
    on.mousedown({{offsetX: 50}});
    on.mouseup({{offsetX: 100}});
    const zoomed = boxes.splice(0);
    on.dblclick();
    console.log(JSON.stringify({{first, named, nothing, zoomed, all: boxes, height: canvas.height}}));
    """
    file = tmp_path / "stage.js"
    file.write_text(stage)
    done = subprocess.run(["node", file], capture_output=True, text=True, timeout=60, check=True)
    drawn = json.loads(done.stdout)
    assert [box[1:] for box in drawn["first"]] == [[0, 1, 50, 12], [50, 15, 50, 12]]
    assert drawn["first"][0][0].startswith("hsl(")
    assert drawn["first"][1][0] == "#000"
    assert drawn["named"] == "b: 1.000000 s from 1.000 s on w 1, failed"
    assert drawn["nothing"] == "1.500 s"
    assert [box[1:] for box in drawn["zoomed"]] == [[-100, 1, 100, 12], [0, 15, 100, 12]]
    assert drawn["all"] == drawn["first"]
    assert drawn["height"] == 28


def busy(i: int) -> bytes:
    end = time.monotonic() + 0.2
    while time.monotonic() < end:
        sum(range(100))
    return bytes(2_000_000)


def length(data: bytes, number: int = 0) -> int:
    return len(data)


@gen_cluster(client=True, nthreads=[("", 1)] * 2, config={"distributed.worker.profile.cycle": "50ms"})
async def test_async(c, s, a, b):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.html"
        async with performance_report(path):
            assert s.plugins
            futures = c.map(busy, range(4))
            lengths = [c.submit(length, futures[0], i, workers=[w.address]) for i, w in enumerate((a, b))]
            assert await c.gather(lengths) == [2_000_000] * 2
            await c.gather(futures, direct=True)
            with pytest.raises(ZeroDivisionError):
                await c.submit(lambda: 1 / 0)
            received = a.get_metrics()["transfer_incoming_bytes"], b.get_metrics()["transfer_incoming_bytes"]
            assert sum(received) >= 2_000_000
            for w in a, b:
                w.heartbeat()
        page = Page(path.read_text())
    assert not s.plugins
    assert not _looking()
    assert page.after("tasks") == "7, 1 of them failed"
    assert not page.after("transfer time").endswith(", 0 B between workers")
    assert (page.after("workers"), page.after("threads")) == ("2", "2")
    assert sorted(set(page.stream["names"])) == ["busy", "lambda", "length"]
    assert sum(page.stream["seconds"]) > 4 * 0.19
    assert any(title.startswith("busy ") for title in page.nodes)
    assert len([title for title in page.nodes if title.startswith(" :0")]) == 2
    called = {title.split()[0] for title in page.nodes}
    assert not called & {
        "pytest_pyfunc_call",
        "run_test",
        "run_until_complete",
    }  # what runs the loop is not shown
    assert any("async with performance_report(path):" in text for text in page.text)


def _looking() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "distributed-loop-profile"]


def test_the_loop_is_looked_at_from_its_callbacks_on() -> None:
    async def main() -> set[str]:
        looking = LoopProfile()
        async with asyncio.timeout(20):
            while not looking.profile["children"]:
                busy(0)  # holds the loop
                await asyncio.sleep(0)
        return {child["description"]["name"] for child in looking.stop()["children"].values()}

    names = asyncio.run(main())
    assert "main" in names
    assert not names & {"run", "_run", "_run_once", "run_forever", "run_until_complete"}
    assert not _looking()


@gen_cluster(client=True, config={"distributed.worker.profile.cycle": "50ms"})
async def test_transfers_are_counted(c, s, a, b):
    data = c.submit(bytes, 2_000_000, workers=[a.address])
    await c.submit(length, data, workers=[b.address])
    assert b.digests_total["transfer-incoming-bytes"] >= 2_000_000
    assert b.get_metrics()["transfer_incoming_seconds"] > 0
    assert a.get_metrics()["transfer_incoming_bytes"] == 0


@gen_cluster(client=True, config={"distributed.worker.profile.cycle": "50ms"})
async def test_a_client_that_goes_ends_its_report(c, s, a, b):
    async with Client(s.address, asynchronous=True, security=s.security) as other:
        with other.as_current():
            await performance_report("never.html").__aenter__()
        assert _looking()
    await async_poll_for(lambda: not _looking() and not s.plugins)


@gen_cluster(client=True, config={"distributed.worker.profile.cycle": "50ms"})
async def test_of_the_scheduler_itself(c, s, a, b):
    start = time.time()
    s.get_task_stream()  # from now on
    await c.submit(inc, 1)
    page = Page(await s.performance_report(start=start, last_count=0, code="the code"))
    assert page.after("tasks") == "1"
    assert "the code" in page.text


@gen_cluster(client=True, config={"distributed.worker.profile.cycle": "50ms"})
async def test_a_scheduler_that_does_not_know_of_it_says_what_it_knows(c, s, a, b):
    """It was started again meanwhile."""
    start = time.time()
    page = Page(await c._session.call("performance_report", start=start, last_count=0, name="unknown"))
    assert page.after("workers") == "2"
    assert not s.plugins
    assert s.extensions["task_stream"]._holders == {}


@gen_cluster(client=True)
async def test_with_needs_async(c, s, a, b):
    with pytest.raises(TypeError, match="async with"), performance_report("never.html"):
        raise AssertionError
    assert not s.plugins


def test_sync(tmp_path: Path) -> None:
    assert same is performance_report
    path = tmp_path / "report.html"

    def failing(client: Client) -> None:
        with performance_report(filename=str(path), stacklevel=2):
            client.gather(client.map(inc, range(10)))
            raise ZeroDivisionError  # there is a report all the same

    config = {"distributed.worker.profile.cycle": "50ms"}
    with cluster(nworkers=1, config=config) as (s, _), Client(s["address"]) as client:
        with pytest.raises(ZeroDivisionError):
            failing(client)
    page = Page(path.read_text())
    assert page.after("tasks") == "10"
    assert page.stream["names"] == ["inc"]
    assert "def test_sync(" in page.after("Calling code")
