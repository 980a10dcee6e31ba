"""Bars on a terminal, and how much memory a network uses."""

from __future__ import annotations

import io

import pytest

from distributed import Client, progress
from distributed.diagnostics import MemorySampler
from distributed.diagnostics.progressbar import ProgressBar, TextProgressBar
from distributed.utils_test import async_poll_for, cluster, gen_cluster, inc, slowinc, throws


@gen_cluster(client=True)
async def test_counts_tasks_and_what_they_depend_on(c, s, a, b):
    first = c.map(slowinc, range(4), delay=0.05)
    last = c.submit(sum, first)
    bar = ProgressBar(last, interval="10ms")
    await bar.listen()
    assert bar.status == "finished"
    assert bar.counts == {"slowinc": (4, 4), "sum": (1, 1)}
    assert bar.elapsed > 0.05


@gen_cluster(client=True)
async def test_without_what_was_done_before(c, s, a, b):
    x = c.submit(inc, 1)
    await x
    y = c.submit(slowinc, x, delay=0.05)
    bar = ProgressBar([y], interval=0.01, complete=False)
    await bar.listen()
    assert bar.counts == {"slowinc": (1, 1)}


@gen_cluster(client=True)
async def test_failure_ends_it(c, s, a, b):
    out = io.StringIO()
    await progress(c.submit(throws, 1), file=out)
    assert out.getvalue().rstrip().endswith("failed")


@gen_cluster(client=True)
async def test_keys(c, s, a, b):
    x = c.submit(inc, 1, key="x")
    bar = TextProgressBar(["x", ("y", 0)], scheduler=c, start=False, width=10, file=io.StringIO())
    await bar.listen()
    assert bar.text().startswith("[##########] | 100% | 2 of 2")
    assert bar.loop is c.loop
    await x


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_synchronous(capsys):
    with cluster(nworkers=1) as (scheduler, _), Client(scheduler["address"]) as c:
        sampler = MemorySampler()
        with sampler.sample("one", client=c, interval=0.05):
            progress(c.map(slowinc, range(5), delay=0.05))
        assert "100% | 5 of 5" in capsys.readouterr().out
        assert len(sampler.samples["one"]) >= 2
        with pytest.raises(ValueError, match="needs futures"):
            progress(1)


@gen_cluster(client=True)
async def test_memory_samples(c, s, a, b):
    sampler = MemorySampler()
    async with sampler.sample("one", measure="process", interval=0.01):
        await async_poll_for(lambda: len(sampler.samples["one"]) > 3)
    async with sampler.sample(interval=0.01, measure="managed"):
        await async_poll_for(lambda: all(len(taken) > 3 for taken in sampler.samples.values()))
    assert max(nbytes for _, nbytes in sampler.samples["one"]) > 1e6
    with pytest.raises(ValueError, match="measure="):
        sampler.sample(measure="nonsense")
    pytest.importorskip("pandas")
    frame = sampler.to_pandas(align=True)
    assert list(frame.columns) == list(sampler.samples)
    assert not sampler.to_pandas().empty
