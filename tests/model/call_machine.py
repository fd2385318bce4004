"""A model checker for the call machine: the real one, every order of inputs, a reference beside it.

The reference knows three things only: what was accepted, what evidence came, and the table of
levels, written here a second time and in another way (a level is the lowest of what each fact
allows). Every order the machine gives is held against it at every step.

Orders are pruned by state. A state is *everything* the machine and the reference hold, all of it
immutable, so two equal states have the same future; how many orders of inputs led to a state is
counted along, and the sums must be the number of orders there are.
"""

from __future__ import annotations

import copy
import enum
import itertools
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace

from securecall.address import parse_address
from securecall.calls import orders as m
from securecall.calls.changes import answer_change
from securecall.calls.machine import CallMachine, State
from securecall.calls.negotiation import Agreement, LocalMedia, build_answer, build_offer
from securecall.calls.signaling import (
    Answered,
    Deferred,
    DigitAnswered,
    DigitPressed,
    DigitsWelcome,
    Ended,
    Offered,
    Refused,
    Ringing,
    TransferProgress,
    TransferRequested,
    TransferStep,
    Trickled,
)
from securecall.calls.text_lines import LocalText
from securecall.calls.video_lines import LocalVideo
from securecall.errors import EndReason, PeerVanished, UsageError
from securecall.keys.trust import TrustState
from securecall.media.description import (
    Candidate,
    Description,
    Direction,
    Fingerprint,
    Keying,
    LocalIce,
    Setup,
    mirrored,
)
from securecall.media.sdes import SUITES, CryptoLine
from securecall.policy import (
    Facts,
    Floor,
    Gate,
    IdentityEvidence,
    Policy,
    SecurityLevel,
    floor_for,
)
from securecall.secret import Secret

NONE, HOP, OPPORTUNISTIC, E2EE, VERIFIED = SecurityLevel
Act = Callable[[CallMachine], tuple[m.Output, ...] | None]
NOW, LATE = 1.0, 1e9


class Violation(AssertionError):
    """The machine ordered what must never be."""


# -- what the world can do ---------------------------------------------------------------------


def _local(number: int) -> LocalMedia:
    host = f"192.0.2.{number}"
    return LocalMedia(
        fingerprint=Fingerprint("sha-256", bytes([number]) * 32),
        host=host,
        port=40_000 + number,
        codecs=("opus", "PCMU"),
        ice_ufrag=f"ufrag{number}",
        ice_pwd=f"password-of-number-{number}",
        candidates=(Candidate("1", 1, "udp", 1, host, 40_000 + number, "host"),),
        cname="c",
        ssrc=number,
        text=LocalText(100 + number),  # agreed on in calls that go out, see `ACTS`
    )


EVES_ADDRESS = parse_address("sip:eve@example.com")
US, PEER, EVE = _local(1), _local(2), _local(3)
WORDLESS = replace(US, text=None)


def _gathered(number: int) -> LocalIce:
    local = _local(number)
    return LocalIce(ufrag=local.ice_ufrag, pwd=local.ice_pwd, candidates=local.candidates)


OURS_ANEW, THEIRS_ANEW = _gathered(11), _gathered(12)


def _changed(description: Description, **changes: object) -> Description:
    audio = replace(description.media[0], **changes)  # type: ignore[arg-type] # any field
    way = {"direction": changes["direction"]} if "direction" in changes else {}
    others = (replace(line, **way) for line in description.media[1:])  # type: ignore[arg-type] # the same
    return replace(description, media=(audio, *others))


