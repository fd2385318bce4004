"""D10: telephone calls, whose keys stand in the signalling; what she reads there, and no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

from securecall.address import parse_address
from securecall.calls.call import Call
from securecall.calls.machine import State
from securecall.calls.report_parties import Capability, Role
from securecall.calls.signaling import Answered, Offered, Refused, Signal, SignalingPath
from securecall.client import Client
from securecall.errors import (
    CallFailed,
    DowngradeError,
    Reason,
    SecurecallError,
    SecurityError,
)
from securecall.keys.trust import Act, How
from securecall.media.description import Description, Keying
from securecall.media.endpoints import ToneSource
from securecall.media.sdes import CryptoLine, build_crypto
from securecall.policy import GATEWAY_WORDS, Policy, SecurityLevel
from securecall.secret import Secret
from securecall.sip.sdp import build_description, parse_description
from securecall.testing import edits
from securecall.testing.attacks.careless import obedient
from securecall.testing.attacks.outcome import Attack, Outcome, control, limit, named, ours
from securecall.testing.attacks.stage import (
    ALICE_HERTZ,
    BOB_HERTZ,
    GUARD_SECONDS,
    received_seconds,
    sent_anything,
    stranger,
)
from securecall.testing.bus import SignalBus
from securecall.testing.edits import SdpEdit
from securecall.testing.evil_link import Keys
from securecall.testing.evil_media import CALLEE, CALLER, EvilMedia

_ALICE: Final = parse_address("sip:alice@example.com")
_BOB: Final = parse_address("sip:bob@example.com")
_POLICY: Final = Policy(ice=False, prefer_codecs=("PCMU",))
_KEY: Final = bytes(range(30))
_PROVED: Final = SignalingPath(
    protocol="bus",
    transport="memory",
    direct=False,
    verified_name="example.com",
    remote="127.0.0.1:5061",
)


def _nothing(sdp: str) -> str:
    return sdp


@dataclass(slots=True)
class _Wire:
    """Both accounts lead through her: she reads every description, and may change it."""

    alice: Client
    bob: Client
    bus: SignalBus
    media: EvilMedia
    edit: SdpEdit = _nothing
    towards: int = -1  # whom she sends what she changed: CALLEE gets the offer, CALLER the answer
    offer: Description | None = None
    answer: Description | None = None
    call: Call | None = None
    taken: list[Call] = field(default_factory=list)
    errors: list[SecurecallError] = field(default_factory=list)
    refusals: list[int] = field(default_factory=list)

    def pass_on(self, signal: Signal, sender: str) -> Signal:
        """Lead the media through her relay; change what she wants to."""
        if isinstance(signal, Refused):
            self.refusals.append(signal.status)
        if isinstance(signal, Offered) and sender == "caller" and self.offer is None:
            self.offer = signal.description
            return Offered(self._led(signal.description, CALLEE))
        if isinstance(signal, Answered) and sender == "callee" and self.answer is None:
            self.answer = signal.description
            if self.offer is not None and self.towards < 0:
                self._listen(self.offer, signal.description)
            return replace(signal, description=self._led(signal.description, CALLER))
        return signal

    def _led(self, description: Description, side: int) -> Description:
        text = build_description(description, session_id=1, version=1).decode()
        text = edits.redirect(self.media.host, self.media.ports[side])(text)
        return parse_description((self.edit(text) if side == self.towards else text).encode())

    def _listen(self, offer: Description, answer: Description) -> None:
        (theirs,) = answer.media[0].crypto
        ours = next(line for line in offer.media[0].crypto if line.tag == theirs.tag)
        send, receive = (Secret(line.key.reveal()) for line in (ours, theirs))
        self.media.tap(offer, answer)
        self.media.hold(Keys(profile=theirs.suite.profile, send=send, receive=receive))

    async def dial(self, *, seconds: float = 0.3) -> None:
        """Alice calls Bob, who takes what rings."""
        answering = asyncio.create_task(self._answer())
        try:
            async with asyncio.timeout(GUARD_SECONDS):
                call = self.call = self.alice.call(_BOB, audio=ToneSource(ALICE_HERTZ))
                async with call:
                    _ = await call.connected()
                    while received_seconds(call) < seconds:
                        _ = await anext(call.audio)
        except SecurecallError as e:
            self.errors.append(e)
        finally:
            _ = answering.cancel()
            _ = await asyncio.gather(answering, return_exceptions=True)

    async def _answer(self) -> None:
        ring = await self.bob.next_call()
        call = ring.accept(audio=ToneSource(BOB_HERTZ))
        self.taken.append(call)
        try:
            async with call:
                _ = await call.connected()
                _ = await call.ended()
        except SecurecallError as e:
            self.errors.append(e)

    def refused(self, *reasons: Reason) -> Outcome:
        """Nobody talked: typed errors, and not one packet of sound."""
        ends = [call for call in (self.call, *self.taken) if call is not None]
        outcome = Outcome(
            refusals=tuple(dict.fromkeys(map(named, self.errors))),
            ended=all(call.state is State.ENDED for call in ends),
            readable=self.media.decryptable(),
        )
        outcome.demand(self.errors, "nobody was told")
        outcome.demand(outcome.ended, "an end of the call goes on")
        outcome.demand(not any(map(sent_anything, ends)), "sound was sent")
        found = {getattr(e, "reason", None) for e in self.errors}
        outcome.demand(not reasons or found & set(reasons), f"other reasons: {outcome.refusals}")
        return outcome


@asynccontextmanager
async def _wire(
    folder: Path, *, bobs: str = "gateway", path: SignalingPath = _PROVED
) -> AsyncIterator[_Wire]:
    bus = SignalBus(path=path)
    media = await EvilMedia.open("127.0.0.1", recording=None, tell=lambda _what, _n: None)
    try:
        async with (
            stranger(folder, "alice", _POLICY) as alice,
            stranger(folder, "bob", _POLICY) as bob,
        ):
            for client, address, mode in ((alice, _ALICE, "gateway"), (bob, _BOB, bobs)):
                end = bus.endpoint(address)
                _ = client.use(address, end, server_host="127.0.0.1", provider_mode=mode)
            wire = _Wire(alice, bob, bus, media)
            bus.mutate = wire.pass_on
            yield wire
    finally:
        await media.close()


async def _reads_a_telephone_call(folder: Path) -> Outcome:
    """Nothing prevents it: the keys are in what she carries. So the call says so itself."""
    async with _wire(folder) as w:
        await w.dial()
        outcome = Outcome(readable=w.media.decryptable())
        outcome.demand(not w.errors, f"the call failed: {w.errors}")
        outcome.demand(outcome.readable > 0, "she cannot read what lies open before her")
        for call in filter(None, (w.call, *w.taken)):
            state = call.security
            outcome.level = state.level
            outcome.demand(state.level is SecurityLevel.HOP_BY_HOP, f"the level is {state.level}")
            outcome.demand(state.keying is Keying.SDES, "it has other keys")
            outcome.demand(state.words == GATEWAY_WORDS, f"people read {state.words!r}")
            outcome.demand("end-to-end" not in str(call.report).lower(), "the report promises more")
            could = {party.role: party.capability for party in call.report.parties}
            for role in (Role.OWN_PROVIDER, Role.GATEWAY):
                outcome.demand(could.get(role) is Capability.HELD_KEY, f"no word of {role.value}")
        outcome.verdict = Capability.HELD_KEY
        outcome.got = f"heard {outcome.readable:,} bytes, and the call says: {GATEWAY_WORDS}"
    return outcome


async def _known_person(folder: Path) -> Outcome:
    """Whoever was reached end to end is not called through a gateway, whatever the account."""
    async with _wire(folder) as w:
        contacts = w.alice.contacts
        contacts.apply(
            contacts.event(Act.PIN, _BOB, w.bob.contacts.root_fp, How.CONTACT),
            contacts.event(Act.RAISE_FLOOR, _BOB, b"", How.USER),
        )
        await w.dial()
        outcome = w.refused(Reason.DOWNGRADE)
        outcome.demand(any(isinstance(e, DowngradeError) for e in w.errors), "no downgrade error")
        outcome.demand(not w.bus.legs, "it was placed")
        outcome.got = "nothing was sent"
    return outcome


async def _edited(edit: SdpEdit, folder: Path, *, towards: int) -> Outcome:
    async with _wire(folder) as w:
        w.edit, w.towards = edit, towards
        await w.dial()
        outcome = w.refused()
        outcome.demand(not (towards == CALLEE and w.taken), "it rang")
        typed = all(isinstance(e, SecurityError | CallFailed) for e in w.errors)
        outcome.demand(typed, f"the errors are {w.errors!r}")
    return outcome


async def _reflected(folder: Path) -> Outcome:
    """She gives the caller its own key back as the callee's."""
    async with _wire(folder) as w:
        own: list[CryptoLine] = []

        def reflect(sdp: str) -> str:
            own[:] = w.offer.media[0].crypto[:1] if w.offer is not None else ()
            return _with(f"a=crypto:{build_crypto(own[0])}")(sdp)

        w.edit, w.towards = reflect, CALLER
        await w.dial()
        return w.refused(Reason.SELF_IDENTITY)


