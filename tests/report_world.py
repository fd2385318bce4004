"""Two people with real keys, a call they had, and both ends' reports of it, without any network."""

from __future__ import annotations

from dataclasses import replace

from securecall.address import parse_address
from securecall.calls.countersign import (
    CallRecord,
    Countersigned,
    Countersigner,
    Party,
    Said,
)
from securecall.calls.report import CallEvent, EventKind, Interval, ListenerReport
from securecall.calls.report_document import digests_of, parse_report, sealed_bytes
from securecall.calls.report_parties import Way, way_of
from securecall.calls.signaling import SignalingPath
from securecall.errors import EndReason
from securecall.keys.device import DeviceKey
from securecall.keys.encoding import sha512
from securecall.keys.identity import RootKey
from securecall.keys.statement import build_statement
from securecall.keys.trust import TrustState
from securecall.media.description import Keying
from securecall.policy import Facts, IdentityEvidence, SecurityState, security_state

BEGAN = 1_764_000_000
PROFILE, GROUP = "SRTP_AEAD_AES_256_GCM", "X25519MLKEM768"


class Person:
    """Somebody with a root, a device and a statement."""

    def __init__(self, name: str, domain: str = "example.com") -> None:
        self.name = name
        self.address = parse_address(f"sip:{name}@{domain}")
        self.root = RootKey.generate()
        self.device = DeviceKey.generate(f"{name}-phone")
        self.statement = self.stated(seq=BEGAN * 1000)

    def stated(self, *, seq: int, iat: int = BEGAN - 60, exp: int = BEGAN + 86400) -> bytes:
        return build_statement(
            self.root,
            seq=seq,
            iat=iat,
            exp=exp,
            addresses=[self.address],
            devices=[self.device],
        )

    def party(self) -> Party:
        return Party(
            address=str(self.address),
            root_fp=self.root.fingerprint,
            device_id=self.device.id,
            device_public=self.device.public,
            statement=sha512(self.statement),
            fingerprints=sha512(self.name.encode()),
        )


ALICE, BOB, MALLORY = Person("alice"), Person("bob", "other.example"), Person("mallory")

PATH = SignalingPath(
    protocol="SIP",
    transport="TLSv1.3 TLS_AES_256_GCM_SHA384",
    direct=False,
    verified_name="example.com",
    hops=("edge.example.com", "proxy.transit.example", "sip.other.example"),
    remote="192.0.2.1:5061",
)


def way_between(us: Person, them: Person, path: SignalingPath | None = PATH, **more: object) -> Way:
    return way_of(
        peer=them.address.short,
        path=path,
        own=us.address,
        other=them.address,
        **more,  # type: ignore[arg-type] # test-only freedom
    )


def evidence(
    them: Person = BOB,
    trust: TrustState = TrustState.PINNED,
    how: str = "contact",
    *,
    confirmed: bool = False,
    stale: bool = False,
) -> SecurityState:
    return security_state(
        Facts(
            keying=Keying.DTLS_SRTP,
            identity=IdentityEvidence(
                root_fp=them.root.fingerprint,
                device_id=them.device.id,
                trust=trust,
                since=BEGAN - 1000,
                how=how,
                stale=stale,
                group=GROUP,
                organisation="clinic.example" if how == "organisation" else "",
            ),
            sas_confirmed=confirmed,
            srtp_profile=PROFILE,
            sframe=True,
        )
    )


def sign_both(
    caller: Person = ALICE,
    callee: Person = BOB,
    *,
    caller_said: Said,
    callee_said: Said,
    bind: bytes = bytes(range(64)),
    lasted: int = 600,
) -> tuple[Countersigned, Countersigned]:
    """Let both sign the account of a call, through the protocol's own messages."""
    record = CallRecord(
        caller=caller.party(),
        callee=callee.party(),
        bind=bind,
        srtp_profile=PROFILE,
        group=GROUP,
    )
    ours = Countersigner(record, we_call=True, sign=caller.device.sign)
    theirs = Countersigner(record, we_call=False, sign=callee.device.sign)
    _ = ours.say(caller_said)
    _ = theirs.say(callee_said)
    waiting = [(theirs, message) for message in ours.propose(began=BEGAN, lasted=lasted, now=0.0)]
    while waiting:
        to, message = waiting.pop()
        other = ours if to is theirs else theirs
        answers = to.receive(message, began=BEGAN, lasted=lasted)
        waiting += [(other, answer) for answer in answers]
    assert ours.outcome is not None
    assert theirs.outcome is not None
    return ours.outcome, theirs.outcome


def reports(
    *, security: SecurityState | None = None, bind: bytes = bytes(range(64))
) -> tuple[ListenerReport, ListenerReport]:
    """The caller's report of a call of a minute, and the callee's."""
    ours = security or evidence()
    theirs = evidence(ALICE, TrustState.VERIFIED, "sas")
    said = Said(level=ours.level, compared=ours.sas_confirmed, refused=1)
    records = sign_both(
        caller_said=said, callee_said=Said(level=theirs.level, recorded=True), bind=bind
    )
    first = ListenerReport(
        peer=BOB.address.short,
        address=str(BOB.address),
        outgoing=True,
        began=BEGAN,
        lasted=61.2,
        media_seconds=(58.0, 57.5),
        ended=EndReason.HUNG_UP,
        error="",
        intervals=(Interval(since=1.2, security=ours, passed=True),),
        way=way_between(ALICE, BOB),
        events=(
            CallEvent(1.2, EventKind.KEYS_AGREED, ours.level.name),
            CallEvent(20.5, EventKind.CHANGE_REFUSED, "asked to change the media keys"),
        ),
        refused=1,
        record=records[0],
        statements=(ALICE.statement, BOB.statement),
        signer=ALICE.device,
    )
    second = replace(
        first,
        peer=ALICE.address.short,
        address=str(ALICE.address),
        outgoing=False,
        intervals=(Interval(since=1.0, security=theirs, passed=True),),
        way=way_between(BOB, ALICE, replace(PATH, verified_name="other.example")),
        events=(
            CallEvent(1.0, EventKind.KEYS_AGREED, theirs.level.name),
            CallEvent(9.0, EventKind.RECORDING_STARTED, ""),
        ),
        refused=0,
        record=records[1],
        statements=(BOB.statement, ALICE.statement),
        signer=BOB.device,
    )
    return first, second


def object_of(report: ListenerReport) -> dict:
    """The document, as it comes out of a file."""
    return parse_report(report.to_json().encode())


def resealed(document: dict, by: Person) -> dict:
    """The document with a seal of this person's device over what it says now."""
    digests = digests_of(document)
    document["seal"] = {
        "key": by.device.public.hex(),
        "digests": digests,
        "signature": by.device.sign(sealed_bytes(digests)).hex(),
    }
    return document
