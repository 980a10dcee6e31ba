"""What runs where: one record for each program that ``dcluster`` keeps on some host."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from distributed.deploy.ssh_hosts import Host
from distributed.deploy.ssh_process import RemoteProcess


class State(Enum):
    """How far a place has come. ``FAILED`` and ``STOPPED`` are ends."""

    CONNECTING = "connecting"
    STARTING = "starting"
    RUNNING = "running"
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def ended(self) -> bool:
        return self in (State.FAILED, State.STOPPED)


@dataclass
class Place:
    """A scheduler or the workers of one host.

    Attributes
    ----------
    role : str
        ``"scheduler"`` or ``"worker"``.
    label : str
        Name of the host; unique among the workers. The scheduler's has its port.
    detail : str
        Why it failed; its address when it runs.
    nworkers, nthreads, memory : int
        What the scheduler says of the workers here; memory in bytes, 0 for no limit.
    """

    role: str
    label: str
    host: Host
    state: State = State.CONNECTING
    detail: str = ""
    nworkers: int = 0
    nthreads: int = 0
    memory: int = 0
    process: RemoteProcess | None = None

    @property
    def prefix(self) -> str:
        """What stands before each of its lines."""
        return f"[ {self.role} {self.label} ]"
