"""The real dialogues of the identity handshake in the hands of an attacker, in all orders.

An *end* is a person's `Dialogue` for one call, with what that person believes of the call. Which
key the inner TLS proved is an argument, so an attacker may be anywhere between two ends: outside
the TLS (which holds order and integrity, so ends are only led to each other, or cut), or, as if
TLS held nothing but the peer's key, free to deliver any message of any session to any end.
"""

from __future__ import annotations

import copy
import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from securecall.address import parse_address
from securecall.errors import ProtocolError, SecurityError
from securecall.keys import identity_dialogue
from securecall.keys.device import DeviceKey
from securecall.keys.identity import RootKey
from securecall.keys.identity_dialogue import CallFacts, Dialogue, PeerClaim
from securecall.keys.identity_messages import CallRole, FrameReader, MessageType
from securecall.keys.statement import build_statement, parse_statement
from securecall.secret import Secret

UNIX = 1_764_000_000
Message = tuple[MessageType, bytes]

# Signatures are checked again and again over the same few statements: remember what came of it.
remembered = functools.lru_cache(maxsize=256)(parse_statement)


@dataclass(frozen=True)
class Person:
    """Somebody with a root, a device and an address."""

    name: str
    root: RootKey
    device: DeviceKey
    address: str
    statement: bytes

    @classmethod
    def named(cls, name: str, *claims: str) -> Person:
        seed = hashlib.sha256(name.encode()).digest()
        root = RootKey.from_seed(Secret(seed))
        device = DeviceKey.from_seed(f"{name}-phone", Secret(seed[::-1]))
        address = f"sip:{name}@clinic.example"
        statement = build_statement(
            root,
            seq=UNIX * 1000,
            iat=UNIX,
            exp=UNIX + 86_400,
            addresses=[parse_address(a) for a in claims or (address,)],
            devices=[device],
        )
        return cls(name, root, device, address, statement)


ALICE, BOB = Person.named("alice"), Person.named("bob")
# She claims everybody's address: whether she may is for the judge, who comes later.
MALLORY = Person.named("mallory", ALICE.address, BOB.address, "sip:mallory@clinic.example")


@dataclass(frozen=True)
class End:
    """What one person believes of one call.

    Attributes:
        owner: Whose end it is.
        client: TLS client.
        role: In the call.
        expects: The address dialled or signalled.
        bind, sent, received: Short names of the DTLS association and of the descriptions.
        claims: The address the owner gives.
        nonce: Its first byte; the others are zero.
    """

    owner: Person
    client: bool
    role: CallRole
    expects: str
    bind: str = "x"
    sent: str = ""
    received: str = ""
    claims: str = ""
    nonce: int = 0

    def facts(self) -> CallFacts:
        """As the handshake is given them."""
        owner = self.owner
        ours, theirs = ("one", "two") if self.client else ("two", "one")
        return CallFacts(
            tls_client=self.client,
            call_role=self.role,
            statement=owner.statement,
            own_root_fp=owner.root.fingerprint,
            device_id=owner.device.id,
            device_key=owner.device.public,
            own_address=self.claims or owner.address,
            expected_peer=self.expects,
            fp_sent=digest(self.sent or ours),
            fp_received=digest(self.received or theirs),
            bind=digest(self.bind),
        )


def digest(name: str) -> bytes:
    """64 bytes by a name."""
    return hashlib.sha512(name.encode()).digest()


class Running:
    """A real dialogue under way, and all it said."""

    def __init__(self, end: End, peer_key: bytes) -> None:
        self.end = end
        self.judged: tuple[PeerClaim, ...] = ()
        self.took: tuple[Message, ...] = ()
        self.failure: Exception | None = None
        self.dialogue = Dialogue(
            end.facts(),
            peer_key=peer_key,
            nonce=bytes([end.nonce]).ljust(32, b"\0"),
            unix=UNIX,
            judge=lambda claim: None,
        )
        self.said = _messages(self.dialogue.begin())

    def fork(self) -> Running:
        """Another from here on."""
        twin = copy.copy(self)
        twin.dialogue = copy.copy(self.dialogue)
        twin.dialogue._steps = list(self.dialogue._steps)
        return twin

    @property
    def awaits(self) -> MessageType | None:
        """What it takes next."""
        steps = self.dialogue._steps
        return steps[0][0] if steps and self.failure is None else None

    @property
    def complete(self) -> bool:
        """Both DONEs, and nothing failed."""
        return self.dialogue.complete and self.failure is None

    @property
    def accepted(self) -> PeerClaim | None:
        """Who the peer is to it, once every check passed."""
        return self.dialogue._peer if self.failure is None else None

    def take(self, message: Message) -> None:
        """Give it one message."""
        self.took = (*self.took, message)
        try:
            self.said = (*self.said, *_messages(self.dialogue.receive(*message)))
        except (ProtocolError, SecurityError) as e:
            self.failure = e

    @property
    def frame_keys(self) -> bytes:
        """What the keys of the frames depend on, besides the two TLS secrets."""
        dialogue = self.dialogue
        return self.end.facts().bind + dialogue.nonces + b"".join(dialogue.identity_hashes)