async def _elsewhere(folder: Path, *, bobs: str, path: SignalingPath = _PROVED) -> Outcome:
    """A callee who has no gateway account, or whose server proved no name, takes no such key."""
    async with _wire(folder, bobs=bobs, path=path) as w:
        await w.dial()
        outcome = w.refused()
        outcome.demand(not w.taken, "it rang")
    return outcome


async def _changed(edit: SdpEdit, folder: Path) -> Outcome:
    """In mid-call she asks the callee for less; the call goes on with the keys it has."""
    async with _wire(folder) as w:
        talking = asyncio.create_task(w.dial(seconds=0.6))
        while not (w.taken and received_seconds(w.taken[0]) > 0):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
        if w.offer is not None:
            text = build_description(w.offer, session_id=1, version=2).decode()
            text = edits.redirect(w.media.host, w.media.ports[CALLEE])(text)
            w.bus.legs[1].inject(Offered(parse_description(edit(text).encode())))
        await talking
        outcome = Outcome(level=w.call.security.level if w.call else None)
        outcome.demand(w.refusals == [488], f"answered {w.refusals}")
        outcome.demand(not w.errors, f"the call failed: {w.errors}")
        outcome.got = "488, and the call went on with its keys"
    return outcome


def _with(*lines: str) -> Callable[[str], str]:
    """These in place of every key; none of them stays."""
    return lambda sdp: edits.without("a=crypto:")(sdp) + "".join(f"{x}\r\n" for x in lines)