OFFER_OF_PEER = build_offer(PEER)
OFFER = build_offer(US)
ANSWER = build_answer(OFFER, PEER)[0]
PLAIN = {"keying": Keying.NONE, "fingerprints": ()}
EVES = {"fingerprints": (EVE.fingerprint,)}
ANSWERS = {  # none of them may start media, but the first
    "answer": Answered(ANSWER),
    "answer in an early dialog": Answered(ANSWER, final=False),
    "answer: RTP/AVP": Answered(_changed(ANSWER, **PLAIN)),
    "answer: RTP/AVP, fingerprint kept": Answered(_changed(ANSWER, keying=Keying.NONE)),
    "answer: SDES": Answered(_changed(ANSWER, keying=Keying.SDES, has_crypto=True)),
    "answer: SDES beside DTLS": Answered(_changed(ANSWER, has_crypto=True)),
    "answer: SHA-1": Answered(_changed(ANSWER, fingerprints=(Fingerprint("sha-1", bytes(20)),))),
    "answer: our own fingerprint": Answered(_changed(ANSWER, fingerprints=(US.fingerprint,))),
    "answer: nobody begins DTLS": Answered(_changed(ANSWER, setup=Setup.ACTPASS)),
}
KEPT, HOLD, MOVED = "re-offer: the same", "re-offer: hold", "re-offer: ICE restart"
HALF = "re-offer: half an ICE restart"
KEEPING = (KEPT, HOLD, MOVED, HALF)  # the association; what they say of the way depends
ANEW = {"ice_ufrag": THEIRS_ANEW.ufrag, "ice_pwd": THEIRS_ANEW.pwd}
REOFFERS = {
    KEPT: {},
    HOLD: {"direction": Direction.SENDONLY},
    "re-offer: other keys": EVES,
    "re-offer: more keys": {"fingerprints": (PEER.fingerprint, EVE.fingerprint)},
    "re-offer: RTP/AVP": PLAIN,
    "re-offer: hold with RTP/AVP": {**PLAIN, "direction": Direction.SENDONLY},
    "re-offer: SDES beside DTLS": {"has_crypto": True},
    MOVED: {
        **ANEW,
        "candidates": THEIRS_ANEW.candidates,
        "host": THEIRS_ANEW.default[0],
        "port": THEIRS_ANEW.default[1],
    },
    "re-offer: ICE restart, other keys": {**ANEW, **EVES},
    HALF: {"ice_ufrag": THEIRS_ANEW.ufrag},
}
OTHER, MORE = "re-offer: other keys", "re-offer: more keys"


def _with_keys(local: LocalMedia) -> LocalMedia:
    """The same end, where a gateway's keys stand in the descriptions."""
    lines = (
        CryptoLine(tag, suite, Secret(bytes([local.ssrc]) * suite.size))
        for tag, suite in enumerate(SUITES.values(), 1)
    )
    return replace(local, crypto=tuple(lines))


GATE_US, GATE_PEER, GATE_EVE = map(_with_keys, (US, PEER, EVE))
FRESH = _with_keys(_local(9)).crypto
GATE_OFFER_OF_PEER = build_offer(GATE_PEER)
GATE_ANSWER = build_answer(build_offer(GATE_US), GATE_PEER)[0]
GATE_PLAIN = {"keying": Keying.NONE, "crypto": (), "has_crypto": False}
EVES_KEY = {"crypto": GATE_EVE.crypto[:1]}
TWO_KEYS = {"crypto": (GATE_PEER.crypto[0], GATE_EVE.crypto[0])}  # of one tag
BESIDE = {"fingerprints": (PEER.fingerprint,)}
GATE_ANSWERS = {  # the same names, of a call whose keys stand in the descriptions
    "answer": {},
    "answer: RTP/AVP": GATE_PLAIN,
    "answer: RTP/AVP, fingerprint kept": {"keying": Keying.NONE},
    "answer: SDES beside DTLS": BESIDE,
    "answer: SHA-1": {"crypto": ()},
    "answer: our own fingerprint": {"crypto": GATE_US.crypto[:1]},
    "answer: nobody begins DTLS": TWO_KEYS,
}
GATE_REOFFERS = {  # OTHER is taken if there is a fresh key of ours
    KEPT: {},
    HOLD: {"direction": Direction.SENDONLY},
    OTHER: EVES_KEY,
    MORE: TWO_KEYS,
    "re-offer: RTP/AVP": GATE_PLAIN,
    "re-offer: hold with RTP/AVP": {**GATE_PLAIN, "direction": Direction.SENDONLY},
    "re-offer: SDES beside DTLS": BESIDE,
    MOVED: ANEW,
    HALF: {"ice_ufrag": THEIRS_ANEW.ufrag},
}
GATE_SIGNALS = {
    **{n: Answered(_changed(GATE_ANSWER, **change)) for n, change in GATE_ANSWERS.items()},
    "answer in an early dialog": Answered(GATE_ANSWER, final=False),
    "answer: SDES": Answered(ANSWER),  # a keying that was not offered, here as there
    **{n: Offered(_changed(GATE_OFFER_OF_PEER, **c)) for n, c in GATE_REOFFERS.items()},
}
SIGNALS = {
    "ringing": Ringing(),
    **ANSWERS,
    **{name: Offered(_changed(OFFER_OF_PEER, **change)) for name, change in REOFFERS.items()},
    "transfer": TransferRequested("sip:eve@example.com", EVES_ADDRESS, number=7),
    "digit": DigitPressed("5"),
    "digit answered": DigitAnswered(taken=True),
    "redirection": TransferRequested("sip:eve@example.com"),
    "our transfer: done": TransferProgress(TransferStep.ANSWERED),
    "stray": DigitsWelcome(),
    "theirs, later": Trickled("0", _gathered(2)),
    "theirs, later, of another way": Trickled("0", THEIRS_ANEW),
    "peer ends": Ended(EndReason.HUNG_UP),
    "peer refuses": Ended(EndReason.SECURITY),
}


