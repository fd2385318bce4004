"""Judges the server as a SIP server, and what came of a registration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from securecall.doctor.facts import Answer, Machine, Offer, Registered, Wanted
from securecall.doctor.finding import Finding, Kind, Step, Verdict, quoted, shown
from securecall.sip.outcome import PHRASES
from securecall.sip.registration import Granted

CLOCK_SECONDS: Final = 300.0
_SHOWN: Final = 12  # methods or extensions in one line
_SHORT_SECONDS: Final = 60
_NOT_ALLOWED: Final = (401, 403, 407)


def judge_answer(answer: Answer, machine: Machine, *, registered: bool) -> Iterator[Finding]:
    """Whether SIP is spoken there, and what the server says of itself."""
    if not answer.status:
        yield _no_sip(answer, registered=registered)
        return
    product = f", {quoted(answer.product)}" if answer.product else ""
    phrase = f" {shown(answer.phrase, most=40)}" if answer.phrase else ""
    yield Finding(Step.SERVER, Verdict.OK, f"it answers OPTIONS: {answer.status}{phrase}{product}")
    for words, tokens in (("methods", answer.allow), ("extensions", answer.supported)):
        if tokens:
            more = len(tokens) - _SHOWN
            listed = ", ".join(shown(t, most=20) for t in tokens[:_SHOWN])
            listed += f" and {more} more" if more > 0 else ""
            yield Finding(Step.SERVER, Verdict.OK, f"{words}: {listed}")
    if answer.date is not None and abs(answer.date - machine.now) > CLOCK_SECONDS:
        minutes = round(abs(answer.date - machine.now) / 60)
        yield Finding(
            Step.SERVER,
            Verdict.WARNING,
            f"its clock and ours differ by {minutes} minutes",
            "One of the two is wrong. Certificates and logs depend on the right time.",
            "Check the clock of this machine; if it is right, tell the operator of the server.",
        )


def _no_sip(answer: Answer, *, registered: bool) -> Finding:
    if registered:
        return Finding(
            Step.SERVER,
            Verdict.NOTE,
            "it does not answer OPTIONS",
            "Some servers do so on purpose. The registration works.",
            "There is nothing to do.",
        )
    what = "what answers is no SIP server" if answer.broken else "it does not answer SIP"
    return Finding(
        Step.SERVER,
        Verdict.FAULT,
        what,
        f"TLS is right, but then it {answer.failure or 'said nothing'}.",
        "Check host and port: something else, such as a web server, may live there. Where SIP "
        "comes by WebSocket, name its path: --server wss://HOST/PATH.",
        Kind.PROTOCOL if answer.broken else Kind.NETWORK,
    )


def judge_registered(wanted: Wanted, registered: Registered) -> Iterator[Finding]:
    """How the password is asked for, and what came of it."""
    yield from _asked(wanted, registered)
    granted = registered.granted
    if granted is None:
        yield _refusal(wanted, registered)
        return
    yield Finding(
        Step.REGISTRATION,
        Verdict.OK,
        f"{shown(wanted.address, most=120)} is registered, for {granted.seconds} seconds"
        + (f" beside {_devices(registered.others)}" if registered.others else ""),
    )
    if granted.seconds < _SHORT_SECONDS:
        yield _note(
            f"it has to be renewed every {granted.seconds} seconds",
            "That costs a phone's battery, but works.",
            "The operator of the server can allow longer registrations.",
        )
    yield from _features(granted, path=registered.path)
    if registered.removed:
        yield _ok("this trial registration was removed again")
    else:
        yield Finding(
            Step.REGISTRATION,
            Verdict.WARNING,
            "this trial registration could not be removed",
            "A call may ring where nobody is.",
            f"It ends by itself after {granted.seconds} seconds.",
        )


def _asked(wanted: Wanted, registered: Registered) -> Iterator[Finding]:
    offers = registered.offers
    if not offers:
        if registered.granted is not None:
            yield Finding(
                Step.REGISTRATION,
                Verdict.WARNING,
                "it asks for no password",
                "Whoever reaches the server can take this address, and its calls.",
                "The operator of the server has to switch on digest authentication.",
            )
        return
    algorithms = tuple(dict.fromkeys(offer.algorithm for offer in offers))
    qop = tuple(dict.fromkeys(offer.qop for offer in offers if offer.qop))
    how = ", ".join(algorithms) + (f"; qop {', '.join(qop)}" if qop else "; no qop")
    if algorithms == ("MD5",):
        yield Finding(
            Step.REGISTRATION,
            Verdict.WARNING,
            f"passwords are asked for with {how}, nothing better",
            "Whoever sees what the server sees can try out passwords fast.",
            "The operator of the server should offer SHA-256 (RFC 8760). Until then use a long "
            "random password that is used nowhere else.",
        )
    else:
        yield _ok(f"passwords are asked for with {how}")
    yield from _realm(wanted, offers)


def _realm(wanted: Wanted, offers: tuple[Offer, ...]) -> Iterator[Finding]:
    realm = offers[0].realm
    if realm.lower() in (wanted.domain, wanted.name.lower()):
        yield _ok(f"its realm is {shown(realm)}")
        return
    yield _note(
        f"its realm is {quoted(realm)}, not {shown(wanted.domain)}",
        "It is believed in a registration alone, since the server proved its name.",
        "There is nothing to do.",
    )


def _features(granted: Granted, *, path: bool) -> Iterator[Finding]:
    have = {
        "outbound": granted.outbound,
        "GRUU": bool(granted.gruu),
        "Service-Route": bool(granted.routes),
        "Path": path,
    }
    found = [name for name, there in have.items() if there]
    found += [f"Flow-Timer {granted.flow_seconds} s"] if granted.flow_seconds else []
    lacking = [name for name, there in have.items() if not there]
    parts = [f"it has {', '.join(found)}"] if found else []
    parts += [f"it has no {', '.join(lacking)}"] if lacking else []
    what = "; ".join(parts)
    if granted.outbound:
        yield _ok(what)
        return
    yield _note(
        what,
        "Without outbound (RFC 5626), it may be noticed late that the connection broke; calls to "
        "you are missed until then.",
        "There is nothing to do here; the operator of the server can switch it on.",
    )


def _refusal(wanted: Wanted, registered: Registered) -> Finding:
    status = registered.status
    said = f"{status} {PHRASES[status]}" if status in PHRASES else str(status)
    if not status:
        return _fault(
            "it does not answer a registration",
            f"It {registered.failure or 'said nothing'}.",
            "Try again later. If that does not help, ask the operator of the server whether "
            "devices may register there.",
            Kind.NETWORK,
        )
    if registered.weaker:
        return _fault(
            "it asks for a weaker hash of the password than it offered before",
            "That is how somebody in between would make the password easier to guess. It was not "
            "answered.",
            "Do not go on. Ask the operator of the server.",
            Kind.SECURITY,
        )
    if status in _NOT_ALLOWED:
        return _not_let_in(wanted, registered)
    if status in (404, 410, 604):
        return _fault(
            f"it knows no {shown(wanted.address, most=120)} ({said})",
            "The server is right, but there is no such account at it.",
            "Check the spelling of the address. If it is right, the operator of the server has to "
            "set up the account.",
            Kind.SECURITY,
        )
    kind = Kind.NETWORK if status >= 500 or status in (408, 423, 480) else Kind.PROTOCOL
    return _fault(
        f"it does not register us: {said}",
        "The server is right and speaks SIP, but something in it is not ready for this account.",
        "Try again later. If that does not help, tell the operator of the server this number.",
        kind,
    )


def _not_let_in(wanted: Wanted, registered: Registered) -> Finding:
    if registered.challenged and not registered.offers:
        return _fault(
            "it asks for the password in a way that is not known here",
            "None of its challenges is Digest with MD5, SHA-256 or SHA-512-256.",
            "The operator of the server has to switch on digest authentication.",
            Kind.PROTOCOL,
        )
    if registered.offers and not registered.answered:
        realm = quoted(registered.offers[0].realm)
        return _fault(
            f"it asks in the name of {realm}, which is not this account's",
            "A password is for one realm alone, so nothing was answered.",
            "Ask the operator of the server for its realm.",
            Kind.SECURITY,
        )
    user, address = shown(wanted.user), shown(wanted.address, most=120)
    if registered.status == 403:
        return _fault(
            f"it forbids {user} to register {address} (403)",
            "Either the password is wrong, or this user has no right to this address.",
            f"Check the password. Check that {address} is the account's own address; if the server "
            "knows you by another name, give that with --user.",
            Kind.SECURITY,
        )
    return _fault(
        f"it does not let {user} in",
        "It asked for the password and did not take the answer. Servers do not tell whether the "
        "user or the password is wrong.",
        "Type the password anew: capitals, blanks, an old one in the file? Some servers know you "
        "by another name than the address: --user NAME. Too many tries may lock the account.",
        Kind.SECURITY,
    )


def _devices(number: int) -> str:
    return "another device" if number == 1 else f"{number} other devices"


def _fault(what: str, why: str, mend: str, kind: Kind) -> Finding:
    return Finding(Step.REGISTRATION, Verdict.FAULT, what, why, mend, kind)


def _ok(what: str) -> Finding:
    return Finding(Step.REGISTRATION, Verdict.OK, what)


def _note(what: str, why: str, mend: str) -> Finding:
    return Finding(Step.REGISTRATION, Verdict.NOTE, what, why, mend)
