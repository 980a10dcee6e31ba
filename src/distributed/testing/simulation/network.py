"""The clock and the wires: events in the order of their time, messages in the order of their stream."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from distributed.protocol.codec import decode, encode
from distributed.protocol.frames import FrameReader
from distributed.protocol.messages import ClientHeartbeat, Message, WorkerHeartbeat

SIGNS_OF_LIFE = (WorkerHeartbeat, ClientHeartbeat)

#: Events that a failing run tells.
REMEMBERED = 120

#: Events that may happen at one and the same time: some work goes on in turns that follow at once, but not for ever.
MOST_AT_ONCE = 10_000

#: Of a network that is not thorough, one turn in so many is validated.
SELDOM = 100


class Network:
    """What happens next.

    Parameters
    ----------
    seed : int
        Every choice of a run comes from it.
    slow : float
        Mean seconds that a message is under way; each of them takes its own time.
    codec : bool
        Every message becomes bytes on its way; else the very objects arrive, as between parties of one process.
    thorough : bool
        Every turn is validated; else one of :data:`SELDOM`.
    """

    def __init__(self, seed: int, slow: float = 0.002, *, codec: bool = True, thorough: bool = True) -> None:
        self.random = Random(seed)
        self.codec = codec
        self.thorough = thorough
        self.frozen: dict[object, float] = {}  # parties that do nothing, until when
        self.nturns = 0
        self.now = 0.0
        self.slow = slow
        self.nevents = 0
        self.nmessages = 0
        self._events: deque[tuple[float, str, object]] = deque(maxlen=REMEMBERED)
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._serial = 0
        self._nstill = 0

    def after(self, delay: float, action: Callable[..., None], *args: Any) -> None:
        """``action(*args)`` is called ``delay`` seconds from now."""
        self.at(self.now + delay, action, *args)

    def at(self, when: float, action: Callable[..., None], *args: Any) -> None:
        """``action(*args)`` is called at this time, after all that was asked for the same time before."""
        self._serial += 1
        heapq.heappush(self._heap, (when, self._serial, action, args))

    def delay(self) -> float:
        """How long something takes on its way: mostly short, sometimes ten times as long."""
        mean = self.slow if self.random.random() < 0.9 else 10 * self.slow
        return self.random.expovariate(1 / mean)

    def step(self) -> None:
        """Let the next event happen."""
        when, _, action, args = heapq.heappop(self._heap)
        self._nstill = self._nstill + 1 if when <= self.now else 0
        assert self._nstill < MOST_AT_ONCE, f"{action} and others go on for ever while no time passes"
        self.now = max(self.now, when)
        if self.frozen and self._waits(action, args):
            return
        self.nevents += 1
        action(*args)

    def _waits(self, action: Callable[..., None], args: tuple[Any, ...]) -> bool:
        """What would happen in a frozen party happens when it goes on, in the same order."""
        party = getattr(action, "__self__", None)
        until = self.frozen.get(party.owner if isinstance(party, End) else party)
        if until is None:
            return False
        self.at(until, action, *args)
        return True

    def freeze(self, party: object, seconds: float) -> None:
        """A party does nothing for a while, as a process that was stopped; what it is sent waits."""
        if party not in self.frozen:
            self.frozen[party] = self.now + seconds
            self.at(self.frozen[party], self.thaw, party)

    def thaw(self, party: object) -> None:
        """It goes on."""
        self.frozen.pop(party, None)

    def worth_validating(self) -> bool:
        """Validation takes longer than all else: every turn of some networks, few turns of most."""
        self.nturns += 1
        return self.thorough or self.nturns % SELDOM == 0

    def note(self, who: str, what: object) -> None:
        """For the account of a failing run."""
        self._events.append((self.now, who, what))

    @property
    def events(self) -> list[str]:
        """The last events in words."""
        return [f"{when:9.4f} {who:8s} {str(what)[:400]}" for when, who, what in self._events]


class Wire:
    """One connection: two ordered streams, which may be cut; each side notices that in its own time.

    Parameters
    ----------
    network : Network
    name : str
        For the account.
    """

    def __init__(self, network: Network, name: str) -> None:
        self.network = network
        self.name = name
        self.cut_off = False
        self.ends = (End(self, 0), End(self, 1))

    def cut(self) -> None:
        """Nothing that is under way arrives."""
        if self.cut_off:
            return
        self.cut_off = True
        self.network.note(self.name, "cut")
        for end in self.ends:
            self.network.after(self.network.delay(), end.notice)


class End:
    """One side of a :class:`Wire`. ``receive`` takes a list of messages, ``closed`` is called when it is noticed."""

    def __init__(self, wire: Wire, side: int) -> None:
        self.wire = wire
        self.side = side
        self.receive: Callable[[list[Any]], None] = lambda messages: None
        self.closed: Callable[[], None] = lambda: None
        self.owner: object = None  # the party on this side
        self._arrives = 0.0
        self._reader = FrameReader()

    def send(self, messages: Sequence[Any]) -> None:
        """They arrive together, after all that was sent before."""
        network = self.wire.network
        if not messages or self.wire.cut_off:
            return
        network.nmessages += len(messages)
        for message in messages:
            if type(message) not in SIGNS_OF_LIFE:
                network.note(self.wire.name + " <>"[self.side + 1], message)
        peer = self.wire.ends[1 - self.side]
        if network.codec and isinstance(messages[0], Message):
            messages = peer.through_the_wire(messages)
        self._arrives = max(self._arrives, network.now + network.delay())
        network.at(self._arrives, peer.arrive, list(messages))

    def hang_up(self) -> None:
        """Close this side: what was sent arrives, then the other side notices; nothing more is heard here."""
        network = self.wire.network
        self.receive, self.closed = lambda messages: None, lambda: None
        self._arrives = max(self._arrives, network.now + network.delay())
        network.at(self._arrives, self.wire.ends[1 - self.side].hung_up)

    def hung_up(self) -> None:
        if not self.wire.cut_off:
            self.wire.cut_off = True
            self.closed()

    def arrive(self, messages: list[Any]) -> None:
        if not self.wire.cut_off:
            self.receive(messages)

    def notice(self) -> None:
        self.closed()

    def through_the_wire(self, messages: Sequence[Message]) -> list[Message]:
        """What the other side makes of the bytes: no object is shared, and only what may travel does."""
        data = memoryview(b"".join(encode(messages)))
        received: list[Message] = []
        while data:
            buffer = self._reader.get_buffer(len(data))
            n = min(len(buffer), len(data))
            buffer[:n] = data[:n]
            data = data[n:]
            for frame in self._reader.buffer_updated(n):
                received += decode(frame.body, frame.buffers)
        return received
