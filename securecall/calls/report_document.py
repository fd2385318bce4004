"""A report as a file: built from the account of a call, sealed, and read back without trust.

A file proves itself as far as it can be proved. The *seal* is a signature of our device over one
digest per section, so whoever alters a section is told which. The *countersignature* is what both
ends signed before they hung up; nothing else in the file is the other end's word.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from securecall.address import parse_address
from securecall.calls.countersign import Countersigned
from securecall.calls.report_diary import CallEvent, EventKind
from securecall.calls.report_parties import Interval, ReportParty, Way, parties_over
from securecall.calls.report_shape import (
    MAX_DEPTH,
    MAX_SIZE,
    MOST_NAMES,
    REPORT,
    RULE,
    SECTIONS,
    TYPE,
    VERSION,
    visible,
)
from securecall.errors import EndReason, ProtocolError, UsageError
from securecall.keys.encoding import build_base64url, label, parse_json, sha512
from securecall.keys.signing import Signer
from securecall.keys.trust_record import TrustState
from securecall.media.description import Keying, Kind
from securecall.policy import IdentityEvidence, SecurityLevel, SecurityState

LIMITS: Final = (
    "This report says who could have listened. It does not say who did.",
    "It speaks of the call. It cannot see a microphone in the room, a stolen phone, or a bad "
    "program on either side.",
    "The other end can record the call, or let others listen. That cannot be seen from here.",
    "The servers and networks on the way always see who calls whom, when, and for how long.",
    "The signatures show that two devices took part. They do not show who held them.",
    "Only the part that both ends signed is the word of both. The rest is the word of this device.",
    "No outside expert has checked securecall yet.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What is known of one call.

    Attributes:
        peer: The peer's address for people.
        address: The same in full; "" where it has none.
        outgoing: We called.
        began: Unix seconds of the invitation.
        lasted: Seconds from then to the end.
        media_seconds: Sound sent and received, seconds.
        ended: How; None while it goes on.
        error: The reason in words where it did not end in order, "" otherwise.
        intervals: Level by level, in order; empty if no keys were ever agreed.
        way: Everything that stood between the ends.
        events: What happened, in order.
        refused: Changes of the call that were refused.
        dropped: Events that found no room in `events`.
        record: The countersigned record, None where no identity was proven or nobody asked for it.
        statements: Our identity statement and, if it proved one, the peer's, so that anyone can
            check seal and record offline; empty in a call without identity.
    """

    peer: str
    address: str = ""
    outgoing: bool
    began: int
    lasted: float
    media_seconds: tuple[float, float]
    ended: EndReason | None
    error: str
    intervals: tuple[Interval, ...]
    way: Way
    events: tuple[CallEvent, ...] = ()
    refused: int = 0
    dropped: int = 0
    record: Countersigned | None = None
    statements: tuple[bytes, ...] = ()

    @property
    def security(self) -> SecurityState | None:
        """The last snapshot, None if no keys were agreed."""
        return self.intervals[-1].security if self.intervals else None

    @property
    def stretches(self) -> tuple[Interval, ...]:
        """The intervals; one without protection where there are none."""
        return self.intervals or (Interval(since=0.0),)

    @property
    def missing(self) -> str:
        """Why the other end's signature is not there, "" if it is."""
        if self.record is not None:
            return self.record.why
        if any(event.kind is EventKind.WORDS_DIFFER for event in self.events):
            return "the words were not the same, so nobody was asked to sign"
        security = self.security
        if security is None or security.identity is None:
            return "no identities were proven in this call"
        if self.ended is None:
            return "the call still goes on"
        return "the call ended before either end asked the other to sign"


def canonical(value: object) -> bytes:
    """The bytes that are hashed: sorted keys, no white space, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")


def sealed_bytes(digests: Mapping[str, object]) -> bytes:
    """What the seal's signature is made over."""
    return label("listener-report") + sha512(
        canonical({"type": TYPE, "version": VERSION, "digests": digests})
    )


