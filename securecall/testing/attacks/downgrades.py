"""D1 to D6 and D8: signalling and DTLS that ask for less, before the call and in its midst."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from securecall.calls.call import Call
from securecall.calls.machine import State
from securecall.errors import CallFailed, Reason, SecurecallError, SecurityError
from securecall.events import CallChangeRefused, TransferRequested
from securecall.policy import Policy, SecurityLevel
from securecall.sip.message import Response
from securecall.testing import edits
from securecall.testing.attacks.careless import any_certificate, obedient, renegotiated
from securecall.testing.attacks.fingerprints import swapped_unnoticed
from securecall.testing.attacks.outcome import Attack, Outcome, control, ours
from securecall.testing.attacks.stage import PLAIN, PROVIDER, Stage, stage
from securecall.testing.bare_dtls import NO_EXTENDED_MASTER_SECRET, BareLink, BarePeer, bare_links
from securecall.testing.classify import Kind, classify
from securecall.testing.edits import SdpEdit
from securecall.testing.evil_link import Inner
from securecall.testing.evil_media import CALLEE
from securecall.testing.evil_provider import Mode
from securecall.transport.dtls import DtlsCertificate

KEY: Final = bytes(range(30))
_SIDES: Final = {"offer": True, "answer": False}


async def _without_hint(folder: Path) -> Outcome:
    async with stage(folder, mode=Mode.TAP) as s:
        stripped: list[bool] = []

        def strip(sdp: str, _to_callee: bool) -> str:  # noqa: FBT001
            stripped.append("a=x-securecall-id" in sdp)
            return edits.strip_hint(sdp)

        s.mallory.tamper_sdp.append(strip)
        _ = await s.dial(seconds=0.2)
        outcome = s.went_on()
        outcome.demand(stripped == [True, True], "there was nothing to strip")
        for end in s.ends:
            outcome.demand(end.security.sframe, "frames are not sealed")
            outcome.demand(end.security.pq, "no key of ML-KEM")
    outcome.got = "the handshake ran all the same; frames are sealed"
    return outcome


D1: Final[Attack] = (
    control("people who ask for no identity", swapped_unnoticed),
    ours("hint stripped both ways", _without_hint),
)


async def _answered_without_identity(folder: Path) -> Outcome:
    async with stage(folder, mode=Mode.SWAP, inner=Inner.STRIP) as s:
        _ = await s.dial()
        return s.refused(Reason.DOWNGRADE)


async def _hello_edited(folder: Path) -> Outcome:
    async with stage(folder, mode=Mode.TAP) as s:
        touched: list[bool] = []

        def strip(datagram: bytes, _from_caller: bool) -> tuple[bytes, ...]:  # noqa: FBT001
            if classify(datagram) is Kind.DTLS and b"securecall-id/1" in datagram:
                touched.append(True)
                return (datagram.replace(b"securecall-id/1", b"securecall-id/9"),)
            return (datagram,)

        def arm(sdp: str, _to_callee: bool) -> str:  # noqa: FBT001
            s.mallory.last_media.edit = strip
            return sdp

        s.mallory.tamper_sdp.append(arm)
        _ = await s.dial()
        outcome = s.refused()
        outcome.demand(touched, "there was nothing to strip")
    return outcome


D2: Final[Attack] = (
    control("people who ask for no identity", swapped_unnoticed),
    ours("answered without it", _answered_without_identity),
    ours("ClientHello edited on its way", _hello_edited),
)

_LESS: Final = {
    "D3": {
        "keys in signalling": edits.sdes(KEY),
        "keys in signalling beside DTLS": edits.crypto_beside(KEY),
    },
    "D4": {
        "plain RTP": edits.plain_rtp,
        "plain RTP, attributes kept": edits.protocol("RTP/AVP"),
        "no fingerprint": edits.strip_fingerprint,
        "no setup": edits.without("a=setup:"),
        "another word for it": edits.protocol("RTP/SAVP"),
        "unknown transport": edits.protocol("TCP/MSRP"),
    },
}
# These leave fingerprints standing: the call may go on, if it goes on as it would (RFC 8643).
_HARMLESS: Final = {"another word for it", "no setup"}
_POLICIES: Final = {"": None, ", danger mode": PLAIN}


async def _less(
    name: str, edit: SdpEdit, folder: Path, *, towards: bool, policy: Policy | None
) -> Outcome:
    async with stage(folder, policy=policy, acquainted=policy is None, mode=Mode.TAP) as s:
        s.mallory.tamper_sdp.append(
            lambda sdp, to_callee: edit(sdp) if to_callee == towards else sdp
        )
        call = await s.dial(seconds=0.2)
        level = SecurityLevel.HOP_BY_HOP if policy is PLAIN else SecurityLevel.E2EE
        outcome = s.refused() if s.error else s.went_on(level)
        harmless = s.error is None and name in _HARMLESS
        typed = isinstance(s.error, SecurityError | CallFailed)
        outcome.demand(harmless or typed, f"the error is {type(s.error).__name__}")
        keying = call.security.keying.value
        outcome.demand(keying in ("none", "dtls-srtp"), f"the keys are of {keying}")
    return outcome


def _less_trials(row: str) -> Attack:
    """Even the danger mode never takes keys from signalling, nor speaks without any."""
    return tuple(
        ours(f"{name}, {side}{mode}", partial(_less, name, edit, towards=towards, policy=policy))
        for name, edit in _LESS[row].items()
        for side, towards in _SIDES.items()
        for mode, policy in _POLICIES.items()
    )


async def _said_488(folder: Path) -> Outcome:
    """The refusal of keys in signalling is an answer with a name, and nobody's phone rings."""
    async with stage(folder, mode=Mode.TAP) as s:
        s.mallory.tamper_sdp.append(
            lambda sdp, to_callee: edits.sdes(KEY)(sdp) if to_callee else sdp
        )
        _ = await s.dial()
        outcome = s.refused()
        refusals = s.mallory.last_call.refusals
        outcome.demand(refusals == [("INVITE", 488)], f"the answers were {refusals}")
        outcome.demand(not s.answering_began, "it rang")
    return outcome


