"""Offer and answer for pictures: m-lines that ride on the association of the sound (RFC 8843).

One association per call is what the identity handshake binds to the two people. So a picture has no
transport of its own: its line is bundled with the sound's, or refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Final

from securecall.errors import Incompatible, ProtocolError, Reason, SecurityError
from securecall.media.description import (
    Codec,
    Description,
    Direction,
    Keying,
    Kind,
    MediaDescription,
    mirrored,
)
from securecall.rtp.extensions import MID, TRANSPORT_SEQUENCE
from securecall.rtp.h264 import parse_parameter_sets

_FEEDBACK: Final = ("nack", "nack pli", "ccm fir", "transport-cc")
_CLOCK: Final = 90_000
# No sprop-parameter-sets of ours (RFC 7742 6.2): each keyframe we send brings its own, sealed as it
# is. An encoder has them when it is open, long after the offer, and others at each new size.
_H264: Final = (
    ("level-asymmetry-allowed", "1"), ("packetization-mode", "1"), ("profile-level-id", "42e01f"),
)  # fmt: skip
VIDEO_CODECS: Final = {
    "vp8": Codec(96, "VP8", _CLOCK, feedback=_FEEDBACK),
    "h264": Codec(98, "H264", _CLOCK, parameters=_H264, feedback=_FEEDBACK),
}
MID_OFFERED: Final = (2, MID)
"""The header extension that names the m-line in each packet (RFC 9143 9), by one number in all."""

_RTX: Final = "rtx"
_SPROP: Final = "sprop-parameter-sets"
_SILENT: Final = Codec(0, "", _CLOCK)
_NOT_BUNDLED: Final = "The peer does not put picture and sound on one connection: no picture."


@dataclass(frozen=True, slots=True)
class LocalVideo:
    """One picture we bring to an offer or an answer.

    Attributes:
        codecs: Names in order of preference; at least one.
        ssrc, rtx_ssrc: Random, for this call alone.
        content: "slides" for a screen, "" for a camera.
    """

    codecs: tuple[str, ...]
    _: KW_ONLY
    ssrc: int
    rtx_ssrc: int
    content: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoAgreement:
    """What offer and answer amount to for one picture, seen from one end.

    Attributes:
        local: What we brought.
        mid: Name of its m-line, both ways.
        codec: What we send; `codec.payload_type` is the peer's number for it.
        rtx: The peer's number for what is sent again, None where it takes none.
        receive: What may arrive: our payload numbers.
        receive_rtx: Pairs of our numbers: of what is sent again, and of what it was.
        direction: Ours.
        transport_cc: The peer's number for the header extension of that name, 0 for none.
        mid_extension: That of the one which names the m-line in each packet.
        ssrc, rtx_ssrc: The peer's, None where it did not say.
        parameter_sets: Of the peer's H.264; most bring them in the stream instead.
    """

    local: LocalVideo
    mid: str
    codec: Codec
    rtx: int | None
    receive: tuple[Codec, ...]
    receive_rtx: tuple[tuple[int, int], ...]
    direction: Direction
    transport_cc: int = 0
    mid_extension: int = 0
    ssrc: int | None = None
    rtx_ssrc: int | None = None
    parameter_sets: tuple[bytes, ...] = ()

    def understands(self, feedback: str) -> bool:
        """Whether the peer understands this in RTCP, such as "nack pli"."""
        return feedback in self.codec.feedback


def offer_lines(
    audio: MediaDescription, pictures: Sequence[LocalVideo]
) -> tuple[MediaDescription, ...]:
    """The m-lines that follow the sound's in an offer, named after their place."""
    return tuple(
        _line(
            audio,
            picture,
            codecs=_with_rtx(tuple(VIDEO_CODECS[name.lower()] for name in picture.codecs)),
            mid=str(place),
        )
        for place, picture in enumerate(pictures, start=1)
    )


