"""Candidates found later, as a fragment of SDP: `application/trickle-ice-sdpfrag` (RFC 8840 9)."""

from __future__ import annotations

import re
from typing import Final

from securecall.calls.signaling import Trickled
from securecall.media.description import LocalIce
from securecall.sip.limits import MOST_FRAGMENT_BYTES, MOST_MEDIA
from securecall.sip.sdp_lines import (
    Section,
    candidate_text,
    malformed,
    parse_media_line,
    read_attribute,
    too_large,
)

PACKAGE: Final = "trickle-ice"
FRAGMENT: Final = "application/trickle-ice-sdpfrag"
_RULE: Final = "RFC 8840 9.2"
_READ: Final = ("ice-ufrag", "ice-pwd", "mid", "candidate", "end-of-candidates")
_MID: Final = re.compile(r"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]{1,64}")  # a token (RFC 5888 4)


def parse_fragment(data: bytes) -> tuple[Trickled, ...]:
    """Read a fragment; attributes that we do not know are skipped.

    Raises:
        SipError: it is malformed, larger than 16 KiB, names an m-line twice, or says of some
            candidates not which generation they belong to.
    """
    session, sections = Section(), list[Section]()
    for line in _lines(data):
        letter, value = line[:1], line[2:]
        if line[1:2] != "=" or letter not in ("m", "a"):
            raise malformed("a line cannot stand in a fragment", rule=_RULE)
        if letter == "m":
            if len(sections) == MOST_MEDIA:
                raise too_large(f"more than {MOST_MEDIA} media")
            sections.append(parse_media_line(value))
            continue
        name = value.partition(":")[0]
        section = sections[-1] if sections else session
        if name == "candidate" and section is session:
            raise malformed("a candidate of no m-line", rule=_RULE)
        if name in _READ:
            read_attribute(section, value)
    parts = tuple(_part(section, session) for section in sections)
    if len({part.mid for part in parts}) < len(parts):
        raise malformed("an m-line stands twice in a fragment", rule=_RULE)
    return parts


def _part(section: Section, session: Section) -> Trickled:
    values = session.values | section.values
    mid, ufrag, pwd = (section.values.get("mid", ""), *map(values.get, ("ice-ufrag", "ice-pwd")))
    if not _MID.fullmatch(mid):
        raise malformed("an m-line of a fragment without a=mid", rule=_RULE)
    if not ufrag or not pwd:
        raise malformed("candidates of no generation (a=ice-ufrag, a=ice-pwd)", rule=_RULE)
    complete = "end-of-candidates" in values
    candidates = tuple(section.candidates)
    return Trickled(mid, LocalIce(ufrag=ufrag, pwd=pwd, candidates=candidates, complete=complete))


def _lines(data: bytes) -> list[str]:
    if len(data) > MOST_FRAGMENT_BYTES:
        raise too_large(f"more than {MOST_FRAGMENT_BYTES} bytes")
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        raise malformed("not ASCII", rule=_RULE) from None
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    if any(not line.isprintable() for line in lines):
        raise malformed("a line holds a control character", rule=_RULE)
    return lines


def build_fragment(trickled: Trickled) -> bytes:
    """Write what was found.

    Raises:
        SipError: a value cannot be written on one line.
    """
    ice = trickled.ice
    lines = [
        f"a=ice-ufrag:{ice.ufrag}",
        f"a=ice-pwd:{ice.pwd}",
        "m=audio 9 RTP/AVP 0",
        f"a=mid:{trickled.mid}",
        *(f"a=candidate:{candidate_text(c)}" for c in ice.candidates),
    ]
    if ice.complete:
        lines.append("a=end-of-candidates")
    if any(not line.isprintable() for line in lines):
        raise malformed("a value holds a line break")
    return ("\r\n".join(lines) + "\r\n").encode("ascii")
