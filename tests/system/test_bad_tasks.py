"""What users do wrong gives one clear error, in bounded time, and nothing else notices."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from system_bench import Bench, Command
from system_tasks import Awkward, add, inc, leave, make_lock, raise_awkward

from distributed import Client

SECONDS = 30


@pytest.fixture(scope="module")
def network(module_bench: Bench) -> Iterator[tuple[Client, Command]]:
    _, address = module_bench.scheduler()
    worker = module_bench.worker(address)
    with Client(address) as client:
        client.wait_for_workers(1)
        yield client, worker


@pytest.fixture
def client(network: tuple[Client, Command]) -> Iterator[Client]:
    """A client of a network that must be as well after the test as before."""
    client, worker = network
    processes = worker.children
    yield client
    assert client.submit(inc, 1_000, pure=False).result(timeout=SECONDS) == 1_001
    assert worker.children == processes, "the worker was lost over it"


def test_function_that_cannot_be_pickled(client: Client) -> None:
    lock = threading.Lock()
    with pytest.raises(TypeError, match="pickle"):
        client.submit(lambda x: (lock, x), 1).result(timeout=SECONDS)


def test_argument_that_cannot_be_pickled(client: Client) -> None:
    with pytest.raises(TypeError, match="pickle"):
        client.submit(inc, threading.Lock()).result(timeout=SECONDS)


def test_argument_nested_too_deeply(client: Client) -> None:
    deep: list[object] = []
    for _ in range(200_000):
        deep = [deep]
    with pytest.raises((RecursionError, ValueError, TypeError)):
        client.submit(len, deep).result(timeout=SECONDS)


def test_result_that_cannot_be_pickled(client: Client) -> None:
    future = client.submit(make_lock, 1)
    with pytest.raises(TypeError, match="pickle"):
        future.result(timeout=SECONDS)
    # It is of use where it is.
    assert client.submit(lambda lock: lock.locked(), future).result(timeout=SECONDS) is False


def test_exit_in_a_task(client: Client) -> None:
    with pytest.raises(BaseException, match="3") as caught:
        client.submit(leave, 3).result(timeout=SECONDS)
    assert not isinstance(caught.value, TimeoutError)
    assert "SystemExit" in repr(caught.value) + str(caught.value)


def test_exception_that_cannot_be_pickled(client: Client) -> None:
    future = client.submit(raise_awkward, 1)
    with pytest.raises(Exception, match="cannot travel") as caught:
        future.result(timeout=SECONDS)
    assert not isinstance(caught.value, TimeoutError)
    assert Awkward.__name__ in repr(caught.value) + str(caught.value)


def test_recursive_graph(client: Client) -> None:
    graph = {"x": (inc, "y"), "y": (add, "x", 1)}
    with pytest.raises(Exception, match=r"(?i)cycl") as caught:
        client.get(graph, "x")
    assert not isinstance(caught.value, TimeoutError)


def test_list_that_contains_itself_and_a_future(client: Client) -> None:
    ring: list[object] = [client.submit(inc, 1)]
    ring.append(ring)
    with pytest.raises(ValueError, match="itself"):
        client.submit(len, ring).result(timeout=SECONDS)


def test_remote_traceback_shows_the_users_frames(client: Client) -> None:
    import traceback

    future = client.submit(raise_awkward, 2)
    with pytest.raises(Exception, match="cannot travel") as caught:
        future.result(timeout=SECONDS)
    text = "".join(traceback.format_exception(caught.value))
    assert "system_tasks.py" in text
    assert "raise_awkward" in text


def test_nobody_at_the_address() -> None:
    with pytest.raises(OSError, match=r"127\.0\.0\.1:9\b"):
        Client("127.0.0.1:9", timeout=2)


def test_name_that_cannot_be_resolved() -> None:
    with pytest.raises(OSError, match=r"no-such-host\.invalid"):
        Client("no-such-host.invalid:8786", timeout=2)
