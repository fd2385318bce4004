"""SDP to `Description` and back, in one pass over its lines (RFC 8866, 3264, 8839, 8122, 5763)."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from securecall.media.description import (
    Codec,
    Description,
    Direction,
    Fingerprint,
    Keying,
    Kind,
    MediaDescription,
    Setup,
)
from securecall.media.sdes import build_crypto
from securecall.sip.limits import MOST_BODY_BYTES, MOST_LINES, MOST_MEDIA
from securecall.sip.sdp_lines import (
    DIGITS,
    DIRECTIONS,
    HINT,
    Section,
    candidate_text,
    malformed,
    parse_connection,
    parse_media_line,
    read_attribute,
    require_origin,
    too_large,
)

_SESSION_LETTERS: Final = frozenset("vosiuepcbtrzka")
_MEDIA_LETTERS: Final = frozenset("micbka")
_KINDS: Final = {kind.value: kind for kind in Kind}
_SETUPS: Final = {s.value: s for s in Setup}
_MOST_REPORTS: Final = 16  # formats of extended reports that are read
# RFC 3551 6: what a payload type means without an rtpmap
_STATIC: Final = {
    0: Codec(0, "PCMU", 8000),
    3: Codec(3, "GSM", 8000),
    8: Codec(8, "PCMA", 8000),
    9: Codec(9, "G722", 8000),
    18: Codec(18, "G729", 8000),
}


def parse_description(data: bytes) -> Description:
    """Read a session description.

    Lines may end in LF alone (RFC 8866 5). Attributes we do not know are skipped.

    Raises:
        SipError: it is malformed, larger than 64 KiB, or says something twice that can be
            meant once only.
    """
    lines = _lines(data)
    session = Section()
    sections: list[Section] = []
    order: list[Fingerprint] = []
    group: list[str] = []
    for line in lines[3:]:
        if line[1:2] != "=":
            raise malformed("not a line of SDP")  # unquoted: it may be the rest of a key
        letter, value = line[0], line[2:]
        if letter == "m":
            if len(sections) == MOST_MEDIA:
                raise too_large(f"more than {MOST_MEDIA} media")
            sections.append(parse_media_line(value))
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
        trickle=any(
            "trickle" in s.values.get("ice-options", "").split() for s in (session, *sections)
        ),
    )


def _line(section: Section, letter: str, value: str, *, of_session: bool) -> None:
    if letter not in (_SESSION_LETTERS if of_session else _MEDIA_LETTERS):
        raise malformed(f"a {letter!r} line cannot stand here")
    if letter == "c":
        section.host = parse_connection(value)
    elif letter == "a":
        read_attribute(section, value)


def _lines(data: bytes) -> list[str]:
    if len(data) > MOST_BODY_BYTES:
        raise too_large(f"more than {MOST_BODY_BYTES} bytes")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise malformed("not UTF-8") from None
    lines = text.replace("\r\n", "\n").rstrip("\n").split("\n")
    if len(lines) > MOST_LINES:
        raise too_large(f"more than {MOST_LINES} lines")
    if "\r" in text.replace("\r\n", "") or "\0" in text:
        raise malformed("a line holds a control character")
    if [line[:2] for line in lines[:3]] != ["v=", "o=", "s="] or lines[0].strip() != "v=0":
        raise malformed("it does not begin with v=0, o= and s=")
    require_origin(lines[1][2:])
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
    if description.trickle:
        lines.append("a=ice-options:trickle")
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
            raise malformed("a value holds a line break")
    return ("\r\n".join(lines) + "\r\n").encode()


def _media_lines(media: MediaDescription) -> list[str]:
    formats = media.formats or tuple(str(codec.payload_type) for codec in media.codecs) or ("0",)
    lines = [f"m={media.media} {media.port} {media.protocol} {' '.join(formats)}"]
    lines.append(f"c=IN {_ip(media.host)}")
    if media.port and not media.rtcp_mux:
        # RTCP has no port of its own with us: this is how one says that there is none (RFC 3556)
        lines += ["b=RS:0", "b=RR:0"]
    if media.mid:
        lines.append(f"a=mid:{media.mid}")
    if media.refused:
        return lines
    if media.bundle_only:
        lines.append("a=bundle-only")
    if media.content:
        lines.append(f"a=content:{media.content}")
    lines += [f"a=extmap:{number} {uri}" for number, uri in media.extensions]
    lines += _codec_lines(media)
    lines.append(f"a={media.direction.value}")
    lines += [f"a=fingerprint:{f}" for f in media.fingerprints]
    lines += [f"a=crypto:{build_crypto(line)}" for line in media.crypto]
    if media.setup is not None:
        lines.append(f"a=setup:{media.setup.value}")
    if media.rtcp_mux:
        lines.append("a=rtcp-mux")
    if media.extended_reports:
        lines.append(f"a=rtcp-xr:{' '.join(media.extended_reports)}")
    if media.identity_hint:
        lines.append(f"a={HINT}:{media.identity_hint}")
    return [*lines, *_source_lines(media), *_ice_lines(media)]


def _source_lines(media: MediaDescription) -> list[str]:
    """RFC 5576 4: what is sent here, and what it is sent again under."""
    if media.ssrc is None or not media.cname:
        return []
    lines = [f"a=ssrc:{media.ssrc} cname:{media.cname}"]
    if media.rtx_ssrc is None:
        return lines
    again = f"a=ssrc:{media.rtx_ssrc} cname:{media.cname}"
    return [f"a=ssrc-group:FID {media.ssrc} {media.rtx_ssrc}", *lines, again]


def _codec_lines(media: MediaDescription) -> list[str]:
    lines = []
    for codec in media.codecs:
        channels = f"/{codec.channels}" if codec.channels != 1 else ""
        lines.append(f"a=rtpmap:{codec.payload_type} {codec.name}/{codec.clock_rate}{channels}")
        if codec.parameters:
            pairs = ";".join(f"{k}={v}" if v else k for k, v in codec.parameters)
            lines.append(f"a=fmtp:{codec.payload_type} {pairs}")
        lines += [f"a=rtcp-fb:{codec.payload_type} {what}" for what in codec.feedback]
    if media.kind is Kind.AUDIO:
        lines.append(f"a=ptime:{media.ptime_ms}")
    return lines


def _ice_lines(media: MediaDescription) -> list[str]:
    lines = []
    if media.ice_ufrag:
        lines += [f"a=ice-ufrag:{media.ice_ufrag}", f"a=ice-pwd:{media.ice_pwd}"]
    lines += [f"a=candidate:{candidate_text(c)}" for c in media.candidates]
    if media.end_of_candidates:
        lines.append("a=end-of-candidates")
    return lines


def _ip(host: str) -> str:
    host = host or "0.0.0.0"  # noqa: S104 - says "no address"; nothing is bound to it
    return f"IP6 {host}" if ":" in host else f"IP4 {host}"


def _media(section: Section, session: Section) -> MediaDescription:
    values = session.values | section.values
    ssrc, rtx_ssrc = section.values.get("ssrc"), section.values.get("rtx-ssrc")
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
        direction=Direction.SENDRECV if direction is None else DIRECTIONS[direction],
        codecs=_codecs(section),
        keying=_keying(section.protocol, fingerprints, crypto="crypto" in values),
        fingerprints=fingerprints,
        setup=_SETUPS.get(values.get("setup", "")),
        has_crypto="crypto" in values,
        crypto=tuple(section.crypto),
        rtcp_mux="rtcp-mux" in section.values,
        ice_ufrag=values.get("ice-ufrag", ""),
        ice_pwd=values.get("ice-pwd", ""),
        candidates=tuple(section.candidates),
        end_of_candidates="end-of-candidates" in values,
        identity_hint=values.get(HINT, ""),
        ptime_ms=int(ptime) if DIGITS.fullmatch(ptime) and 0 < int(ptime) <= 1000 else 20,
        cname=section.values.get("cname", ""),
        ssrc=int(ssrc) if ssrc is not None else None,
        rtx_ssrc=int(rtx_ssrc) if rtx_ssrc is not None else None,
        extensions=tuple(section.extensions),
        bundle_only="bundle-only" in section.values,
        content=section.values.get("content", ""),
        extended_reports=tuple(section.values.get("rtcp-xr", "").split()[:_MOST_REPORTS]),
    )


def _codecs(section: Section) -> tuple[Codec, ...]:
    if "RTP/" not in section.protocol.upper():
        return ()
    codecs = []
    for payload_type in dict.fromkeys(int(text) for text in section.formats):
        parameters = section.fmtps.get(payload_type, ())
        feedback = tuple(section.feedback.get(None, [])) + tuple(
            section.feedback.get(payload_type, [])
        )
        if payload_type in section.rtpmaps:
            known = section.rtpmaps[payload_type]
            if known is not None:
                codecs.append(Codec(payload_type, *known, parameters, feedback))
        elif payload_type in _STATIC:
            codecs.append(replace(_STATIC[payload_type], parameters=parameters, feedback=feedback))
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
