"""Events of topics, metadata, messages to the user, logs."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from typing import Any

import pytest
from coordination_helpers import network, run, until, wait_until

import distributed
from distributed import Client, LocalCluster, get_worker
from distributed.coordination.topics import TopicLog


def test_topic_log() -> None:
    log = TopicLog(2)
    assert log.append("t", 1.0, "a") == []
    log.subscribe("t", "c")
    log.subscribe("u", "c")
    assert log.append("t", 2.0, "b") == ["c"]
    log.append("t", 3.0, "c")
    assert list(log.events["t"]) == [(2.0, "b"), (3.0, "c")]
    log.unsubscribe("t", "c")
    log.unsubscribe("t", "c")
    assert log.append("t", 4.0, "d") == []
    log.forget_client("c")
    assert not log.subscribers


def test_events(client: Client) -> None:
    before = time.time()
    client.log_event("t", {"a": (1, 2)})
    client.log_event(["t", "u"], 5)
    (when, msg), second = client.get_events("t")
    assert before <= when <= time.time()
    assert msg == {"a": (1, 2)}
    assert second[1] == 5
    assert [msg for _, msg in client.get_events("u")] == [5]
    assert client.get_events("nothing") == ()
    assert {"t", "u", "all"} <= set(client.get_events())
    actions = [msg["action"] for _, msg in client.get_events("all")]
    assert actions.count("add-worker") == 2
    assert "add-client" in actions


def test_subscriptions() -> None:
    async def test() -> None:
        async with network() as (scheduler, (worker,), client):
            seen: list[Any] = []
            awaited: list[Any] = []

            async def handler(event: Any) -> None:
                await asyncio.sleep(0)
                awaited.append(event[1])

            await client.subscribe_topic("t", lambda event: seen.append(event[1]))
            await client.subscribe_topic("u", handler)
            scheduler.log_event("t", 1)
            worker.log_event("t", 2)
            await client.log_event(["t", "u"], 3)
            await until(lambda: sorted(seen) == [1, 2, 3] and awaited == [3], "the events")
            client._session.connection.abort()
            await until(lambda: client.status == "running", "it is back")
            await until(lambda: client.id in scheduler._streams, "it is registered")
            scheduler.log_event("t", 4)
            await until(lambda: seen[-1] == 4, "subscriptions are renewed")
            await client.unsubscribe_topic("t")
            scheduler.log_event("t", 5)
            await client.log_event("u", 6)
            await until(lambda: awaited[-1] == 6, "the other topic goes on")
            assert seen[-1] == 4
            with pytest.raises(ValueError, match="No event handler known for topic nothing"):
                await client.unsubscribe_topic("nothing")
            with pytest.raises(TypeError, match="function"):
                await client.subscribe_topic("t", 5)  # type: ignore[arg-type]

    run(test)


def test_a_failing_handler_harms_nothing(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    client.subscribe_topic("t", lambda event: 1 / 0)
    client.log_event("t", 1)
    wait_until(lambda: "ZeroDivisionError" in caplog.text, "it is logged")
    assert client.submit(lambda: 1).result() == 1


def test_events_of_tasks_and_departures(client: Client, cluster: LocalCluster) -> None:
    client.submit(lambda: get_worker().log_event("mine", {"x": 1})).result()
    wait_until(lambda: client.get_events("mine"), "it is logged")
    cluster.scale(1)
    wait_until(
        lambda: any(msg["action"] == "remove-worker" for _, msg in client.get_events("all")), "it is logged"
    )


def test_print_reaches_the_user(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    def task() -> None:
        distributed.print("hello", 5, sep="-", end="!\n")
        distributed.print("oops", file=sys.stderr)

    client.submit(task).result()
    out, err = [], []

    def twice() -> bool:
        captured = capsys.readouterr()
        out.append(captured.out)
        err.append(captured.err)
        return "".join(out).count("hello-5!") == 2 and "".join(err).count("oops") == 2

    wait_until(twice, "once from the worker, once from the client")
    with pytest.raises(TypeError, match="file="):
        distributed.print("x", file=open("/dev/null"))  # noqa: SIM115
    n = len(client.get_events("print"))
    distributed.print("here")
    assert capsys.readouterr().out == "here\n"
    assert len(client.get_events("print")) == n


def test_warnings_reach_the_user() -> None:
    async def test() -> None:
        async with network() as (_, _, client):
            event = (0.0, None)
            seen: list[Any] = []
            await client.subscribe_topic("warn", seen.append)
            await client.submit(lambda: distributed.warn("careful", RuntimeWarning))
            await until(lambda: seen, "the event")
            event = seen[0]
            from distributed.coordination.messages_to_user import HANDLERS

            with pytest.warns(RuntimeWarning, match="careful"):
                HANDLERS["warn"](event)

    with pytest.warns(RuntimeWarning, match="careful"):  # the worker's, in this process too
        run(test)


def test_metadata(client: Client, cluster: LocalCluster) -> None:
    client.set_metadata("a", 1)
    assert client.get_metadata("a") == 1
    client.set_metadata(["x", "y"], [1, 2])
    assert client.get_metadata(["x", "y"]) == [1, 2]
    assert client.get_metadata("x") == {"y": [1, 2]}
    with pytest.raises(KeyError):
        client.get_metadata("nothing")
    assert client.get_metadata("nothing", None) is None
    assert client.get_metadata(["a", "b"], default=3) == 3
    with pytest.raises(TypeError, match="stands a int"):
        client.set_metadata(["a", "b"], 1)
    assert cluster.scheduler.task_metadata["a"] == 1
    cluster.scheduler.set_metadata(["s"], 5)
    assert client.get_metadata("s") == 5


def test_logs(client: Client) -> None:
    client.run_on_scheduler(lambda: logging.getLogger("distributed.scheduler").warning("said once"))
    assert client.get_scheduler_logs(n=1)[0][0] == "WARNING"
    assert "said once" in client.get_scheduler_logs(n=1)[0][1]
    logs = client.get_worker_logs()
    assert len(logs) == 2
    assert all(any("said once" in line for _, line in lines) for lines in logs.values())


def test_forwarded_logs() -> None:
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        with Client(cluster) as client:
            records: list[logging.LogRecord] = []
            handler = logging.Handler()
            handler.emit = records.append  # type: ignore[method-assign]
            logger = logging.getLogger("forwarded.here")
            logger.addHandler(handler)
            try:
                client.forward_logging("forwarded", level=logging.INFO)

                def task() -> None:
                    log = logging.getLogger("forwarded.here")
                    log.warning("value %s", 5)
                    try:
                        1 / 0  # noqa: B018
                    except ZeroDivisionError:
                        log.exception("failed")

                client.submit(task).result()
                wait_until(lambda: len(records) == 2, "two records")
                assert records[0].getMessage() == "value 5"
                assert records[0].levelname == "WARNING"
                assert "ZeroDivisionError" in (records[1].exc_text or "")
                client.unforward_logging("forwarded")
                client.submit(lambda: logging.getLogger("forwarded.here").warning("no more")).result()
                assert len(records) == 2
            finally:
                logger.removeHandler(handler)
