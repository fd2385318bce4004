"""Changes in mid-call, both ways, under the association that was authenticated (RFC 3264 8).

Directions change, pictures come and go, text can end, and another way may be found (an ICE restart,
RFC 8445 9).
Keys and peers do not: a new association would need a new handshake under a closed gate. Only where
a gateway's keys stand in descriptions, a new offer may bring new ones: they prove no more and no
less than those before (RFC 4568 7.1.4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from securecall.calls import sdes, text_lines, video_lines
from securecall.calls.negotiation import (
    MOST_MEDIA_LINES,
    Agreement,
    companions_of,
    refused_line,
    require_shared_port,
    same_as_any,
    same_codec,
    strong,
)
from securecall.calls.sdes import SdesKeys
from securecall.calls.text_lines import TextAgreement
from securecall.calls.video_lines import LocalVideo, VideoAgreement
from securecall.errors import Incompatible, Reason, SecurityError, UsageError
from securecall.media.description import (
    Description,
    Direction,
    Kind,
    LocalIce,
    MediaDescription,
    Setup,
    held,
    mirrored,
    within,
)
from securecall.media.sdes import CryptoLine

_AUDIO = {True: Direction.SENDONLY, False: Direction.SENDRECV}
_BESIDE = {True: Direction.INACTIVE, False: Direction.SENDRECV}


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
    renewed = _renewed(agreed, audio) if agreed.ice and audio.ice_ufrag else ()
    return not renewed or (len(renewed) == 2 and agreed.sdes is None)


def restarts_ice(agreed: Agreement, description: Description) -> bool:
    """Say whether it asks for, or takes, another way: both credentials are new (RFC 8445 9)."""
    audio = description.audio
    return agreed.ice and audio is not None and len(_renewed(agreed, audio)) == 2


def _renewed(agreed: Agreement, audio: MediaDescription) -> tuple[str, ...]:
    pairs = ((audio.ice_ufrag, agreed.ice_ufrag), (audio.ice_pwd, agreed.ice_pwd))
    return tuple(new for new, old in pairs if new and new != old)


def _moved(agreed: Agreement, audio: MediaDescription, *, lite: bool) -> Agreement:
    return replace(
        agreed,
        host=audio.host,
        port=audio.port,
        ice_ufrag=audio.ice_ufrag,
        ice_pwd=audio.ice_pwd,
        candidates=audio.candidates,
        ice_lite=lite,
    )


def _placed(media: Sequence[MediaDescription], ice: LocalIce | None) -> list[MediaDescription]:
    """The same lines at our new place, if there is one."""
    if ice is None:
        return list(media)
    host, port = ice.default
    return [
        line
        if line.refused
        else replace(
            line,
            host=host,
            port=port,
            ice_ufrag=ice.ufrag,
            ice_pwd=ice.pwd,
            candidates=ice.candidates,
            end_of_candidates=ice.complete,
            bundle_only=False,
        )
        for line in media
    ]


def answer_change(  # noqa: C901 - one branch for each thing that may change
    ours: Description,
    offer: Description,
    agreed: Agreement,
    *,
    pictures: Sequence[LocalVideo] = (),
    fresh: Sequence[CryptoLine] = (),
    answers: bool = False,
    ice: LocalIce | None = None,
    hold: bool = False,
) -> tuple[Description, Agreement]:
    """Answer a mid-call offer: directions or the way change, pictures come and go, text ends.

    Args:
        ours: Our description so far.
        offer: The peer's new one, under the same association.
        agreed: So far.
        pictures: What we would take beside those that are agreed on; every other is refused.
        fresh: Keys of ours for a gateway that brings new ones.
        answers: It is the answer to what we repeated, not an offer: our key stays as it is.
        ice: What we gathered anew, where the offer restarts ICE.
        hold: We hold the peer, which takes nobody else back but us (RFC 3264 8.4).

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
    # An answer names nothing that the offer does not (RFC 3264 6.1); what one offer left out, as
    # that of a server with music, the next may bring back.
    codecs = tuple(c for c in agreed.receive if same_as_any(c, theirs.codecs))
    events, red = companions_of(codec, theirs, codecs)
    keys = _keys_after(agreed, theirs, fresh, answers=answers)
    kept = replace(
        ours_audio,
        setup=None if keys is not None else _role(theirs.setup, agreed),
        crypto=() if keys is None else (keys.ours,),
        direction=held(mirrored(theirs.direction)) if hold else mirrored(theirs.direction),
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
                way = Direction.INACTIVE if hold else line.direction
                line = replace(line, setup=kept.setup, port=kept.port, direction=way)
                lines[place] = line, _kept_picture(known[media.mid], media, way)
    written = _kept_text(ours, offer, agreed.text, hold=hold)
    named = {*known, agreed.text.mid if agreed.text is not None else theirs.mid}
    unknown = replace(offer, media=tuple(m for m in offer.media if m.mid not in named))
    added = video_lines.answer_lines(unknown, theirs, kept, pictures) if keys is None else {}
    for place, media in enumerate(offer.media):
        if media.mid in added:
            line, picture = added[media.mid]
            way = Direction.INACTIVE if hold else line.direction
            lines[place] = replace(line, direction=way), replace(picture, direction=way)

    def line_of(place: int, media: MediaDescription) -> MediaDescription:
        if media is theirs:
            return kept
        if written is not None and place == written[0]:
            return replace(written[1], setup=kept.setup, port=kept.port)
        return lines[place][0] if place in lines else refused_line(media)

    answered = tuple(_placed([line_of(place, m) for place, m in enumerate(offer.media)], ice))
    bundle = tuple(m.mid for m in answered if m.port and m.mid in offer.bundle)
    answer = replace(ours, media=answered, bundle=bundle)
    video = tuple(agreed for _, agreed in lines.values())
    text = None if written is None else written[2]
    if ice is not None:
        agreed = _moved(agreed, theirs, lite=offer.ice_lite)
    agreed = replace(agreed, direction=kept.direction, events=events, red=red)
    return answer, replace(agreed, video=video, text=text, sdes=keys)


def _kept_text(
    ours: Description, offer: Description, agreed: TextAgreement | None, *, hold: bool
) -> tuple[int, MediaDescription, TextAgreement] | None:
    """The place of the text that is agreed on, our answer to it, and what it comes to."""
    if agreed is None:
        return None
    before = next(m for m in ours.media if m.mid == agreed.mid)
    for place, media in enumerate(offer.media):
        if media.mid == agreed.mid:
            line = text_lines.kept_line(before, media, agreed)
            if line is not None:
                way = Direction.INACTIVE if hold else line.direction
                return place, replace(line, direction=way), replace(agreed, direction=way)
    return None


def _kept_picture(
    agreed: VideoAgreement, theirs: MediaDescription, direction: Direction
) -> VideoAgreement:
    """The same picture in this direction, from what the peer names now as its source, if anything.

    So with parameter sets: a phone that holds often leaves them out.
    """
    sets = video_lines.parameter_sets(theirs, agreed.receive) or agreed.parameter_sets
    agreed = replace(agreed, direction=direction, parameter_sets=sets)
    if theirs.ssrc is None:
        return agreed
    return replace(agreed, ssrc=theirs.ssrc, rtx_ssrc=theirs.rtx_ssrc)


def _keys_after(
    agreed: Agreement, theirs: MediaDescription, fresh: Sequence[CryptoLine], *, answers: bool
) -> SdesKeys | None:
    if agreed.sdes is None:
        return None
    if answers:
        return sdes.taken((agreed.sdes.ours,), theirs, agreed.sdes)
    return sdes.renewed(agreed.sdes, theirs, fresh)


def propose(
    ours: Description,
    agreed: Agreement,
    *,
    hold: bool | None = None,
    add: LocalVideo | None = None,
    drop: str = "",
    ice: LocalIce | None = None,
) -> Description:
    """Build a mid-call offer of ours.

    Args:
        ours: Our description so far.
        agreed: So far.
        hold: Put the peer on hold (silence keeps the path alive, no picture or text moves), or
            take it back; None leaves it.
        add: A picture to show.
        drop: The mid of a picture that ends; "" for none.
        ice: What we gathered anew, to restart ICE; None leaves the way as it is.

    Raises:
        UsageError: there is no room for another picture, or a gateway carries sound alone.
    """
    if add is not None and agreed.sdes is not None:
        raise UsageError("a call through a telephone gateway carries sound alone")
    known = {line.mid: line.direction for line in agreed.video}
    if agreed.text is not None:
        known[agreed.text.mid] = agreed.text.direction
    media: list[MediaDescription] = []
    audio = ours.audio
    if audio is None:
        raise UsageError("there is no sound to keep")
    for line in ours.media:
        if line is audio:
            direction = agreed.direction if hold is None else _AUDIO[hold]
            setup = Setup.ACTPASS if agreed.sdes is None else None
            crypto = () if agreed.sdes is None else (agreed.sdes.ours,)
            formats = tuple(str(c.payload_type) for c in agreed.receive)
            line = replace(audio, codecs=agreed.receive, formats=formats, direction=direction)
            media.append(replace(line, setup=setup, crypto=crypto))
        elif line.mid in known and line.mid != drop:
            direction = known[line.mid] if hold is None else _BESIDE[hold]
            line = replace(line, setup=Setup.ACTPASS, port=audio.port, bundle_only=False)
            media.append(replace(line, direction=direction))
        else:
            media.append(refused_line(line))
    if add is not None:
        line = video_lines.offer_lines(media[ours.media.index(audio)], (add,))[0]
        _add(media, replace(line, direction=_BESIDE[bool(hold)]))
    media = _placed(media, ice)
    bundle = tuple(m.mid for m in media if not m.refused and m.mid)
    return replace(ours, media=tuple(media), bundle=bundle if len(bundle) > 1 else ours.bundle)


def read_change(
    offer: Description, answer: Description, agreed: Agreement, *, restart: bool = False
) -> Agreement:
    """Read the answer to a mid-call offer of ours.

    Args:
        offer: Ours.
        answer: The peer's.
        agreed: So far.
        restart: Whether ours restarts ICE.

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
    if restarts_ice(agreed, answer) is not restart:
        raise Incompatible(
            "the peer does not look for another way (its ICE credentials stay)"
            if restart
            else "the answer looks for another way, which nobody asked for"
        )
    keys = None
    if agreed.sdes is not None:
        keys = sdes.taken(ours.crypto, theirs, agreed.sdes)
    if keys is None and theirs.setup not in (Setup.ACTIVE, Setup.PASSIVE):
        raise Incompatible("the answer does not say who began DTLS (a=setup)")
    known = {picture.mid: picture for picture in agreed.video}
    pictures, warnings = video_lines.read_answers(offer, answer, theirs)
    text, more = text_lines.read_answer(offer, answer, theirs)
    # an answer lets pass no more than the offer (RFC 3264 6.1): whom it holds is held
    wished = {line.mid: line.direction for line in offer.media}
    if text is not None and agreed.text is not None:
        text = replace(agreed.text, direction=within(text.direction, wished[text.mid]))
    lines = {line.mid: line for line in answer.media}
    pictures = tuple(replace(p, direction=within(p.direction, wished[p.mid])) for p in pictures)
    video = tuple(
        _kept_picture(known[p.mid], lines[p.mid], p.direction) if p.mid in known else p
        for p in pictures
    )
    events, red = companions_of(agreed.codec, theirs, ours.codecs)
    if restart:
        agreed = _moved(agreed, theirs, lite=answer.ice_lite)
    return replace(
        agreed,
        direction=within(mirrored(theirs.direction), ours.direction),
        events=events,
        red=red,
        sdes=keys,
        video=video,
        text=text,
        warnings=(*agreed.warnings, *(w for w in (*warnings, *more) if w not in agreed.warnings)),
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
