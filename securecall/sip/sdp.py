"""SDP to `Description` and back, in one pass over its lines (RFC 8866, 3264, 8839, 8122, 5763).

Keys in a=crypto are never kept: that one stood there is all a caller can learn.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from securecall.media.description import (
    Candidate,
    Codec,
    Description,
    Direction,
    Fingerprint,
    Keying,
    Kind,
    MediaDescription,
    Setup,
)
from securecall.sip.grammar import SipError

MOST_BYTES: Final = 64 * 1024
MOST_LINES: Final = 2048
MOST_MEDIA: Final = 32
MOST_CANDIDATES: Final = 128
_RULE: Final = "RFC 8866 5"
_SESSION_LETTERS: Final = frozenset("vosiuepcbtrzka")
_MEDIA_LETTERS: Final = frozenset("micbka")
_DIGITS: Final = re.compile(r"[0-9]{1,10}")
_WORD: Final = re.compile(r"[!-~]{1,256}")
_FINGERPRINT: Final = re.compile(r"([A-Za-z0-9\-]{1,32}) ([0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2})*+)")
_ICE: Final = re.compile(r"[A-Za-z0-9+/]{1,256}")
_KINDS: Final = {"audio": Kind.AUDIO, "video": Kind.VIDEO}
_DIRECTIONS: Final = {d.value: d for d in Direction}
_SETUPS: Final = {s.value: s for s in Setup}
_HINT: Final = "x-securecall-id"
# RFC 3551 6: what a payload type means without an rtpmap
_STATIC: Final = {
    0: Codec(0, "PCMU", 8000),
    3: Codec(3, "GSM", 8000),
    8: Codec(8, "PCMA", 8000),
    9: Codec(9, "G722", 8000),
    18: Codec(18, "G729", 8000),
}
# these decide what a call is; a second one would be a second meaning
_ONCE: Final = frozenset({"setup", "ice-ufrag", "ice-pwd", "mid", "direction", "ptime"})


@dataclass(slots=True)
class _Section:
    """What is gathered of the session or of one m-line."""

    media: str = ""
    port: int = 0
    protocol: str = ""
    formats: tuple[str, ...] = ()
    host: str = ""
    values: dict[str, str] = field(default_factory=dict)
    fingerprints: list[Fingerprint] = field(default_factory=list)
    candidates: list[Candidate] = field(default_factory=list)
    rtpmaps: dict[int, tuple[str, int, int]] = field(default_factory=dict)
    fmtps: dict[int, tuple[tuple[str, str], ...]] = field(default_factory=dict)


def parse_description(data: bytes) -> Description:
    """Read a session description.

    Lines may end in LF alone (RFC 8866 5). Attributes we do not know are skipped.

    Raises:
        SipError: it is malformed, larger than 64 KiB, or says something twice that can be
            meant once only.
    """
    lines = _lines(data)
    session = _Section()
    sections: list[_Section] = []
    order: list[Fingerprint] = []
    group: list[str] = []
    for line in lines[3:]:
        if line[1:2] != "=":
            raise _bad(f"not a line of SDP: {line[:20]!r}")
        letter, value = line[0], line[2:]
        if letter == "m":
            if len(sections) == MOST_MEDIA:
                raise _bad(f"more than {MOST_MEDIA} media")
            sections.append(_media_line(value))
            continue
        section = sections[-1] if sections else session
        before = len(section.fingerprints)
        _line(section, letter, value, of_session=not sections)
        order += section.fingerprints[before:]
        if section is session and letter == "a" and value.startswith("group:BUNDLE"):
            group += value.split()[1:]
    return Description(
        media=tuple(_media(section, session) for section in sections),
        all_fingerprints=tuple(order),
        bundle=tuple(group),
        ice_lite="ice-lite" in session.values,
    )


def _line(section: _Section, letter: str, value: str, *, of_session: bool) -> None:
    if letter not in (_SESSION_LETTERS if of_session else _MEDIA_LETTERS):
        raise _bad(f"a {letter!r} line cannot stand here")
    if letter == "c":
        section.host = _connection(value)
    elif letter == "a":
        _attribute(section, value)


def _lines(data: bytes) -> list[str]:
    if len(data) > MOST_BYTES:
        raise _bad(f"more than {MOST_BYTES} bytes")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise _bad("not UTF-8") from None
    lines = text.replace("\r\n", "\n").rstrip("\n").split("\n")
    if len(lines) > MOST_LINES:
        raise _bad(f"more than {MOST_LINES} lines")
    if "\r" in text.replace("\r\n", "") or "\0" in text:
        raise _bad("a line holds a control character")
    if [line[:2] for line in lines[:3]] != ["v=", "o=", "s="] or lines[0].strip() != "v=0":
        raise _bad("it does not begin with v=0, o= and s=")
    _require_origin(lines[1][2:])
    return lines


def build_description(
    description: Description, *, session_id: int, version: int, host: str = ""
) -> bytes:
    """Write a session description that names nobody: origin and session are "-".

    Args:
        description: What to say. Codecs are written from `codecs`, the format list verbatim.
        session_id: Random, the same for the whole call (RFC 8866 5.2).
        version: One more for each new description of the call.
        host: For the origin; the unspecified address unless there is a reason.

    Raises:
        SipError: a value of the description cannot be written on one line.
    """
    lines = ["v=0", f"o=- {session_id} {version} IN {_ip(host)}", "s=-", "t=0 0"]
    if description.bundle:
        lines.append("a=group:BUNDLE " + " ".join(description.bundle))
    if description.ice_lite:
        lines.append("a=ice-lite")
    shared = [
        f
        for f in description.all_fingerprints
        if not any(f in media.fingerprints for media in description.media)
    ]
    lines += [f"a=fingerprint:{f}" for f in shared]
    for media in description.media:
        lines += _media_lines(media)
    for line in lines:
        if "\r" in line or "\n" in line:
            raise _bad("a value holds a line break")
    return ("\r\n".join(lines) + "\r\n").encode()


def _media_lines(media: MediaDescription) -> list[str]:
    formats = media.formats or tuple(str(codec.payload_type) for codec in media.codecs) or ("0",)
    lines = [f"m={media.media} {media.port} {media.protocol} {' '.join(formats)}"]
    lines.append(f"c=IN {_ip(media.host)}")
    if media.mid:
        lines.append(f"a=mid:{media.mid}")
    if not media.port:
        return lines
    lines += _codec_lines(media)
    lines.append(f"a={media.direction.value}")
    lines += [f"a=fingerprint:{f}" for f in media.fingerprints]
    if media.setup is not None:
        lines.append(f"a=setup:{media.setup.value}")
    if media.rtcp_mux:
        lines.append("a=rtcp-mux")
    if media.identity_hint:
        lines.append(f"a={_HINT}:{media.identity_hint}")
    if media.ssrc is not None and media.cname:
        lines.append(f"a=ssrc:{media.ssrc} cname:{media.cname}")
    return lines + _ice_lines(media)


def _codec_lines(media: MediaDescription) -> list[str]:
    lines = []
    for codec in media.codecs:
        channels = f"/{codec.channels}" if codec.channels != 1 else ""
        lines.append(f"a=rtpmap:{codec.payload_type} {codec.name}/{codec.clock_rate}{channels}")
        if codec.parameters:
            pairs = ";".join(f"{k}={v}" if v else k for k, v in codec.parameters)
            lines.append(f"a=fmtp:{codec.payload_type} {pairs}")
    if media.kind is Kind.AUDIO:
        lines.append(f"a=ptime:{media.ptime_ms}")
    return lines


def _ice_lines(media: MediaDescription) -> list[str]:
    lines = []
    if media.ice_ufrag:
        lines += [f"a=ice-ufrag:{media.ice_ufrag}", f"a=ice-pwd:{media.ice_pwd}"]
    lines += [f"a=candidate:{_candidate_text(c)}" for c in media.candidates]
    if media.end_of_candidates:
        lines.append("a=end-of-candidates")
    return lines


def _candidate_text(c: Candidate) -> str:
    text = f"{c.foundation} {c.component} {c.transport} {c.priority} {c.host} {c.port} typ {c.type}"
    if c.related_address is not None:
        text += f" raddr {c.related_address} rport {c.related_port or 0}"
    return text


def _ip(host: str) -> str:
    host = host or "0.0.0.0"  # noqa: S104 - says "no address"; nothing is bound to it
    return f"IP6 {host}" if ":" in host else f"IP4 {host}"


def _require_origin(value: str) -> None:
    parts = value.split()
    if len(parts) != 6 or not _DIGITS_LONG.fullmatch(parts[1]):
        raise _bad("the origin is malformed")
    if not _DIGITS_LONG.fullmatch(parts[2]):
        raise _bad("the origin is malformed")


_DIGITS_LONG: Final = re.compile(r"[0-9]{1,30}")


def _media_line(value: str) -> _Section:
    parts = value.split()
    if len(parts) < 4:
        raise _bad("an m-line has too few words")
    port, slash, count = parts[1].partition("/")
    if slash:
        _ = _number(count, 255, "a count of ports")
    if len(parts) > 3 + 256:
        raise _bad("an m-line has more than 256 formats")
    section = _Section()
    section.media = parts[0].lower()
    section.port = _number(port, 65535, "a port")
    section.protocol = parts[2]
    section.formats = tuple(parts[3:])
    if "RTP/" in section.protocol.upper():
        for text in section.formats:
            _ = _number(text, 127, "a payload type")
    return section


def _connection(value: str) -> str:
    parts = value.split()
    if len(parts) != 3 or parts[0] != "IN" or parts[1] not in ("IP4", "IP6"):
        raise _bad("a connection line is malformed")
    host = parts[2].partition("/")[0]
    if not _WORD.fullmatch(host):
        raise _bad("a connection address is malformed")
    return host


def _attribute(section: _Section, text: str) -> None:
    name, _, value = text.partition(":")
    if name in _DIRECTIONS:
        name, value = "direction", name
    if name in _ONCE and name in section.values:
        raise _bad(f"a={name} stands twice in one place")
    read = _READERS.get(name)
    if read is not None:
        read(section, value)
    elif name in ("ice-ufrag", "ice-pwd"):
        if not _ICE.fullmatch(value):
            raise _bad(f"a={name} is malformed")
        section.values[name] = value
    elif name in _ONCE or name in ("ice-lite", "rtcp-mux", "end-of-candidates", _HINT):
        section.values[name] = value.strip()[:256]


def _read_fingerprint(section: _Section, value: str) -> None:
    section.fingerprints.append(_fingerprint(value))


def _read_candidate(section: _Section, value: str) -> None:
    if len(section.candidates) == MOST_CANDIDATES:
        raise _bad(f"more than {MOST_CANDIDATES} candidates")
    section.candidates.append(parse_candidate(value))


def _read_ssrc(section: _Section, value: str) -> None:
    number, _, rest = value.partition(" ")
    ssrc = _number(number, 2**32 - 1, "an SSRC")
    if rest.startswith("cname:") and "ssrc" not in section.values:
        section.values["ssrc"] = str(ssrc)
        section.values["cname"] = rest[6:262]


def _read_crypto(section: _Section, value: str) -> None:
    del value  # a key: that it stood here is all that is kept
    section.values["crypto"] = ""


def _fingerprint(value: str) -> Fingerprint:
    found = _FINGERPRINT.fullmatch(value.strip())
    if found is None:
        raise _bad("a=fingerprint is malformed", rule="RFC 8122 5")
    return Fingerprint(found[1].lower(), bytes.fromhex(found[2].replace(":", "")))


def parse_candidate(value: str) -> Candidate:
    """Read what follows "candidate:" (RFC 8839 5.1); extensions are skipped.

    Raises:
        SipError: it is malformed.
    """
    parts = value.split()
    if len(parts) < 8 or parts[6] != "typ" or len(parts[0]) > 32:
        raise _bad("a=candidate is malformed", rule="RFC 8839 5.1")
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


def _rtpmap(section: _Section, value: str) -> None:
    number, _, encoding = value.partition(" ")
    payload_type = _number(number, 127, "a payload type")
    parts = encoding.strip().split("/")
    if len(parts) not in (2, 3) or not _WORD.fullmatch(parts[0]):
        raise _bad("a=rtpmap is malformed", rule="RFC 8866 6.6")
    rate = _number(parts[1], 2**31 - 1, "a clock rate")
    channels = _number(parts[2], 255, "a number of channels") if len(parts) == 3 else 1
    if not rate or not channels:
        raise _bad("a=rtpmap is malformed", rule="RFC 8866 6.6")
    section.rtpmaps[payload_type] = (parts[0], rate, channels)


def _fmtp(section: _Section, value: str) -> None:
    number, _, rest = value.partition(" ")
    if not _DIGITS.fullmatch(number):
        return  # a format that is no RTP payload type
    pairs = []
    for part in rest.split(";"):
        key, _, setting = part.partition("=")
        if key.strip():
            pairs.append((key.strip().lower(), setting.strip()))
    section.fmtps[int(number)] = tuple(pairs)


_READERS: Final[dict[str, Callable[[_Section, str], None]]] = {
    "fingerprint": _read_fingerprint,
    "candidate": _read_candidate,
    "rtpmap": _rtpmap,
    "fmtp": _fmtp,
    "ssrc": _read_ssrc,
    "crypto": _read_crypto,
}


def _media(section: _Section, session: _Section) -> MediaDescription:
    values = session.values | section.values
    ssrc = section.values.get("ssrc")
    direction = values.get("direction")
    ptime = values.get("ptime", "")
    fingerprints = tuple(section.fingerprints or session.fingerprints)
    return MediaDescription(
        kind=_KINDS.get(section.media),
        media=section.media,
        protocol=section.protocol,
        port=section.port,
        host=section.host or session.host,
        formats=section.formats,
        mid=section.values.get("mid", ""),
        direction=Direction.SENDRECV if direction is None else _DIRECTIONS[direction],
        codecs=_codecs(section),
        keying=_keying(section.protocol, fingerprints, crypto="crypto" in values),
        fingerprints=fingerprints,
        setup=_SETUPS.get(values.get("setup", "")),
        has_crypto="crypto" in values,
        rtcp_mux="rtcp-mux" in section.values,
        ice_ufrag=values.get("ice-ufrag", ""),
        ice_pwd=values.get("ice-pwd", ""),
        candidates=tuple(section.candidates),
        end_of_candidates="end-of-candidates" in values,
        identity_hint=values.get(_HINT, ""),
        ptime_ms=int(ptime) if _DIGITS.fullmatch(ptime) and 0 < int(ptime) <= 1000 else 20,
        cname=section.values.get("cname", ""),
        ssrc=int(ssrc) if ssrc is not None else None,
    )


def _codecs(section: _Section) -> tuple[Codec, ...]:
    if "RTP/" not in section.protocol.upper():
        return ()
    codecs = []
    for payload_type in dict.fromkeys(int(text) for text in section.formats):
        parameters = section.fmtps.get(payload_type, ())
        known = section.rtpmaps.get(payload_type)
        if known is not None:
            codecs.append(Codec(payload_type, *known, parameters))
        elif payload_type in _STATIC:
            static = _STATIC[payload_type]
            codecs.append(
                Codec(payload_type, static.name, static.clock_rate, static.channels, parameters)
            )
    return tuple(codecs)


def _keying(protocol: str, fingerprints: tuple[Fingerprint, ...], *, crypto: bool) -> Keying:
    word = protocol.upper()
    if word in ("UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF"):
        return Keying.DTLS_SRTP if fingerprints else Keying.NONE
    if word in ("RTP/SAVP", "RTP/SAVPF"):
        if crypto:
            return Keying.SDES
        # older user agents announce DTLS-SRTP so
        return Keying.DTLS_SRTP if fingerprints else Keying.NONE
    return Keying.NONE


def _number(text: str, most: int, what: str) -> int:
    if not _DIGITS.fullmatch(text) or int(text) > most:
        raise _bad(f"{what} is not a number up to {most}: {text[:20]!r}")
    return int(text)


def _bad(why: str, rule: str = _RULE) -> SipError:
    return SipError(f"the session description is malformed: {why}", rule=rule, status=488)
