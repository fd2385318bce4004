"""Who could have listened: every party of a call, what it held, and why, as JSON and as plain text.

The words are "could", never "did": a report states what keys and certificates made possible.
"""

from __future__ import annotations

import enum
import json
import textwrap
from dataclasses import dataclass
from datetime import UTC, datetime

from securecall.calls.countersign import Countersigned, require_signature
from securecall.calls.signaling import SignalingPath
from securecall.errors import EndReason, ProtocolError
from securecall.media.description import Keying
from securecall.policy import SecurityLevel, SecurityState
from securecall.transport.endpoint import host_of


class Capability(enum.StrEnum):
    """What a party could have done with the media."""

    HELD_KEY = "held the key"
    LET_IN = "heard the sound from this device"
    COULD_SUBSTITUTE = "could have substituted a key"
    METADATA = "saw metadata only"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportParty:
    """One party and what it could do.

    Attributes:
        role: "you", "peer", "conference", "server", "ticket channel", "first call", "network".
        name: Who; untrusted where it came off the wire.
        capability: The strongest that applies.
        why: One sentence.
    """

    role: str
    name: str
    capability: Capability
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A stretch of the call at one level.

    Attributes:
        since: Seconds from the beginning of the call.
        security: The snapshot that held from then on.
    """

    since: float
    security: SecurityState


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerReport:
    """The account of one call.

    Attributes:
        peer: The peer's address for people.
        outgoing: We called.
        began: Unix seconds of the invitation.
        lasted: Seconds from then to the end.
        media_seconds: Sound sent and received, seconds.
        ended: How; None while it goes on.
        error: The reason in words where it did not end in order, "" otherwise.
        intervals: Level by level, in order; empty if no keys were ever agreed.
        parties: Everybody who took part, strongest first.
        record: The countersigned record, None where no identity was proven or nobody asked for it.
        statements: Both identity statements, so that anyone can check the record offline.
    """

    peer: str
    outgoing: bool
    began: int
    lasted: float
    media_seconds: tuple[float, float]
    ended: EndReason | None
    error: str
    intervals: tuple[Interval, ...]
    parties: tuple[ReportParty, ...]
    record: Countersigned | None = None
    statements: tuple[bytes, ...] = ()

    @property
    def security(self) -> SecurityState | None:
        """The last snapshot, None if no keys were agreed."""
        return self.intervals[-1].security if self.intervals else None

    def to_json(self) -> str:
        """The report as one JSON object."""
        return json.dumps(self.to_object(), indent=2)

    def to_object(self) -> dict[str, object]:
        """The report as plain values."""
        security = self.security
        return {
            "type": "securecall-listener-report",
            "version": 1,
            "peer": self.peer,
            "direction": "outgoing" if self.outgoing else "incoming",
            "began": self.began,
            "lasted_seconds": round(self.lasted, 1),
            "media_sent_seconds": round(self.media_seconds[0], 2),
            "media_received_seconds": round(self.media_seconds[1], 2),
            "ended": self.ended.value if self.ended else None,
            "error": self.error,
            "level": security.level.name if security else SecurityLevel.NONE.name,
            "intervals": [_interval(i) for i in self.intervals],
            "parties": [
                {"role": p.role, "name": p.name, "could": p.capability.value, "why": p.why}
                for p in self.parties
            ],
            "signatures": _signatures(self.record),
            "statements": [s.decode("ascii") for s in self.statements],
            "limits": list(LIMITS),
        }

    def who_could_have_listened(self) -> str:
        """One page in plain words."""
        return "\n".join(_page(self))

    def __str__(self) -> str:
        return self.who_could_have_listened()


LIMITS = (
    "This report says who could have listened, not who did.",
    "It speaks of the connection. A microphone in the room, a stolen device or spyware on either "
    "device is outside of it.",
    "The servers and networks on the way always see who talks to whom, when, and for how long.",
    "securecall has not been audited by a third party yet.",
)


_TICKET_CHANNELS = {
    "link": "whoever could change the ticket on its way could have put a key of their own into it",
    "bearer": "whoever could read the ticket on its way could have used it first",
}


def parties_of(
    *,
    peer: str,
    path: SignalingPath | None,
    security: SecurityState | None,
    ticket: str = "",
    mixed_with: tuple[str, ...] = (),
) -> tuple[ReportParty, ...]:
    """List the parties of a call and what each could have done.

    Args:
        peer: The peer's address for people.
        path: The way the signalling took, None if it never left this machine.
        security: The last snapshot, None if no keys were agreed.
        ticket: "link" or "qr" for how the ticket of our call travelled, "bearer" where the caller
            brought one of ours, "" for a call without one.
        mixed_with: The people of other calls that heard this one in a conference of ours.
    """
    found = list(_ends(peer, security))
    found += [
        ReportParty(
            role="conference",
            name=name,
            capability=Capability.LET_IN,
            why="you mixed this call with theirs; see the report of that call for who else heard",
        )
        for name in mixed_with
    ]
    if path is not None and not path.direct:
        capability, why = _server(security)
        here = host_of(path.remote)  # by its address the next hop again
        hops = (hop.strip("[]") for hop in path.hops)
        names = dict.fromkeys(
            (path.verified_name or path.remote, *(hop for hop in hops if hop != here))
        )
        found += [ReportParty(role="server", name=n, capability=capability, why=why) for n in names]
    if ticket in _TICKET_CHANNELS and security is not None and not security.sas_confirmed:
        found.append(
            ReportParty(
                role="ticket channel",
                name="whatever carried the ticket to the caller",
                capability=Capability.COULD_SUBSTITUTE,
                why=f"{_TICKET_CHANNELS[ticket]}; comparing the words of the call excludes that",
            )
        )
    if _rests_on_first_call(security):
        found.append(
            ReportParty(
                role="first call",
                name="the servers of your first call with this contact",
                capability=Capability.COULD_SUBSTITUTE,
                why="they could have put a key of their own in place then, and stayed in between "
                "since; comparing the words of a call once excludes that",
            )
        )
    found += _organisation(security)
    found.append(_network(security, direct=path is not None and path.direct))
    order = list(Capability)
    return tuple(sorted(found, key=lambda p: order.index(p.capability)))


def _rests_on_first_call(security: SecurityState | None) -> bool:
    """The key is believed for no better reason than that it was there the first time."""
    if security is None or security.level is not SecurityLevel.E2EE or security.identity is None:
        return False
    return security.identity.how == "first-call"


def _organisation(security: SecurityState | None) -> list[ReportParty]:
    """Whoever vouches for a key could vouch for another one."""
    identity = security.identity if security is not None else None
    if security is None or identity is None or identity.how != "organisation":
        return []
    if security.level is not SecurityLevel.E2EE:
        return []
    return [
        ReportParty(
            role="organisation",
            name=identity.organisation,
            capability=Capability.COULD_SUBSTITUTE,
            why="it vouches for this key and could have vouched for one of its own; comparing the "
            "words of a call once excludes that",
        )
    ]


def _ends(peer: str, security: SecurityState | None) -> list[ReportParty]:
    if security is None:
        none = "no keys were agreed and no sound was sent"
        return [
            ReportParty(role="you", name="this device", capability=Capability.NOTHING, why=none),
            ReportParty(role="peer", name=peer, capability=Capability.NOTHING, why=none),
        ]
    proven = {
        SecurityLevel.VERIFIED: "it proved the key you verified",
        SecurityLevel.E2EE: "it proved the key you know for this contact",
        SecurityLevel.OPPORTUNISTIC: "it proved a key, but nobody checked yet whose key that is",
    }.get(security.level, "it did not prove who it is")
    return [
        ReportParty(
            role="you", name="this device", capability=Capability.HELD_KEY, why="you made the keys"
        ),
        ReportParty(role="peer", name=peer, capability=Capability.HELD_KEY, why=proven),
    ]


def _server(security: SecurityState | None) -> tuple[Capability, str]:
    if security is None:
        return Capability.METADATA, "no media keys were agreed; it saw who called whom"
    if security.keying is Keying.SDES:
        return Capability.HELD_KEY, "the media keys passed through it in the clear"
    if security.level >= SecurityLevel.E2EE:
        return Capability.METADATA, "both ends proved their own keys to each other past it"
    if security.identity is None:
        return (
            Capability.COULD_SUBSTITUTE,
            "it carried the only fingerprints of the keys and nobody else vouched for them",
        )
    return (
        Capability.COULD_SUBSTITUTE,
        "at a first contact it could have answered with a key of its own; compare the words, or a "
        "safety number, to exclude that",
    )


def _network(security: SecurityState | None, *, direct: bool) -> ReportParty:
    capability = Capability.METADATA
    if security is not None and security.level >= SecurityLevel.E2EE:
        why = "sound was encrypted with keys that only the two ends held"
    elif security is None:
        why = "no media keys were agreed; they saw who talked to whom"
    elif direct:
        capability = Capability.COULD_SUBSTITUTE
        why = "nobody vouched for the first connection; comparing the words of a call excludes this"
    else:
        capability = Capability.COULD_SUBSTITUTE
        why = (
            "your own connection to the server was encrypted, but how the others on the way were "
            "is not known here, and nothing else vouched for the keys"
        )
    return ReportParty(
        role="network",
        name="internet providers and Wi-Fi on the way",
        capability=capability,
        why=why,
    )


def _interval(interval: Interval) -> dict[str, object]:
    s = interval.security
    identity = s.identity
    return {
        "since_seconds": round(interval.since, 1),
        "level": s.level.name,
        "is_e2ee": s.is_e2ee,
        "reason": s.reason,
        "keying": s.keying.value,
        "srtp_profile": s.srtp_profile,
        "sframe": s.sframe,
        "pq": s.pq,
        "sas_confirmed": s.sas_confirmed,
        "fips_approved": s.fips_approved,
        "signed_in_signalling": identity.passport if identity else False,
        "peer_root": identity.root_fp.hex() if identity else "",
        "peer_device": identity.device_id if identity else "",
        "trust": identity.trust.name if identity else "",
        "trust_since": identity.since if identity else 0,
        "trust_how": identity.how if identity else "",
        "group": identity.group if identity else "",
        "warnings": list(s.warnings),
    }


def _signatures(record: Countersigned | None) -> dict[str, object] | None:
    if record is None:
        return None
    return {
        "record": record.record.canonical().decode("ascii"),
        "ours": record.ours.hex(),
        "theirs": record.theirs.hex() if record.theirs else None,
        "missing": record.why,
    }


def require_countersigned(report: ListenerReport) -> None:
    """Check both signatures of a report's record.

    Raises:
        ProtocolError: a signature is missing or does not fit.
    """
    signed = report.record
    if signed is None or signed.theirs is None:
        raise ProtocolError("the report is not signed by both ends", rule="countersign")
    ours, theirs = signed.record.caller, signed.record.callee
    if not report.outgoing:
        ours, theirs = theirs, ours
    require_signature(signed.record, ours.device_public, signed.ours)
    require_signature(signed.record, theirs.device_public, signed.theirs)


_MARKS = {
    Capability.HELD_KEY: "[key]",
    Capability.LET_IN: "[in]",
    Capability.COULD_SUBSTITUTE: "[!]",
    Capability.METADATA: "[meta]",
    Capability.NOTHING: "[-]",
}


def _page(report: ListenerReport) -> list[str]:
    when = datetime.fromtimestamp(report.began, UTC).strftime("%Y-%m-%d %H:%M UTC")
    way = "to" if report.outgoing else "from"
    lines = [
        "WHO COULD HAVE LISTENED",
        f"Call {way} {report.peer}, {when}, {report.lasted:.0f} s",
        "",
    ]
    security = report.security
    if security is None:
        lines += _wrapped("No media keys were agreed. No sound was sent or played.")
    else:
        lines += _wrapped(f"{security.level.words}: {security.reason}.")
        lines += _wrapped(_keys_in_words(security))
    if report.error:
        lines += _wrapped(f"It ended early: {report.error}")
    lines.append("")
    width = max(len(m) for m in _MARKS.values())
    for party in report.parties:
        mark = _MARKS[party.capability].ljust(width)
        lines.append(f"{mark} {party.name}: {party.capability.value}")
        lines += _wrapped(party.why, indent=" " * (width + 1))
    lines += ["", *_signed_in_words(report), ""]
    for limit in LIMITS:
        lines += _wrapped(limit)
    return lines


def _keys_in_words(security: SecurityState) -> str:
    parts = [f"Keys: {security.keying.value}, {security.srtp_profile or 'no SRTP yet'}"]
    if security.sframe:
        parts.append("every frame sealed end to end (SFrame AES-256-GCM)")
    if security.pq:
        parts.append("safe against a later quantum computer (X25519 + ML-KEM-768)")
    return "; ".join(parts) + "."


def _signed_in_words(report: ListenerReport) -> list[str]:
    record, security = report.record, report.security
    if record is None and (security is None or security.identity is None):
        return ["Not signed: no identities were proven in this call."]
    if record is None:
        return ["Not signed: the call ended before either end asked the other to sign."]
    if record.theirs is None:
        return _wrapped(f"Signed by you only: {record.why}.")
    return ["Signed by both ends."]


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, 78, initial_indent=indent, subsequent_indent=indent)