D3: Final[Attack] = (
    control("a phone that takes keys from signalling", partial(obedient, edits.sdes(KEY))),
    *_less_trials("D3"),
    ours("the answer is 488, and it never rings", _said_488),
)
D4: Final[Attack] = (
    control("a phone that speaks as it is told", partial(obedient, edits.plain_rtp)),
    *_less_trials("D4"),
)

_WEAK: Final[dict[str, partial[BarePeer]]] = {
    "short tags": partial(BarePeer, srtp=b"SRTP_AES128_CM_SHA1_32"),
    "no SRTP": partial(BarePeer, srtp=None),
    "CBC": partial(BarePeer, ciphers=b"ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA"),
    "no extended master secret": partial(BarePeer, options=NO_EXTENDED_MASTER_SECRET),
    "DTLS 1.0": partial(BarePeer, ciphers=b"ALL:@SECLEVEL=0", version=0xFEFF),
}


async def _weak(make: partial[BarePeer], folder: Path) -> Outcome:
    """In the danger mode she is accepted as the peer: what remains is DTLS itself."""
    async with stage(folder, policy=PLAIN, acquainted=False, mode=Mode.SWAP) as s:
        s.mallory.link = bare_links([], make)
        _ = await s.dial()
        return s.refused(Reason.WEAK_SUITE, Reason.HANDSHAKE_FAILED)


async def _sound_parameters(folder: Path) -> Outcome:
    async with stage(folder, policy=PLAIN, acquainted=False, mode=Mode.SWAP) as s:
        s.mallory.link = bare_links([])
        _ = await s.dial()
        return s.heard()


D5: Final[Attack] = (
    control("sound parameters, danger mode: she is talked to", _sound_parameters),
    *(
        control(f"careless ends, {name}", partial(any_certificate, make=_WEAK[name]))
        for name in ("CBC", "no extended master secret", "DTLS 1.0")
    ),
    *(ours(name, partial(_weak, make)) for name, make in _WEAK.items()),
)