def answer_lines(
    offer: Description,
    theirs: MediaDescription,
    ours: MediaDescription,
    pictures: Sequence[LocalVideo],
) -> dict[str, tuple[MediaDescription, VideoAgreement]]:
    """What we answer to the pictures of an offer, by mid; those that are not there are refused.

    Args:
        offer: The peer's.
        theirs: Its line for the sound.
        ours: Our answer to that.
        pictures: What we bring; the first takes the first camera's line, and so on.
    """
    found: dict[str, tuple[MediaDescription, VideoAgreement]] = {}
    free = list(pictures)
    for media in offer.media:
        picture = next((p for p in free if p.content == media.content), None)
        if picture is None or media.mid in found or not rides_along(media, theirs, offer):
            continue
        codecs = _common(media, picture.codecs)
        if not codecs:
            continue
        free.remove(picture)
        line = _line(ours, picture, codecs=codecs, mid=media.mid)
        line = replace(
            line,
            protocol=media.protocol,
            direction=mirrored(media.direction),
            extensions=known_extensions(media, named_by(theirs)),
            bundle_only=False,
            port=ours.port,
        )
        agreed = _agreement(picture, media, theirs, codec=codecs[0], receive=line.codecs)
        found[media.mid] = (line, agreed)
    return found


def left_out(
    offer: Description, theirs: MediaDescription, pictures: Sequence[LocalVideo]
) -> tuple[str, ...]:
    """Sentences for the report about pictures of an offer that we would have taken.

    The arguments are those of `answer_lines`.
    """
    asked = any(_is_shown(m) and not rides_along(m, theirs, offer) for m in offer.media)
    return (_NOT_BUNDLED,) if pictures and asked else ()


def read_answers(
    offer: Description, answer: Description, sound: MediaDescription
) -> tuple[tuple[VideoAgreement, ...], tuple[str, ...]]:
    """Read the answers to our own pictures.

    Args:
        offer: Ours.
        answer: The peer's, with as many lines.
        sound: Its line for the sound.

    Returns:
        Those that were taken, and sentences for the report about those that were not.

    Raises:
        SecurityError: a line was taken under other keys than the sound's.
        Incompatible: it does not fit the offer.
    """
    agreed: list[VideoAgreement] = []
    warnings: list[str] = []
    pictures = [pair for pair in zip(offer.media, answer.media, strict=True) if _is_shown(pair[0])]
    for ours, theirs in pictures:
        if theirs.refused:
            continue
        if theirs.kind is not Kind.VIDEO:
            raise Incompatible("the answer changes what its lines are about")
        require_same_keys(theirs, sound)
        if not {theirs.mid, sound.mid} <= set(answer.bundle) or theirs.mid != ours.mid:
            warnings.append(_NOT_BUNDLED)
            continue
        codecs = tuple(
            c for c in theirs.codecs if c.name.lower() != _RTX and _is_in(c, ours.codecs)
        )
        if not codecs:
            raise Incompatible("the answer names no picture codec of the offer")
        agreed.append(
            _agreement(_brought(ours), theirs, sound, codec=codecs[0], receive=ours.codecs)
        )
    return tuple(agreed), tuple(warnings)


def _is_shown(line: MediaDescription) -> bool:
    return line.kind is Kind.VIDEO and not line.refused


def kept_line(
    ours: MediaDescription, theirs: MediaDescription, agreed: VideoAgreement
) -> MediaDescription | None:
    """Answer a mid-call line about a picture that is agreed on; None refuses it.

    Args:
        ours: Our line so far.
        theirs: The peer's new one, of the same mid.
        agreed: So far.
    """
    codec = agreed.codec
    same = any(c.payload_type == codec.payload_type and _same(c, codec) for c in theirs.codecs)
    if theirs.refused or not same:
        return None
    numbers = {c.payload_type for c in theirs.codecs}
    codecs = tuple(c for c in ours.codecs if c.payload_type in numbers)
    return replace(
        ours,
        direction=mirrored(theirs.direction),
        protocol=theirs.protocol,
        codecs=codecs,
        formats=tuple(str(c.payload_type) for c in codecs),
        bundle_only=False,
    )


