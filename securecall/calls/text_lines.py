"""Offer and answer for real-time text (RFC 4103): an m-line that rides on the sound's association.

As pictures do, see `calls.video_lines`: text is bundled with the sound, or refused.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from securecall.calls.video_lines import (
    known_extensions,
    named_by,
    require_same_keys,
    rides_along,
    riding,
)
from securecall.errors import Incompatible
from securecall.media.codecs import copies, is_red
from securecall.media.description import (
    Codec,
    Description,
    Direction,
    Kind,
    MediaDescription,
    mirrored,
)
from securecall.rtp.extensions import MID
from securecall.rtp.t140 import CLOCK, CPS, GENERATIONS

T140: Final = "t140"
NOT_BUNDLED: Final = "The peer does not put text and sound on one connection: no text."

_NUMBER, _RED_NUMBER = 106, 105


@dataclass(frozen=True, slots=True)
class LocalText:
    """The text we bring to an offer or an answer.

    Attributes:
        ssrc: Random, for this call alone.
    """

    ssrc: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TextAgreement:
    """What offer and answer amount to for text, seen from one end.

    Attributes:
        local: What we brought.
        mid: Name of its m-line, both ways.
        codec: What we send, under the peer's number: text, or text with copies.
        t140: The peer's number for text.
        receive: Our number for text.
        receive_red: Our number for text with copies, None for none.
        cps: Characters a second that the peer takes.
        direction: Ours.
        mid_extension: The peer's number for the header extension that names the m-line in each
            packet, 0 for none.
        ssrc: The peer's, None where it did not say.
    """

    local: LocalText
    mid: str
    codec: Codec
    t140: int
    receive: int
    receive_red: int | None
    direction: Direction
    cps: int = CPS
    mid_extension: int = 0
    ssrc: int | None = None


def offer_line(audio: MediaDescription, text: LocalText, *, mid: str) -> MediaDescription:
    """The m-line for text in an offer."""
    return _line(audio, text, codecs=_codecs(_NUMBER, _RED_NUMBER), mid=mid)


def answer_line(
    offer: Description, theirs: MediaDescription, ours: MediaDescription, text: LocalText | None
) -> tuple[int, MediaDescription, TextAgreement] | None:
    """What we answer to the first line for text of an offer, and its place; None refuses all.

    Args:
        offer: The peer's.
        theirs: Its line for the sound.
        ours: Our answer to that.
        text: What we bring.
    """
    media = next((m for m in offer.media if rides_along(m, theirs, offer, Kind.TEXT)), None)
    if text is None or media is None:
        return None
    plain, red = _taken(media)
    if plain is None or sum(m.mid == media.mid for m in offer.media) != 1:
        return None
    codecs = _codecs(plain.payload_type, None if red is None else red.payload_type)
    line = replace(
        _line(ours, text, codecs=codecs, mid=media.mid),
        protocol=media.protocol,
        direction=mirrored(media.direction),
        extensions=_named(media, theirs),
        bundle_only=False,
        port=ours.port,
    )
    agreed = _agreement(text, media, theirs, receive=line.codecs)
    return next(p for p, m in enumerate(offer.media) if m is media), line, agreed


def left_out(
    offer: Description, theirs: MediaDescription, text: LocalText | None
) -> tuple[str, ...]:
    """Sentences for the report about text of an offer that we would have taken."""
    asked = [m for m in offer.media if m.kind is Kind.TEXT and not m.refused]
    apart = asked and not any(rides_along(m, theirs, offer, Kind.TEXT) for m in asked)
    return (NOT_BUNDLED,) if text is not None and apart else ()


def read_answer(
    offer: Description, answer: Description, sound: MediaDescription
) -> tuple[TextAgreement | None, tuple[str, ...]]:
    """Read the answer to our own line for text.

    Args:
        offer: Ours.
        answer: The peer's, with as many lines.
        sound: Its line for the sound.

    Returns:
        What was agreed, None for no text; and sentences for the report.

    Raises:
        SecurityError: it was taken under other keys than the sound's.
        Incompatible: it does not fit the offer.
    """
    for ours, theirs in zip(offer.media, answer.media, strict=True):
        if ours.kind is not Kind.TEXT or ours.refused or theirs.refused:
            continue
        if theirs.kind is not Kind.TEXT:
            raise Incompatible("the answer changes what its lines are about")
        require_same_keys(theirs, sound)
        if not {theirs.mid, sound.mid} <= set(answer.bundle) or theirs.mid != ours.mid:
            return None, (NOT_BUNDLED,)
        if _taken(theirs)[0] is None:
            raise Incompatible("the answer names no text of the offer")
        if ours.ssrc is None:
            raise Incompatible("a line of ours that names no source")
        return _agreement(LocalText(ours.ssrc), theirs, sound, receive=ours.codecs), ()
    return None, ()


def kept_line(
    ours: MediaDescription, theirs: MediaDescription, agreed: TextAgreement
) -> MediaDescription | None:
    """Answer a mid-call line about text that is agreed on; None refuses it."""
    plain, red = _taken(theirs)
    number = agreed.codec.payload_type
    if (
        theirs.kind is not Kind.TEXT
        or theirs.refused
        or number not in {c.payload_type for c in (plain, red) if c is not None}
    ):
        return None
    return replace(
        ours, direction=mirrored(theirs.direction), protocol=theirs.protocol, bundle_only=False
    )


def _line(
    sound: MediaDescription, text: LocalText, *, codecs: tuple[Codec, ...], mid: str
) -> MediaDescription:
    line = riding(sound, Kind.TEXT, codecs=codecs, mid=mid, ssrc=text.ssrc)
    return replace(line, extended_reports=())


def _codecs(number: int, red: int | None) -> tuple[Codec, ...]:
    text = Codec(number, T140, CLOCK, parameters=(("cps", str(CPS)),))
    if red is None:
        return (text,)
    formats = "/".join([str(number)] * (1 + GENERATIONS))
    return (Codec(red, "red", CLOCK, parameters=((formats, ""),)), text)


def _taken(line: MediaDescription) -> tuple[Codec | None, Codec | None]:
    """Text, and text with copies, as a line has them."""
    text = next((c for c in line.codecs if (c.name.lower(), c.clock_rate) == (T140, CLOCK)), None)
    red = None if text is None else next((c for c in line.codecs if copies(c, text)), None)
    return text, red


def _named(media: MediaDescription, sound: MediaDescription) -> tuple[tuple[int, str], ...]:
    return tuple(e for e in known_extensions(media, named_by(sound)) if e[1] == MID)


def _agreement(
    local: LocalText,
    theirs: MediaDescription,
    sound: MediaDescription,
    *,
    receive: tuple[Codec, ...],
) -> TextAgreement:
    text, red = _taken(theirs)
    if text is None:  # invariant: callers looked
        raise Incompatible("a line for text without text")
    cps = text.parameter("cps")
    return TextAgreement(
        local=local,
        mid=theirs.mid,
        codec=text if red is None else red,
        t140=text.payload_type,
        receive=next(c.payload_type for c in receive if not is_red(c)),
        receive_red=next((c.payload_type for c in receive if is_red(c)), None),
        cps=int(cps) if cps.isascii() and cps.isdigit() and len(cps) < 6 else CPS,
        direction=mirrored(theirs.direction),
        mid_extension=next((number for number, _ in _named(theirs, sound)), 0),
        ssrc=theirs.ssrc,
    )
