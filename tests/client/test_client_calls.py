"""What users do with a client, against a fake network."""

from __future__ import annotations

import asyncio
import gc
import operator
import pickle
import threading
import time
import traceback
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import pytest
from fake_scheduler import FakeScheduler, Network

from distributed import CancelledError, Client, Future, as_completed, fire_and_forget, futures_of, wait
from distributed.client import temp_default_client
from distributed.client.waiting import DoneAndNotDoneFutures
from distributed.protocol.messages import CancelKeys, PutFunctions, ReleaseKeys, SubmitTasks
from distributed.protocol.payload import nbytes
from distributed.security import Security

LOCK = threading.Lock()
Pair = namedtuple("Pair", "a b")


def fail(x: Any) -> Any:
    raise ValueError(f"no {x}")


def until(condition: Callable[[], Any], timeout: float = 5) -> None:
    """Wait for something that another thread does."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.002)


# ---------------------------------------------------------------- submit and map


def test_submit(net: Network) -> None:
    future = net.client.submit(operator.add, 1, 2)
    assert future.result(timeout=5) == 3
    assert future.status == "finished"
    assert future.type == "int"
    assert future.key.startswith("add-")
    assert len(future.key) == len("add-") + 32
    assert repr(future) == f"<Future: finished, type: int, key: {future.key}>"


def test_the_same_call_is_computed_once(net: Network) -> None:
    first = net.client.submit(operator.add, 1, 2)
    second = net.client.submit(operator.add, 1, 2)
    third = net.client.submit(operator.add, 1, 3)
    assert first.key == second.key != third.key
    assert net.client.gather([first, second, third]) == [3, 3, 4]
    assert len(net.scheduler.runs) == 2


def test_impure_calls_are_all_computed(net: Network) -> None:
    futures = [net.client.submit(operator.add, 1, 2, pure=False) for _ in range(3)]
    futures += net.client.map(operator.add, [1, 1], [2, 2], pure=False)
    assert len({future.key for future in futures}) == 5
    assert net.client.gather(futures) == [3] * 5


@pytest.mark.parametrize("key", ["x", ("x", 0), ("a", ("b", 1))])
def test_keys_of_the_users(net: Network, key: Any) -> None:
    future = net.client.submit(operator.neg, 1, key=key)
    assert future.key == key
    assert future.result(timeout=5) == -1


def test_map(net: Network) -> None:
    client = net.client
    assert client.gather(client.map(operator.add, range(100), range(100, 250))) == [
        i + j for i, j in zip(range(100), range(100, 250), strict=False)
    ]
    assert client.gather(client.map(lambda x, y=0: x + y, [1, 2], y=10)) == [11, 12]
    assert client.map(operator.neg, []) == []
    prefixed = client.map(operator.neg, [1, 2], key="mine")
    assert all(future.key.startswith("mine-") for future in prefixed)
    named = client.map(operator.neg, [1, 2], key=["a", "b"])
    assert [future.key for future in named] == ["a", "b"]
    assert client.gather(named) == [-1, -2]


def test_map_and_submit_agree_on_keys(net: Network) -> None:
    client = net.client
    assert [f.key for f in client.map(operator.add, [1], [2])] == [client.submit(operator.add, 1, 2).key]
    assert [f.key for f in client.map(sorted, [[3, 1]], reverse=True)] == [
        client.submit(sorted, [3, 1], reverse=True).key
    ]


def test_a_large_map_is_sent_in_pieces(net: Network) -> None:
    futures = net.client.map(operator.neg, range(30_000))
    assert net.client.gather(futures) == [-i for i in range(30_000)]
    sizes = [len(m.keys) for m in net.scheduler.heard if isinstance(m, SubmitTasks)]
    assert sum(sizes) == 30_000
    assert max(sizes) <= 10_000
    assert len([m for m in net.scheduler.heard if isinstance(m, PutFunctions)]) == 1


def test_large_arguments_are_cut_into_messages_too(net: Network) -> None:
    blobs = [bytes([i]) * 60_000 for i in range(250)]
    assert net.client.gather(net.client.map(len, blobs)) == [60_000] * 250
    sizes = [sum(map(len, m.args)) for m in net.scheduler.heard if isinstance(m, SubmitTasks)]
    assert len(sizes) == 2
    assert max(sizes) < 9 * 2**20


def test_a_large_keyword_of_a_map_travels_once(net: Network) -> None:
    table = list(range(50_000))
    assert net.client.gather(net.client.map(lambda i, table=None: table[i], range(100), table=table)) == list(
        range(100)
    )
    travelled = sum(
        nbytes(args) for m in net.scheduler.heard if isinstance(m, SubmitTasks) for args in m.args
    )
    assert travelled < 2 * len(pickle.dumps(table))


def test_functions_travel_once(net: Network) -> None:
    offset = 5

    def shift(x: int) -> int:
        return x + offset

    for i in range(5):
        assert net.client.submit(shift, i).result(timeout=5) == i + 5
    assert len([m for m in net.scheduler.heard if isinstance(m, PutFunctions)]) == 1


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda c: c.submit(1), TypeError, "needs a function"),
        (lambda c: c.map(1, [2]), TypeError, "needs a function"),
        (lambda c: c.map(abs), TypeError, "at least one sequence"),
        (lambda c: c.map(abs, 5), TypeError, "goes over sequences, not over a int"),
        (lambda c: c.map(abs, iter([5])), TypeError, "not over a list_iterator: wrap it in list"),
        (lambda c: c.map(abs, [1, 2], key=["a"]), ValueError, "lists 1 keys, but there are 2 tasks"),
        (lambda c: c.map(abs, [1, 2], key=["a", "a"]), ValueError, "twice"),
        (lambda c: c.map(abs, [1], batch_size=0), ValueError, "batch_size"),
        (
            lambda c: c.submit(abs, threading.Lock()),
            TypeError,
            "argument 0 of type lock: it cannot be pickled",
        ),
        (
            lambda c: c.map(abs, [threading.Lock()]),
            TypeError,
            "argument 0 of type lock: it cannot be pickled",
        ),
        (
            lambda c: c.submit(lambda x=LOCK: x),
            TypeError,
            "function lambda: it cannot be pickled",
        ),
        (lambda c: c.submit(abs, 1, retries=-1), ValueError, "retries"),
        (lambda c: c.submit(abs, 1, key=["x"]), TypeError, "a key must be"),
        (lambda c: c.submit(abs, 1, key=2**64), TypeError, "at most 64 bits"),
        (lambda c: c.map(abs, [1], key=[{"x"}]), TypeError, "a key must be"),
        (lambda c: c.scatter({("x", None): 1}), TypeError, "a key must be"),
        (lambda c: c.submit(abs, 1, priority="high"), TypeError, "priority"),
        (lambda c: c.submit(abs, 1, resources=["GPU"]), TypeError, "resources"),
        (lambda c: c.submit(abs, 1, allow_other_workers=True), ValueError, "together with workers="),
        (lambda c: c.gather([], errors="hide"), ValueError, "errors="),
        (lambda c: c.scatter(iter([1])), TypeError, "wrap it in list"),
        (lambda c: c.scatter([threading.Lock()]), TypeError, "cannot scatter a lock"),
    ],
)
def test_mistakes_are_answered_in_one_sentence(
    net: Network, call: Callable[[Client], Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as info:
        call(net.client)
    assert "\n" not in str(info.value)


def test_options_travel(net: Network) -> None:
    net.client.submit(
        abs, -1, workers=["a"], allow_other_workers=True, retries=2, priority=3, resources={"GPU": 1}
    ).result(timeout=5)
    (message,) = [m for m in net.scheduler.heard if isinstance(m, SubmitTasks)]
    options = message.options
    assert (options.workers, options.allow_other_workers, options.retries) == (("a",), True, 2)
    assert (options.priority, options.resources) == (3, (("GPU", 1.0),))


# ---------------------------------------------------------------- futures as arguments


def test_futures_anywhere_in_builtin_containers(net: Network) -> None:
    client = net.client
    a, b = client.submit(operator.neg, -1), client.submit(operator.neg, -2)
    nested = client.submit(lambda x, *, y: (x, y), [a, {"k": (b, {1: [a]})}], y=Pair(a, b))
    assert nested.result(timeout=5) == ([1, {"k": (2, {1: [1]})}], (1, 2))
    assert client.submit(sum, [a, b]).result(timeout=5) == 3
    assert client.gather(client.map(operator.add, [a, b, 5], [b, 1, a])) == [3, 3, 6]
    (message,) = [m for m in net.scheduler.heard if isinstance(m, SubmitTasks) and m.keys == [nested.key]]
    assert message.deps == [[a.key, b.key]]


def test_cancelled_futures_as_arguments(net: Network) -> None:
    future = net.client.submit(abs, -1)
    future.cancel()
    with pytest.raises(CancelledError):
        net.client.submit(abs, future)


def test_an_array_that_changes_after_submit(net: Network) -> None:
    np = pytest.importorskip("numpy")
    net.scheduler.hold = True
    array = np.zeros(100_000)
    future = net.client.submit(np.sum, array)
    array[:] = 1
    until(lambda: net.scheduler.held)
    net.on_loop(net.scheduler.release_held)
    assert future.result(timeout=5) == 0


# ---------------------------------------------------------------- results


def test_large_results_come_straight_from_the_worker(net: Network) -> None:
    client = net.client
    futures = client.map(operator.mul, [b"x" * 10_000, b"y" * 10_000], [2, 2])
    assert client.gather(futures) == [b"x" * 20_000, b"y" * 20_000]
    assert futures[0].result() == b"x" * 20_000
    assert set(net.scheduler.called) == {"get_data"}
    net.scheduler.called.clear()
    assert client.gather(futures, direct=False) == [b"x" * 20_000, b"y" * 20_000]
    assert set(net.scheduler.called) == {"gather"}


def test_a_worker_that_does_not_deliver(net: Network) -> None:
    net.scheduler.refuse_get_data = True
    assert net.client.submit(operator.mul, b"x", 10_000).result(timeout=5) == b"x" * 10_000
    assert net.scheduler.called == ["get_data", "gather"]


def test_gather_nested(net: Network) -> None:
    client = net.client
    a, b = client.map(operator.neg, [1, 2])
    shapes: list[Any] = [{"a": a, "l": [b, (a,)]}, (a, b), [a, 5], a, {1: {2: b}}, [], {}, [[a], [b]]]
    expected = [{"a": -1, "l": [-2, (-1,)]}, (-1, -2), [-1, 5], -1, {1: {2: -2}}, [], {}, [[-1], [-2]]]
    assert [client.gather(shape) for shape in shapes] == expected
    assert client.gather({a, b}) == {-1, -2}
    assert client.gather(Pair(a, b)) == Pair(-1, -2)


def test_errors(net: Network) -> None:
    client = net.client
    good, bad = client.submit(abs, -1), client.submit(fail, "luck")
    with pytest.raises(ValueError, match="no luck") as info:
        bad.result(timeout=5)
    assert "fail" in [frame.name for frame in traceback.extract_tb(info.value.__traceback__)]
    with pytest.raises(ValueError, match="no luck"):
        client.gather([good, bad])
    assert client.gather([good, bad], errors="skip") == [1]
    assert client.gather({"good": good, "bad": bad}, errors="skip") == {"good": 1}
    assert isinstance(bad.exception(), ValueError)
    assert traceback.extract_tb(bad.traceback())[-1].name == "fail"
    assert good.exception() is None
    assert good.traceback() is None
    assert bad.status == "error"
    after = client.submit(operator.neg, bad)
    with pytest.raises(ValueError, match="no luck"):
        after.result(timeout=5)


def test_an_error_ends_a_gather_although_others_are_pending(net: Network) -> None:
    bad = net.client.submit(fail, 1)
    wait(bad, timeout=5)
    net.scheduler.hold = True
    pending = net.client.submit(abs, -1)
    with pytest.raises(ValueError, match="no 1"):
        net.client.gather([pending, bad])


def test_retry(net: Network) -> None:
    fate = [True]

    def maybe(_: Any = fate) -> int:
        import builtins

        if not hasattr(builtins, "_test_retry_done"):
            builtins._test_retry_done = True  # type: ignore[attr-defined]
            raise ValueError("not yet")
        del builtins._test_retry_done
        return 5

    future = net.client.submit(maybe)
    wait(future, timeout=5)
    assert future.status == "error"
    future.retry()
    assert future.result(timeout=5) == 5


def test_timeouts(net: Network) -> None:
    net.scheduler.hold = True
    future = net.client.submit(abs, -1)
    with pytest.raises(TimeoutError, match="is not done within"):
        future.result(timeout=0.02)
    with pytest.raises(TimeoutError):
        future.result(timeout="10 ms")
    with pytest.raises(TimeoutError):
        future.exception(timeout=0.02)
    with pytest.raises(TimeoutError, match="1 of 1 futures"):
        wait(future, timeout=0.02)
    net.on_loop(net.scheduler.release_held)
    assert future.result(timeout=5) == 1


def test_cancel(net: Network) -> None:
    net.scheduler.hold = True
    future = net.client.submit(abs, -1)
    future.cancel(reason="changed my mind")
    assert future.cancelled()
    assert future.done()
    with pytest.raises(CancelledError, match="changed my mind"):
        future.result(timeout=5)
    with pytest.raises(CancelledError):
        net.client.gather([future])
    assert net.client.gather([future], errors="skip") == []
    with pytest.raises(CancelledError):
        future.exception()
    until(lambda: net.heard(CancelKeys) == [future.key])
    net.scheduler.hold = False
    again = net.client.submit(abs, -1)
    assert again.result(timeout=5) == 1
    assert future.cancelled()  # though the key is the same


def test_release_and_garbage_collection(net: Network) -> None:
    client = net.client
    futures = client.map(abs, range(10))
    client.gather(futures)
    keys = [future.key for future in futures]
    first = futures[0]
    first.release()
    assert first.status == "cancelled"
    del futures
    gc.collect()
    until(lambda: sorted(net.heard(ReleaseKeys)) == sorted(keys))
    assert client._session.state.tasks == {}


def test_done_callbacks(net: Network) -> None:
    net.scheduler.hold = True
    called: list[Any] = []
    future = net.client.submit(abs, -1)
    future.add_done_callback(lambda f: called.append((f.status, threading.current_thread().name)))
    until(lambda: net.scheduler.held)
    assert called == []
    net.on_loop(net.scheduler.release_held)
    until(lambda: called)
    assert called[0][0] == "finished"
    assert called[0][1] != threading.current_thread().name
    future.add_done_callback(lambda f: called.append("again"))
    until(lambda: called[1:] == ["again"])


def test_a_future_that_was_pickled_belongs_to_the_current_client(net: Network) -> None:
    future = net.client.submit(operator.mul, b"x", 5_000)
    future.result(timeout=5)
    copy = pickle.loads(pickle.dumps(future))
    assert copy == future
    assert repr(copy) == f"<Future: unbound, key: {future.key}>"
    with temp_default_client(net.client):
        assert copy.result(timeout=5) == b"x" * 5_000
    assert copy.client is net.client


def test_a_future_on_a_key_that_nobody_knows(net: Network) -> None:
    future = Future("nonsense", net.client)
    with pytest.raises(CancelledError, match="unknown"):
        future.result(timeout=5)


def test_futures_of(net: Network) -> None:
    a, b = net.client.map(abs, [1, 2])
    assert futures_of([a, {"x": (b, a)}, 5]) == [a, b]
    assert futures_of(a) == [a]
    assert futures_of({}) == []


def test_fire_and_forget(net: Network) -> None:
    net.scheduler.hold = True
    fire_and_forget(net.client.submit(abs, -7))
    gc.collect()
    net.client.ncores()
    assert net.heard(ReleaseKeys) == []
    net.on_loop(net.scheduler.release_held)
    until(lambda: len(net.heard(ReleaseKeys)) == 1)
    assert len(net.scheduler.runs) == 1


# ---------------------------------------------------------------- waiting for many


def test_wait(net: Network) -> None:
    futures = net.client.map(abs, range(5))
    assert wait(futures, timeout=5) == DoneAndNotDoneFutures(set(futures), set())
    net.scheduler.hold = True
    pending = net.client.submit(operator.neg, 1)
    assert wait([futures[0], pending], return_when="FIRST_COMPLETED") == ({futures[0]}, {pending})
    with pytest.raises(TypeError, match="one collection of futures"):
        wait(pending, futures)  # type: ignore[arg-type]
    with pytest.raises(NotImplementedError, match="FIRST_EXCEPTION"):
        wait(pending, return_when="FIRST_EXCEPTION")
    pending.cancel()
    with pytest.raises(CancelledError):
        wait([pending])


def test_as_completed(net: Network) -> None:
    client = net.client
    net.scheduler.hold = True
    futures = client.map(abs, [-1, -2, -3])
    seq = as_completed(futures)
    assert (seq.count(), seq.has_ready(), seq.is_empty()) == (3, False, False)
    assert seq.next_batch(block=False) == []
    until(lambda: len(net.scheduler.held) == 3)
    net.on_loop(net.scheduler.release_held)
    net.scheduler.hold = False
    first = next(seq)
    assert first.status == "finished"
    seq.add(client.submit(operator.neg, 5))
    seq.update([client.submit(operator.neg, 6), futures[0]])  # a future twice
    rest = list(seq)
    assert len(rest) == 5
    assert seq.is_empty()
    assert sorted(client.gather([first, *rest])) == [-6, -5, 1, 1, 2, 3]


def test_as_completed_with_results(net: Network) -> None:
    client = net.client
    futures = client.map(operator.mul, [b"x"] * 3, [1, 2, 5_000])
    got = {future.key: value for future, value in as_completed(futures, with_results=True)}
    assert got == {future.key: b"x" * n for future, n in zip(futures, [1, 2, 5_000], strict=True)}
    batches = list(as_completed(futures, with_results=True).batches())
    assert sum(map(len, batches)) == 3
    bad = client.submit(fail, 1)
    with pytest.raises(ValueError, match="no 1"):
        list(as_completed([bad], with_results=True))
    ((future, (kind, error, _)),) = as_completed([bad], with_results=True, raise_errors=False)
    assert (future, kind, str(error)) == (bad, ValueError, "no 1")


def test_as_completed_in_time_or_not(net: Network) -> None:
    net.scheduler.hold = True
    seq = as_completed([net.client.submit(abs, 1)], timeout=0.02)
    with pytest.raises(TimeoutError, match="1 futures were not done"):
        next(seq)
    seq.clear()
    assert list(seq) == []
    with pytest.raises(TypeError, match="waits for futures"):
        as_completed([1])  # type: ignore[list-item]


# ---------------------------------------------------------------- scatter


def test_scatter(net: Network) -> None:
    client = net.client
    listed = client.scatter([1, "two"])
    assert [future.status for future in listed] == ["finished"] * 2
    assert client.gather(listed) == [1, "two"]
    named = client.scatter({"a": 1, "b": 2})
    assert {key: future.key for key, future in named.items()} == {"a": "a", "b": "b"}
    single = client.scatter(b"data" * 1_000)
    assert single.result(timeout=5) == b"data" * 1_000
    assert client.scatter(b"data" * 1_000).key == single.key
    assert client.scatter(b"data" * 1_000, hash=False).key != single.key
    assert client.submit(len, single).result(timeout=5) == 4_000
    assert isinstance(client.scatter((1, 2)), tuple)


def test_scatter_without_workers(net: Network) -> None:
    net.scheduler.has_worker = False
    with pytest.raises(TimeoutError, match="no workers"):
        net.client.scatter([1])


# ---------------------------------------------------------------- graphs


def test_get(net: Network) -> None:
    client = net.client
    graph = {
        "x": 1,
        ("y", 0): (operator.add, "x", 1),
        "z": (sum, ["x", ("y", 0), [1, 2][0]]),
        "alias": "z",
        7: (operator.neg, "alias"),
    }
    assert client.get(graph, "z") == 4
    assert client.get(graph, ["x", [("y", 0), 7], "alias"]) == [1, [2, -4], 4]
    future = client.get(graph, "z", sync=False)
    assert future.key == "z"
    assert future.result(timeout=5) == 4
    held = client.submit(operator.neg, -5)
    assert client.get({"a": (operator.add, held, 1), "b": (sum, [held, "a"])}, "b") == 11


@pytest.mark.parametrize(
    ("graph", "keys", "error", "words"),
    [
        ({"a": (abs, "b"), "b": (abs, "a")}, "a", ValueError, "cycle: 'a' -> 'b' -> 'a'"),
        ({"a": (abs, "a")}, "a", ValueError, "cycle"),
        ({"a": "a"}, "a", ValueError, "cycle"),
        ({"a": 1}, "b", KeyError, "no key 'b'"),
        (5, "b", TypeError, "needs a graph"),
    ],
)
def test_bad_graphs(net: Network, graph: Any, keys: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        net.client.get(graph, keys)


def test_delayed(net: Network) -> None:
    import dask

    client = net.client
    total = dask.delayed(sum)([dask.delayed(operator.neg)(i) for i in range(5)])
    with client.as_current():
        assert total.compute(scheduler=client) == -10
    assert client.compute(total).result(timeout=5) == -10
    assert client.compute([total, 5], sync=True) == [-10, 5]
    persisted = client.persist(total)
    assert len(futures_of(persisted)) == 1
    assert client.compute(persisted, sync=True) == -10


# ---------------------------------------------------------------- questions and orders


def test_operations(net: Network) -> None:
    client, address = net.client, net.scheduler.address
    future = client.submit(abs, -1, key="x")
    wait(future, timeout=5)
    assert client.ncores() == client.nthreads() == {address: 1}
    assert client.who_has([future]) == {"x": [address]}
    assert client.has_what() == {address: ["x"]}
    assert set(client.nbytes(summary=False)) == {"x"}
    assert set(client.nbytes()) == {"x"}
    assert client.processing() == {address: ()}
    assert client.scheduler_info()["address"] == address
    assert client.run(operator.add, 1, 2) == {address: 3}
    with pytest.raises(ValueError, match="no 5"):
        client.run(fail, 5)
    assert isinstance(client.run(fail, 5, on_error="return")[address], ValueError)
    assert client.run(fail, 5, on_error="ignore") == {}
    assert client.run_on_scheduler(operator.add, 2, 2) == 4
    assert client.wait_for_workers(1, timeout=5) is None
    with pytest.raises(TimeoutError, match="Only 1/2 workers"):
        client.wait_for_workers(2, timeout=0.02)
    versions = client.get_versions()
    assert versions["client"]["packages"] == versions["workers"][address]["packages"]
    assert client.sync(client.scheduler.ncores, workers=None) == {address: 1}


# ---------------------------------------------------------------- asynchronous


def test_asynchronous() -> None:
    async def main() -> None:
        async with FakeScheduler() as scheduler:
            async with Client(
                scheduler.address, security=Security(insecure=True), asynchronous=True, set_as_default=False
            ) as client:
                assert client.asynchronous
                futures = client.map(abs, range(10))
                assert await client.gather(futures) == list(range(10))
                assert await futures[3] == 3
                assert await futures[3].result() == 3
                bad = client.submit(fail, 1)
                assert isinstance(await bad.exception(), ValueError)
                with pytest.raises(ValueError, match="no 1"):
                    await bad
                assert (await wait(futures)).not_done == set()
                seen = [future async for future in as_completed(futures)]
                assert len(seen) == 10
                pairs = [pair async for pair in as_completed(futures, with_results=True)]
                assert sorted(value for _, value in pairs) == list(range(10))
                (scattered,) = await client.scatter([5])
                assert await scattered == 5
                assert await client.ncores() == {scheduler.address: 1}
                assert await client.get({"x": (abs, -3)}, "x") == 3
                scheduler.hold = True
                with pytest.raises(TimeoutError):
                    await client.submit(abs, 11).result(timeout=0.02)
                await client.close()
                assert client.status == "closed"

    asyncio.run(main())


def test_a_synchronous_client_under_a_running_loop(net: Network) -> None:
    async def notebook() -> Any:
        with Client(net.scheduler.address, security=Security(insecure=True), set_as_default=False) as client:
            assert not client.asynchronous
            future = client.submit(abs, -1)
            return client.gather([future]), await future

    assert asyncio.run(notebook()) == ([1], 1)


def test_many_threads(net: Network) -> None:
    results: list[Any] = []

    def work(n: int) -> None:
        for i in range(100):
            results.append(net.client.submit(operator.add, i % 7, n % 2).result(timeout=20) == i % 7 + n % 2)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 400
    gc.collect()
    until(lambda: not net.client._session.state.tasks)