def _evidence(
    trust: TrustState | None,
    *,
    keying: Keying = Keying.DTLS_SRTP,
    stale: bool = False,
    gateway: bool = False,
    group: str = "X25519MLKEM768",
    sframe: bool = True,
) -> Facts:
    identity = None
    if trust is not None:
        identity = IdentityEvidence(
            root_fp=bytes(64), device_id="d", trust=trust, stale=stale, group=group
        )
    return Facts(
        keying=keying,
        identity=identity,
        gateway=gateway,
        srtp_profile="SRTP_AEAD_AES_256_GCM",
        sframe=sframe and identity is not None,
    )


EVIDENCE = {
    **{f"evidence: {trust.value}": _evidence(trust) for trust in TrustState},
    **{
        f"evidence: {trust.value}, stale": _evidence(trust, stale=True)
        for trust in (TrustState.UNKNOWN, TrustState.PINNED, TrustState.VERIFIED)
    },
    "evidence: none": _evidence(None),
    "evidence: none, SDES": _evidence(None, keying=Keying.SDES),
    "evidence: none, plain": _evidence(None, keying=Keying.NONE),
    "evidence: verified, plain": _evidence(TrustState.VERIFIED, keying=Keying.NONE),
    "evidence: verified, SDES": _evidence(TrustState.VERIFIED, keying=Keying.SDES),
    "evidence: verified, gateway": _evidence(TrustState.VERIFIED, gateway=True),
    "evidence: verified, not post-quantum": _evidence(TrustState.VERIFIED, group="X25519"),
    "evidence: verified, signed in signalling": _evidence(
        TrustState.VERIFIED, group="", sframe=False
    ),
    "evidence: pinned, signed in signalling": _evidence(TrustState.PINNED, group="", sframe=False),
    "evidence: pinned, no SFrame": _evidence(TrustState.PINNED, sframe=False),
}
CAMERA = LocalVideo(("VP8",), ssrc=11, rtx_ssrc=12)
PEERS_CAMERA = LocalVideo(("VP8",), ssrc=21, rtx_ssrc=22)
WISHES = {"we hold": {"hold": True}, "we show a picture": {"add": CAMERA}}


def _peers(machine: CallMachine, **changes: object) -> Description:
    """What the peer describes, at the way that was agreed on last."""
    agreed = machine._exchange.agreed
    if agreed is not None:
        changes |= {"ice_ufrag": agreed.ice_ufrag, "ice_pwd": agreed.ice_pwd}
        changes |= {"candidates": agreed.candidates}
    return _changed(OFFER_OF_PEER, **changes)


def _answer_to_change(machine: CallMachine, **change: object) -> Answered | Refused:
    """What the peer says to a change of ours; it refuses what was never proposed."""
    proposal = machine._exchange.proposal
    if proposal is None:
        return Refused()
    if machine._floor.sdes:
        change = {id(EVES): EVES_KEY, id(PLAIN): GATE_PLAIN}.get(id(change.pop("how", None)), {})
        (audio,) = proposal.offer.media
        theirs = replace(machine._exchange.agreed.sdes.theirs, tag=audio.crypto[0].tag)
        said = {"crypto": (theirs,), "direction": mirrored(audio.direction), **change}
        return Answered(_changed(proposal.offer, **said))
    change = change.pop("how", {})
    _, agreed = build_answer(OFFER, PEER)  # its name for our keys is all that counts here
    ice = THEIRS_ANEW if proposal.ice is not None else None
    pictures = (PEERS_CAMERA,)
    before = _peers(machine)
    answer, _ = answer_change(before, proposal.offer, agreed, pictures=pictures, ice=ice)
    return Answered(replace(answer, media=tuple(replace(m, **change) for m in answer.media)))  # type: ignore[arg-type] # any field


TAKEN, OTHERS = "our change: taken", "our change: other keys"
UNASKED = "our change: taken, and another way, asked for or not"
GATHERED = "gathered anew"
REPLIES: dict[str, Act] = {
    TAKEN: lambda c: c.receive(_answer_to_change(c), now=NOW),
    OTHERS: lambda c: c.receive(_answer_to_change(c, how=EVES), now=NOW),
    "our change: RTP/AVP": lambda c: c.receive(_answer_to_change(c, how=PLAIN), now=NOW),
    UNASKED: lambda c: c.receive(_answer_to_change(c, how=ANEW), now=NOW),
    "our change: refused": lambda c: c.receive(Refused(), now=NOW),
    "our change: met theirs": lambda c: c.receive(Deferred(), now=NOW),
}


