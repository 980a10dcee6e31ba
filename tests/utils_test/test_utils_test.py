"""The helpers that need no network, and those that need processes."""

# ruff: noqa: F811  (fixtures are imported by name)
from __future__ import annotations

import asyncio
import io
import logging
import os
import pickle
import subprocess
import sys

import dask.config
import pytest

import distributed.utils_test as utils_test
from distributed import Client
from distributed.comm import listen
from distributed.utils_test import (  # noqa: F401
    NO_AMM,
    BlockedExecute,
    BlockedGatherDep,
    BlockedGetData,
    a,
    assert_can_connect_from_everywhere_4_6,
    assert_can_connect_locally_4,
    async_poll_for,
    b,
    captured_handler,
    captured_logger,
    cleanup,
    client,
    client_no_amm,
    cluster,
    cluster_fixture,
    freeze_batched_send,
    gen_cluster,
    gen_test,
    get_cert,
    get_dashboard_port,
    inc,
    loop,
    loop_in_thread,
    map_varying,
    new_config,
    new_config_file,
    poll_for,
    popen,
    process_security,
    raises_with_cause,
    s,
    save_sys_modules,
    slowinc,
    throws,
    tls_config,
    tls_only_security,
    varying,
    wait_for_log_line,
    wait_for_state,
)


def test_every_name_is_there():
    assert [name for name in utils_test.__all__ if getattr(utils_test, name, None) is None] == []


def test_functions_need_no_pytest():
    program = "import sys; from distributed.utils_test import inc; print(inc(1), 'pytest' in sys.modules)"
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert output.split() == ["2", "False"]


# ---------------------------------------------------------------- networks in processes


def test_client_fixture(client, s, a, b):
    assert client.submit(inc, 1).result() == 2
    assert set(client.scheduler_info()["workers"]) == {a["address"], b["address"]}
    assert client.scheduler_info()["address"] == s["address"]


def test_cluster_parts_can_be_killed(loop):
    with cluster() as (scheduler, [one, two]), Client(scheduler["address"], loop=loop) as c:
        one["proc"]().kill()
        one["proc"]().join(5)
        assert not one["proc"]().is_alive()
        poll_for(lambda: set(c.scheduler_info()["workers"]) == {two["address"]})
        assert c.submit(inc, 1).result() == 2


def test_cluster_with_nannies_and_parameters(loop):
    with cluster(nworkers=1, nanny=True, worker_kwargs={"nthreads": 2}) as (scheduler, [worker]):
        with Client(scheduler["address"], loop=loop) as c:
            assert c.nthreads() == {worker["address"]: 2}


def test_cluster_says_what_a_party_failed_with():
    with pytest.raises(TypeError, match="nonsense"), cluster(scheduler_kwargs={"nonsense": 1}):
        pass


def test_popen_interrupts_and_gives_output():
    program = (
        "import time\ntry: print('ready', flush=True); time.sleep(60)\nexcept KeyboardInterrupt: print('bye')"
    )
    with popen([sys.executable, "-c", program], capture_output=True) as process:
        assert wait_for_log_line(b"ready", process.stdout) == b"ready\n"
    assert process.returncode == 0


def test_popen_fails_when_it_has_to_kill():
    program = (
        "import signal, time; signal.signal(2, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
    )
    with pytest.raises(AssertionError, match="did not end within"):
        with popen([sys.executable, "-c", program], capture_output=True, terminate_timeout=0.1) as process:
            wait_for_log_line(b"ready", process.stdout)
    assert process.returncode is not None


def test_wait_for_log_line_shows_what_there_was():
    with pytest.raises(AssertionError, match="first"):
        wait_for_log_line(b"never", io.BytesIO(b"first\nsecond\n"))


# ---------------------------------------------------------------- varying


def test_varying_keeps_its_place_over_pickling():
    function = pickle.loads(pickle.dumps(varying([1, KeyError("k"), 3])))
    assert function() == 1
    with pytest.raises(KeyError):
        pickle.loads(pickle.dumps(function))()
    assert function(1, x=2) == 3
    with pytest.raises(IndexError, match="4th"):
        function()


@gen_cluster(client=True, nthreads=[("", 1)])
async def test_map_varying_with_retries(c, s, w):
    function, arguments = map_varying([[ZeroDivisionError("no"), 1], [2]])
    assert await c.gather(c.map(function, arguments, retries=1)) == [1, 2]


# ---------------------------------------------------------------- waiting


def test_poll_for():
    turns = iter([False, False, True])
    poll_for(lambda: next(turns), period=0.001)
    with pytest.raises(AssertionError, match="did not come true"):
        poll_for(lambda: False, timeout=0.01, period=0.001)


@gen_test()
async def test_async_poll_for():
    turns, failed = iter([False, False, True]), []
    await async_poll_for(lambda: next(turns), timeout=5)
    await async_poll_for(lambda: False, timeout=0.01, fail_func=lambda: failed.append(1))
    assert failed == [1]


@gen_cluster(client=True, nthreads=[("", 1)])
async def test_wait_for_state_on_both_sides(c, s, w):
    future = c.submit(slowinc, 1, delay=0.1, key="x")
    await wait_for_state("x", "executing", w)
    await wait_for_state("x", {"processing", "memory"}, s)
    await c.run(wait_for_state, "x", "memory")
    assert await future == 2


@gen_cluster(client=True, nthreads=[("", 1)])
async def test_freeze_batched_send(c, s, w):
    with freeze_batched_send(w.stream) as held:
        future = c.submit(inc, 1, key="x")
        await wait_for_state("x", "memory", w)
        await async_poll_for(lambda: len(held) > 0)
        assert s.tasks["x"].state == "processing"
    assert await future == 2


