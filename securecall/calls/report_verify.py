"""Checks a report that somebody hands over: what is proved, what is missing, what was altered."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from securecall.calls.countersign import CLOCK_TOLERANCE, record_bytes
from securecall.calls.report_diary import EventKind
from securecall.calls.report_document import (
    canonical,
    digests_of,
    items,
    members,
    number,
    read_interval,
    read_way,
    sealed_bytes,
)
from securecall.calls.report_parties import Capability, Role, parties_over
from securecall.calls.report_shape import SECTIONS
from securecall.errors import ProtocolError, Reason, SecurityError
from securecall.keys.encoding import parse_base64url, sha512
from securecall.keys.signing import require_ed25519_signature
from securecall.keys.statement_grammar import parse_statement

LENGTH_TOLERANCE_MS: Final = 10_000  # between the length both signed and that of our intervals

# Of these there is one each: their names are words of ours, or stand elsewhere.
_NAMELESS: Final = frozenset({Role.YOU, Role.PEER, Role.NETWORK, Role.TICKET, Role.FIRST_CALL})

_EXPIRED: Final = (
    "The identity statement of {} had expired when the call began: nothing here shows that the "
    "device was still that person's."
)

Object = Mapping[str, object]


class Verdict(enum.StrEnum):
    """What was found of one part of a report."""

    PROVED = "proved"
    MISSING = "missing"
    FALSE = "false"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found.

    Attributes:
        part: A section ("call", "way", "intervals", "events", "countersignature", "statements",
            "limits"), "seal", "our-signature" or "their-signature".
        verdict: MISSING where there is nothing that could prove it.
        what: One sentence.
    """

    part: str
    verdict: Verdict
    what: str


def examine(document: Object) -> tuple[Finding, ...]:
    """Check everything a document proves or contradicts; believes nothing it does not prove.

    Args:
        document: From `parse_report`, or `ListenerReport.to_object`.
    """
    return tuple(
        finding
        for check in (_seal, _signatures, _statements, _agreement, _sense, _warrants)
        for finding in check(document)
    )


def require_unaltered(findings: tuple[Finding, ...]) -> None:
    """Refuse a report in which something is false.

    Raises:
        SecurityError: INTEGRITY; the message names every part that is.
    """
    false = [f for f in findings if f.verdict is Verdict.FALSE]
    if false:
        parts = ", ".join(dict.fromkeys(f.part for f in false))
        raise SecurityError(
            f"this report was altered, or is not true ({parts}): {false[0].what}",
            reason=Reason.INTEGRITY,
        )


def is_countersigned(findings: tuple[Finding, ...]) -> bool:
    """Everything is proved, the signatures of both ends included."""
    return all(f.verdict is Verdict.PROVED for f in findings)


def _false(part: str, what: str) -> Finding:
    return Finding(part, Verdict.FALSE, what)


def _holds(check: Callable[[], object]) -> bool:
    try:
        _ = check()
    except ProtocolError:
        return False
    return True


def _signed(key: object, signature: object, data: bytes) -> bool:
    public, made = bytes.fromhex(str(key)), bytes.fromhex(str(signature))
    return _holds(lambda: require_ed25519_signature(public, made, data))


def _ends(document: Object) -> tuple[Object, Object] | None:
    """Our end and the other, as the record names them; None without a record."""
    record = members(document["countersignature"])["record"]
    if record is None:
        return None
    ends = members(members(record)["caller"]), members(members(record)["callee"])
    outgoing = members(document["call"])["direction"] == "outgoing"
    return ends if outgoing else (ends[1], ends[0])


def _seal(document: Object) -> Iterator[Finding]:
    if document["seal"] is None:
        yield Finding(
            "seal",
            Verdict.MISSING,
            "This file bears no seal, so nothing shows whether it was changed since.",
        )
        return
    seal = members(document["seal"])
    stated, real = members(seal["digests"]), digests_of(document)
    altered = [name for name in SECTIONS if stated[name] != real[name]]
    for name in altered:
        yield _false(name, f"The part {name!r} is not what was sealed.")
    if not _signed(seal["key"], seal["signature"], sealed_bytes(stated)):
        yield _false("seal", "The seal is not that of the device it names.")
        return
    if seal["key"] not in _our_keys(document):
        yield _false("seal", "Another device than the one in the call made the seal.")
    elif not altered:
        yield Finding("seal", Verdict.PROVED, f"Nothing was changed since {_sealer(document)}.")