def _signal(machine: CallMachine, name: str) -> object:
    return GATE_SIGNALS.get(name, SIGNALS[name]) if machine._floor.sdes else SIGNALS[name]


RAISES = {"require E2EE": E2EE, "require VERIFIED": VERIFIED}
ACTS: dict[str, Act] = {
    **{n: lambda c, n=n: c.receive(_signal(c, n), now=NOW) for n in SIGNALS},
    **{
        n: lambda c, n=n: c.receive(
            _signal(c, n) if c._floor.sdes else Offered(_peers(c, **REOFFERS[n])), now=NOW
        )
        for n in (KEPT, HOLD)
    },
    **{n: lambda c, f=facts: c.secured(f, now=NOW) for n, facts in EVIDENCE.items()},
    **{n: lambda c, least=level: c.raise_minimum(least) for n, level in RAISES.items()},
    **{n: lambda c, wish=wish: c.change(**wish) for n, wish in WISHES.items()},
    **REPLIES,
    "we look for another way": lambda c: c.restart(OURS_ANEW),
    GATHERED: lambda c: c.regathered(OURS_ANEW),
    "nothing gathered": lambda c: c.regathered(None),
    "ours, later": lambda c: c.gathered(_gathered(1)),
    "we press": lambda c: c.press("5"),
    "we transfer": lambda c: c.transfer(EVES_ADDRESS),
    "we tell": lambda c: c.tell_transfer(TransferProgress(TransferStep.RINGING, number=7)),
    "fresh keys": lambda c: c.bring(FRESH),
    "accept": lambda c: c.accept(GATE_US if c._floor.sdes else WORDLESS, now=NOW),
    "hang up": lambda c: c.hang_up(),
    "busy": lambda c: c.hang_up(EndReason.BUSY),
    "confirm": lambda c: c.confirm_sas(),
    "deny": lambda c: c.deny_sas(),
    "media fails": lambda c: c.media_failed(PeerVanished()),
    "a timer too early": lambda c: c.expire(now=NOW),
    "the deadline": lambda c: c.expire(now=LATE),
}


# -- the reference -----------------------------------------------------------------------------

_BROKEN = (TrustState.CHANGED, TrustState.REVOKED, TrustState.DISTRUSTED)


def ceiling(facts: Facts | None, floor: Floor, *, confirmed: bool, denied: bool) -> SecurityLevel:
    """The table of levels: the lowest that any single fact allows."""
    if facts is None:
        return NONE
    if floor.gateway and facts.keying is not Keying.NONE:
        return HOP  # whatever else there is
    identity = facts.identity
    allowed = [{Keying.NONE: NONE, Keying.SDES: HOP, Keying.DTLS_SRTP: VERIFIED}[facts.keying]]
    allowed.append(HOP if facts.gateway or identity is None else VERIFIED)
    if identity is not None:
        allowed.append(OPPORTUNISTIC if identity.stale or denied else VERIFIED)
        trust = {TrustState.VERIFIED: VERIFIED, TrustState.PINNED: E2EE}
        allowed.append(VERIFIED if confirmed else trust.get(identity.trust, OPPORTUNISTIC))
    return min(allowed)


def passage(facts: Facts | None, floor: Floor, *, confirmed: bool, denied: bool) -> Gate:
    """What the policy lets pass on this evidence; CLOSED ends the call."""
    if facts is None or (floor.identity and facts.identity is None):
        return Gate.CLOSED
    if facts.identity is not None and facts.identity.trust in _BROKEN:
        return Gate.CLOSED
    quantum_safe = facts.identity and facts.sframe and "MLKEM" in facts.identity.group
    if floor.require_pq and not quantum_safe:
        return Gate.CLOSED
    needed = max(floor.minimum, E2EE if floor.pinned else NONE)
    if ceiling(facts, floor, confirmed=confirmed, denied=denied) >= needed:
        return Gate.OPEN
    words = facts.identity is not None and facts.identity.group  # of the identity handshake
    mended = words and ceiling(facts, floor, confirmed=True, denied=denied) >= needed
    forgotten = floor.pinned and facts.identity and facts.identity.trust is TrustState.UNKNOWN
    return Gate.VERIFYING if mended and (needed is VERIFIED or forgotten) else Gate.CLOSED


@dataclass(frozen=True, slots=True)
class Seen:
    """All that matters of what has happened so far."""

    floor: Floor
    accepted: bool = False
    started: bool = False
    facts: Facts | None = None
    confirmed: bool = False
    denied: bool = False
    gate: Gate = Gate.CLOSED
    finished: bool = False
    way: tuple[str, str] = (PEER.ice_ufrag, PEER.ice_pwd)
    holding: bool = False
    held: bool = False