def _line(
    sound: MediaDescription, picture: LocalVideo, *, codecs: tuple[Codec, ...], mid: str
) -> MediaDescription:
    return replace(
        riding(sound, Kind.VIDEO, codecs=codecs, mid=mid, ssrc=picture.ssrc),
        rtx_ssrc=picture.rtx_ssrc,
        extensions=((1, TRANSPORT_SEQUENCE), MID_OFFERED),
        content=picture.content,
    )


def riding(
    sound: MediaDescription, kind: Kind, *, codecs: tuple[Codec, ...], mid: str, ssrc: int
) -> MediaDescription:
    """Return a line of ours that has the sound's transport and keys, and is nothing without."""
    return replace(
        sound,
        kind=kind,
        media=kind.value,
        port=0,
        bundle_only=True,
        codecs=codecs,
        formats=tuple(str(c.payload_type) for c in codecs),
        mid=mid,
        direction=Direction.SENDRECV,
        ssrc=ssrc,
        extensions=(MID_OFFERED,),
        identity_hint="",
    )


def named_by(sound: MediaDescription) -> int:
    """The peer's number for the header extension that names the m-line in each packet, 0 for none.

    Two of us do without: no packet of their sound has a header extension, and they name sources.
    """
    return 0 if sound.identity_hint else _number(sound, MID)


def _number(line: MediaDescription, uri: str) -> int:
    """The number of a header extension, 0 for none, or where one-byte elements have no room."""
    if uri == MID and len(line.mid.encode()) > 16:
        return 0
    return next((n for n, known in line.extensions if known == uri and 1 <= n <= 14), 0)


def known_extensions(line: MediaDescription, named: int) -> tuple[tuple[int, str], ...]:
    """The header extensions of a picture's line that we take; MID by the number of the sound's."""
    cc, mid = _number(line, TRANSPORT_SEQUENCE), _number(line, MID)
    found = ((cc, TRANSPORT_SEQUENCE), (mid if mid == named else 0, MID))
    return tuple(pair for pair in found if pair[0])


def rides_along(
    media: MediaDescription, sound: MediaDescription, offer: Description, kind: Kind = Kind.VIDEO
) -> bool:
    """Whether a line of an offer is of this kind, and on the association of the sound."""
    bundled = bool(media.mid) and {media.mid, sound.mid} <= set(offer.bundle)
    return (
        media.kind is kind
        and not media.refused
        and bundled
        and sound.rtcp_mux
        and _same_keys(media, sound)
        and (media.ssrc is not None or not set(media.formats) & set(sound.formats))
    )


def _same_keys(media: MediaDescription, sound: MediaDescription) -> bool:
    return (
        media.keying is Keying.DTLS_SRTP
        and not media.has_crypto
        and set(media.fingerprints) == set(sound.fingerprints)
    )


def require_same_keys(media: MediaDescription, sound: MediaDescription) -> None:
    """Refuse an answer that keys its lines one by one.

    Raises:
        SecurityError: it does.
    """
    if not _same_keys(media, sound):
        raise SecurityError(
            f"the answer puts the {media.media} under other keys than the sound",
            reason=Reason.FINGERPRINT_MISMATCH,
        )


def _common(theirs: MediaDescription, wanted: Sequence[str]) -> tuple[Codec, ...]:
    """Codecs of both with what sends them again, in our order, under the peer's numbers."""
    found: list[Codec] = []
    for name in wanted:
        known = VIDEO_CODECS[name.lower()]
        for codec in theirs.codecs:
            if _same(codec, known):
                feedback = tuple(f for f in known.feedback if f in codec.feedback)
                found.append(replace(known, payload_type=codec.payload_type, feedback=feedback))
                rtx = _rtx_of(codec.payload_type, theirs.codecs)
                if rtx is not None:
                    found.append(_rtx(rtx, codec.payload_type))
                break
    return tuple(found)


