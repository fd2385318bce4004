"""U1, U3, U5, U6: calls led to somebody else or back to their caller, and names of others."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

from securecall.address import Address, parse_address
from securecall.errors import Reason, SecurecallError
from securecall.keys.trust import Act, How
from securecall.policy import Policy, SecurityLevel
from securecall.rtp.srtp import SrtpProfile, SrtpSession
from securecall.secret import Secret
from securecall.sip.message import Message
from securecall.testing import edits
from securecall.testing.attacks.careless import payload, speech
from securecall.testing.attacks.outcome import Attack, Outcome, control, limit, ours
from securecall.testing.attacks.stage import PLAIN, PROVIDER, Stage, person, stage
from securecall.testing.bare_dtls import BarePeer, play
from securecall.testing.evil_link import Inner
from securecall.testing.evil_provider import Mode
from securecall.testing.mallory_proxy import Dialogue
from securecall.transport.dtls import DtlsCertificate

MALLORY: Final = f"sip:mallory@{PROVIDER}"


def _pose_as_mallory(message: Message, dialogue: Dialogue, to_callee: bool) -> Message:  # noqa: FBT001
    """The caller's From becomes hers on the way out, and his again on the way back."""
    theirs, hers = f"alice@{PROVIDER}", f"mallory@{PROVIDER}"
    key = "From" if message.from_.tag == dialogue.caller_tag else "To"
    value = message.need(key.lower())
    swapped = value.replace(theirs, hers) if to_callee else value.replace(hers, theirs)
    message.headers.replace(key, swapped)
    return message


async def _spliced(s: Stage, *, hide_caller: bool) -> None:
    """Alice calls Mallory, who leads the call on to Bob, fingerprints intact."""
    bobs = s.mallory.proxy.ways[f"bob@{PROVIDER}"]
    s.mallory.route(MALLORY, bobs.host, bobs.port, name=bobs.name, target=s.bob.sip)
    if hide_caller:
        s.mallory.tamper.append(_pose_as_mallory)
    _ = await s.dial(to=MALLORY, seconds=0.2)


async def _spliced_unnoticed(folder: Path) -> Outcome:
    async with stage(folder, policy=PLAIN, acquainted=False, mode=Mode.TAP) as s:
        await _spliced(s, hide_caller=True)
        outcome = s.ended()
        outcome.demand(s.error is None and s.bob.calls, f"it did not connect: {s.error}")
        for call in s.bob.calls:
            outcome.demand("mallory" in call.peer, "Bob knows who called")
        outcome.got = "Alice dialled Mallory and talked with Bob, who believes Mallory called"
    return outcome


async def _splice(folder: Path, *, hide_caller: bool) -> Outcome:
    """Mallory is a contact of both."""
    async with (
        stage(folder, mode=Mode.TAP) as s,
        person(folder, "mallory", s.mallory, Policy()) as she,
    ):
        s.alice.knows(she)
        s.bob.knows(she)
        await _spliced(s, hide_caller=hide_caller)
        outcome = s.refused(
            Reason.ADDRESS_NOT_OWNED, Reason.IDENTITY_CHANGED, Reason.IDENTITY_MISMATCH
        )
        outcome.demand(s.answering_began, "it never reached Bob")
    return outcome


U1: Final[Attack] = (
    control("people who ask for no identity", _spliced_unnoticed),
    ours("to Bob, as from Alice", partial(_splice, hide_caller=False)),
    ours("to Bob, as from Mallory", partial(_splice, hide_caller=True)),
)


async def _talks_to_itself(folder: Path) -> Outcome:  # noqa: ARG001
    """Ends that do not look for themselves: in DTLS, and in SRTP with one key both ways."""
    mirror = DtlsCertificate.generate()
    one, other = (
        BarePeer(client=True, certificate=mirror),
        BarePeer(client=False, certificate=mirror),
    )
    play(one, other)
    outcome = Outcome()
    outcome.demand(one.done and other.done, "it noticed its own certificate")
    profile, key = SrtpProfile.SRTP_AEAD_AES_256_GCM, bytes(range(44))
    speaker = SrtpSession(profile, Secret(key), Secret(bytes(44)))
    listener = SrtpSession(profile, Secret(bytes(44)), Secret(key))
    heard = [payload(listener.unprotect(speaker.protect(packet))) for packet in speech()]
    outcome.demand(heard == [payload(packet) for packet in speech()], "it noticed its own voice")
    outcome.got = "it took its own certificate and its own voice for the peer's"
    return outcome


