"""Messages to the scheduler while they are being built: what is alike is merged until the shell drains them."""

from __future__ import annotations

from distributed.protocol.messages import (
    Key,
    LongRunning,
    Message,
    ReplicasAdded,
    ReplicasMissing,
    ResultsImmovable,
    TaskError,
    TasksErred,
    TasksFinished,
    TasksReturned,
)


class Outbox:
    """Open columns, in the order in which they were opened."""

    __slots__ = (
        "_erred",
        "_finished",
        "_immovable",
        "_long_running",
        "_missing",
        "_replicas",
        "_returned",
        "messages",
        "nreplicas",
    )

    def __init__(self) -> None:
        self.nreplicas = 0  # ReplicasAdded since the registration
        self._reset()

    def _reset(self) -> None:
        self.messages: list[Message] = []
        self._finished: TasksFinished | None = None
        self._erred: TasksErred | None = None
        self._returned: dict[str, TasksReturned] = {}
        self._long_running: LongRunning | None = None
        self._replicas: ReplicasAdded | None = None
        self._missing: ReplicasMissing | None = None
        self._immovable: ResultsImmovable | None = None

    def drain(self) -> list[Message]:
        """Everything since the last drain; columns are closed."""
        messages = self.messages
        if messages:
            self._reset()
        return messages

    def keep_outcomes(self) -> None:
        """Drop everything but TasksFinished and TasksErred: the rest means nothing to another scheduler."""
        kept = [message for message in self.messages if isinstance(message, TasksFinished | TasksErred)]
        self._reset()
        self.nreplicas = 0
        self.messages.extend(kept)

    def send(self, message: Message) -> None:
        """A message that is never merged."""
        self.messages.append(message)

    def finished(self) -> TasksFinished:
        """The open TasksFinished."""
        if self._finished is None:
            self._finished = TasksFinished([], [], [], [], [], [])
            self.messages.append(self._finished)
        return self._finished

    def erred(self, key: Key, seq: int, error: TaskError) -> None:
        if self._erred is None:
            self._erred = TasksErred([], [], [])
            self.messages.append(self._erred)
        self._erred.keys.append(key)
        self._erred.seqs.append(seq)
        self._erred.errors.append(error)

    def returned(self, key: Key, seq: int, reason: str) -> TasksReturned:
        """Merge one task into the open TasksReturned of this reason."""
        message = self._returned.get(reason)
        if message is None:
            message = self._returned[reason] = TasksReturned([], [], reason, [], [])
            self.messages.append(message)
        message.keys.append(key)
        message.seqs.append(seq)
        return message

    def long_running(self, key: Key, seq: int) -> None:
        if self._long_running is None:
            self._long_running = LongRunning([], [])
            self.messages.append(self._long_running)
        self._long_running.keys.append(key)
        self._long_running.seqs.append(seq)

    def replica_added(self, key: Key, nbytes: int, work: bytes = b"") -> None:
        if self._replicas is None:
            self._replicas = ReplicasAdded([], [])
            self.nreplicas += 1
            self.messages.append(self._replicas)
        added = self._replicas
        if work or added.works:
            added.works += [b""] * (len(added.keys) - len(added.works))
            added.works.append(work)
        self._replicas.keys.append(key)
        self._replicas.nbytes.append(nbytes)

    def replica_missing(self, key: Key, addresses: list[str], work: bytes = b"") -> None:
        if self._missing is None:
            self._missing = ReplicasMissing([])
            self.messages.append(self._missing)
        self._missing.missing.append((key, addresses))
        if work:
            self._missing.works.append((key, work))

    def immovable(self, key: Key, holder: str, reason: str) -> None:
        if self._immovable is None:
            self._immovable = ResultsImmovable([], [], [])
            self.messages.append(self._immovable)
        self._immovable.keys.append(key)
        self._immovable.holders.append(holder)
        self._immovable.reasons.append(reason)
