"""Every exception of the package that users or other parts may want to catch.

::

    Exception
    ├── ProtocolError                 the other side does not speak this protocol, or broke its rules
    │   └── ProtocolVersionError      it speaks another version of it
    ├── SecurityError
    │   ├── AuthenticationError       the two sides do not hold the same cluster key
    │   ├── KeyNotFoundError          no cluster key anywhere
    │   ├── KeyFileError              the key file cannot be trusted or read
    │   └── UntrustedPathError        another user of the machine could replace or write a file of ours
    ├── RemoteError                   a remote operation failed and its own exception cannot be rebuilt here
    ├── Reschedule                    raised by a task: run me elsewhere
    ├── KilledWorker                  a task was running on too many workers as they died
    ├── LostDataError                 scattered data is gone with the workers that held it
    ├── PythonMismatchError           code came from a Python of another version and cannot run here
    ├── MemoryError
    │   └── WorkersFullError          no worker has memory for a task, and nobody releases any
    ├── TypeError
    │   └── ImmovableDataError        a result cannot be pickled, and is asked for where it is not
    └── OSError
        ├── CommClosedError           the connection is gone
        │   ├── UnknownOutcomeError   ... and whether what was asked for has been done is not known
        │   └── RPCClosed             the rpc object itself was closed
        ├── ConnectError              a connection could not be made
        │   └── ConnectTimeoutError   ... in time (also a TimeoutError)
        ├── ListenError               an address cannot be listened at
        │   └── AddressInUseError     somebody else listens there
        └── TimeoutError
            └── WorkerStartTimeoutError
"""

from __future__ import annotations

from typing import Any

TimeoutError = TimeoutError  # a public name of this module, and the builtin


class ProtocolError(Exception):
    """The peer sent something that is not, or must not be, said in this protocol."""


class ProtocolVersionError(ProtocolError):
    """The peer speaks another version of this protocol."""


class SecurityError(Exception):
    """Base of what goes wrong with keys and proofs. Trying again does not help."""


class AuthenticationError(SecurityError):
    """The two sides of a connection do not hold the same cluster key."""


class KeyNotFoundError(SecurityError):
    """No cluster key was given and none lies in the configuration directory."""


class KeyFileError(SecurityError):
    """The file of the cluster key cannot be read, or others could have read or written it."""


class UntrustedPathError(SecurityError):
    """A file or directory of ours could be owned, replaced or written by another user of the machine."""


class CommClosedError(OSError):
    """The connection was closed by either side or by the network."""


class UnknownOutcomeError(CommClosedError):
    """The connection broke in the middle of something that is not safe to ask for twice: it may or may not be done."""


class FatalCommClosedError(CommClosedError):
    """The connection was closed and trying again will not help."""


class RPCClosed(CommClosedError):
    """The ``rpc`` object or the connection pool was closed before or during the call."""


class _Sentence(OSError):
    """Shown as its sentence alone, without the number that the system gives it."""

    def __str__(self) -> str:
        return self.strerror or super().__str__()


class ConnectError(_Sentence):
    """A connection could not be made; the message names the address and what to check."""


class ConnectTimeoutError(ConnectError, TimeoutError):
    """A connection could not be made in time."""


class ListenError(_Sentence):
    """It is not possible to listen at an address; the message says why and what to do."""


class AddressInUseError(ListenError):
    """The address to listen on is taken."""


class RemoteError(Exception):
    """A remote operation failed, and its exception was not or could not be rebuilt on this side.

    Attributes
    ----------
    text : str
        One line that says what happened.
    exception, traceback : bytes, Serialized or None
        The remote exception as it arrived, still packed.
    """

    def __init__(self, text: str, exception: Any = None, traceback: Any = None) -> None:
        super().__init__(text)
        self.text = text
        self.exception = exception
        self.traceback = traceback

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.text, self.exception, self.traceback)


class Reschedule(Exception):
    """Raised inside a task: give this task back to the scheduler, which runs it again, maybe on another worker."""


class ImmovableDataError(TypeError):
    """A result that cannot be pickled is asked for where it is not.

    Raised by ``gather`` and ``result``, and by a task that would need two such results of different workers. Names the
    key, the worker that holds it, and why it cannot leave.
    """


class KilledWorker(Exception):
    """A task was running on too many workers as they died, so it is not tried again.

    Parameters
    ----------
    task : str, int, float, bytes or tuple
        Key of the task.
    last_worker : str
        Address of the last worker that died with it.
    allowed_failures : int
        How many such deaths the configuration ``distributed.scheduler.allowed-failures`` forgives.
    reason : str, optional
        The workers and what is known of each death: exit status or signal, and memory.
    """

    task: Any
    last_worker: str
    allowed_failures: int

    def __init__(self, task: Any, last_worker: str, allowed_failures: int, reason: str = "") -> None:
        super().__init__(task, last_worker, allowed_failures, reason)
        self.task = task
        self.last_worker = last_worker
        self.allowed_failures = allowed_failures
        self.reason = reason

    def __str__(self) -> str:
        who = self.reason or f"the last one at {self.last_worker}"
        return (
            f"Task {self.task!r} was running on {self.allowed_failures + 1} workers as they died: {who}. The task "
            "itself probably kills its worker: look at the worker's log, and at the memory the task takes"
        )


class PythonMismatchError(RuntimeError):
    """Code was compiled by a Python of another minor version than the one that was to run it."""


class WorkersFullError(MemoryError):
    """No worker has memory for a task, and nobody releases any; or for handing out a result."""


class NoWorkerError(Exception):
    """A task was not run, for there are no workers, and nobody waits for any longer."""


class NoValidWorkerError(Exception):
    """A task was not run, for no worker that is there may run it, and it has waited for long enough."""


class LostDataError(Exception):
    """Scattered data is gone with the workers that held it; no task can compute it again."""


class WorkerStartTimeoutError(TimeoutError):
    """Fewer workers than asked for arrived in time.

    Parameters
    ----------
    available_workers, expected_workers : int
        How many there are, how many there should be.
    timeout : float
        Seconds waited.
    """

    def __init__(self, available_workers: int, expected_workers: int, timeout: float) -> None:
        super().__init__(available_workers, expected_workers, timeout)
        self.available_workers = available_workers
        self.expected_workers = expected_workers
        self.timeout = timeout

    def __str__(self) -> str:
        return f"Only {self.available_workers}/{self.expected_workers} workers arrived after {self.timeout}"
