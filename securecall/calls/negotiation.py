"""Offer and answer (RFC 3264, RFC 5763, RFC 8122): what both ends agreed on, or a typed refusal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from securecall.calls import sdes, text_lines, video_lines
from securecall.calls.sdes import SdesKeys
from securecall.calls.text_lines import LocalText, TextAgreement
from securecall.calls.video_lines import MID_OFFERED, LocalVideo, VideoAgreement
from securecall.errors import Incompatible, Reason, SecurityError
from securecall.media.codecs import (
    G722,
    OPUS,
    PCMA,
    PCMU,
    copies,
    events_beside,
    has_recovery,
    is_events,
    is_sound,
    red_beside,
)
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
    mirrored,
)
from securecall.media.sdes import CryptoLine
from securecall.rtp.extensions import MID

PROTOCOL = "UDP/TLS/RTP/SAVPF"
IDENTITY_HINT = "1"
EXTENDED_REPORTS = ("rcvr-rtt=all", "voip-metrics")  # RFC 3611 5: what we like to be told
MOST_MEDIA_LINES = 8
MOST_FINGERPRINTS = 8  # of one m-line

_KNOWN = {codec.name.lower(): codec for codec in (OPUS, G722, PCMU, PCMA)}
# RFC 8122 5: what still counts as a fingerprint
_STRONG = ("sha-512", "sha-384", "sha-256")
_DIGEST_SIZE = {"sha-256": 32, "sha-384": 48, "sha-512": 64}


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalMedia:
    """What we bring to an offer or an answer.

    Attributes:
        fingerprint: Of the DTLS certificate made for this offer or answer alone.
        host, port: Default address of our socket.
        ice_ufrag, ice_pwd, candidates: Ours; empty without ICE.
        complete: There will be no more candidates.
        cname, ssrc: Random, for this call alone.
        codecs: Names in order of preference.
        video: Pictures: a camera, a screen; none is offered or taken without one.
        text: Real-time text; None neither offers nor takes any.
        crypto: Fresh keys for a telephone gateway, one for each suite; an offer that has them has
            sound alone. Empty where keys are made by DTLS.
    """

    fingerprint: Fingerprint
    host: str
    port: int
    codecs: tuple[str, ...]
    ice_ufrag: str = ""
    ice_pwd: str = field(default="", repr=False)
    candidates: tuple[Candidate, ...] = ()
    complete: bool = True
    cname: str = ""
    ssrc: int = 0
    video: tuple[LocalVideo, ...] = ()
    text: LocalText | None = None
    crypto: tuple[CryptoLine, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """What offer and answer amount to, seen from one end.

    Attributes:
        codec: What we send; `codec.payload_type` is the peer's number for it.
        receive: What may arrive: our payload numbers, those of digits and copies among them.
        events: The peer's payload number for digits beside `codec`, None where it takes none.
        red: Its number for `codec` with copies (RFC 2198), None where it takes none.
        extended_reports: What the peer wants to be told in RTCP (RFC 3611 5).
        mid: Name of the audio m-line on the wire, both ways.
        sdes: The keys, where the descriptions carry them; None where DTLS makes them.
        dtls_client: We begin the DTLS handshake.
        remote_fingerprints: Strong ones only, never empty with DTLS.
        sent, received: Canonical fingerprint lines of both whole documents.
        host, port: Where to send without ICE.
        ice: Both ends speak it.
        trickle: Both ends take candidates that are found later.
        hint: The peer announced the identity handshake (only a hint).
        direction: Ours.
        rtcp_mux: RTCP shares the port of RTP; otherwise there is none.
        video: The pictures both ends agreed on.
        text: The same of real-time text, None for none.
        mid_extension: The peer's number for the header extension that names the m-line in each
            packet, 0 for none: needed where others share the path, by who looks for it.
        warnings: Sentences for the report.
    """

    codec: Codec
    receive: tuple[Codec, ...]
    mid: str
    dtls_client: bool
    remote_fingerprints: tuple[Fingerprint, ...]
    sent: tuple[str, ...]
    received: tuple[str, ...]
    host: str
    port: int
    ice: bool
    ice_ufrag: str = ""
    ice_pwd: str = field(default="", repr=False)
    candidates: tuple[Candidate, ...] = ()
    ice_lite: bool = False
    trickle: bool = False
    hint: bool = False
    direction: Direction = Direction.SENDRECV
    rtcp_mux: bool = True
    events: int | None = None
    red: int | None = None
    extended_reports: tuple[str, ...] = ()
    video: tuple[VideoAgreement, ...] = ()
    text: TextAgreement | None = None
    mid_extension: int = 0
    warnings: tuple[str, ...] = ()
    sdes: SdesKeys | None = None

    @property
    def keying(self) -> Keying:
        """Where the keys come from."""
        return Keying.DTLS_SRTP if self.sdes is None else Keying.SDES


def build_offer(local: LocalMedia) -> Description:
    """Describe all media for DTLS-SRTP; or sound alone, with its keys, for a gateway.

    Never both in one line (security profile).
    """
    audio = _describe(
        local,
        mid="0",
        codecs=with_companions(tuple(_KNOWN[name.lower()] for name in local.codecs)),
        setup=Setup.ACTPASS,
        protocol=sdes.PROTOCOL if local.crypto else PROTOCOL,
        crypto=local.crypto,
    )
    if local.crypto:
        return Description(media=(audio,), trickle=bool(local.candidates))
    if local.video or local.text is not None:
        audio = replace(audio, extensions=(MID_OFFERED,))
    media = (audio, *video_lines.offer_lines(audio, local.video))
    if local.text is not None:
        media = (*media, text_lines.offer_line(audio, local.text, mid=str(len(media))))
    return Description(
        media=media,
        all_fingerprints=(local.fingerprint,) * len(media),
        bundle=tuple(line.mid for line in media),
        trickle=bool(local.candidates),
    )


def require_acceptable_offer(
    offer: Description, *, require_mux: bool = True, gateway: bool = False
) -> MediaDescription:
    """Return the audio m-line an answer would be built on.

    Args:
        offer: The peer's.
        require_mux: RTP and RTCP have to share a port, as always between two of us; a call where
            they do not has no RTCP at all.
        gateway: Keys may stand in the description.

    Raises:
        SecurityError: the offer asks for media without keys made at the endpoints.
        Incompatible: there is no audio to talk about, or its numbers cannot be meant.
    """
    if len(offer.media) > MOST_MEDIA_LINES:
        raise Incompatible("the offer has more media lines than a call can have")
    audio = offer.audio
    if audio is None:
        raise Incompatible("the offer has no audio")
    _require_keys(audio, gateway=gateway)
    require_shared_port(audio, required=require_mux)
    if not _common_codecs(audio):
        raise Incompatible("the peer offers no codec we have (opus, G722, PCMU or PCMA)")
    return audio


def build_answer(
    offer: Description, local: LocalMedia, *, require_mux: bool = True
) -> tuple[Description, Agreement]:
    """Answer an offer: first common codec in *our* order, DTLS active unless the peer wants it.

    RTP and RTCP share a port only if the offer wants that (RFC 8035); `require_mux` is that
    of `require_acceptable_offer`. Keys in the description are taken if `local` brings some.

    Raises:
        SecurityError: as `require_acceptable_offer`.
        Incompatible: as `require_acceptable_offer`.
    """
    gateway = bool(local.crypto)
    theirs = require_acceptable_offer(offer, require_mux=require_mux, gateway=gateway)
    common = _common_codecs(theirs, local.codecs)
    if not common:
        raise Incompatible("the peer offers no codec this call may use")
    keys = sdes.choose(theirs, local.crypto) if theirs.keying is Keying.SDES else None
    setup = Setup.PASSIVE if theirs.setup is Setup.ACTIVE else Setup.ACTIVE
    # Whoever has RTCP on a port of its own wants that checked as well, and we have no such port.
    use_ice = bool(local.candidates and theirs.ice_ufrag and theirs.rtcp_mux)
    audio = _describe(
        local if use_ice else replace(local, ice_ufrag="", ice_pwd="", candidates=()),
        mid=theirs.mid,
        codecs=(*common, *_common_events(theirs, common), *_common_red(theirs, common)),
        setup=setup,
        protocol=theirs.protocol,
        direction=mirrored(theirs.direction),
        rtcp_mux=theirs.rtcp_mux,
        crypto=() if keys is None else (keys.ours,),
    )
    pictures = video_lines.answer_lines(offer, theirs, audio, local.video) if keys is None else {}
    text = text_lines.answer_line(offer, theirs, audio, local.text) if keys is None else None
    if (pictures or text) and (number := video_lines.named_by(theirs)):
        audio = replace(audio, extensions=((number, MID),))

    def line(place: int, media: MediaDescription) -> MediaDescription:
        if media is theirs:
            return audio
        if text is not None and place == text[0]:
            return text[1]
        return pictures[media.mid][0] if media.mid in pictures else refused_line(media)

    media = tuple(line(place, m) for place, m in enumerate(offer.media))
    keyed = 0 if keys is not None else 1 + len(pictures) + (text is not None)
    answer = Description(
        media=media,
        all_fingerprints=(local.fingerprint,) * keyed,
        bundle=tuple(m.mid for m in media if m.port and m.mid in offer.bundle),
        trickle=use_ice and offer.trickle,
    )
    agreement = _agreement(
        theirs,
        offer,
        answer,
        codec=common[0],
        receive=audio.codecs,
        dtls_client=setup is Setup.ACTIVE,
        ice=use_ice,
        direction=audio.direction,
        video=tuple(agreed for _, agreed in pictures.values()),
        text=None if text is None else text[2],
        keys=keys,
        warnings=(
            *video_lines.left_out(offer, theirs, local.video),
            *text_lines.left_out(offer, theirs, local.text),
        ),
    )
    return answer, agreement


def read_answer(offer: Description, answer: Description, *, require_mux: bool = True) -> Agreement:
    """Read the answer to our own offer.

    `require_mux` is that of `require_acceptable_offer`.

    Raises:
        SecurityError: the answer drops or weakens the keying, or hands our own fingerprint back.
        Incompatible: it does not fit the offer.
    """
    if len(answer.media) != len(offer.media):
        raise Incompatible("the answer has another number of media lines than the offer")
    ours, theirs = offer.media[0], answer.media[0]
    if theirs.port == 0 or theirs.kind is not Kind.AUDIO:
        raise Incompatible("the peer refused the audio")
    _require_keys(theirs, gateway=bool(ours.crypto))
    if (theirs.keying is Keying.SDES) is not bool(ours.crypto):
        raise SecurityError(
            "the answer keys the media in another way than the offer", reason=Reason.NO_ENCRYPTION
        )
    keys = sdes.taken(ours.crypto, theirs) if ours.crypto else None
    require_shared_port(theirs, required=require_mux)
    if set(theirs.fingerprints) & set(ours.fingerprints):
        raise SecurityError(
            "the answer carries our own fingerprint: the call was reflected",
            reason=Reason.SELF_IDENTITY,
        )
    if keys is None and theirs.setup not in (Setup.ACTIVE, Setup.PASSIVE):
        raise Incompatible("the answer does not say who begins DTLS (a=setup)")
    codecs = tuple(c for c in theirs.codecs if same_as_any(c, ours.codecs) and is_sound(c))
    if not codecs:
        raise Incompatible("the answer names no codec of the offer")
    video, warnings = video_lines.read_answers(offer, answer, theirs)
    text, more = text_lines.read_answer(offer, answer, theirs)
    return _agreement(
        theirs,
        answer,
        offer,
        codec=codecs[0],
        receive=ours.codecs,
        dtls_client=theirs.setup is Setup.PASSIVE,
        ice=bool(ours.ice_ufrag and theirs.ice_ufrag),
        direction=mirrored(theirs.direction),
        video=video,
        text=text,
        warnings=(*warnings, *more),
        keys=keys,
    )


def _describe(
    local: LocalMedia,
    *,
    mid: str,
    codecs: tuple[Codec, ...],
    setup: Setup,
    protocol: str,
    direction: Direction = Direction.SENDRECV,
    rtcp_mux: bool = True,
    crypto: tuple[CryptoLine, ...] = (),
) -> MediaDescription:
    return MediaDescription(
        kind=Kind.AUDIO,
        media="audio",
        protocol=protocol,
        port=local.port,
        host=local.host,
        formats=tuple(str(c.payload_type) for c in codecs),
        mid=mid,
        direction=direction,
        codecs=codecs,
        keying=Keying.SDES if crypto else Keying.DTLS_SRTP,
        fingerprints=() if crypto else (local.fingerprint,),
        setup=None if crypto else setup,
        has_crypto=bool(crypto),
        crypto=crypto,
        rtcp_mux=rtcp_mux,
        ice_ufrag=local.ice_ufrag,
        ice_pwd=local.ice_pwd,
        candidates=local.candidates,
        end_of_candidates=bool(local.candidates) and local.complete,
        identity_hint="" if crypto else IDENTITY_HINT,
        extended_reports=EXTENDED_REPORTS if rtcp_mux else (),
        cname=local.cname,
        ssrc=local.ssrc,
    )


def refused_line(theirs: MediaDescription) -> MediaDescription:
    """A refused m-line keeps its place with port 0 (RFC 3264 6)."""
    return MediaDescription(
        kind=theirs.kind,
        media=theirs.media,
        protocol=theirs.protocol,
        port=0,
        formats=theirs.formats,
        mid=theirs.mid,
        codecs=theirs.codecs[:1],
        direction=Direction.INACTIVE,
    )


def _require_keys(media: MediaDescription, *, gateway: bool) -> None:
    if gateway and media.keying is Keying.SDES:
        sdes.require_lines(media)
        return
    if media.has_crypto or media.keying is Keying.SDES:
        raise SecurityError(
            "the peer wants to send the media key through the servers (SDES)",
            reason=Reason.NO_ENCRYPTION,
        )
    if media.keying is not Keying.DTLS_SRTP:
        raise SecurityError("the peer wants unencrypted media", reason=Reason.NO_ENCRYPTION)
    if len(media.fingerprints) > MOST_FINGERPRINTS:
        raise SecurityError(
            "more certificate fingerprints than can be meant", reason=Reason.FINGERPRINT_MISMATCH
        )
    if not strong(media.fingerprints):
        raise SecurityError(
            "no certificate fingerprint stronger than SHA-1 was given", reason=Reason.WEAK_SUITE
        )


def require_shared_port(media: MediaDescription, *, required: bool) -> None:
    """Refuse a line that has RTCP on a port of its own, where that is asked for."""
    if required and not media.rtcp_mux:
        raise Incompatible("the peer does not multiplex RTP and RTCP (a=rtcp-mux)")


def strong(fingerprints: Sequence[Fingerprint]) -> tuple[Fingerprint, ...]:
    """Those that count (RFC 8122 5)."""
    return tuple(
        f
        for f in fingerprints
        if f.algorithm in _STRONG and len(f.value) == _DIGEST_SIZE[f.algorithm]
    )


def _common_codecs(
    theirs: MediaDescription, wanted: Sequence[str] = tuple(_KNOWN)
) -> tuple[Codec, ...]:
    """Codecs of both, in our order, under the peer's numbers and with our parameters."""
    found = []
    for name in wanted:
        known = _KNOWN[name.lower()]
        for codec in theirs.codecs:
            if same_codec(codec, known):
                found.append(replace(known, payload_type=codec.payload_type))
                break
    return tuple(found)


