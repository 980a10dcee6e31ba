"""Plugins that fail, and who joins when: a registration holds everywhere or nowhere, and nobody joins without it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from distributed import Client, LocalCluster, Nanny, NannyPlugin, Scheduler, UploadFile, Worker, WorkerPlugin
from distributed.core import network_plugins
from distributed.protocol.payload import pack, unpack


async def until(condition: Any, what: str, timeout: float = 20) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout} s for: {what}"
        await asyncio.sleep(0.005)


def warned(scheduler: Scheduler) -> str:
    return "\n".join(msg for _, msg in scheduler.get_events("warn"))


class Note(WorkerPlugin):
    """Writes a mark into the worker, unless its name is among those where it fails."""

    #: Names of workers where setup fails, by the plugin's mark.
    fails: dict[Any, Any] = {}  # noqa: RUF012 - shared with the test
    error: type[BaseException] = ValueError

    def __init__(self, mark: Any) -> None:
        self.mark = mark

    def setup(self, worker: Any) -> None:
        if worker.name in Note.fails.get(self.mark, ()):
            raise Note.error(f"{self.mark} cannot be set up")
        worker.marks = [*getattr(worker, "marks", []), self.mark]

    def teardown(self, worker: Any) -> None:
        worker.marks = [mark for mark in worker.marks if mark != self.mark]


class BadTeardown(WorkerPlugin):
    def teardown(self, worker: Any) -> None:
        raise ValueError("cannot be torn down")


class CannotBeUnpickled(WorkerPlugin):
    def __reduce__(self) -> Any:
        return eval, ("1/0",)


def network(test: Any, names: Any = ("a", "b")) -> None:
    async def run() -> None:
        Note.fails = {}
        async with (
            Scheduler(host="127.0.0.1", port=0) as scheduler,
            Client(scheduler.address, asynchronous=True) as client,
        ):
            workers = [await Worker(scheduler.address, nthreads=1, name=name) for name in names]
            try:
                await test(scheduler, client, *workers)
            finally:
                for worker in workers:
                    await worker.close()

    asyncio.run(run())


def test_a_registration_holds_everywhere_or_nowhere() -> None:
    async def test(scheduler: Any, client: Any, a: Any, b: Any) -> None:
        Note.fails = {"bad": ["b"], "worse": ["a", "b"]}
        with pytest.raises(ValueError, match="bad cannot be set up") as caught:
            await client.register_plugin(Note("bad"), name="note")
        assert f"raised for the plugin note on {b.address}" in caught.value.__notes__
        assert a.marks == []
        assert not a.plugins
        assert not b.plugins
        await client.register_plugin(Note("good"), name="note")
        for bad in ("bad", "worse"):
            with pytest.raises(ValueError, match=f"{bad} cannot be set up"):
                await client.register_plugin(Note(bad), name="note")
            assert a.marks == b.marks == ["good"]
        async with Worker(scheduler.address, nthreads=1, name="c") as c:
            assert c.marks == ["good"]
        assert not warned(scheduler)

    network(test)


def test_the_plugin_of_one_that_cannot_be_unpickled_is_not_kept() -> None:
    async def test(scheduler: Any, client: Any, a: Any) -> None:
        with pytest.raises(ZeroDivisionError):
            await client.register_plugin(CannotBeUnpickled(), name="no")
        async with Worker(scheduler.address, nthreads=1):
            assert not warned(scheduler)

    network(test, ["a"])


def test_a_teardown_that_raises() -> None:
    """It is said by who removes it; when another takes its place it is only logged."""

    async def test(scheduler: Any, client: Any, a: Any) -> None:
        await client.register_plugin(BadTeardown(), name="note")
        await client.register_plugin(Note("next"), name="note")
        assert a.marks == ["next"]
        await client.register_plugin(BadTeardown(), name="other")
        with pytest.raises(ValueError, match="cannot be torn down"):
            await client.unregister_worker_plugin("other")
        assert list(a.plugins) == ["note"]

    network(test, ["a"])


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_who_joins_later_joins_without_it_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Any
) -> None:
    monkeypatch.setattr(Note, "error", error)

    async def test(scheduler: Any, client: Any, a: Any) -> None:
        await client.register_plugin(Note("first"), name="first")
        await client.register_plugin(Note("second"), name="second")
        await client.register_plugin(Note("third"), name="third")
        Note.fails = {"second": ["late"]}
        async with Worker(scheduler.address, nthreads=1, name="late") as late:
            assert late.marks == ["first", "third"]
            words = (
                f"the plugin second could not be set up on worker {late.address}, which goes on without it"
            )
            assert words in warned(scheduler)
            assert words in caplog.text
            assert await client.submit(abs, -1, workers=["late"]) == 1

    with pytest.warns(UserWarning, match="the plugin second could not be set up"):
        network(test, ["a"])


class Slow(WorkerPlugin):
    """Set up when the test says so."""

    entered: Any = None
    go: Any = None

    async def setup(self, worker: Any) -> None:
        if worker.name == "late":
            Slow.entered.set()
            await Slow.go.wait()
        worker.is_set_up = True


def test_nobody_is_in_the_books_before_its_plugins_are_there() -> None:
    """Neither tasks nor data nor ``run`` can come too early; what is registered meanwhile comes with the rest."""

    async def test(scheduler: Any, client: Any, a: Any) -> None:
        Slow.entered, Slow.go = asyncio.Event(), asyncio.Event()
        await client.register_plugin(Slow(), name="slow")
        late = Worker(scheduler.address, nthreads=1, name="late")
        start = asyncio.ensure_future(late.start())
        await Slow.entered.wait()
        future = client.submit(lambda: __import__("distributed").get_worker().is_set_up, workers=["late"])
        assert len(await client.run(lambda: 1)) == 1
        assert list(scheduler.workers) == [a.address]
        await client.register_plugin(Note("meanwhile"), name="note")
        await client.unregister_worker_plugin("note")
        await client.register_plugin(Note("again"), name="note")
        Slow.go.set()
        await start
        assert await future is True
        assert late.marks == a.marks == ["again"]
        assert late.network_plugins.version == scheduler.extensions["plugins"].workers.version
        await late.close()

    network(test, ["a"])


def test_a_worker_that_comes_back_agrees_again() -> None:
    async def test(scheduler: Any, client: Any, a: Any) -> None:
        await client.register_plugin(Note("goes"), name="goes")
        await client.register_plugin(Note("stays"), name="stays")
        await client.register_plugin(Note("changes"), name="changes")
        plugins = scheduler.extensions[
            "plugins"
        ].workers  # as if it had not been there when these were registered
        plugins.unregister("goes", "worker")
        plugins.register("changes", pack(Note("changed")))
        plugins.register("new", pack(Note("new")))
        a.stream.abort()
        await until(lambda: sorted(a.marks) == ["changed", "new", "stays"], "the worker agrees")
        await until(lambda: a.address in scheduler.workers, "it is back")

    network(test, ["a"])


def test_a_plugin_that_takes_long_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(network_plugins, "PATIENCE", 0.05)

    async def test(scheduler: Any, client: Any, a: Any) -> None:
        Slow.entered, Slow.go = asyncio.Event(), asyncio.Event()
        await client.register_plugin(Slow(), name="slow")
        start = asyncio.ensure_future(Worker(scheduler.address, nthreads=1, name="late").start())
        await until(
            lambda: "the plugin slow is still being set up" in warned(scheduler), "clients are warned"
        )
        assert "the plugin slow is still being set up" in caplog.text
        Slow.go.set()
        await (await start).close()

    with pytest.warns(UserWarning, match="the plugin slow is still being set up"):
        network(test, ["a"])


def test_a_plugin_that_takes_for_ever_keeps_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    import dask

    async def test(scheduler: Any, client: Any, a: Any) -> None:
        Slow.entered, Slow.go = asyncio.Event(), asyncio.Event()
        await client.register_plugin(Slow(), name="slow")
        with dask.config.set({"distributed.worker.plugin-timeout": "100ms"}):
            late = await Worker(scheduler.address, nthreads=1, name="late")
        assert "the plugin slow could not be set up" in warned(scheduler)
        await late.close()

    with pytest.warns(UserWarning, match="the plugin slow could not be set up"):
        network(test, ["a"])


class Counts(WorkerPlugin):
    """How often it was set up in each worker."""

    def __init__(self, value: Any = None) -> None:
        self.value = value

    def setup(self, worker: Any) -> None:
        worker.counts = getattr(worker, "counts", 0) + 1
        worker.value = self.value


def test_a_scheduler_that_was_started_anew_is_told_again() -> None:
    """Who has it keeps it as it is, who joins gets it; of two clients' plugins of one name the later counts."""

    async def test() -> None:
        first = Scheduler(host="127.0.0.1", port=0)
        await first
        address = first.address
        async with (
            Worker(address, nthreads=1) as old,
            Client(address, asynchronous=True) as a,
            Client(address, asynchronous=True) as b,
        ):
            await a.register_plugin(Counts(), name="counts")
            await a.register_plugin(Counts(1), name="value")
            await b.register_plugin(Counts(2), name="value")
            await a.register_plugin(Counts(3), name="gone")
            await a.unregister_worker_plugin("gone")
            assert (old.counts, old.value) == (4, 3)
            old.value = 2
            for listener in first.listeners:
                listener.stop()
            for connection in list(first._streams.values()):
                connection.abort()
            port = int(address.rpartition(":")[2])
            async with Scheduler(host="127.0.0.1", port=port) as second:
                plugins = second.extensions["plugins"].workers
                await until(lambda: set(plugins.plugins) == {"counts", "value"}, "it is told")
                await until(lambda: old.address in second.workers, "the worker is back")
                await until(lambda: plugins.get("value") == pack(Counts(2)), "the later one counts")
                async with Worker(address, nthreads=1) as new:
                    assert (new.counts, new.value) == (2, 2)
                    assert list(new.plugins) == ["counts", "value"]
                await until(lambda: old.network_plugins.version is not None, "it agrees")
                assert (old.counts, old.value) == (4, 2)

    asyncio.run(test())


