"""Keys that are used again for other work: every future has the value of what it was made for."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from distributed import Client, Future, LocalCluster, Variable, wait

#: How long the user does something else between giving a key up and using it again.
PAUSES = [0.0, 0.005, 0.3]


def old(*args: Any) -> str:
    return f"old{list(args) or ''}"


def new(*args: Any) -> str:
    return f"new{list(args) or ''}"


def bad(*args: Any) -> str:
    raise ValueError("bad")


def plus(x: Any) -> str:
    return f"{x}+"


def after(event_file: str, value: str) -> str:
    with open(event_file):  # a pipe: opens when its writer does
        return value


class Old:
    def name(self) -> str:
        return "old"


class New:
    def name(self) -> str:
        return "new"


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTRIBUTED_KEY", secrets.token_hex(32))
        with LocalCluster(
            n_workers=2, threads_per_worker=2, processes=False, dashboard_address=None
        ) as cluster:
            yield cluster


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster) as client:
        yield client


def cancel(future: Future) -> Any:
    future.cancel()
    return future  # still held


def release(future: Future) -> Any:
    future.release()


def cancel_and_release(future: Future) -> Any:
    future.cancel()
    future.release()


GIVE_UP = [cancel, release, cancel_and_release]


@pytest.mark.parametrize("pause", PAUSES)
@pytest.mark.parametrize("give_up", GIVE_UP)
@pytest.mark.parametrize("first", [old, bad])
def test_submit(client: Client, give_up: Callable[[Future], Any], pause: float, first: Any) -> None:
    future = client.submit(first, key="job")
    wait(future)
    held = give_up(future)
    time.sleep(pause)
    assert client.submit(new, key="job").result(timeout=10) == "new"
    assert held is None or held.cancelled()


@pytest.mark.parametrize("give_up", GIVE_UP)
def test_the_first_may_still_be_on_its_way(client: Client, give_up: Callable[[Future], Any]) -> None:
    for i in range(100):
        held = give_up(client.submit(old, i, key="job"))
        assert client.submit(new, i, key="job").result(timeout=10) == f"new[{i}]"
        assert held is None or held.cancelled()


@pytest.mark.parametrize("pause", PAUSES)
@pytest.mark.parametrize("give_up", GIVE_UP)
def test_the_same_function_with_other_arguments(
    client: Client, give_up: Callable[[Future], Any], pause: float
) -> None:
    held = [give_up(future) for future in [client.submit(new, 1, key="job")] if wait(future)]
    time.sleep(pause)
    assert client.submit(new, 2, key="job").result(timeout=10) == "new[2]"
    del held


@pytest.mark.parametrize("pause", PAUSES)
@pytest.mark.parametrize("give_up", GIVE_UP)
def test_map(client: Client, give_up: Callable[[Future], Any], pause: float) -> None:
    keys = [f"m{i}" for i in range(20)]
    futures = client.map(old, range(20), key=keys)
    wait(futures)
    held = [give_up(future) for future in futures]
    time.sleep(pause)
    assert client.gather(client.map(new, range(20), key=keys)) == [f"new[{i}]" for i in range(20)]
    del held


@pytest.mark.parametrize("pause", PAUSES)
@pytest.mark.parametrize("give_up", GIVE_UP)
def test_as_a_dependency(client: Client, give_up: Callable[[Future], Any], pause: float) -> None:
    """What stands on it has the same key both times: its arguments name the dependency, not what that is."""
    future = client.submit(old, key="job")
    dependent = client.submit(plus, future)
    wait(dependent)
    held = [give_up(dependent), give_up(future)]
    time.sleep(pause)
    future = client.submit(new, key="job")
    assert client.submit(plus, future).result(timeout=10) == "new+"
    del held


def test_a_dependent_that_waits_is_cancelled_with_it(client: Client, tmp_path: Any) -> None:
    os.mkfifo(tmp_path / "pipe")
    future = client.submit(after, str(tmp_path / "pipe"), "old", key="job")
    dependent = client.submit(plus, future)
    future.cancel()
    again = client.submit(new, key="job")
    assert client.submit(plus, again).result(timeout=10) == "new+"
    assert dependent.cancelled()
    os.close(os.open(tmp_path / "pipe", os.O_RDWR))


@pytest.mark.parametrize("pause", PAUSES)
@pytest.mark.parametrize("give_up", GIVE_UP)
def test_graphs(client: Client, give_up: Callable[[Future], Any], pause: float) -> None:
    first = client.get({"x": (old,), "y": (plus, "x")}, "y", sync=False)
    assert first.result(timeout=10) == "old+"
    held = give_up(first)
    time.sleep(pause)
    assert client.get({"x": (new,), "y": (plus, "x")}, "y") == "new+"
    assert client.get({"x": (old,), "y": (plus, "x")}, "y") == "old+"
    del held


@pytest.mark.parametrize("pause", PAUSES)
@pytest.mark.parametrize("give_up", GIVE_UP)
def test_scattered_data(client: Client, give_up: Callable[[Future], Any], pause: float) -> None:
    held = [give_up(client.scatter({"job": "old"})["job"])]
    time.sleep(pause)
    future = client.scatter({"job": "new"})["job"]
    assert future.result(timeout=10) == "new"
    assert client.submit(plus, future).result(timeout=10) == "new+"
    held.append(give_up(future))
    time.sleep(pause)
    future = client.submit(old, key="job")
    assert future.result(timeout=10) == "old"
    held.append(give_up(future))
    time.sleep(pause)
    assert client.scatter({"job": "new"})["job"].result(timeout=10) == "new"
    assert [future.cancelled() for future in held if future is not None] == [True] * sum(
        f is not None for f in held
    )


@pytest.mark.parametrize("give_up", [cancel, cancel_and_release])
def test_actors(client: Client, give_up: Callable[[Future], Any]) -> None:
    """A proxy of the first, which still names the key, does not reach the second."""
    [worker, *_] = client.scheduler_info()["workers"]
    future = client.submit(Old, actor=True, key="actor", workers=[worker])
    proxy = future.result(timeout=10)
    assert proxy.name().result(timeout=10) == "old"
    held = give_up(future)
    second = client.submit(New, actor=True, key="actor", workers=[worker]).result(timeout=10)
    assert second.name().result(timeout=10) == "new"
    with pytest.raises(ValueError, match="was lost"):
        proxy.name().result(timeout=10)
    del held


def test_after_client_restart(cluster: LocalCluster) -> None:
    with Client(n_workers=1, threads_per_worker=1, dashboard_address=None) as client:
        future = client.submit(old, key="job")
        assert future.result(timeout=10) == "old"
        client.restart()
        assert client.submit(new, key="job").result(timeout=10) == "new"
        assert future.cancelled()


# ---------------------------------------------------------------- a key that is in use keeps its work


@contextlib.contextmanager
def warned(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="distributed.client"):
        yield
    assert any("was submitted with other work than it stands for" in line for line in caplog.messages)


def test_a_live_future_is_shared(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    future = client.submit(old, key="job")
    with warned(caplog):
        assert client.submit(new, key="job").result(timeout=10) == "old"
    with warned(caplog):
        assert client.scatter({"job": "new"})["job"].result(timeout=10) == "old"
    with warned(caplog):
        assert client.get({"job": (new,), "y": (plus, "job")}, "y") == "old+"
    assert future.result(timeout=10) == "old"


def test_so_is_what_a_live_future_stands_on(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """It may have to be computed again, and its recipe names the key."""
    future = client.submit(old, key="job")
    dependent = client.submit(plus, future)
    assert dependent.result(timeout=10) == "old+"
    future.release()
    with warned(caplog):
        assert client.submit(new, key="job").result(timeout=10) == "old"


def test_another_clients_future_is_shared(
    cluster: LocalCluster, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with Client(cluster, set_as_default=False) as other:
        theirs = other.submit(old, key="job")
        wait(theirs)
        with warned(caplog):
            mine = client.submit(new, key="job")
            assert mine.result(timeout=10) == "old"
            assert client.submit(plus, mine).result(timeout=10) == "old+"
        mine.release()
        theirs.cancel()
        assert theirs.cancelled()
        other.sync(_nothing)  # what it said has been heard
        assert client.submit(new, key="job").result(timeout=10) == "new"


async def _nothing() -> None:
    pass


def test_what_others_cancel_by_force(cluster: LocalCluster, client: Client) -> None:
    with Client(cluster, set_as_default=False) as other:
        theirs = other.submit(old, key="job")
        wait(theirs)
        mine = client.submit(old, key="job")
        wait(mine)
        client.cancel([mine], force=True)
        again = client.submit(new, key="job")
        assert again.result(timeout=10) == "new"
        with pytest.raises(Exception, match="job"):
            theirs.result(timeout=10)


def test_a_variable_keeps_its_work(client: Client) -> None:
    variable = Variable("kept", client)
    future = client.submit(old, key="job")
    variable.set(future)
    wait(future)
    future.cancel()
    again = client.submit(new, key="job")
    assert variable.get(timeout=10).result(timeout=10) == again.result(timeout=10) == "old"
    again.release()
    variable.delete()


def test_a_variable_does_not_pass_other_work_off_as_its_own(cluster: LocalCluster, client: Client) -> None:
    """What it holds was cancelled for all; its key is used for something else."""
    variable = Variable("cancelled", client)
    future = client.submit(old, key="job")
    wait(future)
    variable.set(future)
    future.cancel(force=True)
    again = client.submit(new, key="job")
    assert again.result(timeout=10) == "new"
    with pytest.raises(Exception, match="job"):
        variable.get(timeout=10).result(timeout=10)
    with Client(cluster, set_as_default=False) as other, pytest.raises(Exception, match="job"):
        Variable("cancelled", other).get(timeout=10).result(timeout=10)
    assert client.submit(plus, again).result(timeout=10) == "new+"
    variable.delete()


def test_many_threads(client: Client) -> None:
    """Each gives its keys up and uses them again, as fast as it can."""
    wrong: list[Any] = []

    def use(number: int) -> None:
        for i in range(60):
            value = client.submit(new, i, key=f"thread-{number}").result(timeout=20)
            if value != f"new[{i}]":
                wrong.append((number, i, value))

    threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