def _sealer(document: Object) -> str:
    ends = _ends(document)
    return f"{_name(ends[0])} sealed it" if ends is not None else "this device sealed it"


def _name(end: Object) -> str:
    return f"{end['address']} (key {str(end['root'])[:16]})"


def _our_keys(document: Object) -> tuple[object, ...]:
    """Keys of this end: of the device in the record, else those its statement lists."""
    ends, text = _ends(document), members(document["statements"])["ours"]
    if ends is not None:
        return (ends[0]["key"],)
    began = number(members(document["call"])["began"])
    try:
        statement = parse_statement(_decoded(str(text or "")), unix=began)
    except SecurityError:
        return ()
    return tuple(entry.public.hex() for entry in statement.devices)


def _signatures(document: Object) -> Iterator[Finding]:
    part = members(document["countersignature"])
    ends, why = _ends(document), str(part["missing"])
    if ends is None:
        if part["ours"] is not None or part["theirs"] is not None:
            yield _false("countersignature", "There are signatures, but nothing they could be of.")
        yield Finding("our-signature", Verdict.MISSING, f"This end did not sign: {why}.")
        yield Finding("their-signature", Verdict.MISSING, f"The other end did not sign: {why}.")
        if not why:
            yield _false("countersignature", "Signatures are missing, and no reason is given.")
        return
    data = record_bytes(canonical(part["record"]))
    for name, end, signature in (
        ("our-signature", ends[0], part["ours"]),
        ("their-signature", ends[1], part["theirs"]),
    ):
        if signature is None:
            if not why or name == "our-signature":
                yield _false("countersignature", "A signature is missing, and no reason is given.")
            yield Finding(name, Verdict.MISSING, f"It is not there: {why}.")
        elif _signed(end["key"], signature, data):
            yield Finding(name, Verdict.PROVED, f"{_name(end)} signed this very call.")
        else:
            yield _false(name, "It is no signature of this call by that device.")
    if part["theirs"] is not None and why:
        yield _false("countersignature", "It says that a signature is missing which is there.")


def _statements(document: Object) -> Iterator[Finding]:
    """Each device of the record belongs to the root the record names, by its word that holds."""
    statements, ends = members(document["statements"]), _ends(document)
    if ends is None:
        yield from _lone_statement(document)
        return
    began = number(members(document["call"])["began"])
    whole = True
    for name, end in zip(("ours", "theirs"), ends, strict=True):
        text = statements[name]
        data = b"" if text is None else _decoded(str(text))
        problem = _statement_problem(data, end, began)
        # No lie: who knew a newer one went by that (decision 0096), which this file does not hold.
        expired = not problem and parse_statement(data, unix=began).stale
        whole = whole and not problem and not expired
        if problem:
            yield _false("statements", f"The identity of {end['address']}: {problem}.")
        elif expired:
            yield Finding("statements", Verdict.MISSING, _EXPIRED.format(end["address"]))
    if whole:
        yield Finding("statements", Verdict.PROVED, "Each key belongs to the device it is said of.")


def _lone_statement(document: Object) -> Iterator[Finding]:
    """Without a record the peer's statement must at least be that of the key in the evidence."""
    text = members(document["statements"])["theirs"]
    last = members(items(document["intervals"])[-1])
    if text is None or last["identity"] is None:
        return
    identity = members(last["identity"])
    began = number(members(document["call"])["began"])
    try:
        root = parse_statement(_decoded(str(text)), unix=began).root_fp.hex()
    except SecurityError as e:
        yield _false("statements", str(e))
        return
    if root != identity["root"]:
        yield _false("statements", "The other end's statement is of another root key.")


def _decoded(text: str) -> bytes:
    try:
        return parse_base64url(text)
    except ProtocolError:
        return b""


def _statement_problem(data: bytes, end: Object, began: int) -> str:
    if sha512(data).hex() != end["statement"]:
        return "it is not the statement that was shown in the call"
    try:
        statement = parse_statement(data, unix=began)
        key = statement.device(str(end["device"]), unix=began).public.hex()
    except SecurityError as e:
        return str(e)
    if statement.root_fp.hex() != end["root"]:
        return "the statement is of another root key"
    return "" if key == end["key"] else "the statement lists this device with another key"


