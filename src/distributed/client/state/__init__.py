"""The client's state machine: pure, no I/O, no clocks, no threads."""

from distributed.client.state.machine import ClientState
from distributed.client.state.records import Call, ClientTask, Function, Waiter
from distributed.client.state.table import TRANSITIONS

__all__ = ["TRANSITIONS", "Call", "ClientState", "ClientTask", "Function", "Waiter"]