@dataclass(frozen=True, slots=True)
class Configuration:
    """One policy, one floor, one side of the call."""

    policy: Policy
    floor: Floor
    outgoing: bool

    def begin(self) -> Run:
        """A call at its beginning."""
        machine = CallMachine(self.policy, self.floor, outgoing=self.outgoing)
        sdes = self.floor.sdes
        if self.outgoing:
            _keyed(machine.dial(GATE_US if sdes else US, now=0.0), sdes=sdes)
        else:
            offer = GATE_OFFER_OF_PEER if sdes else OFFER_OF_PEER
            _require(machine.invited(offer, now=0.0) == (m.Send(Ringing()),), "it rings")
        return Run(machine, Seen(self.floor), self.outgoing)


def configurations() -> list[Configuration]:
    """Every policy and floor that differ in what they demand, both sides."""
    policies = [Policy(danger_plain_dtls=True)]
    policies += [
        Policy(minimum=minimum, require_pq=pq)
        for minimum in (None, OPPORTUNISTIC, E2EE, VERIFIED)
        for pq in (False, True)
    ]
    found: dict[Floor, Policy] = {}
    for policy, contact, pinned, direct in itertools.product(policies, *[(False, True)] * 3):
        floor = floor_for(policy, contact_floor=contact, pinned=pinned, direct=direct)
        found.setdefault(floor, policy)
    for sdes in (True, False):  # whoever asks for more is refused at once, which is not for here
        known = {"contact_floor": False, "pinned": False, "direct": False}
        found[floor_for(Policy(), **known, trunk=True, sdes=sdes)] = Policy()
    return [
        Configuration(policy, floor, outgoing)
        for floor, policy in found.items()
        for outgoing in (True, False)
    ]


_numbers: dict[Hashable, int] = {}
_by_identity: dict[int, tuple[Hashable, int]] = {}


def _number(value: Hashable) -> int:
    """Stand for a value, equal for equal ones; hashing whole descriptions each time is slow."""
    known = _by_identity.get(id(value))
    if known is None:
        number = _numbers.setdefault(value, len(_numbers))
        known = _by_identity[id(value)] = (value, number)  # kept, so that no other gets its id
    return known[1]


def parts(machine: CallMachine) -> tuple[Hashable, ...]:
    """All that a machine holds, with what its exchange does: the rest of that stays as it was."""
    held = dict(vars(machine))
    exchange = held.pop("_exchange")
    return (*held.values(), *(getattr(exchange, field.name) for field in fields(exchange)))


def forget() -> None:
    """Keep the values of the walks so far no longer; keys of before mean nothing afterwards."""
    _numbers.clear()
    _by_identity.clear()