def _agreement(document: Object) -> Iterator[Finding]:
    """What this end says alone must not contradict what both signed."""
    ends = _ends(document)
    if ends is None:
        return
    ours, theirs = ends
    record = members(members(document["countersignature"])["record"])
    call, events = members(document["call"]), members(document["events"])
    intervals = [members(i) for i in items(document["intervals"])]
    said, last = members(ours["said"]), intervals[-1]
    identity = {} if last["identity"] is None else members(last["identity"])
    kinds = {members(e)["kind"] for e in items(events["seen"])}
    length = number(call["lasted_ms"]) - number(intervals[0]["from_ms"])
    for part, holds, what in (
        ("call", call["peer"] == theirs["address"], "names another person"),
        (
            "call",
            abs(number(call["began"]) - number(record["began"])) <= CLOCK_TOLERANCE,
            "tells another time",
        ),
        (
            "call",
            abs(length - 100 * number(record["lasted_ds"])) <= LENGTH_TOLERANCE_MS,
            "tells another length",
        ),
        ("intervals", identity.get("root") == theirs["root"], "names another root key"),
        ("intervals", identity.get("device") == theirs["device"], "names another device"),
        ("intervals", identity.get("group") == record["group"], "names another key exchange"),
        ("intervals", last["srtp_profile"] == record["srtp"], "names another cipher"),
        ("intervals", last["keying"] == record["keying"], "tells of other keys"),
        ("intervals", last["level"] == said["level"], "claims another level"),
        (
            "intervals",
            any(i["sas_confirmed"] for i in intervals) == said["compared"],
            "says otherwise whether words were compared",
        ),
        (
            "events",
            min(number(events["refused"]), 0xFFFF) == said["refused"],
            "counts other refused changes",
        ),
        (
            "events",
            (EventKind.RECORDING_STARTED.value in kinds) == said["recorded"],
            "says otherwise whether this end recorded",
        ),
    ):
        if not holds:
            yield _false(part, f"The part {part!r} {what} than what both ends signed.")


def _sense(document: Object) -> Iterator[Finding]:
    """What contradicts itself."""
    call, events = members(document["call"]), members(document["events"])
    intervals = [members(i) for i in items(document["intervals"])]
    ends: dict[object, int] = {}
    for interval in intervals:
        begins, until = number(interval["from_ms"]), number(interval["until_ms"])
        if until < begins or begins < ends.get(interval["medium"], 0):
            yield _false("intervals", "The stretches of the call are out of order.")
        ends[interval["medium"]] = until
    if intervals[-1]["level"] != call["level"]:
        yield _false("call", "The part 'call' claims another level than its last stretch.")
    seen = [members(e) for e in items(events["seen"])]
    refused = sum(e["kind"] == EventKind.CHANGE_REFUSED.value for e in seen)
    if not refused <= number(events["refused"]) <= refused + number(events["dropped"]):
        yield _false("events", "The number of refused changes does not add up.")


def _warrants(document: Object) -> Iterator[Finding]:
    """No party may be said to have been able to do less than the evidence leaves open."""
    order = [c.value for c in Capability]
    peer = str(members(document["call"])["peer"])
    way = read_way(members(document["way"]), peer=peer)
    intervals = [members(i) for i in items(document["intervals"])]
    everybody = parties_over(way, [read_interval(i) for i in intervals])
    for interval, parties in zip(intervals, everybody, strict=True):
        stated: dict[tuple[object, object], int] = {}
        for said in (members(p) for p in items(interval["parties"])):
            place = (said["role"], "" if said["role"] in _NAMELESS else said["name"])
            could = order.index(str(said["could"]))
            stated[place] = max(could, stated.get(place, 0))
        for party in parties:
            name = "" if party.role in _NAMELESS else party.name
            claimed = stated.get((party.role.value, name))
            if claimed is None:
                yield _false("intervals", f"{party.name} ({party.role.value}) is left out.")
            elif claimed > order.index(party.capability.value):
                yield _false(
                    "intervals",
                    f"{party.name} {party.capability.value}; the report claims less.",
                )
