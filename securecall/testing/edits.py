"""What a malicious provider can do to descriptions and tickets, as functions on text.

Each takes an SDP document and returns another; `Mallory.tamper_sdp` applies them. They work on
lines, not on our parser, so that what they make may be wrong in any way.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Callable
from typing import Final

from securecall.clock import unix_now
from securecall.keys.ticket import Ticket, build_ticket, parse_ticket
from securecall.transport.endpoint import endpoint

SdpEdit = Callable[[str], str]

_ICE: Final = (
    *("a=candidate:", "a=ice-ufrag:", "a=ice-pwd:", "a=ice-options:", "a=ice-lite"),
    *("a=remote-candidates:", "a=end-of-candidates"),
)
_FINGERPRINT: Final = "a=fingerprint:"


def lines_of(sdp: str) -> list[str]:
    """The lines of a description, without their ends."""
    return sdp.replace("\r\n", "\n").rstrip("\n").split("\n")


def text_of(lines: list[str]) -> str:
    """The inverse of `lines_of`."""
    return "".join(f"{line}\r\n" for line in lines)


def without(*prefixes: str) -> SdpEdit:
    """Drop every line that begins with one of these."""
    return lambda sdp: text_of([x for x in lines_of(sdp) if not x.startswith(prefixes)])


strip_ice: Final = without(*_ICE)
strip_hint: Final = without("a=x-securecall-id")
strip_fingerprint: Final = without(_FINGERPRINT)


def redirect(host: str, port: int) -> SdpEdit:
    """Send the media somewhere else: no ICE, c= and m= of the attacker's relay."""
    family = "IP6" if ":" in host else "IP4"

    def edit(sdp: str) -> str:
        edited = []
        for line in lines_of(strip_ice(sdp)):
            if line.startswith("c="):
                line = f"c=IN {family} {host}"
            elif line.startswith("m=") and line.split(" ", 2)[1] != "0":
                media, _, rest = line.split(" ", 2)
                line = f"{media} {port} {rest}"
            elif line.startswith("a=rtcp:"):
                continue
            edited.append(line)
        return text_of(edited)

    return edit


def fingerprints(*values: str) -> SdpEdit:
    """Put these in place of every fingerprint there is, e.g. "sha-256 AA:BB:.."."""

    def edit(sdp: str) -> str:
        lines, put = [], False
        for line in lines_of(sdp):
            if not line.startswith(_FINGERPRINT):
                lines.append(line)
            elif not put:
                put = True
                lines += [_FINGERPRINT + value for value in values]
        return text_of(lines)

    return edit


def fingerprints_of(sdp: str) -> tuple[str, ...]:
    """The values of all a=fingerprint lines."""
    return tuple(x[len(_FINGERPRINT) :] for x in lines_of(sdp) if x.startswith(_FINGERPRINT))


def random_fingerprint(algorithm: str = "sha-256", size: int = 32) -> str:
    """A digest of nothing."""
    return f"{algorithm} {secrets.token_bytes(size).hex(':').upper()}"


def add_fingerprints(*values: str) -> SdpEdit:
    """Put these beside the ones there are."""

    def edit(sdp: str) -> str:
        return fingerprints(*fingerprints_of(sdp), *values)(sdp)

    return edit


def session_fingerprint(value: str) -> SdpEdit:
    """Put one at session level, where the m-line has another."""

    def edit(sdp: str) -> str:
        lines = lines_of(sdp)
        first = next((i for i, x in enumerate(lines) if x.startswith("m=")), len(lines))
        return text_of([*lines[:first], _FINGERPRINT + value, *lines[first:]])

    return edit


def protocol(word: str) -> SdpEdit:
    """Change the transport word of every m-line, e.g. to "RTP/AVP"."""
    return lambda sdp: re.sub(r"(?m)^(m=\S+ \d+) \S+", rf"\1 {word}", sdp)


def plain_rtp(sdp: str) -> str:
    """Ask for RTP without any encryption."""
    return without(_FINGERPRINT, "a=setup:")(protocol("RTP/AVP")(sdp))


def sdes(key: bytes) -> SdpEdit:
    """Ask for keys carried in the signalling, where every server reads them.

    Args:
        key: 30 bytes for AES_CM_128_HMAC_SHA1_80.
    """
    line = _crypto(key)

    def edit(sdp: str) -> str:
        bare = without(_FINGERPRINT, "a=setup:")(protocol("RTP/SAVP")(sdp))
        return _in_first_medium(bare, line)

    return edit


def _in_first_medium(sdp: str, line: str) -> str:
    lines = lines_of(sdp)
    media = [i for i, x in enumerate(lines) if x.startswith("m=")]
    end = media[1] if len(media) > 1 else len(lines)
    return text_of([*lines[:end], line, *lines[end:]])


def _crypto(key: bytes) -> str:
    return f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{base64.b64encode(key).decode()}"


def crypto_beside(key: bytes) -> SdpEdit:
    """Leave DTLS-SRTP standing and offer SDES keys beside it."""
    line = _crypto(key)
    return lambda sdp: _in_first_medium(sdp, line)


def redirect_ticket(text: str, host: str, port: int) -> str:
    """Rewrite where a ticket leads, as whoever can change the message it travels in could.

    The attacker who can do this also reads the ticket's secret; the root fingerprint stays.
    """
    ticket = parse_ticket(text, unix=unix_now())
    return build_ticket(
        Ticket(
            uris=(f"tls:{endpoint(host, port)}",),
            root_fp=ticket.root_fp,
            secret=ticket.secret,
            expiry=ticket.expiry,
        )
    )