class Run:
    """A real machine under way, and the reference beside it."""

    __slots__ = ("machine", "outgoing", "seen")

    def __init__(self, machine: CallMachine, seen: Seen, outgoing: bool) -> None:
        self.machine, self.seen, self.outgoing = machine, seen, outgoing

    @property
    def key(self) -> Hashable:
        """All there is: equal keys, equal futures."""
        return (*map(_number, parts(self.machine)), self.seen)

    def fork(self) -> Run:
        """Another run from here on; what both share is immutable."""
        return Run(copy.copy(self.machine), self.seen, self.outgoing)

    def step(self, name: str) -> None:
        """Do one act, and hold what comes of it against the reference."""
        machine, before = self.machine, self.seen
        held = dict(vars(machine))
        try:
            outputs = ACTS[name](machine) or ()
        except UsageError:
            _require(vars(machine) == held, "a refused act changes nothing")
            return
        if before.finished:
            _require(all(isinstance(o, m.Discard) for o in outputs), "ended, and still orders")
            _require(vars(machine) == held, "ended, and still changes")
            return
        self._note(name, discarded=any(isinstance(o, m.Discard) for o in outputs))
        for output in outputs:
            self._obey(name, output, before)
        self._require_sound(name, outputs)

    def _note(self, name: str, *, discarded: bool) -> None:
        """Take down what the act itself says, whatever the machine makes of it."""
        seen = self.seen
        if name == ("answer" if self.outgoing else "accept") and not seen.accepted:
            self.seen = replace(seen, accepted=True)
        elif name in EVIDENCE and seen.accepted and seen.facts is None:
            _require(not discarded, "evidence that was due is taken")
            self.seen = replace(seen, facts=EVIDENCE[name])
        elif name == "confirm":
            self.seen = replace(seen, confirmed=True)
        elif name == "deny":
            self.seen = replace(seen, denied=True)
        elif name in RAISES and RAISES[name] > seen.floor.minimum:
            _require(seen.facts is None, "more is asked before the evidence is judged, or never")
            floor = replace(seen.floor, minimum=RAISES[name], identity=True)
            self.seen = replace(seen, floor=floor)

    def _obey(self, name: str, output: m.Output, before: Seen) -> None:
        seen = self.seen
        _require(not seen.finished, "nothing is ordered after Finish")
        match output:
            case m.Send(signal=Answered(description=description)):
                _require(seen.accepted, "nothing of ours is described before acceptance")
                _keyed(description, sdes=seen.floor.sdes)
                _silent(seen, *(line.direction for line in description.media))
                kept = (KEPT, HOLD, OTHER) if seen.floor.sdes else (KEPT, HOLD)
                if before.started:
                    kept = kept if seen.floor.sdes else (*KEEPING, GATHERED)
                    _require(name in kept, "a changed association is never agreed to")
            case m.Send(signal=Offered(description=description)):
                least = Gate.OPEN if name in WISHES else Gate.VERIFYING
                _require(seen.gate in (Gate.OPEN, least), "a change of ours, in a call")
                _keyed(description, sdes=seen.floor.sdes)
                self.seen = replace(seen, holding=seen.holding or name == "we hold")
                _silent(self.seen, *(line.direction for line in description.media))
            case m.Send(signal=TransferProgress(step=step)):
                _require(name in ("transfer", "we tell"), "nothing is told that nobody asked")
                heard = step is not TransferStep.FAILED
                _require(heard is (seen.gate is Gate.OPEN), "no transfer before the gate is open")
            case m.Send(signal=TransferRequested()):
                _require(name == "we transfer" and seen.gate is Gate.OPEN, "ours, in a call")
            case m.Send(signal=DigitPressed() | DigitsWelcome()) | m.DigitHeard():
                _require(self._ceiling() is HOP, "no digit where servers on the way hear nothing")
                _require(seen.gate is Gate.OPEN, "no digit before the gate is open")
                _require(name in EVIDENCE or name in ("digit", "we press"), "only what is pressed")
            case m.StartMedia(agreement=agreement):
                _require(seen.accepted and not before.accepted, "media starts at acceptance")
                _require(not seen.started, "media starts once")
                _require(_of_the_peer(agreement, sdes=seen.floor.sdes), "the peer's keys")
                self.seen = replace(seen, started=True)
            case m.Regather():
                _require(
                    not seen.floor.sdes and _renewed(name, seen) == 2, "only another way needs that"
                )
                _require(seen.gate is not Gate.CLOSED, "no other way before there are keys")
            case m.Reconnect(agreement=agreement):
                _require(name in (*REPLIES, GATHERED, "answer"), "a way that both described")
                _require(seen.gate is not Gate.CLOSED, "no other way before there are keys")
                _require(agreement.remote_fingerprints == (PEER.fingerprint,), "the peer's keys")
                way = (agreement.ice_ufrag, agreement.ice_pwd)
                _require(not set(way) & set(seen.way), "new credentials, both")
                self.seen = replace(seen, way=way)
            case m.CheckAlso(ice=ice):
                _require(seen.accepted and seen.started, "no address before acceptance")
                _require((ice.ufrag, ice.pwd) == seen.way, "only of the way in use")
                _require(name.startswith("theirs, later"), "only what the peer says")
            case m.Send(signal=Trickled(ice=ice)):
                _require(seen.accepted, "nothing of ours is described before acceptance")
                _require(ice == _gathered(1), "only what was gathered")
            case m.SetGate(gate=gate):
                if gate is not Gate.CLOSED:
                    _require(seen.accepted and seen.started, "no gate before acceptance")
                    _require(seen.facts is not None, "no gate before evidence")
                self.seen = replace(seen, gate=gate)
            case m.PeerHolds(on=on):
                _require(on is not seen.held and seen.started, "held, or taken back, once")
                _require(not on or name == HOLD, "held by nothing but that")
                self.seen = replace(seen, held=on)
            case m.SetDirection() | m.SetCompanions():
                if isinstance(output, m.SetDirection):
                    _silent(seen, output.direction)
                held = (*KEEPING, GATHERED, *REPLIES, OTHER, "answer")
                _require(seen.started and name in held, "only a change does that")
            case m.Rekey():
                change = name in (OTHER, OTHERS, KEPT, HOLD, "answer")  # the last three: go back
                _require(seen.floor.sdes and change, "only a gateway's keys change")
                _require(seen.gate is Gate.CLOSED, "the gate is closed while keys change")
            case m.SetVideo(video=video):
                _require(seen.gate is Gate.OPEN, "no picture without a call")
                shown = [v.local for v in video]
                asked = [CAMERA] if name in (TAKEN, UNASKED) else []
                _require(shown == asked, "only what we asked for")
                _silent(seen, *(v.direction for v in video))
            case m.PicturesAgreed(shown=shown, seen=theirs):
                _require(theirs <= shown, "nothing is seen that is not shown")
                _require(not (theirs and seen.holding), "nothing is seen of whom we hold")
            case m.SetText(text=text):
                held = (*KEEPING, GATHERED, *REPLIES, "answer")
                _require(seen.started and name in held, "only a change does that")
                _require(text is None or text.local == US.text, "no text but what was agreed on")
                _require(text is None or text.ssrc == 100 + PEER.ssrc, "and the peer's")
            case m.Secured(state=state):
                _require(state.level <= self._ceiling(), "no level above the evidence")
            case m.Finish():
                _require(seen.gate is Gate.CLOSED, "the gate closes before the end")
                self.seen = replace(seen, finished=True)
            case m.Send(signal=Ended() | Refused()) | m.ChangeRefused() | m.Discard():
                pass
            case (
                m.PeerRings()
                | m.TransferAsked()
                | m.TransferTold()
                | m.VideoAsked()
                | m.DigitTold()
            ):
                pass
            case _:
                raise Violation(f"an order nobody expects: {output!r}")

    def _ceiling(self) -> SecurityLevel:
        seen = self.seen
        return ceiling(seen.facts, seen.floor, confirmed=seen.confirmed, denied=seen.denied)

    def _require_sound(self, name: str, outputs: tuple[m.Output, ...]) -> None:
        """What holds between two steps."""
        seen, machine = self.seen, self.machine
        _require(machine.security.level == self._ceiling(), "the level is what the evidence says")
        _require((machine.state is State.ENDED) == seen.finished, "ended is finished")
        due = passage(seen.facts, seen.floor, confirmed=seen.confirmed, denied=seen.denied)
        if seen.finished:
            _require(machine.deadline is None, "nothing is awaited after the end")
        else:
            _require(seen.gate is due, f"the gate is {seen.gate.name}, the policy says {due.name}")
            _require(seen.facts is None or due is not Gate.CLOSED, "what does not suffice ends it")
            waiting = machine.state is not State.ACTIVE
            _require((machine.deadline is not None) == waiting, "whoever waits has a deadline")
            _require(name != "the deadline" or not waiting, "the deadline ends it")
            _require((machine.state is State.ACTIVE) == (due is Gate.OPEN), "ACTIVE is open")
        if name in REOFFERS and not seen.finished:
            refused = any(isinstance(o, m.Send) and isinstance(o.signal, Refused) for o in outputs)
            asks = any(isinstance(o, m.Regather) for o in outputs)
            # a gateway's new keys come under a closed gate, see `Rekey`; said again, they are old
            gate = seen.gate is Gate.CLOSED or (seen.floor.sdes and name == OTHER)
            kept = name in KEEPING and (asks or not _renewed(name, seen))
            _require(refused or gate or kept, "what changes keys, or half of the way, is refused")
        _require(name != "deny" or seen.finished, "words that differ end the call")


