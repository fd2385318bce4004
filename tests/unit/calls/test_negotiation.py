"""Offer and answer: what is agreed, and every way an offer is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from securecall.calls.changes import answer_change, same_association
from securecall.calls.negotiation import (
    MOST_FINGERPRINTS,
    MOST_MEDIA_LINES,
    LocalMedia,
    build_answer,
    build_offer,
    read_answer,
    require_acceptable_offer,
)
from securecall.errors import Incompatible, Reason, SecurityError
from securecall.media.description import (
    Candidate,
    Codec,
    Description,
    Direction,
    Fingerprint,
    Keying,
    MediaDescription,
    Setup,
)

ALICE = Fingerprint("sha-256", bytes(range(32)))
BOB = Fingerprint("sha-256", bytes(range(1, 33)))
CODECS = ("opus", "PCMU", "PCMA")


def local(fingerprint: Fingerprint, port: int, codecs: tuple[str, ...] = CODECS) -> LocalMedia:
    return LocalMedia(fingerprint=fingerprint, host="127.0.0.1", port=port, codecs=codecs, ssrc=1)


def offer() -> Description:
    return build_offer(local(ALICE, 40_000))


def with_audio(description: Description, **changes: object) -> Description:
    audio = replace(description.media[0], **changes)  # type: ignore[arg-type] # test-only freedom
    return replace(description, media=(audio, *description.media[1:]))


def test_both_ends_reach_mirror_image_agreements():
    answer, bobs = build_answer(offer(), local(BOB, 40_002))
    alices = read_answer(offer(), answer)
    assert bobs.dtls_client and not alices.dtls_client
    assert (alices.host, alices.port) == ("127.0.0.1", 40_002)
    assert (bobs.host, bobs.port) == ("127.0.0.1", 40_000)
    assert alices.sent == bobs.received and alices.received == bobs.sent
    assert alices.remote_fingerprints == (BOB,) and bobs.remote_fingerprints == (ALICE,)
    assert alices.codec.name == bobs.codec.name == "opus"


def test_the_answerer_keeps_the_offerers_payload_numbers():
    theirs = Codec(96, "OPUS", 48_000, 2)
    answer, agreement = build_answer(with_audio(offer(), codecs=(theirs,)), local(BOB, 1))
    assert agreement.codec.payload_type == 96
    assert answer.media[0].codecs[0].payload_type == 96


def test_g722_is_agreed_under_its_static_number_and_the_clock_of_rfc_3551():
    codecs = ("G722", "PCMU")
    answer, agreement = build_answer(
        build_offer(local(ALICE, 1, codecs)), local(BOB, 2, ("opus", *codecs))
    )
    assert agreement.codec == Codec(9, "G722", 8_000)
    assert [c.payload_type for c in answer.media[0].codecs] == [9, 0, 101]


def test_an_offer_that_wants_to_be_active_gets_a_passive_answer():
    answer, agreement = build_answer(with_audio(offer(), setup=Setup.ACTIVE), local(BOB, 1))
    assert answer.media[0].setup is Setup.PASSIVE
    assert not agreement.dtls_client


def test_unknown_media_keep_their_place_and_are_refused():
    video = MediaDescription(kind=None, media="text", protocol="RTP/AVP", port=9, formats=("98",))
    asked = replace(offer(), media=(video, *offer().media))
    answer, _ = build_answer(asked, local(BOB, 1))
    assert [m.port for m in answer.media] == [0, 1]
    assert answer.media[0].media == "text"


def test_an_offer_of_more_media_than_a_call_can_have_is_incompatible():
    audio = offer().media[0]
    _ = require_acceptable_offer(replace(offer(), media=(audio,) * MOST_MEDIA_LINES))
    with pytest.raises(Incompatible):
        require_acceptable_offer(replace(offer(), media=(audio,) * (MOST_MEDIA_LINES + 1)))


def test_an_offer_of_more_fingerprints_than_can_be_meant_is_refused():
    few = tuple(Fingerprint("sha-256", bytes([i]) * 32) for i in range(MOST_FINGERPRINTS))
    _ = require_acceptable_offer(with_audio(offer(), fingerprints=few))
    with pytest.raises(SecurityError):
        require_acceptable_offer(with_audio(offer(), fingerprints=(*few, ALICE)))


REFUSED = {
    "plain RTP": ({"keying": Keying.NONE, "fingerprints": ()}, Reason.NO_ENCRYPTION),
    "plain RTP with a fingerprint": ({"keying": Keying.NONE}, Reason.NO_ENCRYPTION),
    "SDES": ({"keying": Keying.SDES, "has_crypto": True}, Reason.NO_ENCRYPTION),
    "SDES beside DTLS": ({"has_crypto": True}, Reason.NO_ENCRYPTION),
    "no fingerprint": ({"fingerprints": ()}, Reason.WEAK_SUITE),
    "only SHA-1": ({"fingerprints": (Fingerprint("sha-1", bytes(20)),)}, Reason.WEAK_SUITE),
    "SHA-256 of the wrong size": (
        {"fingerprints": (Fingerprint("sha-256", bytes(20)),)},
        Reason.WEAK_SUITE,
    ),
    "forty fingerprints": (
        {"fingerprints": tuple(Fingerprint("sha-256", bytes([i]) * 32) for i in range(40))},
        Reason.FINGERPRINT_MISMATCH,
    ),
}


@pytest.mark.parametrize(("changes", "reason"), REFUSED.values(), ids=REFUSED)
def test_an_offer_without_keys_made_at_the_endpoints_is_refused(changes, reason):
    with pytest.raises(SecurityError) as refused:
        require_acceptable_offer(with_audio(offer(), **changes))
    assert refused.value.reason is reason


@pytest.mark.parametrize(("changes", "reason"), REFUSED.values(), ids=REFUSED)
def test_an_answer_without_keys_made_at_the_endpoints_is_refused(changes, reason):
    answer, _ = build_answer(offer(), local(BOB, 1))
    with pytest.raises(SecurityError) as refused:
        read_answer(offer(), with_audio(answer, **changes))
    assert refused.value.reason is reason


def test_our_own_fingerprint_in_the_answer_is_a_reflection():
    answer, _ = build_answer(offer(), local(ALICE, 1))
    with pytest.raises(SecurityError) as refused:
        read_answer(offer(), answer)
    assert refused.value.reason is Reason.SELF_IDENTITY


@pytest.mark.parametrize(
    "changes",
    [
        {"port": 0},
        {"rtcp_mux": False},
        {"setup": Setup.ACTPASS},
        {"setup": None},
        {"codecs": ()},
        {"codecs": (Codec(9, "G722", 8_000),)},
    ],
    ids=str,
)
def test_an_answer_that_does_not_fit_is_incompatible(changes):
    answer, _ = build_answer(offer(), local(BOB, 1))
    with pytest.raises(Incompatible):
        read_answer(offer(), with_audio(answer, **changes))


MUX = pytest.mark.parametrize("mux", [True, False], ids=["mux", "no mux"])
REQUIRED = pytest.mark.parametrize("required", [True, False], ids=["required", "not required"])


@MUX
@REQUIRED
def test_an_offer_is_answered_with_multiplexing_or_without_as_it_asks_where_both_are_taken(
    mux, required
):
    asked = with_audio(offer(), rtcp_mux=mux)
    if required and not mux:
        for refuses in (
            lambda: require_acceptable_offer(asked, require_mux=True),
            lambda: build_answer(asked, local(BOB, 1), require_mux=True),
        ):
            with pytest.raises(Incompatible, match="rtcp-mux"):
                refuses()
        return
    _ = require_acceptable_offer(asked, require_mux=required)
    answer, agreement = build_answer(asked, local(BOB, 1), require_mux=required)
    assert answer.media[0].rtcp_mux is agreement.rtcp_mux is mux  # RFC 8035: never of our own


@MUX
@REQUIRED
def test_an_answer_to_our_offer_decides_on_multiplexing_where_both_are_taken(mux, required):
    assert offer().media[0].rtcp_mux
    answer, _ = build_answer(offer(), local(BOB, 1))
    answer = with_audio(answer, rtcp_mux=mux)
    if required and not mux:
        with pytest.raises(Incompatible, match="rtcp-mux"):
            read_answer(offer(), answer, require_mux=True)
    else:
        assert read_answer(offer(), answer, require_mux=required).rtcp_mux is mux


def test_multiplexing_is_required_unless_said_otherwise():
    asked = with_audio(offer(), rtcp_mux=False)
    with pytest.raises(Incompatible):
        require_acceptable_offer(asked)
    with pytest.raises(Incompatible):
        build_answer(asked, local(BOB, 1))


@MUX
def test_ice_is_answered_only_where_one_port_is_all_there_is(mux):
    ours = replace(
        local(BOB, 1),
        ice_ufrag="abcd",
        ice_pwd="secret",
        candidates=(Candidate("1", 1, "udp", 7, "127.0.0.1", 1, "host"),),
    )
    asked = with_audio(offer(), rtcp_mux=mux, ice_ufrag="efgh", ice_pwd="secret too")
    answer, agreement = build_answer(asked, ours, require_mux=False)
    assert agreement.ice is bool(answer.media[0].ice_ufrag) is bool(answer.media[0].candidates)
    assert agreement.ice is mux


@MUX
def test_no_change_brings_multiplexing_into_a_call_or_takes_it_away(mux):
    first = with_audio(offer(), rtcp_mux=mux)
    ours, agreement = build_answer(first, local(BOB, 1), require_mux=False)
    assert answer_change(ours, first, agreement)[0].media[0].rtcp_mux is mux
    other = with_audio(offer(), rtcp_mux=not mux)
    if mux:
        with pytest.raises(Incompatible, match="rtcp-mux"):
            answer_change(ours, other, agreement)
    else:  # an offer may ask again (RFC 5761 5.1.1), and hears no again
        assert not answer_change(ours, other, agreement)[0].media[0].rtcp_mux


def test_after_an_answer_without_multiplexing_our_own_answers_do_not_claim_it():
    ours = offer()
    answer, _ = build_answer(ours, local(BOB, 1))
    agreement = read_answer(ours, with_audio(answer, rtcp_mux=False), require_mux=False)
    hold = with_audio(answer, rtcp_mux=False, direction=Direction.SENDONLY)
    assert not answer_change(ours, hold, agreement)[0].media[0].rtcp_mux


def test_a_hold_keeps_the_association_and_is_mirrored():
    ours, agreement = build_answer(offer(), local(BOB, 1))
    hold = with_audio(offer(), direction=Direction.SENDONLY)
    assert same_association(agreement, hold)
    assert answer_change(ours, hold, agreement)[0].media[0].direction is Direction.RECVONLY


def test_an_unchanged_answer_names_only_what_the_new_offer_names():
    ours, agreement = build_answer(offer(), local(BOB, 1))
    fewer = with_audio(offer(), codecs=offer().media[0].codecs[:2], formats=("111", "0"))
    audio = answer_change(ours, fewer, agreement)[0].media[0]
    assert [c.name for c in audio.codecs] == ["opus", "PCMU"]
    assert audio.formats == ("111", "0")


@pytest.mark.parametrize(
    "codecs",
    [(), (Codec(0, "PCMU", 8_000),), (Codec(96, "opus", 48_000, 2), Codec(0, "PCMU", 8_000))],
    ids=["none", "another", "another number for it"],
)
def test_an_offer_without_the_codec_in_use_changes_something(codecs):
    ours, agreement = build_answer(offer(), local(BOB, 1))
    with pytest.raises(Incompatible, match="codec"):
        answer_change(ours, with_audio(offer(), codecs=codecs), agreement)


@pytest.mark.parametrize(
    "changes",
    [
        {"fingerprints": (BOB,)},
        {"fingerprints": ()},
        {"keying": Keying.NONE},
        {"keying": Keying.SDES},
        {"has_crypto": True},
    ],
    ids=str,
)
def test_a_change_of_keys_is_another_association(changes):
    _, agreement = build_answer(offer(), local(BOB, 1))
    assert not same_association(agreement, with_audio(offer(), **changes))


def test_what_has_no_audio_or_no_codec_of_ours_is_incompatible():
    text = MediaDescription(kind=None, media="text", protocol="RTP/AVP", port=9, formats=("98",))
    with pytest.raises(Incompatible):
        require_acceptable_offer(replace(offer(), media=(text,)))
    strange = Codec(97, "speex", 8_000)
    with pytest.raises(Incompatible):
        require_acceptable_offer(with_audio(offer(), codecs=(strange,)))
    with pytest.raises(Incompatible):  # it is one of ours, but not one this call may use
        build_answer(
            with_audio(offer(), codecs=(Codec(0, "PCMU", 8_000),)), local(BOB, 1, ("opus",))
        )


def test_an_answer_of_another_shape_than_the_offer_is_incompatible():
    answer, _ = build_answer(offer(), local(BOB, 1))
    for media in ((), answer.media * 2):
        with pytest.raises(Incompatible):
            read_answer(offer(), replace(answer, media=media))


def test_a_change_without_audio_cannot_be_answered():
    answer, agreement = build_answer(offer(), local(BOB, 1))
    with pytest.raises(Incompatible):
        answer_change(answer, replace(offer(), media=()), agreement)
    with pytest.raises(Incompatible):
        answer_change(replace(answer, media=()), offer(), agreement)


def test_an_offer_bundles_the_one_line_it_has():
    made = offer()
    assert made.bundle == (made.media[0].mid,)


def test_an_answer_bundles_only_what_the_offer_did():
    answer, _ = build_answer(offer(), local(BOB, 1))
    assert answer.bundle == offer().bundle
    answer, _ = build_answer(replace(offer(), bundle=()), local(BOB, 1))
    assert answer.bundle == ()


def test_a_second_audio_line_is_refused_in_its_place_with_one_format():
    first, second = offer().media[0], replace(offer().media[0], mid="1")
    answer, _ = build_answer(replace(offer(), media=(first, second)), local(BOB, 1))
    kept, refused = answer.media
    assert (kept.port, refused.port) == (1, 0)
    assert len(refused.codecs) == 1
    assert refused.direction is Direction.INACTIVE
    assert not refused.fingerprints


def red_of(description):
    return [c for c in description.media[0].codecs if c.name == "red"]


def test_copies_of_opus_are_agreed_under_the_offerers_numbers():
    answer, bobs = build_answer(offer(), local(BOB, 40_002))
    alices = read_answer(offer(), answer)
    assert alices.red == bobs.red == 63
    (answered,) = red_of(answer)
    assert answered in bobs.receive
    assert answered.parameters == (("111/111/111", ""),)


def test_copies_are_answered_where_their_numbers_are_those_of_the_common_codec():
    numbers = {"opus": 96, "red": 97}
    codecs = tuple(
        replace(
            c,
            payload_type=numbers.get(c.name, c.payload_type),
            parameters=(("96/96", ""),) if c.name == "red" else c.parameters,
        )
        for c in offer().media[0].codecs
    )
    answer, bobs = build_answer(with_audio(offer(), codecs=codecs), local(BOB, 40_002))
    assert bobs.red == 97
    assert red_of(answer)[0].parameters == (("96/96/96", ""),)


@pytest.mark.parametrize("formats", ["0/0", "111/0", "", "111/x"])
def test_copies_of_anything_else_are_agreed_by_nobody(formats):
    codecs = tuple(
        replace(c, parameters=((formats, ""),) if formats else ()) if c.name == "red" else c
        for c in offer().media[0].codecs
    )
    answer, bobs = build_answer(with_audio(offer(), codecs=codecs), local(BOB, 40_002))
    assert bobs.red is None
    assert red_of(answer) == []


def test_without_opus_nobody_speaks_of_copies():
    described = build_offer(local(ALICE, 40_000, codecs=("PCMU",)))
    assert red_of(described) == []
    answer, bobs = build_answer(offer(), local(BOB, 40_002, codecs=("PCMU",)))
    assert red_of(answer) == []
    assert bobs.red is None
    assert read_answer(offer(), answer).red is None


def test_each_learns_what_the_other_wants_to_be_told_in_rtcp():
    answer, bobs = build_answer(offer(), local(BOB, 40_002))
    asked = read_answer(offer(), answer).extended_reports
    assert asked == bobs.extended_reports == ("rcvr-rtt=all", "voip-metrics")
    mute = with_audio(offer(), extended_reports=())
    assert build_answer(mute, local(BOB, 40_002))[1].extended_reports == ()