def build_document(account: Account, signer: Signer | None) -> dict[str, object]:
    """Write the account down and seal it."""
    way, peer = _way(account.way), visible(account.address or account.peer, 2048)
    readable = read_way(way, peer=peer)
    sections: dict[str, object] = {
        "call": {
            "peer": peer,
            "direction": "outgoing" if account.outgoing else "incoming",
            "began": account.began,
            "lasted_ms": _ms(account.lasted),
            "sent_ms": _ms(account.media_seconds[0]),
            "received_ms": _ms(account.media_seconds[1]),
            "ended": account.ended.value if account.ended else None,
            "error": visible(" ".join(account.error.split())),
            "level": account.stretches[-1].security.level.name,
        },
        "way": way,
        "intervals": _intervals(account, readable),
        "events": {
            "seen": [
                {"at_ms": _ms(e.at), "kind": e.kind.value, "detail": visible(e.detail)}
                for e in account.events
            ],
            "refused": account.refused,
            "dropped": account.dropped,
        },
        "countersignature": _countersignature(account.record, account.missing),
        "statements": _statements(account.statements),
        "limits": list(LIMITS),
    }
    return {"type": TYPE, "version": VERSION, **sections, "seal": _seal(sections, signer)}


def build_file(document: Mapping[str, object]) -> str:
    """A document as the text of a file, for eyes as well."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def parse_report(data: bytes) -> dict[str, object]:
    """Read a file: strict JSON, of exactly the form of version 1. Nothing in it is believed yet.

    Raises:
        ProtocolError: it is anything else; the message says where.
    """
    try:
        document = parse_json(data, max_size=MAX_SIZE, max_depth=MAX_DEPTH)
    except ProtocolError as e:
        raise ProtocolError(f"this is no report: {e}", rule=RULE) from e
    REPORT.require(document, "report")
    return document


def members(value: object) -> dict[str, object]:
    """A member that `REPORT` found to be an object."""
    if not isinstance(value, dict):  # invariant: asked only of what was checked
        raise UsageError("no object")
    return value


def items(value: object) -> list[object]:
    """A member that `REPORT` found to be a list."""
    if not isinstance(value, list):  # invariant, as above
        raise UsageError("no list")
    return value


def texts(value: object) -> tuple[str, ...]:
    """A list of texts."""
    return tuple(str(item) for item in items(value))


def number(value: object) -> int:
    """A member that `REPORT` found to be a number."""
    if not isinstance(value, int):  # invariant, as above
        raise UsageError("no number")
    return value


def read_way(way: Mapping[str, object], *, peer: str) -> Way:
    """The way as a document describes it."""
    return Way(
        peer=short(peer),
        protocol=str(way["protocol"]),
        transport=str(way["transport"]),
        direct=way["direct"] is True,
        server=str(way["server"]),
        hops=texts(way["hops"]),
        own_domain=str(way["own_domain"]),
        peer_domain=str(way["peer_domain"]),
        ticket=str(way["ticket"]),
        mixed_with=texts(way["mixed_with"]),
        relays=texts(way["relays"]),
        gateways=texts(way["gateways"]),
        page=str(way["page"]),
    )


def read_interval(interval: Mapping[str, object]) -> Interval:
    """The stretch of a call as a document describes it."""
    return Interval(
        since=number(interval["from_ms"]) / 1000,
        security=_read_security(interval),
        passed=interval["passed"] is True,
        medium=Kind(str(interval["medium"])),
    )


def short(address: str) -> str:
    """An address for people; whatever else stands there as it is, cut."""
    try:
        return visible(parse_address(address).short)
    except ProtocolError:
        return visible(address)


def digests_of(document: Mapping[str, object]) -> dict[str, str]:
    """The digest of every section."""
    return {name: sha512(canonical(document[name])).hex() for name in SECTIONS}


def _read_security(interval: Mapping[str, object]) -> SecurityState:
    identity = interval["identity"]
    return SecurityState(
        level=SecurityLevel[str(interval["level"])],
        reason=str(interval["reason"]),
        keying=Keying(str(interval["keying"])),
        identity=None if identity is None else _read_identity(members(identity)),
        srtp_profile=str(interval["srtp_profile"]),
        pq=interval["pq"] is True,
        sframe=interval["sframe"] is True,
        sas_confirmed=interval["sas_confirmed"] is True,
        fips_approved=interval["fips_approved"] is True,
        warnings=texts(interval["warnings"]),
    )


def _read_identity(identity: Mapping[str, object]) -> IdentityEvidence:
    return IdentityEvidence(
        root_fp=bytes.fromhex(str(identity["root"])),
        device_id=str(identity["device"]),
        trust=TrustState(str(identity["trust"])),
        since=number(identity["since"]),
        how=str(identity["how"]),
        stale=identity["stale"] is True,
        group=str(identity["group"]),
        organisation=str(identity["organisation"]),
        passport=identity["signed_in_signalling"] is True,
    )


def _seal(sections: Mapping[str, object], signer: Signer | None) -> dict[str, object] | None:
    if signer is None:
        return None
    digests = digests_of(sections)
    return {
        "key": signer.public.hex(),
        "digests": digests,
        "signature": signer.sign(sealed_bytes(digests)).hex(),
    }


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))


def _way(way: Way) -> dict[str, object]:
    return {
        "protocol": visible(way.protocol, 32),
        "transport": visible(way.transport, 128),
        "direct": way.direct,
        "server": visible(way.server),
        "hops": _names(way.hops),
        "own_domain": visible(way.own_domain),
        "peer_domain": visible(way.peer_domain),
        "ticket": way.ticket,
        "mixed_with": _names(way.mixed_with),
        "relays": _names(way.relays),
        "gateways": _names(way.gateways),
        "page": visible(way.page),
    }


def _names(names: tuple[str, ...]) -> list[str]:
    """Names that fit; how many more there were is said in place of the last."""
    if len(names) > MOST_NAMES:
        rest = len(names) - MOST_NAMES + 1
        names = (*names[: MOST_NAMES - 1], f"{rest} more")
    return [visible(name) for name in names]


def _intervals(account: Account, way: Way) -> list[object]:
    found: list[object] = []
    intervals = account.stretches[-64:]
    parties = parties_over(way, intervals)
    for number, interval in enumerate(intervals):
        later = (i.since for i in intervals[number + 1 :] if i.medium is interval.medium)
        until = next(later, max(account.lasted, interval.since))
        found.append(_interval(interval, until, parties[number]))
    return found


def _interval(
    interval: Interval, until: float, parties: tuple[ReportParty, ...]
) -> dict[str, object]:
    s = interval.security
    return {
        "medium": interval.medium.value,
        "from_ms": _ms(interval.since),
        "until_ms": _ms(until),
        "passed": interval.passed,
        "level": s.level.name,
        "reason": visible(s.reason),
        "keying": s.keying.value,
        "srtp_profile": s.srtp_profile,
        "sframe": s.sframe,
        "pq": s.pq,
        "sas_confirmed": s.sas_confirmed,
        "fips_approved": s.fips_approved,
        "identity": _identity(s.identity),
        "warnings": [visible(w) for w in s.warnings],
        "parties": [
            {
                "role": p.role.value,
                "name": p.name,
                "could": p.capability.value,
                "why": p.why,
            }
            for p in parties
        ],
    }


def _identity(identity: IdentityEvidence | None) -> dict[str, object] | None:
    if identity is None:
        return None
    return {
        "root": identity.root_fp.hex(),
        "device": identity.device_id,
        "trust": identity.trust.value,
        "since": identity.since,
        "how": identity.how,
        "stale": identity.stale,
        "group": identity.group,
        "organisation": visible(identity.organisation),
        "signed_in_signalling": identity.passport,
    }


def _countersignature(record: Countersigned | None, missing: str) -> dict[str, object]:
    if record is None:
        return {"record": None, "ours": None, "theirs": None, "missing": missing}
    return {
        "record": json.loads(record.record.canonical()),
        "ours": record.ours.hex(),
        "theirs": record.theirs.hex() if record.theirs is not None else None,
        "missing": missing,
    }


def _statements(statements: tuple[bytes, ...]) -> dict[str, object]:
    ours, theirs = (*statements, None, None)[:2]
    return {
        "ours": build_base64url(ours) if ours is not None else None,
        "theirs": build_base64url(theirs) if theirs is not None else None,
    }
