"""Names at the places where programs look for them."""

from __future__ import annotations

import dask
import pytest

import distributed
from distributed.batched import BatchedSend
from distributed.core import Server, rpc
from distributed.exceptions import CommClosedError
from distributed.objects import HasWhat, SchedulerInfo, WhoHas
from distributed.protocol.messages import WorkerEvent
from distributed.spans import span
from distributed.utils_test import async_poll_for, gen_cluster, gen_test, inc, process_security
from distributed.versions import get_versions


def test_modules_are_there_after_a_mere_import():
    assert [name for name in distributed._MODULES if not hasattr(distributed, name)] == []
    assert distributed.__version__.split(".")[0] == "2026"
    assert distributed.network_version


def test_spans_nest():
    with span("outer") as outer, span("a", "b") as inner:
        annotation = dask.get_annotations()["span"]
    assert annotation["name"] == ("outer", "a", "b")
    assert annotation["ids"][0] == outer
    assert annotation["ids"][-1] == inner
    with pytest.raises(ValueError, match="at least one tag"), span():
        pass


@gen_cluster(client=True)
async def test_tasks_in_spans_run(c, s, a, b):
    with span("load"):
        assert await c.submit(inc, 1) == 2


def test_objects_are_dicts_with_tables():
    worker = {"name": "<a>", "nthreads": 2, "memory_limit": 2**30}
    info = SchedulerInfo(address="tcp://x:1", workers={"tcp://y:2": worker})
    assert "&lt;a&gt;" in info._repr_html_()
    assert "1.00 GiB" in info._repr_html_()
    assert repr(info) == "<SchedulerInfo 'tcp://x:1', workers: 1>"
    assert HasWhat() == WhoHas() == {}


def test_names():
    assert get_versions()["packages"]["dask"]
    assert callable(distributed.worker_client)


@gen_test()
async def test_batched_send():
    security = process_security()
    seen = []
    batched = BatchedSend(interval=0.002)
    batched.send(WorkerEvent("x", 1))
    assert batched.closed()
    server = Server(
        stream_handlers={"WorkerEvent": lambda message: seen.append(message.data)}, security=security
    )
    async with server:

        async def be_stream(comm):
            server.spawn(server.handle_stream(comm))

        server.handlers["be_stream"] = be_stream
        async with rpc(server.address, security=security) as remote:
            await remote.be_stream()
            batched.start(await remote.live_comm())
            batched.send(WorkerEvent("x", 2), WorkerEvent("x", 3))
            await async_poll_for(lambda: seen == [1, 2, 3])
            await batched.close()
            assert batched.closed()
            with pytest.raises(CommClosedError):
                batched.send(WorkerEvent("x", 4))
            with pytest.raises(CommClosedError):
                await batched.close()