def _silent(seen: Seen, *directions: Direction) -> None:
    """Of whom we hold nothing is taken, whatever was asked meanwhile."""
    takes = (Direction.SENDRECV, Direction.RECVONLY)
    _require(not seen.holding or not set(directions) & set(takes), "whom we hold stays so")


def _renewed(name: str, seen: Seen) -> int:
    """How many of the peer's two ICE credentials an offer changes."""
    if name in (KEPT, HOLD):
        return 0
    audio = _changed(OFFER_OF_PEER, **REOFFERS[name]).media[0]
    return sum(
        new != old for new, old in zip((audio.ice_ufrag, audio.ice_pwd), seen.way, strict=True)
    )


def _keyed(description: Description, *, sdes: bool) -> None:
    """Every m-line of ours is refused, or keyed at the endpoints, or for a gateway; never both."""
    for line in description.media:
        if sdes:
            safe = line.keying is Keying.SDES and line.crypto and not line.fingerprints
            _require(line.port == 0 or (safe and line.protocol == "RTP/SAVP"), "no plaintext")
            continue
        safe = line.keying is Keying.DTLS_SRTP and line.fingerprints and not line.has_crypto
        _require(line.port == 0 or (safe and "TLS/RTP" in line.protocol), "no plaintext")


def _of_the_peer(agreement: Agreement, *, sdes: bool) -> bool:
    if sdes:
        return agreement.sdes is not None and agreement.sdes.theirs in GATE_PEER.crypto
    return agreement.sdes is None and agreement.remote_fingerprints == (PEER.fingerprint,)