async def _led_back(folder: Path) -> Outcome:
    async with stage(folder, mode=Mode.TAP) as s:
        own = s.mallory.proxy.ways[f"alice@{PROVIDER}"]
        s.mallory.route(s.bob.sip, own.host, own.port, name=own.name)
        s.bob.client = s.alice.client  # who answers is Alice herself
        _ = await s.dial()
        return s.refused(Reason.SELF_IDENTITY, Reason.ADDRESS_NOT_OWNED)


async def _to_herself(folder: Path) -> Outcome:
    async with stage(folder, mode=Mode.TAP) as s:
        s.bob.client = s.alice.client
        _ = await s.dial(to=s.alice.sip)
        return s.refused(Reason.SELF_IDENTITY)


async def _own_fingerprint(folder: Path) -> Outcome:
    async with stage(folder, mode=Mode.TAP) as s:
        offered: list[str] = []

        def reflect(sdp: str, to_callee: bool) -> str:  # noqa: FBT001 - an SdpTamper
            if to_callee:
                offered[:] = edits.fingerprints_of(sdp)
                return sdp
            return edits.fingerprints(*offered)(sdp)

        s.mallory.tamper_sdp.append(reflect)
        _ = await s.dial()
        return s.refused(Reason.SELF_IDENTITY)


async def _own_offer(folder: Path) -> Outcome:
    async with stage(folder, mode=Mode.TAP) as s:
        offers: list[bytes] = []

        def reflect(message: Message, _dialogue: Dialogue, to_callee: bool) -> Message:  # noqa: FBT001
            if to_callee:
                offers.append(message.body)
            elif message.body:
                message.body = offers[0].replace(b"a=setup:actpass", b"a=setup:active")
            return message

        s.mallory.tamper.append(reflect)
        _ = await s.dial()
        return s.refused(Reason.SELF_IDENTITY)


U3: Final[Attack] = (
    control("ends that do not look for themselves", _talks_to_itself),
    ours("a call led back to its caller", _led_back),
    ours("a call to oneself", _to_herself),
    ours("own fingerprint in the answer", _own_fingerprint),
    ours("own offer as the answer", _own_offer),
)


class NaiveTrust:
    """Trust as most messengers keep it: whoever shows a signed claim first owns the name.

    Attributes:
        owner: The root fingerprint first seen under an address.
        verified: Root fingerprints that were compared once, whatever their address.
    """

    def __init__(self) -> None:
        """Know nobody."""
        self.owner: dict[Address, bytes] = {}
        self.verified: set[bytes] = set()

    def meet(self, root_fp: bytes, *addresses: Address) -> str:
        """Somebody proves this root and claims these addresses: what they count for."""
        for address in addresses:
            if self.owner.setdefault(address, root_fp) != root_fp:
                return "changed"
        return "verified" if root_fp in self.verified else "pinned"


_BOB: Final = parse_address(f"sip:bob@{PROVIDER}")
_EVE: Final = parse_address(f"sip:eve@{PROVIDER}")


async def _naive_claim(folder: Path) -> Outcome:  # noqa: ARG001
    naive = NaiveTrust()
    _ = naive.meet(b"eve", _EVE)
    naive.verified.add(b"eve")
    outcome = Outcome(got="a verified contact counts as a verified Bob")
    outcome.demand(naive.meet(b"eve", _EVE, _BOB) == "verified", "the claim is not believed")
    return outcome


