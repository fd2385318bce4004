"""The lines of SDP, each checked and read into the section it stands in (RFC 8866, 8839, 8122).

A key in an a=crypto line is kept as a `Secret` if a gateway account could take that line; of any
other line, that it stood there is all a caller can learn. No error quotes one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from securecall.errors import ProtocolError
from securecall.media.description import Candidate, Direction, Fingerprint
from securecall.media.sdes import CryptoLine, parse_crypto
from securecall.sip.grammar import SipError
from securecall.sip.limits import MOST_CANDIDATES, MOST_FORMATS

DIGITS: Final = re.compile(r"[0-9]{1,10}")
DIRECTIONS: Final = {d.value: d for d in Direction}
HINT: Final = "x-securecall-id"
_RULE: Final = "RFC 8866 5"
_LONG_DIGITS: Final = re.compile(r"[0-9]{1,30}")
_WORD: Final = re.compile(r"[!-~]{1,256}")
_FINGERPRINT: Final = re.compile(r"([A-Za-z0-9\-]{1,32}) ([0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2})*+)")
_MOST_FEEDBACK: Final = 32  # of one format
_MOST_EXTENSIONS: Final = 64
_MOST_CRYPTO: Final = 32  # lines that could be taken
_ICE: Final = re.compile(r"[A-Za-z0-9+/]{1,256}")
# these decide what a call is; a second one would be a second meaning
_ONCE: Final = frozenset({"setup", "ice-ufrag", "ice-pwd", "mid", "direction", "ptime"})
_KEPT: Final = frozenset(
    {
        "ice-lite",
        "ice-options",
        "rtcp-mux",
        "end-of-candidates",
        "bundle-only",
        "content",
        "rtcp-xr",
        HINT,
    }
)


@dataclass(slots=True)
class Section:
    """What is gathered of the session or of one m-line."""

    media: str = ""
    port: int = 0
    protocol: str = ""
    formats: tuple[str, ...] = ()
    host: str = ""
    values: dict[str, str] = field(default_factory=dict)
    fingerprints: list[Fingerprint] = field(default_factory=list)
    candidates: list[Candidate] = field(default_factory=list)
    crypto: list[CryptoLine] = field(default_factory=list)
    # None: named, but not so that it could be used
    rtpmaps: dict[int, tuple[str, int, int] | None] = field(default_factory=dict)
    fmtps: dict[int, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    feedback: dict[int | None, list[str]] = field(default_factory=dict)  # None: of all formats
    extensions: list[tuple[int, str]] = field(default_factory=list)


def require_origin(value: str) -> None:
    """Refuse an origin without six words or with numbers that are none (RFC 8866 5.2)."""
    parts = value.split()
    if len(parts) != 6 or not _LONG_DIGITS.fullmatch(parts[1]):
        raise malformed("the origin is malformed")
    if not _LONG_DIGITS.fullmatch(parts[2]):
        raise malformed("the origin is malformed")


def parse_media_line(value: str) -> Section:
    """Read what follows "m="."""
    parts = value.split()
    if len(parts) < 4:
        raise malformed("an m-line has too few words")
    port, slash, count = parts[1].partition("/")
    if slash:
        _ = _number(count, 255, "a count of ports")
    if len(parts) > 3 + MOST_FORMATS:
        raise too_large(f"an m-line has more than {MOST_FORMATS} formats")
    section = Section()
    section.media = parts[0].lower()
    section.port = _number(port, 65535, "a port")
    section.protocol = parts[2]
    section.formats = tuple(parts[3:])
    if "RTP/" in section.protocol.upper():
        for text in section.formats:
            _ = _number(text, 127, "a payload type")
    return section


def parse_connection(value: str) -> str:
    """Read what follows "c="; returns the address."""
    parts = value.split()
    if len(parts) != 3 or parts[0] != "IN" or parts[1] not in ("IP4", "IP6"):
        raise malformed("a connection line is malformed")
    host = parts[2].partition("/")[0]
    if not _WORD.fullmatch(host):
        raise malformed("a connection address is malformed")
    return host


def read_attribute(section: Section, text: str) -> None:
    """Read what follows "a=" into the section; attributes we do not know are skipped."""
    name, _, value = text.partition(":")
    if name in DIRECTIONS:
        name, value = "direction", name
    if name in _ONCE and name in section.values:
        raise malformed(f"a={name} stands twice in one place")
    read = _READERS.get(name)
    if read is not None:
        read(section, value)
    elif name in ("ice-ufrag", "ice-pwd"):
        if not _ICE.fullmatch(value):
            raise malformed(f"a={name} is malformed")
        section.values[name] = value
    elif name in _ONCE or name in _KEPT:
        section.values[name] = value.strip()[:256]


def _read_fingerprint(section: Section, value: str) -> None:
    section.fingerprints.append(_fingerprint(value))


def _read_candidate(section: Section, value: str) -> None:
    if len(section.candidates) == MOST_CANDIDATES:
        raise too_large(f"more than {MOST_CANDIDATES} candidates")
    section.candidates.append(_candidate(value))


def _read_ssrc(section: Section, value: str) -> None:
    number, _, rest = value.partition(" ")
    ssrc = _number(number, 2**32 - 1, "an SSRC")
    if rest.startswith("cname:") and "ssrc" not in section.values:
        section.values["ssrc"] = str(ssrc)
        section.values["cname"] = rest[6:262]


def _read_group(section: Section, value: str) -> None:
    """RFC 5576 4.2: of two sources, the second sends again what the first sent."""
    semantics, _, numbers = value.partition(" ")
    pair = numbers.split()
    if semantics == "FID" and len(pair) == 2:
        _ = _number(pair[0], 2**32 - 1, "an SSRC")
        section.values.setdefault("rtx-ssrc", str(_number(pair[1], 2**32 - 1, "an SSRC")))


def _read_feedback(section: Section, value: str) -> None:
    number, _, what = value.partition(" ")
    payload_type = None if number == "*" else _number(number, 127, "a payload type")
    said = section.feedback.setdefault(payload_type, [])
    if len(said) < _MOST_FEEDBACK:
        said.append(what.strip()[:64])


def _read_extension(section: Section, value: str) -> None:
    number, _, uri = value.partition(" ")
    name, uri = number.partition("/")[0], uri.split(" ")[0]
    if len(section.extensions) == _MOST_EXTENSIONS:
        raise too_large(f"more than {_MOST_EXTENSIONS} header extensions")
    if not _WORD.fullmatch(uri):
        raise malformed("a=extmap is malformed", rule="RFC 8285 8")
    section.extensions.append((_number(name, 4351, "the number of an extension"), uri))


def _read_crypto(section: Section, value: str) -> None:
    section.values["crypto"] = ""
    try:
        line = parse_crypto(value)
    except ProtocolError:
        return  # one of many, perhaps; where none can be taken, the call is refused with 488
    if len(section.crypto) == _MOST_CRYPTO:
        raise too_large(f"more than {_MOST_CRYPTO} keys")
    section.crypto.append(line)


def _fingerprint(value: str) -> Fingerprint:
    found = _FINGERPRINT.fullmatch(value.strip())
    if found is None:
        raise malformed("a=fingerprint is malformed", rule="RFC 8122 5")
    return Fingerprint(found[1].lower(), bytes.fromhex(found[2].replace(":", "")))


def _candidate(value: str) -> Candidate:
    """Read what follows "candidate:" (RFC 8839 5.1); extensions are skipped.

    Raises:
        SipError: it is malformed.
    """
    parts = value.split()
    if len(parts) < 8 or parts[6] != "typ" or len(parts[0]) > 32:
        raise malformed("a=candidate is malformed", rule="RFC 8839 5.1")
    more = dict(zip(parts[8::2], parts[9::2], strict=False))
    related_port = more.get("rport")
    return Candidate(
        foundation=parts[0],
        component=_number(parts[1], 256, "a component"),
        transport=parts[2],
        priority=_number(parts[3], 2**32 - 1, "a priority"),
        host=parts[4],
        port=_number(parts[5], 65535, "a port"),
        type=parts[7],
        related_address=more.get("raddr"),
        related_port=None if related_port is None else _number(related_port, 65535, "a port"),
    )


def candidate_text(c: Candidate) -> str:
    """Write what follows "candidate:"."""
    text = f"{c.foundation} {c.component} {c.transport} {c.priority} {c.host} {c.port} typ {c.type}"
    if c.related_address is not None:
        text += f" raddr {c.related_address} rport {c.related_port or 0}"
    return text


def _rtpmap(section: Section, value: str) -> None:
    number, _, encoding = value.partition(" ")
    payload_type = _number(number, 127, "a payload type")
    parts = encoding.strip().split("/")
    if len(parts) == 1 and _WORD.fullmatch(parts[0]):
        # without a clock rate, as RFC 4475 itself has it: no codec of ours, and no reason to refuse
        section.rtpmaps[payload_type] = None
        return
    if len(parts) not in (2, 3) or not _WORD.fullmatch(parts[0]):
        raise malformed("a=rtpmap is malformed", rule="RFC 8866 6.6")
    rate = _number(parts[1], 2**31 - 1, "a clock rate")
    channels = _number(parts[2], 255, "a number of channels") if len(parts) == 3 else 1
    if not rate or not channels:
        raise malformed("a=rtpmap is malformed", rule="RFC 8866 6.6")
    section.rtpmaps[payload_type] = (parts[0], rate, channels)


def _fmtp(section: Section, value: str) -> None:
    number, _, rest = value.partition(" ")
    if not DIGITS.fullmatch(number):
        return  # a format that is no RTP payload type
    pairs = []
    for part in rest.split(";"):
        key, _, setting = part.partition("=")
        if key.strip():
            pairs.append((key.strip().lower(), setting.strip()))
    section.fmtps[int(number)] = tuple(pairs)


_READERS: Final[dict[str, Callable[[Section, str], None]]] = {
    "fingerprint": _read_fingerprint,
    "candidate": _read_candidate,
    "rtpmap": _rtpmap,
    "fmtp": _fmtp,
    "ssrc": _read_ssrc,
    "ssrc-group": _read_group,
    "rtcp-fb": _read_feedback,
    "extmap": _read_extension,
    "crypto": _read_crypto,
}


def _number(text: str, most: int, what: str) -> int:
    if not DIGITS.fullmatch(text) or int(text) > most:
        raise malformed(f"{what} is not a number up to {most}")
    return int(text)


def malformed(why: str, rule: str = _RULE) -> SipError:
    """What is raised for a description that breaks a rule; answered with 400."""
    return SipError(f"the session description is malformed: {why}", rule=rule)


def too_large(why: str) -> SipError:
    """What is raised for a description beyond a limit of ours; answered with 513."""
    return SipError(f"the session description is too large: {why}", status=513)