def with_companions(codecs: tuple[Codec, ...]) -> tuple[Codec, ...]:
    """The same, and what carries digits and copies beside them."""
    return (*codecs, *events_beside(codecs), *red_beside(codecs))


def companions_of(
    codec: Codec, theirs: MediaDescription, ours: Sequence[Codec]
) -> tuple[int | None, int | None]:
    """The peer's numbers for digits, and for copies, beside this codec; None where not of both."""
    both = [c for c in theirs.codecs if same_as_any(c, ours)]
    digits = (c.payload_type for c in both if is_events(c) and c.clock_rate == codec.clock_rate)
    copied = (c.payload_type for c in both if copies(c, codec))
    return next(digits, None), next(copied, None)


def _common_events(theirs: MediaDescription, common: tuple[Codec, ...]) -> tuple[Codec, ...]:
    """What carries digits in their offer, on the clocks of these codecs."""
    rates = {codec.clock_rate for codec in common}
    found = {c.clock_rate: c for c in reversed(theirs.codecs) if is_events(c)}
    return tuple(found[rate] for rate in found if rate in rates)


def _common_red(theirs: MediaDescription, common: tuple[Codec, ...]) -> tuple[Codec, ...]:
    """What carries copies of our common codec in their offer, under their number."""
    for codec in filter(has_recovery, common):
        for red in theirs.codecs:
            if copies(red, codec):
                return red_beside((codec,), red.payload_type)
    return ()