def _require(holds: object, what: str) -> None:
    if not holds:
        raise Violation(what)


# -- the walks ---------------------------------------------------------------------------------


@dataclass
class Walk:
    """What a walk over all orders of inputs saw.

    Attributes:
        states: Different states.
        steps: Steps taken with the real machine.
        orders: By depth, how many orders of inputs that stands for.
        ends: By key, how many orders of the full depth end there.
    """

    states: int
    steps: int
    orders: list[int]
    ends: Counter[Hashable]


def explore(configuration: Configuration, depth: int) -> Walk:
    """Take every order of inputs to a depth, pruned by state, counting what is pruned.

    Raises:
        Violation: with the shortest order that leads to it.
    """
    first = configuration.begin()
    runs, paths = {first.key: first}, {first.key: ()}
    after: dict[Hashable, list[Hashable]] = {}
    level: Counter[Hashable] = Counter({first.key: 1})
    orders = [1]
    for _ in range(depth):
        following: Counter[Hashable] = Counter()
        for key, many in level.items():
            if key not in after:
                after[key] = _successors(key, runs, paths)
            for successor in after[key]:
                following[successor] += many
        level = following
        orders.append(sum(level.values()))
    return Walk(len(runs), len(after) * len(ACTS), orders, level)


def explore_all(configuration: Configuration, most: int) -> int:
    """Take every input in every state that orders of any length reach; returns how many those are.

    Raises:
        Violation: with an order that leads to it, or if there are more states than `most`.
    """
    first = configuration.begin()
    runs, paths = {first.key: first}, {first.key: ()}
    queue = [first.key]
    for key in queue:
        before = len(runs)
        _successors(key, runs, paths)
        runs[key] = None  # whose future is known: its name is enough
        queue += itertools.islice(reversed(runs), len(runs) - before)
        _require(len(queue) <= most, f"more than {most} states, and no end in sight")
    return len(queue)


def _successors(key, runs, paths) -> list[Hashable]:
    found = []
    for name in ACTS:
        run = runs[key].fork()
        try:
            run.step(name)
        except Violation as violation:
            path = " > ".join((*paths[key], name))
            raise Violation(f"{violation}\n  after: {path}") from violation
        new = run.key
        if new not in runs:
            runs[new], paths[new] = run, (*paths[key], name)
        found.append(new)
    return found


def unpruned(configuration: Configuration, depth: int) -> Counter[Hashable]:
    """The same without pruning: how many orders end in which state."""
    ends: Counter[Hashable] = Counter()
    for names in itertools.product(ACTS, repeat=depth):
        run = configuration.begin()
        for name in names:
            run.step(name)
        ends[run.key] += 1
    return ends


def random_walk(configuration: Configuration, chance, length: int) -> Run:
    """One long order; what ends a call is chosen seldom, or most of it would be an epilogue."""
    run = configuration.begin()
    names = []
    for _ in range(length):
        name = chance.choice(_SELDOM if chance.random() < 0.02 else _OFTEN)
        names.append(name)
        try:
            run.step(name)
        except Violation as violation:
            raise Violation(f"{violation}\n  after: {' > '.join(names)}") from violation
    return run


_SELDOM = list(ACTS)
_OFTEN = [
    *("ringing", "answer", "answer", "answer in an early dialog", "accept", "accept"),
    *REOFFERS,
    *(name for name in EVIDENCE if name.startswith(("evidence: verified", "evidence: pinned"))),
    *(
        "evidence: unknown",
        "confirm",
        "fresh keys",
        "transfer",
        "we transfer",
        "stray",
        "a timer too early",
        *RAISES,
    ),
]


def mutable_parts(value: object, path: str = "") -> Iterator[str]:
    """Name everything inside a value that could change behind the back of its hash."""
    if value is None or isinstance(value, (bool, int, float, str, bytes, enum.Enum)):
        return
    if isinstance(value, Secret):  # whoever made it wipes it, after the call; the machine never
        return
    if isinstance(value, (tuple, frozenset)):
        for part in value:
            yield from mutable_parts(part, f"{path}[]")
    elif is_dataclass(value) and value.__dataclass_params__.frozen:  # type: ignore[attr-defined] # every dataclass has them
        for field in fields(value):
            yield from mutable_parts(getattr(value, field.name), f"{path}.{field.name}")
            if not field.compare:
                yield f"{path}.{field.name} (not compared)"
    else:
        yield f"{path}: {type(value).__name__}"