def _messages(frames: bytes) -> tuple[Message, ...]:
    reader = FrameReader()
    reader.feed(frames)
    found = []
    while message := reader.next():
        found.append(message)
    return tuple(found)


def start(one: End, other: End) -> tuple[Running, Running]:
    """Two ends whose inner TLS runs from one to the other."""
    return (
        Running(one, other.owner.device.public),
        Running(other, one.owner.device.public),
    )


def orders(one: Running, other: Running) -> Iterator[tuple[Running, Running]]:
    """Every state that two ends reach over a TLS that keeps order, wherever it is cut."""
    waiting, seen = [(one, other)], set()
    while waiting:
        pair = waiting.pop()
        yield pair
        for at in (0, 1):
            me, peer = pair[at], pair[1 - at]
            if me.awaits is None or len(me.took) >= len(peer.said):
                continue
            mine = me.fork()
            mine.take(peer.said[len(me.took)])
            following = (mine, peer) if at == 0 else (peer, mine)
            key = tuple(len(r.took) for r in following)
            if key not in seen:
                seen.add(key)
                waiting.append(following)


def deliveries(
    one: Running, other: Running, elsewhere: tuple[Message, ...]
) -> Iterator[tuple[Running, Running]]:
    """Every state two ends reach where any message said anywhere so far may be given to either.

    That is every reordering, loss, repetition, reflection and splice; a message of another kind
    than the awaited one is tried too, and ends that branch.
    """
    waiting, seen = [(one, other)], set()
    while waiting:
        pair = waiting.pop()
        yield pair
        pool = dict.fromkeys((*pair[0].said, *pair[1].said, *elsewhere))
        for at in (0, 1):
            me = pair[at]
            if me.awaits is None:
                continue
            for message in pool:
                mine = me.fork()
                mine.take(message)
                following = (mine, pair[1]) if at == 0 else (pair[0], mine)
                key = tuple((r.took, r.failure is None) for r in following)
                if mine.failure is None and key not in seen:
                    seen.add(key)
                    waiting.append(following)
                elif mine.failure is not None:
                    yield following


def require_agreement(one: Running, other: Running) -> None:
    """What holds at every moment, for both; over any channel that proves the peer's key."""
    for me, peer in ((one, other), (other, one)):
        claim = me.accepted
        if claim is None:
            assert not me.complete, "nobody is done with somebody unknown"
            continue
        ours, theirs = me.end.facts(), peer.end.facts()
        assert claim.root_fp == theirs.own_root_fp, "the root is that of the key"
        assert claim.bind == ours.bind, "on this association"
        assert claim.call_role is ours.call_role.other, "in the other role"
        assert claim.own_address == (ours.expected_peer or claim.own_address), "as called"
        assert claim.expected_address in (ours.own_address, ""), "who called us"
    if one.complete and other.complete and one.frame_keys == other.frame_keys:
        ours, theirs = one.end.facts(), other.end.facts()
        assert ours.bind == theirs.bind
        assert ours.call_role is theirs.call_role.other
        assert (ours.fp_sent, ours.fp_received) == (theirs.fp_received, theirs.fp_sent)
        assert one.accepted.own_address == theirs.own_address  # type: ignore[union-attr] # complete
        assert other.accepted.own_address == ours.own_address  # type: ignore[union-attr] # complete


def require_mutual(one: Running, other: Running) -> None:
    """What a channel that keeps order adds: no end is done before the other accepted it."""
    require_agreement(one, other)
    for me, peer in ((one, other), (other, one)):
        if me.complete:
            assert peer.accepted is not None, "done, and the peer did not accept us"
            assert peer.failure is None
            assert peer.accepted.root_fp == me.end.owner.root.fingerprint
            assert me.dialogue.nonces == peer.dialogue.nonces
            assert me.dialogue.identity_hashes == peer.dialogue.identity_hashes


def with_memory(patch) -> None:
    """Let dialogues remember which statements hold."""
    patch.setattr(identity_dialogue, "parse_statement", remembered)


def honest(caller: Person, callee: Person, *, caller_is_client: bool, **more) -> tuple[End, End]:
    """Two ends of one call that should succeed, the TLS client first."""
    one = End(caller, caller_is_client, CallRole.CALLER, callee.address, nonce=1, **more)
    two = End(callee, not caller_is_client, CallRole.CALLEE, caller.address, nonce=2, **more)
    return (one, two) if caller_is_client else (two, one)


def other_call(end: End, number: int) -> End:
    """The same person's end of a call at the same time, over another association."""
    return replace(end, bind=f"{end.bind}{number}", nonce=end.nonce + 16 * number)