# ---------------------------------------------------------------- workers that wait


@gen_cluster(client=True, nthreads=[("", 1)], Worker=BlockedExecute)
async def test_blocked_execute(c, s, w):
    future = c.submit(inc, 1, key="x")
    await w.in_execute.wait()
    assert w.tasks["x"].state != "memory"
    w.block_execute.set()
    await w.in_execute_exit.wait()
    assert w.tasks["x"].state != "memory"
    w.block_execute_exit.set()
    assert await future == 2


@gen_cluster(client=True, nthreads=[("", 1)])
async def test_blocked_gather_dep(c, s, w):
    async with BlockedGatherDep(s.address) as blocked:
        x = c.submit(inc, 1, workers=[w.address], key="x")
        y = c.submit(inc, x, workers=[blocked.address], key="y")
        await blocked.in_gather_dep.wait()
        assert "x" not in blocked.data
        blocked.block_gather_dep.set()
        assert await y == 3


@gen_cluster(client=True, nthreads=[("", 1)])
async def test_blocked_get_data(c, s, w):
    async with BlockedGetData(s.address) as blocked:
        x = c.submit(inc, 1, workers=[blocked.address], key="x")
        y = c.submit(inc, x, workers=[w.address], key="y")
        await blocked.in_get_data.wait()
        assert not y.done()
        blocked.block_get_data.set()
        assert await y == 3


# ---------------------------------------------------------------- logs, exceptions, environment


def test_captured_logger_and_handler():
    logger = logging.getLogger("distributed.captured")
    with captured_logger(logger, level="DEBUG", propagate=False) as log:
        logger.debug("deep")
    assert log.getvalue() == "deep\n"
    handler = logging.StreamHandler(io.StringIO())
    logger.addHandler(handler)
    try:
        with captured_handler(handler) as log:
            logger.warning("here")
    finally:
        logger.removeHandler(handler)
    assert log.getvalue() == "here\n"
    assert handler.stream.getvalue() == ""


def test_raises_with_cause():
    def fail():
        try:
            throws(1)
        except RuntimeError as error:
            raise KeyError("outer") from error

    with raises_with_cause(KeyError, "outer", RuntimeError, "hello"):
        fail()
    with pytest.raises(AssertionError, match="cause 1"), raises_with_cause(KeyError, None, OSError, None):
        fail()
    with (
        pytest.raises(AssertionError, match="does not match"),
        raises_with_cause(KeyError, "x", OSError, None),
    ):
        fail()
    with pytest.raises(AssertionError, match="not raised"), raises_with_cause(KeyError, None, OSError, None):
        pass


def test_new_config():
    before = dask.config.get("distributed.scheduler.allowed-failures")
    with new_config({"distributed": {"scheduler": {"allowed-failures": 99}}}):
        assert dask.config.get("distributed.scheduler.allowed-failures") == 99
        assert dask.config.get("distributed.comm.timeouts.connect")
    assert dask.config.get("distributed.scheduler.allowed-failures") == before


def test_new_config_file():
    program = "import dask; print(dask.config.get('mine'))"
    with new_config_file({"mine": 5}):
        assert dask.config.get("mine") == 5
        output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert output.stdout.strip() == "5"
    assert dask.config.get("mine", None) is None


def test_save_sys_modules(tmp_path):
    (tmp_path / "module_for_one_test.py").write_text("")
    with save_sys_modules():
        sys.path.insert(0, str(tmp_path))
        import module_for_one_test  # noqa: F401
    assert "module_for_one_test" not in sys.modules
    assert str(tmp_path) not in sys.path


@gen_cluster(config=NO_AMM, nthreads=[])
async def test_no_amm_is_accepted(s):
    assert s.workers == {}


# ---------------------------------------------------------------- connecting, certificates


@gen_test()
async def test_who_can_connect():
    options = {"security": process_security()}
    listener = await listen("tcp://127.0.0.1:0", lambda comm: comm.abort(), **options)
    port = int(listener.contact_address.rpartition(":")[2])
    await assert_can_connect_locally_4(port, **options)
    listener.stop()
    everywhere = await listen("tcp://:0", lambda comm: comm.abort(), **options)
    port = int(everywhere.contact_address.rpartition(":")[2])
    await assert_can_connect_from_everywhere_4_6(port, **options)
    with pytest.raises(AssertionError, match="could be made"):
        await utils_test.assert_cannot_connect(f"tcp://127.0.0.1:{port}", **options)
    everywhere.stop()
    await asyncio.sleep(0)


def test_dashboard_port():
    class WithDashboard:
        scheduler_address = "tcp://x:1"
        services: dict[str, int] = {"dashboard": 8787}  # noqa: RUF012

        def scheduler_info(self):
            return {"services": self.services}

    assert get_dashboard_port(WithDashboard()) == 8787
    WithDashboard.services = {}
    with pytest.raises(ValueError, match="no dashboard"):
        get_dashboard_port(WithDashboard())


def test_certificates_are_valid():
    import ssl

    pytest.importorskip("cryptography")
    context = ssl.create_default_context(cafile=get_cert("tls-ca-cert.pem"))
    context.load_cert_chain(get_cert("tls-cert.pem"), get_cert("tls-key.pem"))
    context.load_cert_chain(get_cert("tls-key-cert.pem"))
    assert os.stat(get_cert("tls-key.pem")).st_mode & 0o077 == 0
    with pytest.raises(ValueError, match="there is no test certificate"):
        get_cert("nothing.pem")
    assert tls_config()["distributed"]["comm"]["tls"]["ca-file"] == get_cert("tls-ca-cert.pem")
    assert tls_only_security().require_encryption
