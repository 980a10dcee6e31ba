"""What programs read and call on any live server."""

from __future__ import annotations

from distributed.comm import connect
from distributed.core import Server, rpc
from distributed.protocol.messages import WorkerClosing, WorkerEvent
from distributed.utils_test import (
    async_poll_for,
    captured_logger,
    gen_test,
    process_security,
    save_sys_modules,
)


class Callback:
    """As tornado's PeriodicCallback, without the period."""

    def __init__(self) -> None:
        self.nstarts = 0
        self.running = False

    def start(self) -> None:
        self.nstarts += 1
        self.running = True

    def stop(self) -> None:
        self.running = False

    def is_running(self) -> bool:
        return self.running


class Service:
    def __init__(self, server, answer=None):
        self.server, self.answer, self.stopped = server, answer, False

    def listen(self, address):
        self.host, self.port = address

    def stop(self):
        self.stopped = True


@gen_test()
async def test_connections_are_counted():
    security = process_security()
    async with Server(security=security) as a, Server(security=security) as b:
        assert a.get_connection_counters() == dict.fromkeys(
            ["incoming_comms_open", "incoming_comms_active", "outgoing_comms_open", "outgoing_comms_active"],
            0,
        )
        assert await a.rpc(b.address).echo(data=[1, "x"]) == [1, "x"]
        assert (a.outgoing_comms_open, b.incoming_comms_open) == (1, 1)
        assert a.listener is a.listeners[0]


@gen_test()
async def test_stop_takes_no_new_connections_and_keeps_those_there_are():
    security = process_security()
    async with Server(security=security) as server:
        async with rpc(server.address, security=security) as remote:
            assert await remote.ping() == "pong"
            server.stop()
            assert await remote.ping() == "pong"
            try:
                comm = await connect(server.address, security=security, timeout=1)
            except OSError:
                comm = None
            assert comm is None


@gen_test()
async def test_a_comm_accepted_elsewhere_is_served():
    security = process_security()
    served = []
    async with Server(security=security) as server:
        from distributed.comm import listen

        listener = await listen(
            "tcp://127.0.0.1:0", lambda comm: server.spawn(_serve(server, comm, served)), security=security
        )
        async with rpc(listener.contact_address, security=security) as remote:
            assert await remote.identity() == server.identity()
            assert served == []
        await async_poll_for(lambda: served == [True])
        listener.stop()


async def _serve(server, comm, served):
    await server.handle_comm(comm)
    served.append(True)


@gen_test()
async def test_callbacks_and_services_end_with_the_server():
    callback = Callback()
    async with Server(security=process_security()) as server:
        server.periodic_callbacks["mine"] = callback
        server.start_periodic_callbacks()
        server.start_periodic_callbacks()
        assert callback.nstarts == 1
        server.service_specs = {("first", 1234): (Service, {"answer": 42}), "second": Service}
        server.start_services("127.0.0.1")
        first = server.services["first"]
        assert (first.server, first.answer, first.host) == (server, 42, "127.0.0.1")
        assert server.service_ports == {"first": 1234, "second": 0}
    assert not callback.running
    assert first.stopped


@gen_test()
async def test_digests_and_start_unsafe():
    server = Server(security=process_security())
    assert await server.start_unsafe() is server
    assert server.port > 0
    server.digest_metric("latency", 0.5)
    server.digest_metric("latency", 0.25)
    assert (server.digests_total["latency"], server.digests_max["latency"]) == (0.75, 0.5)
    await server.close()


@gen_test()
async def test_stream_messages_by_name():
    security = process_security()
    seen = []
    server = Server(
        stream_handlers={"WorkerEvent": lambda message, who: seen.append((who, message.topic))},
        security=security,
    )
    async with server:
        streams = []

        async def be_stream(comm):
            streams.append(server.spawn(server.handle_stream(comm, {"who": "me"})))

        server.handlers["be_stream"] = be_stream
        async with rpc(server.address, security=security) as remote:
            await remote.be_stream()
            connection = await remote.live_comm()
            assert remote.comms == {connection: False}
            with captured_logger("distributed.core") as log:
                connection.send_all([WorkerEvent("topic", 1), WorkerClosing("bye")])
                await async_poll_for(lambda: "WorkerClosing" in log.getvalue())
            assert seen == [("me", "topic")]
            remote.close_comms()
            await async_poll_for(lambda: streams[0].done())
            assert await remote.ping() == "pong"


@gen_test()
async def test_uploaded_files_are_imported(tmp_path):
    async with Server(security=process_security(), local_directory=str(tmp_path / "new")) as server:
        with save_sys_modules():
            answer = await server.upload_file("uploaded_module_x.py", "x = 5")
            assert answer == {"status": "OK", "nbytes": 5}
            import uploaded_module_x

            assert uploaded_module_x.x == 5
    assert (tmp_path / "new" / "uploaded_module_x.py").read_text() == "x = 5"