def hold(sdp: str) -> str:
    """What an honest provider may ask: another direction, the same keys."""
    return sdp.replace("a=sendrecv", "a=sendonly")


CHANGES: Final[dict[str, SdpEdit]] = {
    "new fingerprint": edits.fingerprints(edits.random_fingerprint()),
    "another fingerprint besides": edits.add_fingerprints(edits.random_fingerprint()),
    "hold without encryption": lambda sdp: edits.plain_rtp(hold(sdp)),
    "keys in signalling": edits.sdes(bytes(30)),
    "no fingerprint": edits.strip_fingerprint,
}


def sent_sdp(s: Stage, *, to_callee: bool) -> str:
    """The first description this victim got."""
    return next(
        data.partition(b"\r\n\r\n")[2].decode()
        for towards, data in s.mallory.proxy.transcript
        if towards == to_callee and b"application/sdp" in data
    )


async def offered(
    s: Stage, sdp: str, *, method: str = "INVITE", to_callee: bool = True
) -> Response:
    """In mid-call she sends this victim an offer of hers."""
    return await s.mallory.proxy.inject(
        s.mallory.last_call, method, to_callee=to_callee, body=sdp.encode()
    )


async def answered_offerless(s: Stage, change: SdpEdit) -> Response:
    """She asks Bob for an offer, and puts an answer of hers into the ACK."""
    answer = change(sent_sdp(s, to_callee=True)).replace("actpass", "active")
    return await s.mallory.proxy.inject(
        s.mallory.last_call, "INVITE", to_callee=True, answer_in_ack=answer.encode()
    )


async def _both_go_on(s: Stage, found: list[str]) -> None:
    for end in s.ends:
        if end.state is not State.ACTIVE or end.security.level is not SecurityLevel.E2EE:
            found.append("the call is not what it was")
        await s.hear_more(end)


async def _offer_refused(name: str, method: str, folder: Path, *, to_callee: bool) -> Outcome:
    async with stage(folder, mode=Mode.TAP) as s:
        found: list[str] = []

        async def inject(_call: Call) -> None:
            offer = CHANGES[name](sent_sdp(s, to_callee=to_callee))
            response = await offered(s, offer, method=method, to_callee=to_callee)
            if response.status != 488:
                found.append(f"answered {response.status}")
            await _both_go_on(s, found)

        _ = await s.dial(during=inject)
        outcome = s.went_on()
        outcome.problems += found
        outcome.got = "488, and the call went on as it was"
    return outcome


async def _answer_in_ack(name: str, folder: Path) -> Outcome:
    async with stage(folder, mode=Mode.TAP) as s:
        found: list[str] = []

        async def inject(_call: Call) -> None:
            events = s.bob.client.events()
            response = await answered_offerless(s, CHANGES[name])
            if response.status != 200:
                found.append(f"answered {response.status}")
            async for event in events:
                if isinstance(event, CallChangeRefused):
                    break
            await events.aclose()
            await _both_go_on(s, found)

        _ = await s.dial(during=inject)
        outcome = s.went_on()
        outcome.problems += found
        outcome.got = "an event, and the call went on as it was"
    return outcome


async def _honest_change(folder: Path) -> Outcome:
    async with stage(folder, mode=Mode.TAP) as s:
        found: list[str] = []

        async def inject(_call: Call) -> None:
            _ = await answered_offerless(s, hold)
            await s.hear_more(s.bob.calls[0])
            # Bob sends no more, so his answer to the next offer says that he only listens
            response = await offered(s, hold(sent_sdp(s, to_callee=True)))
            if response.status != 200 or b"a=recvonly" not in response.body:
                found.append("the change took no effect")

        # Alice would wait for sound in vain: she hangs up at once
        _ = await s.dial(seconds=0.0, during=inject)
        outcome = s.went_on()
        outcome.problems += found
        outcome.got = "her words reach Bob in mid-call: she put him on hold"
    return outcome