async def _claims_bob(folder: Path, *, bob_known: bool) -> Outcome:
    """Eve, whom Alice verified, claims Bob's address; the server routes his calls to her."""
    async with stage(folder, acquainted=False, mode=Mode.SWAP, inner=Inner.IMPERSONATE) as s:
        contacts = s.alice.client.contacts
        eve = s.mallory.self_.root.fingerprint
        contacts.apply(contacts.event(Act.PIN, _EVE, eve, How.CONTACT))
        contacts.apply(contacts.event(Act.VERIFY, _EVE, eve, How.QR))
        if bob_known:
            s.alice.knows(s.bob)
        before = contacts.find(s.bob.address)
        call = await s.dial()
        if bob_known:
            outcome = s.refused(Reason.IDENTITY_CHANGED, Reason.ADDRESS_NOT_OWNED)
            outcome.demand(contacts.find(s.bob.address) == before, "what is known of Bob changed")
        else:
            outcome = s.ended()
            level = call.security.level
            outcome.demand(level is SecurityLevel.OPPORTUNISTIC, f"level {level.name}")
            outcome.got = "a first contact, labelled so; her verification counts for her own name"
    return outcome


async def _answers_as_herself(folder: Path) -> Outcome:
    """The server routes Bob's calls to Eve, who is honest about who she is."""
    async with (
        stage(folder, mode=Mode.TAP) as s,
        person(folder, "eve", s.mallory, Policy()) as eve,
    ):
        s.alice.knows(eve)
        hers = s.mallory.proxy.ways[f"eve@{PROVIDER}"]
        s.mallory.route(s.bob.sip, hers.host, hers.port, name=hers.name, target=eve.sip)
        contacts = s.alice.client.contacts
        before = contacts.find(s.bob.address)
        s.bob.client = eve.client
        _ = await s.dial()
        outcome = s.refused(Reason.ADDRESS_NOT_OWNED, Reason.IDENTITY_CHANGED)
        outcome.demand(contacts.find(s.bob.address) == before, "what is known of Bob changed")
    return outcome


U5: Final[Attack] = (
    control("trust that belongs to a key alone", _naive_claim),
    ours("she claims Bob's address, and he is known", partial(_claims_bob, bob_known=True)),
    limit("she claims Bob's address, and nobody knows him", partial(_claims_bob, bob_known=False)),
    ours("she answers there as herself", _answers_as_herself),
)


async def _naive_spoof(folder: Path) -> Outcome:  # noqa: ARG001
    naive = NaiveTrust()
    outcome = Outcome(got="whoever called first owns the name; the real Alice is the impostor")
    outcome.demand(naive.meet(b"mallory", _BOB) == "pinned", "the first caller is not pinned")
    outcome.demand(naive.meet(b"bob", _BOB) == "changed", "the real one is believed")
    return outcome


async def _spoofed(folder: Path) -> Outcome:
    async with stage(folder, acquainted=False, mode=Mode.TAP) as s:
        contacts, alice = s.bob.client.contacts, s.alice
        async with person(folder / "spoof", "alice", s.mallory, Policy()) as spoof:
            s.alice = spoof  # whose From says Alice
            _ = await s.dial(seconds=0.2)
            first = s.bob.calls[0]
        outcome = s.ended()
        outcome.demand(first.security.level is SecurityLevel.OPPORTUNISTIC, "not a first contact")
        outcome.demand(not contacts.is_pinned(alice.address), "her key is pinned for Alice's name")
        s.alice = alice
        try:
            call = await s.dial(seconds=0.2)
        except SecurecallError as e:
            outcome.problems.append(f"the real Alice is refused: {e}")
            return outcome
        outcome.demand(s.error is None, f"the real Alice is refused: {s.error}")
        outcome.demand(call.security.level is SecurityLevel.OPPORTUNISTIC, "not a first contact")
        outcome.level = call.security.level
        outcome.got = "a first contact that left no trace; then the real Alice, as new"
    return outcome


U6: Final[Attack] = (
    control("trust in whoever calls first", _naive_spoof),
    ours("a fresh key under Alice's name, then Alice", _spoofed),
)
