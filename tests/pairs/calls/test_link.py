"""Two links over a simulated path: DTLS, identity, keys, countersignature."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field

import pytest

from securecall.address import Address, Scheme
from securecall.calls import link as linking
from securecall.calls.countersign import CallRecord, Countersigner, Party
from securecall.calls.link import LinkIdentity, SecureLink
from securecall.calls.negotiation import (
    Agreement,
    LocalMedia,
    build_answer,
    build_offer,
    read_answer,
)
from securecall.errors import Reason, SecurityError
from securecall.keys.device import DeviceKey
from securecall.keys.handshake import CallRole, PeerClaim
from securecall.keys.identity import RootKey
from securecall.keys.statement import build_statement
from securecall.media.description import Fingerprint
from securecall.transport import dtls
from securecall.transport.dtls import DtlsCertificate

UNIX = int(time.time())


@dataclass
class Person:
    name: str
    judged: list[PeerClaim] = field(default_factory=list)
    refuse: SecurityError | None = None

    def __post_init__(self) -> None:
        self.root = RootKey.generate()
        self.device = DeviceKey.generate(self.name)
        self.address = Address(Scheme.SIP, self.name, "example.com")
        self.certificate = DtlsCertificate.generate()
        self.statement = build_statement(
            self.root,
            seq=UNIX * 1000,
            iat=UNIX,
            exp=UNIX + 86_400,
            addresses=(self.address,),
            devices=(self.device,),
        )

    def judge(self, claim: PeerClaim) -> None:
        self.judged.append(claim)
        if self.refuse is not None:
            raise self.refuse

    def media(self, port: int) -> LocalMedia:
        digest = self.certificate.digest
        return LocalMedia(
            fingerprint=Fingerprint(digest.algorithm, digest.value),
            host="127.0.0.1",
            port=port,
            codecs=("opus",),
        )

    def identity(self, peer: Person) -> LinkIdentity:
        return LinkIdentity(
            statement=self.statement,
            device=self.device,
            root_fp=self.root.fingerprint,
            own_address=str(self.address),
            expected_peer=str(peer.address),
            judge=self.judge,
        )


def agreements(alice: Person, bob: Person) -> tuple[Agreement, Agreement]:
    offer = build_offer(alice.media(1))
    answer, bobs = build_answer(offer, bob.media(2))
    return read_answer(offer, answer), bobs


def links(
    alice: Person, bob: Person, *, alice_proves: bool = True, bob_proves: bool = True
) -> tuple[SecureLink, SecureLink]:
    alices, bobs = agreements(alice, bob)
    return (
        SecureLink(
            alices,
            alice.certificate,
            alice.identity(bob) if alice_proves else None,
            outgoing=True,
            nonce=bytes(range(32)),
            unix=UNIX,
            strict=alice_proves,
        ),
        SecureLink(
            bobs,
            bob.certificate,
            bob.identity(alice) if bob_proves else None,
            outgoing=False,
            nonce=bytes(range(1, 33)),
            unix=UNIX,
            strict=bob_proves,
        ),
    )


class World:
    """Carries datagrams between two links under a virtual clock, losing some."""

    def __init__(self, a: SecureLink, b: SecureLink, *, loss: float = 0.0, seed: int = 1) -> None:
        self.now = 0.0
        self.ends = (a, b)
        self.seen: tuple[list[linking.LinkOutput], list[linking.LinkOutput]] = ([], [])
        self.transit: list[tuple[float, int, bytes]] = []
        self.loss = loss
        self.chance = random.Random(seed)

    def take(self, end: int, outputs: tuple[linking.LinkOutput, ...]) -> None:
        for output in outputs:
            if isinstance(output, linking.Transmit):
                if self.chance.random() >= self.loss:
                    self.transit.append((self.now + 0.03, 1 - end, output.datagram))
            else:
                self.seen[end].append(output)

    def start(self) -> None:
        for end, side in enumerate(self.ends):
            self.take(end, side.start(now=self.now))

    def run(self, seconds: float = 20.0) -> None:
        until = self.now + seconds
        while True:
            events = [t for t, _, _ in self.transit]
            events += [s.deadline for s in self.ends if s.deadline is not None]
            if not events or min(events) > until:
                return
            self.now = max(self.now, min(events))
            due = [item for item in self.transit if item[0] <= self.now]
            self.transit = [item for item in self.transit if item[0] > self.now]
            for _, end, datagram in due:
                self.take(end, self.ends[end].receive(datagram, now=self.now))
            for end, side in enumerate(self.ends):
                if side.deadline is not None and side.deadline <= self.now:
                    self.take(end, side.expire(now=self.now))

    def secured(self, end: int) -> linking.Secured:
        (found,) = [o for o in self.seen[end] if isinstance(o, linking.Secured)]
        return found

    def failed(self, end: int) -> SecurityError:
        (found,) = [o for o in self.seen[end] if isinstance(o, linking.LinkFailed)]
        assert isinstance(found.error, SecurityError)
        assert not [o for o in self.seen[end] if isinstance(o, linking.Secured)]
        return found.error


@pytest.mark.parametrize(("loss", "seed"), [(0.0, 1), (0.1, 2), (0.2, 3)])
def test_both_ends_share_keys_words_and_identities(loss, seed):
    alice, bob = Person("alice"), Person("bob")
    world = World(*links(alice, bob), loss=loss, seed=seed)
    world.start()
    world.run()
    a, b = world.secured(0), world.secured(1)
    assert a.keys.send == b.keys.receive
    assert a.keys.receive == b.keys.send
    assert a.keys.profile == "SRTP_AEAD_AES_256_GCM"
    assert a.identity is not None
    assert b.identity is not None
    assert a.identity.sas_secret == b.identity.sas_secret
    assert a.identity.sframe_key(CallRole.CALLER, 0) == b.identity.sframe_key(CallRole.CALLER, 0)
    assert a.identity.sframe_key(CallRole.CALLER, 0) != a.identity.sframe_key(CallRole.CALLEE, 0)
    assert alice.judged[0].root_fp == bob.root.fingerprint
    assert bob.judged[0].root_fp == alice.root.fingerprint


def test_an_ack_and_what_answers_share_a_datagram():
    world = World(*links(Person("alice"), Person("bob")))
    carried: list[int] = []
    receive = linking.DtlsEndpoint.receive

    def count(end: linking.DtlsEndpoint, datagram: bytes, now: float) -> tuple[dtls.Output, ...]:
        outputs = receive(end, datagram, now)
        carried.append(sum(isinstance(o, dtls.ApplicationData) for o in outputs))
        return outputs

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(linking.DtlsEndpoint, "receive", count)
        world.start()
        world.run()
    assert world.secured(0) is not None
    assert carried.count(2) >= 4
    assert max(carried) == 2


@pytest.mark.parametrize(
    ("alice_proves", "bob_proves"), [(False, True), (True, False), (False, False)]
)
def test_where_one_end_has_no_identity_the_link_is_plain_and_says_so(alice_proves, bob_proves):
    world = World(
        *links(Person("alice"), Person("bob"), alice_proves=alice_proves, bob_proves=bob_proves)
    )
    world.start()
    world.run()
    assert world.secured(0).identity is None
    assert world.secured(1).identity is None


def test_a_refusal_by_one_end_ends_both():
    alice, bob = Person("alice"), Person("bob")
    bob.refuse = SecurityError("not today", reason=Reason.DISTRUSTED)
    world = World(*links(alice, bob))
    world.start()
    world.run()
    assert world.failed(1).reason is Reason.DISTRUSTED
    world.failed(0)


def test_a_peer_that_vanishes_in_mid_handshake_ends_in_a_timeout():
    world = World(*links(Person("alice"), Person("bob")))
    world.start()
    world.run(0.1)
    world.loss = 1.0
    world.transit.clear()
    world.run(40.0)
    assert world.failed(0).reason is Reason.HANDSHAKE_TIMEOUT
    assert world.failed(1).reason is Reason.HANDSHAKE_TIMEOUT
    assert world.now < 17.0


def test_the_account_of_the_call_is_signed_over_the_link():
    alice, bob = Person("alice"), Person("bob")
    pair = links(alice, bob)
    world = World(*pair)
    world.start()
    world.run(5.0)
    record = CallRecord(
        caller=party(alice),
        callee=party(bob),
        bind=world.secured(0).identity.bind,  # type: ignore[union-attr] # proven above
        srtp_profile="SRTP_AEAD_AES_256_GCM",
        group="X25519MLKEM768",
    )
    signers = [
        Countersigner(record, we_call=True, sign=alice.device.sign),
        Countersigner(record, we_call=False, sign=bob.device.sign),
    ]
    for side, signer in zip(pair, signers, strict=True):
        side.countersign_with(signer, lambda: (UNIX, 30))
    world.take(0, pair[0].propose_record(now=world.now))
    world.run(5.0)
    for signer in signers:
        assert signer.outcome is not None
        assert signer.outcome.theirs is not None
    world.take(0, pair[0].close(now=world.now))
    world.run(1.0)
    assert linking.PeerClosed() in world.seen[1]


def party(person: Person) -> Party:
    return Party(
        address=str(person.address),
        root_fp=person.root.fingerprint,
        device_id=person.device.id,
        device_public=person.device.public,
    )