def _with_rtx(codecs: tuple[Codec, ...]) -> tuple[Codec, ...]:
    pairs = ((codec, _rtx(codec.payload_type + 1, codec.payload_type)) for codec in codecs)
    return tuple(codec for pair in pairs for codec in pair)


def _rtx(payload_type: int, of: int) -> Codec:
    return Codec(payload_type, _RTX, _CLOCK, parameters=(("apt", str(of)),))


def _rtx_of(payload_type: int, codecs: Sequence[Codec]) -> int | None:
    """RFC 4588 8.1: the format that says it carries that one again."""
    return next(
        (
            codec.payload_type
            for codec in codecs
            if codec.name.lower() == _RTX and codec.parameter("apt") == str(payload_type)
        ),
        None,
    )


def _same(a: Codec, b: Codec) -> bool:
    """RFC 6184 8.2.2: for H.264 the way of packing and the profile have to be the same, too."""
    if (a.name.lower(), a.clock_rate) != (b.name.lower(), b.clock_rate):
        return False
    if a.name.lower() != "h264":
        return True
    return _packing(a) == _packing(b) and _is_baseline(a) and _is_baseline(b)


def parameter_sets(line: MediaDescription, receive: Sequence[Codec]) -> tuple[bytes, ...]:
    """What the peer's line says of the H.264 it sends (RFC 6184 8.2.2), if that is among ours.

    Of what cannot be read nothing is taken, as if nothing had been said, which whoever carries the
    description can bring about as well: the stream may bring its own.
    """
    found = (c for c in line.codecs if c.name.lower() == "h264" and _is_in(c, receive))
    said = [value for key, value in next(found, _SILENT).parameters if key == _SPROP]
    if len(said) != 1:  # two would have two meanings
        return ()
    try:
        return parse_parameter_sets(said[0])
    except ProtocolError:
        return ()


def _packing(codec: Codec) -> str:
    return codec.parameter("packetization-mode") or "0"


def _is_baseline(codec: Codec) -> bool:
    """Whether any decoder can show it: (constrained) baseline, the first of three bytes."""
    return (codec.parameter("profile-level-id") or "42").lower().startswith("42")


def _is_in(codec: Codec, codecs: Sequence[Codec]) -> bool:
    return any(_same(codec, other) for other in codecs)


def _brought(line: MediaDescription) -> LocalVideo:
    """What a line of our own offer was made of."""
    if line.ssrc is None or line.rtx_ssrc is None:
        raise Incompatible("a line of ours that names no source")
    names = tuple(c.name for c in line.codecs if c.name.lower() != _RTX)
    return LocalVideo(names, ssrc=line.ssrc, rtx_ssrc=line.rtx_ssrc, content=line.content)


def _agreement(
    local: LocalVideo,
    theirs: MediaDescription,
    sound: MediaDescription,
    *,
    codec: Codec,
    receive: tuple[Codec, ...],
) -> VideoAgreement:
    pictures = tuple(c for c in receive if c.name.lower() != _RTX)
    again = ((_rtx_of(c.payload_type, receive), c.payload_type) for c in pictures)
    return VideoAgreement(
        local=local,
        mid=theirs.mid,
        codec=codec,
        rtx=_rtx_of(codec.payload_type, theirs.codecs),
        receive=pictures,
        receive_rtx=tuple((number, of) for number, of in again if number is not None),
        direction=mirrored(theirs.direction),
        transport_cc=_number(theirs, TRANSPORT_SEQUENCE),
        mid_extension=next(
            (n for n, uri in known_extensions(theirs, named_by(sound)) if uri == MID), 0
        ),
        ssrc=theirs.ssrc,
        rtx_ssrc=theirs.rtx_ssrc,
        parameter_sets=parameter_sets(theirs, receive),
    )
