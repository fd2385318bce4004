"""Judges TLS and the certificate: is the server who it should be, and for how long yet."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from securecall.doctor.facts import Encryption, Machine, Place, Wanted, decisive
from securecall.doctor.finding import Finding, Kind, Step, Verdict, quoted, shown
from securecall.transport.server_identity import WRONG_NAME, is_address

WARN_DAYS: Final = 14
_DAY: Final = 86_400.0
_SHOWN: Final = 3  # further names of a certificate
_NOT_YET, _EXPIRED = 9, 10  # X509_V_ERR_*, as are those below
_SELF_SIGNED: Final = 18
_NO_AUTHORITY: Final = frozenset({2, 18, 19, 20, 21})
_BROKEN_CHAIN: Final = frozenset({2, 20, 21})
_CAUTION: Final = "If it worked before, do not go on: somebody may stand in between."


def judge_encryption(
    wanted: Wanted, machine: Machine, places: tuple[Place, ...]
) -> Iterator[Finding]:
    """What TLS came to, places that are alike in one finding."""
    chosen = decisive(places)
    for judge in (_tls, _certificate):
        for label, encryption in _alike(places):
            finding = judge(encryption, wanted, machine)
            if finding is None:
                continue
            if chosen and chosen.encryption != encryption and finding.verdict is Verdict.FAULT:
                finding = _lesser(finding, works=chosen.proved)
            yield _labelled(finding, label)


def _alike(places: tuple[Place, ...]) -> Iterator[tuple[str, Encryption]]:
    """Each different outcome with the numbers of its places, "" where all are alike."""
    of: dict[Encryption, list[int]] = {}
    for number, place in enumerate(places):
        if place.encryption is not None:
            of.setdefault(place.encryption, []).append(number)
    several = len(places) > 1
    for encryption, numbers in of.items():
        yield ", ".join(f"{n + 1}." for n in numbers) if several else "", encryption


def _labelled(finding: Finding, label: str) -> Finding:
    return replace(finding, what=f"{label} {finding.what}") if label else finding


def _lesser(finding: Finding, *, works: bool) -> Finding:
    """A fault at a place that an account does not end up at."""
    why = finding.why
    if works:
        why += " The account can work by another server, but would not if that one failed."
    return replace(finding, verdict=Verdict.WARNING, why=why, kind=None)


def _tls(encryption: Encryption, wanted: Wanted, _: Machine) -> Finding | None:
    if encryption.failure:
        port = "443" if wanted.websocket else "5061"
        return Finding(
            Step.TLS,
            Verdict.FAULT,
            "no TLS there",
            f"It {encryption.failure}.",
            f"Check the port: {port} is usual, and 5060 has no TLS. The operator of the server "
            "has to switch on TLS 1.2 or 1.3; nothing is ever sent without it.",
            Kind.NETWORK,
        )
    if not encryption.version:
        return None
    version = encryption.version.replace("TLSv", "TLS ")
    parts = (version, encryption.suite, encryption.group)
    what = ", ".join(shown(part) for part in parts if part)
    if version == "TLS 1.2":
        return Finding(
            Step.TLS,
            Verdict.NOTE,
            what,
            "TLS 1.2 is safe as it is used here, but 1.3 hides more and connects faster.",
            "The operator of the server can switch on TLS 1.3.",
        )
    return Finding(Step.TLS, Verdict.OK, what)


Judge = Callable[[Encryption, Wanted, Machine], Finding]


def _certificate(encryption: Encryption, wanted: Wanted, machine: Machine) -> Finding | None:
    if encryption.failure:
        return None
    if encryption.proved:
        return _good(encryption, wanted, machine)
    judge: Judge = _other
    if encryption.code == WRONG_NAME:
        judge = _wrong_name
    elif encryption.code in (_NOT_YET, _EXPIRED):
        judge = _wrong_time
    elif encryption.code in _NO_AUTHORITY:
        judge = _no_authority
    return judge(encryption, wanted, machine)


def _good(encryption: Encryption, wanted: Wanted, machine: Machine) -> Finding:
    name, certificate = shown(wanted.name), encryption.certificate
    if certificate is None:
        return Finding(Step.CERTIFICATE, Verdict.OK, f"it proves {name}")
    days = int((certificate.until - machine.now) // _DAY)
    issuer = quoted(certificate.issuer)
    if days >= WARN_DAYS:
        others = [value for _, value in certificate.names if value != wanted.name]
        what = f"it proves {name}; issued by {issuer}, valid for {days} days"
        if others:
            what += f"; it also names {', '.join(shown(o) for o in others[:_SHOWN])}"
            what += f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        return Finding(Step.CERTIFICATE, Verdict.OK, what)
    left = f"{days} days" if days > 1 else "a day" if days == 1 else "some hours"
    return Finding(
        Step.CERTIFICATE,
        Verdict.WARNING,
        f"it proves {name}; issued by {issuer}, but expires in {left}",
        f"It is good until {_date(certificate.until)}. After that nobody can connect.",
        "The operator of the server has to renew it before. Where that is automatic, it may have "
        "stopped working.",
    )


def _wrong_name(encryption: Encryption, wanted: Wanted, _: Machine) -> Finding:
    name = shown(wanted.name)
    certificate = encryption.certificate
    has = encryption.fault or "it is for another name"
    why = f"{has[:1].upper()}{has[1:]}."
    if certificate is not None and certificate.names and wanted.name == wanted.domain:
        why += (
            " The domain of the address has to be in it, whatever server DNS leads to: "
            "DNS can be forged (RFC 5922)."
        )
    entry = "" if is_address(wanted.name) else f" (DNS:{name} or URI:sip:{name})"
    return _refused(
        f"it does not name {name}",
        why,
        f"The operator of the server has to get a certificate that names {name}{entry}. If the "
        f"operator told you another name for it, give that with --server-name. {_CAUTION}",
    )


def _wrong_time(encryption: Encryption, _: Wanted, machine: Machine) -> Finding:
    certificate = encryption.certificate
    early = encryption.code == _NOT_YET
    clock = f"This machine's clock says {_date(machine.now)}."
    if certificate is None:
        what = "it is not valid yet" if early else "it has expired"
        span = ""
    elif early:
        what = f"it is not valid before {_date(certificate.since)}"
        span = f"It begins {_span(certificate.since - machine.now)} from now. "
    else:
        what = f"it expired {_span(machine.now - certificate.until)} ago"
        span = f"It was good until {_date(certificate.until)}. "
    if early:
        return _refused(
            what,
            f"{span}{clock} Most likely that clock is wrong: nobody installs a certificate of "
            "the future.",
            "Set the clock of this machine and look again. If the clock is right, tell the "
            "operator of the server.",
        )
    return _refused(
        what,
        f"{span}{clock}",
        "The operator of the server has to renew it. If that date of the clock is wrong, set the "
        "clock of this machine instead.",
    )


def _no_authority(encryption: Encryption, _: Wanted, __: Machine) -> Finding:
    certificate = encryption.certificate
    issuer = quoted(certificate.issuer) if certificate is not None else "an unknown one"
    if encryption.code == _SELF_SIGNED:
        return _refused(
            "it is signed by itself, by no authority",
            "Anybody can make such a certificate, so it proves nothing.",
            "The operator of the server has to get one from an authority, many are free of charge. "
            "If this one came to you by a way you trust, give the file: --authorities PEM. "
            + _CAUTION,
        )
    alone = certificate is not None and certificate.sent == 1
    if encryption.code in _BROKEN_CHAIN and alone:
        return _refused(
            f"the certificate of its authority {issuer} is missing",
            "The server sends its own certificate and none of those above it. So nothing connects "
            "it to an authority that is trusted here.",
            "The operator of the server has to install the whole chain (often called "
            "fullchain.pem). For a private authority: --authorities PEM. " + _CAUTION,
        )
    between = ", or the server leaves out a certificate in between"
    chain = "install the whole chain (often called fullchain.pem)"
    if encryption.code not in _BROKEN_CHAIN:
        between, chain = "", "get a certificate from an authority that everybody trusts"
    return _refused(
        f"its authority {issuer} is not trusted here",
        f"It is a private authority{between}, or somebody else stands in its place.",
        "For a private authority, get its certificate by a way you trust and give it: "
        f"--authorities PEM. Otherwise the operator of the server has to {chain}. {_CAUTION}",
    )


def _other(encryption: Encryption, _: Wanted, __: Machine) -> Finding:
    fault = encryption.fault
    return _refused(
        fault,
        "So it does not prove who the server is.",
        f"{encryption.remedy or 'The operator of the server has to replace it'}. {_CAUTION}",
    )


def _refused(what: str, why: str, mend: str) -> Finding:
    return Finding(Step.CERTIFICATE, Verdict.FAULT, what, why, mend, Kind.SECURITY)


def _date(unix: float) -> str:
    try:
        return f"{datetime.datetime.fromtimestamp(unix, datetime.UTC):%Y-%m-%d %H:%M} UTC"
    except (OverflowError, OSError, ValueError):
        return "a year that does not exist"


def _span(seconds: float) -> str:
    days = int(seconds // _DAY)
    if days > 730:
        return f"{days // 365} years"
    if days > 1:
        return f"{days} days"
    hours = max(1, int(seconds // 3600))
    return "an hour" if hours == 1 else f"{hours} hours"