def _line(suite: str, more: str = "") -> SdpEdit:
    key = edits.sdes(_KEY)("m=audio 1 RTP/SAVP 0\r\n").partition("inline:")[2].strip()
    return _with(f"a=crypto:1 {suite} inline:{key}{more}")


_CM: Final = "AES_CM_128_HMAC_SHA1_80"
_WEAK: Final[dict[str, SdpEdit]] = {
    "short tags": _line("AES_CM_128_HMAC_SHA1_32"),
    "no cipher": _line("NULL_HMAC_SHA1_80"),
    "F8": _line("F8_128_HMAC_SHA1_80"),
    "sound not encrypted": _line(_CM, " UNENCRYPTED_SRTP"),
    "control not encrypted": _line(_CM, " UNENCRYPTED_SRTCP"),
    "sound not authenticated": _line(_CM, " UNAUTHENTICATED_SRTP"),
    "a rate of key derivation": _line(_CM, " KDR=4"),
    "a key for a thousand packets": _line(_CM, "|2^10"),
    "a key identifier": _line(_CM, "|1:4"),
    "no key": edits.without("a=crypto:"),
    "plain RTP": lambda sdp: edits.without("a=crypto:")(edits.protocol("RTP/AVP")(sdp)),
    "a certificate beside the key": lambda sdp: (
        f"{sdp}a=fingerprint:{edits.random_fingerprint()}\r\na=setup:active\r\n"
    ),
}
_UNPROVED: Final = replace(_PROVED, verified_name="")
_LATER: Final = ("short tags", "sound not encrypted", "plain RTP", "a certificate beside the key")

D10: Final[Attack] = (
    control("a phone that takes keys from signalling", partial(obedient, edits.sdes(_KEY))),
    control("a phone that speaks as it is told", partial(obedient, edits.plain_rtp)),
    limit("a telephone call, which she may hear, and which says so", _reads_a_telephone_call),
    ours("a contact known end to end, called through a gateway", _known_person),
    ours("a callee without a gateway account", partial(_elsewhere, bobs="proxy")),
    ours("a callee whose gateway makes keys by DTLS", partial(_elsewhere, bobs="gateway-dtls")),
    ours("a server that proved no name", partial(_elsewhere, bobs="gateway", path=_UNPROVED)),
    ours("the caller's own key comes back", _reflected),
    *(
        ours(f"{name}, {side}", partial(_edited, edit, towards=towards))
        for name, edit in _WEAK.items()
        for side, towards in (("offer", CALLEE), ("answer", CALLER))
        if towards == CALLEE or name in _LATER  # both are read alike
    ),
    *(ours(f"{name}, in mid-call", partial(_changed, _WEAK[name])) for name in _LATER),
)