async def _led_elsewhere(folder: Path) -> Outcome:
    async with stage(folder, mode=Mode.TAP) as s:

        async def inject(call: Call) -> None:
            _ = await offered(s, edits.redirect("127.0.0.1", 9)(sent_sdp(s, to_callee=True)))
            await s.hear_more(call)  # still where DTLS was verified
            await s.hear_more(s.bob.calls[0])

        _ = await s.dial(during=inject)
        outcome = s.went_on()
        outcome.got = "sound stayed where DTLS was verified"
    return outcome


async def _transferred(folder: Path, *, obeyed: bool) -> Outcome:
    """She asks Alice to call her instead; an application that obeys stands in as the control."""
    async with stage(folder, mode=Mode.TAP) as s:
        asked: list[TransferRequested] = []
        phone = s.bob.client.accounts[0].listening or ("", 0)
        s.mallory.route("sip:mallory@provider.test", *phone, name=f"bob.{PROVIDER}")

        async def inject(call: Call) -> None:
            events = s.alice.client.events()
            _ = await s.mallory.proxy.inject(
                s.mallory.last_call,
                "REFER",
                to_callee=False,
                headers=(("Refer-To", "<sip:mallory@provider.test>"),),
            )
            async for event in events:
                if isinstance(event, TransferRequested):
                    asked.append(event)
                    break
            if obeyed:
                with suppress(SecurecallError):  # given up once it rings
                    async with asked[0].accept() as new:
                        await new.ringing()
            await s.hear_more(call)

        _ = await s.dial(during=inject)
        outcome = s.went_on()
        called = len(s.mallory.proxy.dialogues) - 1
        outcome.demand(called == obeyed, "somebody was called, or nobody where that was the point")
        outcome.got = "called" if called else "told to the application, and nobody was called"
    return outcome


D6: Final[Attack] = (
    control("a change that keeps the keys takes effect", _honest_change),
    control("ends that take any certificate", any_certificate),
    *(
        ours(
            f"{name}, to the {'callee' if to_callee else 'caller'}",
            partial(_offer_refused, name, "INVITE", to_callee=to_callee),
        )
        for name in CHANGES
        for to_callee in (True, False)
    ),
    ours(
        "new fingerprint, UPDATE",
        partial(_offer_refused, "new fingerprint", "UPDATE", to_callee=True),
    ),
    *(
        ours(f"{name}, in an ACK", partial(_answer_in_ack, name))
        for name in ("new fingerprint", "hold without encryption")
    ),
    ours("media led elsewhere", _led_elsewhere),
    control("an application that follows every transfer", partial(_transferred, obeyed=True)),
    ours("a transfer to herself", partial(_transferred, obeyed=False)),
)


async def _renegotiated(folder: Path) -> Outcome:
    async with stage(folder, policy=PLAIN, acquainted=False, mode=Mode.SWAP) as s:
        links: list[BareLink] = []
        heard_before: list[int] = []
        s.mallory.link = bare_links(links)

        async def renegotiate(_call: Call) -> None:
            for datagram in links[CALLEE].peer.renegotiate(DtlsCertificate.generate()):
                s.mallory.last_media.send(CALLEE, datagram)
            try:
                _ = await s.bob.calls[0].ended()
            finally:
                heard_before.append(_heard_of_callee(s))

        _ = await s.dial(during=renegotiate)
        outcome = s.ended()
        outcome.demand(s.bob.errors, "the callee took the new certificate")
        outcome.demand(isinstance(s.error, SecurityError), f"the error is {s.error!r}")
        outcome.readable = _heard_of_callee(s) - sum(heard_before)
        outcome.demand(outcome.readable == 0, "she heard the callee afterwards")
        outcome.got = "not one byte more after it"
    return outcome


def _heard_of_callee(s: Stage) -> int:
    return sum(len(sound) for side, sound in s.mallory.last_media.heard if side == CALLEE)


D8: Final[Attack] = (
    control("a client that renegotiates", renegotiated),
    ours("another certificate in mid-call, danger mode", _renegotiated),
)