def same_codec(a: Codec, b: Codec) -> bool:
    """Whether both are one sound codec, whatever their numbers."""
    alike = a.clock_rate == b.clock_rate and a.channels == b.channels
    return alike and a.name.lower() == b.name.lower()


def same_as_any(codec: Codec, codecs: Sequence[Codec]) -> bool:
    """Whether it is one of these."""
    return any(same_codec(codec, other) for other in codecs)


def _agreement(
    theirs: MediaDescription,
    their_document: Description,
    our_document: Description,
    *,
    codec: Codec,
    receive: tuple[Codec, ...],
    dtls_client: bool,
    ice: bool,
    direction: Direction,
    video: tuple[VideoAgreement, ...],
    text: TextAgreement | None,
    warnings: tuple[str, ...] = (),
    keys: SdesKeys | None = None,
) -> Agreement:
    events, red = companions_of(codec, theirs, receive)
    return Agreement(
        sdes=keys,
        codec=codec,
        receive=receive,
        mid=theirs.mid,
        dtls_client=dtls_client,
        remote_fingerprints=strong(theirs.fingerprints),
        sent=tuple(str(f) for f in our_document.all_fingerprints),
        received=tuple(str(f) for f in their_document.all_fingerprints),
        host=theirs.host,
        port=theirs.port,
        ice=ice,
        ice_ufrag=theirs.ice_ufrag,
        ice_pwd=theirs.ice_pwd,
        candidates=theirs.candidates,
        ice_lite=their_document.ice_lite,
        trickle=ice and their_document.trickle and our_document.trickle,
        hint=bool(theirs.identity_hint),
        direction=direction,
        rtcp_mux=theirs.rtcp_mux,
        events=events,
        extended_reports=theirs.extended_reports,
        red=red,
        video=video,
        text=text,
        mid_extension=video_lines.named_by(theirs) if video or text is not None else 0,
        warnings=warnings,
    )
