"""The handshake as such, without sockets: who is let in, who is told what, and that nothing else gets through."""

from __future__ import annotations

from collections.abc import Callable, Generator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distributed.comm import handshake
from distributed.comm.handshake import HandshakeFailed, Hello, Outcome, Step, accept, initiate
from distributed.exceptions import AuthenticationError, ProtocolError, ProtocolVersionError
from distributed.security import ClusterKey

KEY = ClusterKey(bytes(range(32)))
OTHER = ClusterKey(bytes(32))
HELLO_I = Hello(1, "1.0", "boot", "here", 1)
HELLO_A = Hello(1, "1.1", "boot", "there", 2)

Tamper = Callable[[str, bytes], bytes]
Side = Generator[Step, bytes, Outcome]


class Party:
    """One side being driven: what it has to send, what it still needs, how it ended."""

    def __init__(self, generator: Side) -> None:
        self.generator = generator
        self.inbox = b""
        self.outcome: Outcome | None = None
        self.error: Exception | None = None
        self.step = next(generator)
        self.outbox = self.step.out

    @property
    def done(self) -> bool:
        return self.outcome is not None or self.error is not None

    def receive(self, data: bytes) -> None:
        self.inbox += data
        while not self.done and len(self.inbox) >= self.step.need:
            due, self.inbox = self.inbox[: self.step.need], self.inbox[self.step.need :]
            try:
                self.step = self.generator.send(due)
                self.outbox += self.step.out
            except StopIteration as stop:
                self.outcome = stop.value
                self.outbox += self.outcome.out
            except HandshakeFailed as failed:
                self.error = failed.error
                self.outbox += failed.reply


def converse(initiator: Side, acceptor: Side, tamper: Tamper = lambda who, data: data) -> tuple[Party, Party]:
    """Let two sides talk until nobody says anything more."""
    one, two = Party(initiator), Party(acceptor)
    while one.outbox or two.outbox:
        out, one.outbox = one.outbox, b""
        two.receive(tamper("initiator", out))
        out, two.outbox = two.outbox, b""
        one.receive(tamper("acceptor", out))
    return one, two


def sides(
    initiator_key: ClusterKey | None = KEY,
    acceptor_key: ClusterKey | None = KEY,
    bindings: tuple[bytes, bytes] = (b"", b""),
) -> tuple[Side, Side]:
    return (
        initiate(initiator_key, peer="tcp://a:1", binding=bindings[0], hello=HELLO_I),
        accept(acceptor_key, peer="tcp://i:2", binding=bindings[1], hello=HELLO_A),
    )


@pytest.mark.parametrize("key", [KEY, None])
def test_equal_keys_let_both_in_and_introduce_them(key: ClusterKey | None) -> None:
    one, two = converse(*sides(key, key))
    assert one.outcome is not None
    assert two.outcome is not None
    assert one.outcome.peer == HELLO_A
    assert two.outcome.peer == HELLO_I
    assert one.inbox == two.inbox == b""


def test_different_keys_are_named_on_both_sides() -> None:
    for party in converse(*sides(KEY, OTHER)):
        assert isinstance(party.error, AuthenticationError)
        assert KEY.id in str(party.error)
        assert OTHER.id in str(party.error)
        assert KEY.text() not in str(party.error)
        assert "\n" not in str(party.error)


@pytest.mark.parametrize(("keys", "named"), [((None, KEY), KEY.id), ((KEY, None), KEY.id)])
def test_insecure_against_a_key_is_said_on_both_sides(
    keys: tuple[ClusterKey | None, ClusterKey | None], named: str
) -> None:
    for party in converse(*sides(*keys)):
        assert isinstance(party.error, AuthenticationError)
        assert "--insecure" in str(party.error)
        assert named in str(party.error)


def test_another_version_is_named_on_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    initiator, acceptor = sides()
    one = Party(initiator)
    two = Party(acceptor)
    out = one.outbox[:8] + (77).to_bytes(2, "little") + one.outbox[10:]
    two.receive(out)
    assert isinstance(two.error, ProtocolVersionError)
    assert "77" in str(two.error)
    one.receive(two.outbox)
    assert isinstance(one.error, ProtocolVersionError)


