"""Results that cannot be pickled: the machine's part, and workers that hold sockets."""

from __future__ import annotations

import socket
import threading

import pytest
from worker_bench import A, B, Bench

from distributed import get_worker, wait
from distributed.exceptions import ImmovableDataError
from distributed.protocol.messages import (
    AcquireReplicas,
    FreeKeys,
    ReplicasMissing,
    ResultsImmovable,
    TasksReturned,
)
from distributed.utils_test import async_poll_for, gen_cluster, inc
from distributed.worker.state import Gather

# ---------------------------------------------------------------- the machine


def refuse(bench: Bench, key: str, holder: str, *, asked: str = "") -> list[object]:
    [gather] = bench.gathers
    bench.gathers = []
    assert gather.worker == (asked or holder)
    bench.state.gathered(gather.worker, [], bench.now, immovable=[(key, holder, "a lock")])
    return bench.turn()


def test_what_waits_for_it_goes_back_and_the_holder_is_not_blamed():
    bench = Bench()
    bench.run("x", "y", deps=["d"], holders=[("d", 10, [A])])
    said = refuse(bench, "d", A)
    assert said[0] == ResultsImmovable(["d"], [A], ["a lock"])
    assert isinstance(said[1], TasksReturned)
    assert sorted(said[1].keys) == ["x", "y"]
    assert all(A not in addresses for _, addresses in said[1].missing)
    assert (bench.states, bench.gathers) == ({}, [])


def test_another_holder_may_be_able_to():
    bench = Bench()
    bench.run("x", deps=["d"], holders=[("d", 10, [A, B])])
    [gather] = bench.gathers
    assert refuse(bench, "d", gather.worker) == [ResultsImmovable(["d"], [gather.worker], ["a lock"])]
    assert bench.gathers == [Gather(B if gather.worker == A else A, ["d"], 10)]


def test_on_a_detour_the_holder_is_another_than_was_asked():
    bench = Bench()
    bench.run("x", deps=["d"], holders=[("d", 10, [A])])
    said = refuse(bench, "d", B, asked=A)
    assert said[0] == ResultsImmovable(["d"], [B], ["a lock"])
    assert bench.states == {}


def test_an_ordered_copy_is_given_up_and_only_those_are_named_that_lost_it():
    bench = Bench()
    bench.handle(AcquireReplicas([("d", 10, [A])]))
    assert refuse(bench, "d", A) == [
        ResultsImmovable(["d"], [A], ["a lock"]),
        ReplicasMissing([("d", [])]),  # every order is answered
    ]
    bench.handle(AcquireReplicas([("d", 10, [A, B])]))
    [gather] = bench.gathers
    bench.deliver()  # this one lost it
    other = B if gather.worker == A else A
    assert refuse(bench, "d", other) == [
        ResultsImmovable(["d"], [other], ["a lock"]),
        ReplicasMissing([("d", [gather.worker])]),
    ]


def test_one_that_was_freed_meanwhile_is_no_matter():
    bench = Bench()
    bench.run("x", deps=["d"], holders=[("d", 10, [A])])
    bench.handle(FreeKeys(["x", "d"]))
    assert refuse(bench, "d", A) == [ResultsImmovable(["d"], [A], ["a lock"])]


# ---------------------------------------------------------------- networks


def bound_socket() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    return sock


def port_and_worker(sock: socket.socket, i: int) -> tuple[int, str]:
    return sock.getsockname()[1], get_worker().address


GATE = threading.Event()


def wait_for_gate() -> bool:
    return GATE.wait(30)


def name_of_type(obj: object) -> str:
    return type(obj).__name__


def close(sock: socket.socket) -> None:
    sock.close()


@gen_cluster(client=True, nthreads=[("", 1)] * 2)
async def test_tasks_on_a_socket_run_where_it_is(c, s, a, b):
    """As lightgbm does it: a task makes a socket, tiny tasks look at it, and an idle worker takes some of them."""
    for round in range(3):
        sock = c.submit(bound_socket, key=f"socket-{round}", workers=[a.address])
        found = await c.gather(c.map(port_and_worker, [sock] * 20, range(20), pure=False))
        assert {address for _, address in found} == {a.address}
        assert len({port for port, _ in found}) == 1
        await c.submit(close, sock)


@gen_cluster(client=True, nthreads=[("", 1)] * 2)
async def test_a_task_that_prefers_another_worker_by_its_data_follows(c, s, a, b):
    lock = c.submit(threading.Lock, key="lock", workers=[a.address])
    big = c.submit(bytes, 10_000_000, key="big", workers=[b.address])
    await wait([lock, big])
    GATE.clear()
    busy = c.submit(wait_for_gate, workers=[a.address])
    used = c.submit(lambda lock, big: (get_worker().address, len(big)), lock, big)
    await async_poll_for(lambda: s.tasks["lock"].immovable)
    GATE.set()
    assert await used == (a.address, 10_000_000)
    assert await busy
    [reason] = s.tasks["lock"].immovable.values()
    assert "cannot pickle '_thread.lock' object" in reason


@gen_cluster(client=True, nthreads=[("", 1)] * 2)
async def test_two_on_different_workers_are_one_clear_error(c, s, a, b):
    x = c.submit(threading.Lock, key="x", workers=[a.address])
    y = c.submit(threading.Lock, key="y", workers=[b.address])
    both = c.submit(lambda x, y: None, x, y, key="both")
    with pytest.raises(
        ImmovableDataError, match="'both' can run nowhere: it needs 'x', which cannot leave"
    ) as caught:
        await both
    assert a.address in str(caught.value)
    assert b.address in str(caught.value)
    assert "cannot pickle '_thread.lock' object" in str(caught.value)
    assert await c.submit(lambda x: "here", x) == "here"


@gen_cluster(client=True, nthreads=[("", 1)] * 2)
async def test_gather_says_which_where_and_why(c, s, a, b):
    x = c.submit(threading.Lock, key="x", workers=[a.address])
    for direct in (True, False):
        with pytest.raises(TypeError, match=r"Could not serialize result 'x' of type _thread.lock") as caught:
            await c.gather(x, direct=direct)
        assert isinstance(caught.value, ImmovableDataError)
        assert a.address in str(caught.value)
    await async_poll_for(lambda: s.tasks["x"].immovable)


@gen_cluster(client=True, nthreads=[("", 1)] * 2)
async def test_retirement_computes_it_anew(c, s, a, b):
    x = c.submit(threading.Lock, key="x", workers=[a.address], allow_other_workers=True)
    kept = c.submit(inc, 1, key="kept", workers=[a.address], allow_other_workers=True)
    await c.gather([c.submit(name_of_type, x), kept], errors="skip")
    await c.retire_workers([a.address])
    assert await c.submit(lambda x: get_worker().address, x) == b.address
    assert await kept == 2


@gen_cluster(client=True, nthreads=[("", 1)] * 2)
async def test_replicate_refuses_and_copies_the_others(c, s, a, b):
    x = c.submit(threading.Lock, key="x", workers=[a.address])
    y = c.submit(inc, 1, key="y", workers=[a.address])
    with pytest.raises(ImmovableDataError, match=f"replicate: 'x' cannot leave {a.address}"):
        await c.replicate([x, y])
    assert "y" in b.data
    await c.rebalance()
    assert "x" in a.data
