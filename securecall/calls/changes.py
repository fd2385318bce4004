"""Changes in mid-call, both ways, under the association that was authenticated (RFC 3264 8).

Directions change, pictures come and go. Keys and peers do not: a new association would need a new
handshake under a closed gate. Only where a gateway's keys stand in descriptions, a new offer may
bring new ones: they prove no more and no less than those before (RFC 4568 7.1.4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from securecall.calls import sdes, video_lines
from securecall.calls.negotiation import (
    MOST_MEDIA_LINES,
    Agreement,
    refused_line,
    require_shared_port,
    same_as_any,
    same_codec,
    strong,
)
from securecall.calls.sdes import SdesKeys
from securecall.calls.video_lines import LocalVideo, VideoAgreement
from securecall.errors import Incompatible, Reason, SecurityError, UsageError
from securecall.media.description import (
    Description,
    Direction,
    Kind,
    MediaDescription,
    Setup,
    mirrored,
)
from securecall.media.sdes import CryptoLine

_AUDIO = {True: Direction.SENDONLY, False: Direction.SENDRECV}
_VIDEO = {True: Direction.INACTIVE, False: Direction.SENDRECV}


def same_association(agreed: Agreement, description: Description) -> bool:
    """Say whether a mid-call description keeps the keying: the same fingerprints, nothing else.

    Where a gateway's keys stand in descriptions, others of their kind keep it, too.
    """
    audio = description.audio
    if audio is None or audio.keying is not agreed.keying:
        return False
    if audio.has_crypto is (agreed.sdes is None):
        return False
    if set(strong(audio.fingerprints)) != set(agreed.remote_fingerprints):
        return False
    return not agreed.ice or audio.ice_ufrag in ("", agreed.ice_ufrag)


def answer_change(
    ours: Description,
    offer: Description,
    agreed: Agreement,
    *,
    pictures: Sequence[LocalVideo] = (),
    fresh: Sequence[CryptoLine] = (),
    answers: bool = False,
) -> tuple[Description, Agreement]:
    """Answer a mid-call offer that changes directions, or adds or drops pictures.

    Args:
        ours: Our description so far.
        offer: The peer's new one, under the same association.
        agreed: So far.
        pictures: What we would take beside those that are agreed on; every other is refused.
        fresh: Keys of ours for a gateway that brings new ones.
        answers: It is the answer to what we repeated, not an offer: our key stays as it is.

    Raises:
        SecurityError: a gateway's new key is none that is taken.
        Incompatible: the offer has no audio, or not the codec we send under its number, or takes
            RTCP off the port it shares.
    """
    ours_audio, theirs = ours.audio, offer.audio
    if ours_audio is None or theirs is None:
        raise Incompatible("there is no audio to keep")
    require_shared_port(theirs, required=agreed.rtcp_mux)
    codec = agreed.codec
    if not any(
        c.payload_type == codec.payload_type and same_codec(c, codec) for c in theirs.codecs
    ):
        raise Incompatible("the offer drops the codec in use")
    # an answer names nothing that the offer does not (RFC 3264 6.1)
    codecs = tuple(c for c in ours_audio.codecs if same_as_any(c, theirs.codecs))
    keys = _keys_after(agreed, theirs, fresh, answers=answers)
    kept = replace(
        ours_audio,
        setup=None if keys is not None else _role(theirs.setup, agreed),
        crypto=() if keys is None else (keys.ours,),
        direction=mirrored(theirs.direction),
        mid=theirs.mid,
        protocol=theirs.protocol,
        rtcp_mux=agreed.rtcp_mux,
        codecs=codecs,
        formats=tuple(str(c.payload_type) for c in codecs),
    )
    lines: dict[int, tuple[MediaDescription, VideoAgreement]] = {}
    known = {picture.mid: picture for picture in agreed.video}
    for place, media in enumerate(offer.media):
        before = next((m for m in ours.media if m.mid == media.mid), None)
        if before is not None and media.mid in known:
            line = video_lines.kept_line(before, media, known[media.mid])
            if line is not None:
                line = replace(line, setup=kept.setup, port=kept.port)
                lines[place] = line, replace(known[media.mid], direction=line.direction)
    unknown = replace(offer, media=tuple(m for m in offer.media if m.mid not in known))
    added = video_lines.answer_lines(unknown, theirs, kept, pictures) if keys is None else {}
    for place, media in enumerate(offer.media):
        if media.mid in added:
            lines[place] = added[media.mid]

    def line_of(place: int, media: MediaDescription) -> MediaDescription:
        if media is theirs:
            return kept
        return lines[place][0] if place in lines else refused_line(media)

    answered = tuple(line_of(place, m) for place, m in enumerate(offer.media))
    bundle = tuple(m.mid for m in answered if m.port and m.mid in offer.bundle)
    answer = replace(ours, media=answered, bundle=bundle)
    video = tuple(agreed for _, agreed in lines.values())
    return answer, replace(agreed, direction=kept.direction, video=video, sdes=keys)


def _keys_after(
    agreed: Agreement, theirs: MediaDescription, fresh: Sequence[CryptoLine], *, answers: bool
) -> SdesKeys | None:
    if agreed.sdes is None:
        return None
    if answers:
        return sdes.taken((agreed.sdes.ours,), theirs, agreed.sdes.past)
    return sdes.renewed(agreed.sdes, theirs, fresh)


def propose(
    ours: Description,
    agreed: Agreement,
    *,
    hold: bool | None = None,
    add: LocalVideo | None = None,
    drop: str = "",
) -> Description:
    """Build a mid-call offer of ours.

    Args:
        ours: Our description so far.
        agreed: So far.
        hold: Put the peer on hold (silence keeps the path alive, no picture moves), or take it
            back; None leaves it.
        add: A picture to show.
        drop: The mid of a picture that ends; "" for none.

    Raises:
        UsageError: there is no room for another picture, or a gateway carries sound alone.
    """
    if add is not None and agreed.sdes is not None:
        raise UsageError("a call through a telephone gateway carries sound alone")
    known = {picture.mid: picture for picture in agreed.video}
    media: list[MediaDescription] = []
    audio = ours.audio
    if audio is None:
        raise UsageError("there is no sound to keep")
    for line in ours.media:
        if line is audio:
            direction = agreed.direction if hold is None else _AUDIO[hold]
            setup = Setup.ACTPASS if agreed.sdes is None else None
            crypto = () if agreed.sdes is None else (agreed.sdes.ours,)
            media.append(replace(audio, setup=setup, crypto=crypto, direction=direction))
        elif line.mid in known and line.mid != drop:
            direction = known[line.mid].direction if hold is None else _VIDEO[hold]
            line = replace(line, setup=Setup.ACTPASS, port=audio.port, bundle_only=False)
            media.append(replace(line, direction=direction))
        else:
            media.append(refused_line(line))
    if add is not None:
        _add(media, video_lines.offer_lines(media[ours.media.index(audio)], (add,))[0])
    bundle = tuple(m.mid for m in media if not m.refused and m.mid)
    return replace(ours, media=tuple(media), bundle=bundle if len(bundle) > 1 else ours.bundle)


def read_change(offer: Description, answer: Description, agreed: Agreement) -> Agreement:
    """Read the answer to a mid-call offer of ours.

    Args:
        offer: Ours.
        answer: The peer's.
        agreed: So far.

    Raises:
        SecurityError: the answer would change keys or the peer.
        Incompatible: it does not fit the offer.
    """
    if len(answer.media) != len(offer.media):
        raise Incompatible("the answer has another number of media lines than the offer")
    ours = offer.audio
    if ours is None:
        raise Incompatible("there is no audio to keep")
    place = offer.media.index(ours)
    theirs = answer.media[place]
    if theirs.refused or theirs.kind is not Kind.AUDIO:
        raise Incompatible("the peer refused the sound")
    if not same_association(agreed, answer):
        raise SecurityError(
            "the answer to a change asks for other media keys, or is another peer's",
            reason=Reason.FINGERPRINT_MISMATCH,
        )
    keys = None
    if agreed.sdes is not None:
        keys = sdes.taken(ours.crypto, theirs, agreed.sdes.past)
    if keys is None and theirs.setup not in (Setup.ACTIVE, Setup.PASSIVE):
        raise Incompatible("the answer does not say who began DTLS (a=setup)")
    known = {picture.mid: picture for picture in agreed.video}
    pictures, warnings = video_lines.read_answers(offer, answer, theirs)
    video = tuple(
        replace(known[p.mid], direction=p.direction) if p.mid in known else p for p in pictures
    )
    return replace(
        agreed,
        direction=mirrored(theirs.direction),
        sdes=keys,
        video=video,
        warnings=(*agreed.warnings, *(w for w in warnings if w not in agreed.warnings)),
    )


def _role(offered: Setup | None, agreed: Agreement) -> Setup:
    """RFC 8842 5.3: who asks without wishing for anything new gets the role we have."""
    if offered is Setup.ACTIVE:
        return Setup.PASSIVE
    if offered is Setup.PASSIVE:
        return Setup.ACTIVE
    return Setup.ACTIVE if agreed.dtls_client else Setup.PASSIVE


def _add(media: list[MediaDescription], line: MediaDescription) -> None:
    """In the place of a line that is refused, if there is one; under a name that nothing had."""
    taken = {m.mid for m in media}
    name = next(str(n) for n in range(1, MOST_MEDIA_LINES + len(taken) + 2) if str(n) not in taken)
    line = replace(line, mid=name)
    free = next((place for place, m in enumerate(media) if m.refused), None)
    if free is not None:
        media[free] = line
    elif len(media) < MOST_MEDIA_LINES:
        media.append(line)
    else:
        raise UsageError(f"a call has at most {MOST_MEDIA_LINES} lines of media")