def test_another_channel_is_refused() -> None:
    """A relay between two TLS connections has another certificate on each side."""
    one, two = converse(*sides(bindings=(b"certificate of the relay", b"my certificate")))
    assert isinstance(one.error, AuthenticationError)
    assert isinstance(two.error, AuthenticationError)


def test_a_mirror_is_refused() -> None:
    """Sending a side's own bytes back at it proves nothing: the roles are part of the proof."""
    acceptor = Party(accept(KEY, peer="tcp://i:2"))
    mirrored = Party(initiate(KEY, peer="tcp://a:1"))
    acceptor.receive(mirrored.outbox)
    opening, acceptor.outbox = acceptor.outbox, b""
    mirrored.receive(mirrored.outbox)  # its own opening, reflected
    own_proof = mirrored.outbox[len(opening) :]
    acceptor.receive(own_proof)
    assert isinstance(acceptor.error, AuthenticationError)


def test_a_replayed_proof_is_refused() -> None:
    recorded: list[bytes] = []

    def record(who: str, data: bytes) -> bytes:
        if who == "initiator":
            recorded.append(data)
        return data

    converse(*sides(), tamper=record)
    again = Party(accept(KEY, peer="tcp://i:2"))
    for data in recorded:
        again.receive(data)
    assert isinstance(again.error, AuthenticationError)
    assert "cannot prove it" in str(again.error)


def test_an_acceptor_that_cannot_prove_itself_is_refused() -> None:
    def forge(who: str, data: bytes) -> bytes:
        if who == "acceptor" and len(data) not in (0, 64):
            return data[:8] + bytes(32) + data[40:]
        return data

    one, _ = converse(*sides(), tamper=forge)
    assert isinstance(one.error, AuthenticationError)
    assert "cannot prove it" in str(one.error)


def test_no_nonce_is_used_twice() -> None:
    openings = {Party(initiate(KEY, peer="")).outbox for _ in range(100)}
    assert len(openings) == 100


@settings(max_examples=300)
@given(st.binary(max_size=300))
def test_any_bytes_are_refused_and_leave_no_trace(data: bytes) -> None:
    for party in (Party(accept(KEY, peer="tcp://i:2")), Party(initiate(KEY, peer="tcp://a:1"))):
        party.receive(data)
        assert party.outcome is None
        if len(data) >= 64:
            assert isinstance(party.error, ProtocolError)


@settings(max_examples=300)
@given(
    st.integers(0, 10**6), st.integers(1, 255), st.sampled_from(["initiator", "acceptor"]), st.integers(0, 1)
)
def test_one_flipped_byte_never_lets_a_wrong_peer_in(at: int, flip: int, who: str, turn: int) -> None:
    """Whatever byte before the greetings is changed on the way, not both sides think all is well."""
    turns = {"initiator": 0, "acceptor": 0}

    def tamper(speaker: str, data: bytes) -> bytes:
        if not data:
            return data
        turns[speaker] += 1
        if speaker != who or turns[speaker] != turn + 1:
            return data
        position = at % min(len(data), 64 if turn == 0 else 40)
        return data[:position] + bytes([data[position] ^ flip]) + data[position + 1 :]

    one, two = converse(*sides(), tamper=tamper)
    assert not (one.outcome and two.outcome)


@given(st.binary(min_size=1, max_size=200))
def test_a_malformed_greeting_is_refused(data: bytes) -> None:
    def tamper(who: str, out: bytes) -> bytes:
        if who == "initiator" and len(out) not in (64, 32, 0):
            return len(data).to_bytes(4, "little") + data
        return out

    _, two = converse(*sides(), tamper=tamper)
    assert two.outcome is None or two.outcome.peer is not None
    if two.error is not None:
        assert isinstance(two.error, ProtocolError)


@pytest.mark.parametrize("length", [0, handshake.MAX_HELLO_NBYTES + 1, 2**32 - 1])
def test_a_greeting_of_impossible_length_is_refused(length: int) -> None:
    def tamper(who: str, out: bytes) -> bytes:
        return length.to_bytes(4, "little") if who == "initiator" and len(out) not in (64, 32, 0) else out

    _, two = converse(*sides(), tamper=tamper)
    assert isinstance(two.error, ProtocolError)