# ---------------------------------------------------------------- nannies


class OnNanny(NannyPlugin):
    fails = False

    def setup(self, nanny: Any) -> None:
        if OnNanny.fails:
            raise ValueError("this nanny does not want it")
        nanny.mark = 1

    def teardown(self, nanny: Any) -> None:
        raise ValueError("cannot be torn down")


def test_a_nanny_goes_on_without_it() -> None:
    async def test(scheduler: Any, client: Any) -> None:
        OnNanny.fails = False
        async with Nanny(scheduler.address, nthreads=1) as a:
            await client.register_plugin(OnNanny(), name="on-nanny")
            assert a.mark == 1
            OnNanny.fails = True
            async with Nanny(scheduler.address, nthreads=1) as b:
                assert not hasattr(b, "mark")
                assert f"the plugin on-nanny could not be set up on nanny {b.address}" in warned(scheduler)
                with pytest.raises(ValueError, match="does not want it"):
                    await client.register_plugin(OnNanny(), name="on-nanny")
                assert len(await client.run(lambda: 1)) == 2

    with pytest.warns(UserWarning, match="the plugin on-nanny could not be set up"):
        network(test, [])


def test_nothing_runs_on_a_nanny_before_its_plugins_are_there() -> None:
    async def test(scheduler: Any, client: Any) -> None:
        OnNanny.fails = False
        async with Nanny(scheduler.address, nthreads=1) as nanny:
            await client.register_plugin(OnNanny(), name="on-nanny")
            del nanny.mark
            nanny._has_plugins = False  # as when the scheduler did not answer at its start
            nanny.network_plugins._numbers.clear()
            assert unpack(await nanny.run(function=pack(lambda dask_worker: dask_worker.mark))) == 1

    network(test, [])


# ---------------------------------------------------------------- processes


def raises() -> None:
    raise ValueError("this callback fails")


def test_networks_live_on(tmp_path: Any) -> None:
    """The registration raised; after a restart all workers are back and know nothing of it."""
    path = tmp_path / "raises_when_imported.py"
    path.write_text("1 / 0\n")
    flag = tmp_path / "flag"

    class Later(WorkerPlugin):
        name = "later"

        def setup(self, worker: Any) -> None:
            if flag.exists():
                raise ValueError("not any more")

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        for attempt in (
            lambda: client.register_worker_callbacks(raises),
            lambda: client.register_plugin(UploadFile(str(path))),
            lambda: client.upload_file(str(path)),
        ):
            with pytest.raises((ValueError, ZeroDivisionError)):
                attempt()
        client.register_plugin(Later())
        client.restart()
        assert len(client.run(abs, -1)) == 2
        assert not client.get_events("warn")
        flag.touch()
        client.restart()
        assert len(client.run(abs, -1)) == 2
        assert client.submit(abs, -2).result(30) == 2
        assert len(client.get_events("warn")) == 2
