"""A report as one page of plain words, for a reader of twelve years; laid out as text.

Everything is read off the document, so a page made of a file says what the file says. Sentences
here are measured by a test; what only experts need stands apart, at the end.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain
from typing import Final

from securecall.calls.report_diary import PROVOKED
from securecall.calls.report_document import (
    LIMITS,
    items,
    members,
    number,
    read_interval,
    read_way,
    short,
    texts,
)
from securecall.calls.report_parties import (
    Capability,
    Interval,
    ReportParty,
    Role,
    has_keys,
    parties_over,
    strongest,
)
from securecall.policy import SecurityLevel

Object = Mapping[str, object]

TITLE: Final = "Who could have listened"
ROLES: Final = {
    Role.YOU: "You",
    Role.PEER: "The other end",
    Role.CONFERENCE: "Somebody in another call of yours",
    Role.OWN_PROVIDER: "Your provider",
    Role.PEER_PROVIDER: "The other end's provider",
    Role.PROXY: "A server on the way",
    Role.RELAY: "A relay for the sound",
    Role.GATEWAY: "A door to the phone network",
    Role.ORGANISATION: "The other end's organisation",
    Role.DIRECTORY: "The server that gave you the key",
    Role.PAGE: "The web page the other end used",
    Role.TICKET: "The way the ticket took",
    Role.FIRST_CALL: "Your first call",
    Role.NETWORK: "The network",
}
EVENTS: Final = {
    "keys-agreed": "The two devices made the keys.",
    "level-changed": "The protection changed.",
    "words-same": "You said that both of you read the same words.",
    "words-differ": "You said that the words were not the same.",
    "key-pinned": "This device now knows the key of the other end.",
    "key-verified": "The key of the other end now counts as checked.",
    "change-refused": "A change to the call was asked for and refused.",
    "transfer-asked": "Somebody asked to send the call to another place. It stayed here.",
    "recording-started": "This device began to record.",
    "recording-stopped": "This device stopped recording.",
    "peer-recording": "The other end says that it records.",
    "consent-asked": "The question was asked whether the call may be recorded.",
    "consent-given": "The answer was: yes, it may be recorded.",
    "consent-refused": "The answer was: no, it may not be recorded.",
    "conference-joined": "You let people of another call hear this one.",
}
NOTHING_SENT: Final = "No keys were made, and no sound was sent."
STOPPED: Final = "The call was stopped before any sound was sent."
HELD: Final = "Others held the key, so they could have listened:"
IN_BETWEEN: Final = "Somebody in the middle could have listened:"
LET_IN: Final = "You let others in. Nobody else could have listened:"
ONLY_TWO: Final = "Only the two of you could have listened."
SIGNED: Final = "Signed by both ends, before they hung up."
SIGNED_ALONE: Final = "Signed by you only:"
NOT_SIGNED: Final = "Not signed:"
NOT_SEALED: Final = "It has no seal. Nothing shows if somebody changed it later."
THEY_RECORDED: Final = "The other end says that it recorded you."
THEY_COMPARED: Final = "The other end says that it compared the words."
NO_RECORDING: Final = "Nobody said that they record. Nobody can be sure that nobody did."
ALTERED: Final = "Do not trust this page. The file was changed, or it is not true:"
IT_SAYS: Final = "The file says:"
FIXED: Final = (
    *EVENTS.values(),
    NOTHING_SENT,
    STOPPED,
    HELD,
    IN_BETWEEN,
    LET_IN,
    ONLY_TWO,
    SIGNED,
    SIGNED_ALONE,
    NOT_SIGNED,
    NOT_SEALED,
    THEY_RECORDED,
    THEY_COMPARED,
    NO_RECORDING,
    ALTERED,
    IT_SAYS,
    *LIMITS,
)
_MOST_EVENTS: Final = 24  # of a page; the file has them all


@dataclass(frozen=True, slots=True)
class Page:
    """What a page says, free of any layout.

    Attributes:
        call: Who, when, how long; one line.
        doubts: Why nobody should believe the rest, usually empty.
        verdict: The one thing to know.
        names: Who the verdict is about.
        good: The verdict is that only the two ends could have listened.
        level: The protection and its reason; what went wrong; warnings.
        parties: Everybody, strongest first.
        events: (time, sentence, detail in parentheses or "").
        signed: Who signed, and what the other end says of itself.
        limits: What no report can tell.
        experts: Keys and ciphers, (name, value).
    """

    call: str
    doubts: tuple[str, ...]
    verdict: str
    names: tuple[str, ...]
    good: bool
    level: tuple[str, ...]
    parties: tuple[ReportParty, ...]
    events: tuple[tuple[str, str, str], ...]
    signed: tuple[str, ...]
    limits: tuple[str, ...]
    experts: tuple[tuple[str, str], ...]


def page_of(document: Object, doubts: tuple[str, ...] = ()) -> Page:
    """Put a document into words.

    Args:
        document: Of the right form (`parse_report`); who listened is worked out from its evidence
            again, not copied.
        doubts: What was found false in it.
    """
    call = members(document["call"])
    written = [members(i) for i in items(document["intervals"])]
    way = read_way(members(document["way"]), peer=str(call["peer"]))
    intervals = [read_interval(i) for i in written]
    parties = strongest(chain.from_iterable(parties_over(way, intervals)))
    verdict, names = _verdict(intervals, parties)
    said = f"{IT_SAYS} " if doubts else ""
    return Page(
        call=_call(call),
        doubts=doubts,
        verdict=said + verdict,
        names=names,
        good=verdict == ONLY_TWO and not doubts,
        level=_level(call, written[-1], intervals[-1], gateway=bool(way.gateways)),
        parties=parties,
        events=_events(members(document["events"])),
        signed=tuple(said + sentence for sentence in _signed(document)),
        limits=LIMITS,
        experts=_experts(written[-1]),
    )


def page_as_text(page: Page, width: int = 78) -> str:
    """Lay a page out as text."""
    lines = [TITLE.upper(), *_wrapped(page.call, width), ""]
    if page.doubts:
        lines += [*_wrapped(" ".join((ALTERED, *page.doubts)), width), ""]
    lines += _wrapped(" ".join((page.verdict, ", ".join(page.names))).rstrip(), width)
    for sentence in page.level:
        lines += _wrapped(sentence, width)
    lines += ["", *_party_lines(page.parties, width)]
    lines += [""] if page.events else []
    for at, sentence, detail in page.events:
        lines += _wrapped(f"{sentence} {detail}".rstrip(), width, f"{at:>7}  ", " " * 9)
    for sentences in (page.signed, page.limits):
        lines.append("")
        for sentence in sentences:
            lines += _wrapped(sentence, width)
    if page.experts:
        lines += ["", *_wrapped("; ".join(f"{n}: {v}" for n, v in page.experts), width)]
    return "\n".join(lines)


def _party_lines(parties: Sequence[ReportParty], width: int) -> Iterator[str]:
    indent = max(len(m) for m in MARKS.values()) + 1
    for party, told in with_reasons(parties):
        mark = MARKS[party.capability].ljust(indent)
        name = f"{ROLES[party.role]} ({party.name}): {party.capability.value}"
        yield from _wrapped(name, width, mark, " " * indent)
        if told:
            yield from _wrapped(party.why, width, " " * indent)


def with_reasons(parties: Sequence[ReportParty]) -> Iterator[tuple[ReportParty, bool]]:
    """Every party, and whether its reason is told there: once for all that share it."""
    reasons = [(p.capability, p.why) for p in parties]
    for number_, party in enumerate(parties):
        yield party, reasons[number_ : number_ + 1] != reasons[number_ + 1 : number_ + 2]


MARKS: Final = {
    Capability.HELD_KEY: "[key]",
    Capability.LET_IN: "[in]",
    Capability.COULD_SUBSTITUTE: "[!]",
    Capability.METADATA: "[meta]",
    Capability.NOTHING: "[-]",
}


def _wrapped(text: str, width: int, first: str = "", rest: str | None = None) -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=first if rest is None else rest,
        break_on_hyphens=False,
    )


def clock(ms: int) -> str:
    """Minutes and seconds since the beginning."""
    return f"{ms // 60_000}:{ms // 1000 % 60:02d}"


def _call(call: Object) -> str:
    way = "to" if call["direction"] == "outgoing" else "from"
    when = datetime.fromtimestamp(number(call["began"]), UTC).strftime("%Y-%m-%d %H:%M UTC")
    seconds = round(number(call["lasted_ms"]) / 1000)
    lasted = f"{seconds} s" if seconds < 120 else f"{seconds // 60} min {seconds % 60} s"
    return f"Call {way} {short(str(call['peer']))}, {when}, {lasted}"


def _verdict(
    intervals: list[Interval], parties: tuple[ReportParty, ...]
) -> tuple[str, tuple[str, ...]]:
    if not any(has_keys(i) for i in intervals):
        return NOTHING_SENT, ()
    if not any(i.passed for i in intervals):
        return STOPPED, ()
    others = [p for p in parties if p.role not in (Role.YOU, Role.PEER)]
    for could, sentence in (
        (Capability.HELD_KEY, HELD),
        (Capability.COULD_SUBSTITUTE, IN_BETWEEN),
        (Capability.LET_IN, LET_IN),
    ):
        names = tuple(p.name for p in others if p.capability is could)
        if names:
            return sentence, names
    return ONLY_TWO, ()


def _level(call: Object, last: Object, interval: Interval, *, gateway: bool) -> tuple[str, ...]:
    found = []
    if has_keys(interval):
        security = replace(interval.security, gateway=gateway)
        found.append(f"{security.words}: {last['reason']}.")
    if call["error"]:
        found.append(f"It ended early: {call['error']}")
    return (*found, *texts(last["warnings"]))


def _events(events: Object) -> tuple[tuple[str, str, str], ...]:
    seen = [members(e) for e in items(events["seen"])]
    ranked = sorted(seen, key=lambda e: e["kind"] in PROVOKED)  # nobody crowds out the rest
    kept = sorted(ranked[:_MOST_EVENTS], key=seen.index)
    shown = tuple((clock(number(e["at_ms"])), EVENTS[str(e["kind"])], _detail(e)) for e in kept)
    more = len(seen) - len(shown) + number(events["dropped"])
    return (*shown, ("", f"And {more} more.", "")) if more else shown


def _detail(event: Object) -> str:
    kind, detail = str(event["kind"]), str(event["detail"])
    if kind in _LEVELLED and detail in SecurityLevel.__members__:
        detail = SecurityLevel[detail].words
    return f"({detail})" if detail and kind not in _PLAIN else ""


_LEVELLED: Final = ("keys-agreed", "level-changed")
_PLAIN: Final = ("key-pinned", "key-verified")


def _signed(document: Object) -> tuple[str, ...]:
    part = members(document["countersignature"])
    bare = () if document["seal"] is not None else (NOT_SEALED,)
    if part["record"] is None:
        return (f"{NOT_SIGNED} {part['missing']}.", *bare)
    if part["theirs"] is None:
        return (f"{SIGNED_ALONE} {part['missing']}.", *bare)
    outgoing = members(document["call"])["direction"] == "outgoing"
    record = members(part["record"])
    said = members(members(record["callee" if outgoing else "caller"])["said"])
    ours = members(members(record["caller" if outgoing else "callee"])["said"])
    found = [SIGNED]
    if said["compared"]:
        found.append(THEY_COMPARED)
    if said["recorded"]:
        found.append(THEY_RECORDED)
    elif not ours["recorded"]:
        found.append(NO_RECORDING)
    return (*found, *bare)


def _experts(last: Object) -> tuple[tuple[str, str], ...]:
    identity = {} if last["identity"] is None else members(last["identity"])
    quantum = " (safe against a later quantum computer)" if last["pq"] else ""
    found = (
        ("Keys", str(last["keying"])),
        ("cipher", str(last["srtp_profile"])),
        ("frames", "SFrame AES-256-GCM, end to end" if last["sframe"] else ""),
        ("key exchange", f"{identity['group']}{quantum}" if identity.get("group") else ""),
        ("key of the other end", str(identity.get("root", ""))[:32]),
        ("device", str(identity.get("device", ""))),
    )
    return tuple((n, v) for n, v in found if v and v != "none")
