"""Pictures in offer and answer: on the association of the sound, or not at all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from securecall.calls.changes import answer_change, propose, read_change
from securecall.calls.negotiation import (
    LocalMedia,
    build_answer,
    build_offer,
    read_answer,
)
from securecall.calls.video_lines import LocalVideo
from securecall.errors import Incompatible, Reason, SecurityError
from securecall.media.description import Direction, Fingerprint, Keying
from securecall.rtp.extensions import MID
from securecall.sip.sdp import build_description, parse_description

CAMERA = LocalVideo(codecs=("VP8", "H264"), ssrc=7, rtx_ssrc=8)
SCREEN = LocalVideo(codecs=("VP8",), ssrc=9, rtx_ssrc=10, content="slides")


def local(number, *video):
    return LocalMedia(
        fingerprint=Fingerprint("sha-256", bytes([number]) * 32),
        host="192.0.2.1",
        port=4000 + number,
        codecs=("opus",),
        cname="x",
        ssrc=number,
        video=video,
    )


def over_the_wire(description):
    return parse_description(build_description(description, session_id=1, version=1))


def agree(ours, theirs):
    """What both ends make of an offer with these pictures and an answer with those."""
    offer = build_offer(local(1, *ours))
    answer, answerer = build_answer(over_the_wire(offer), local(2, *theirs))
    return read_answer(offer, over_the_wire(answer)), answerer


def test_both_ends_agree_on_a_picture_beside_the_sound():
    caller, callee = agree([CAMERA], [replace(CAMERA, ssrc=17, rtx_ssrc=18)])
    (there,), (here,) = caller.video, callee.video
    assert (there.mid, there.codec.name, there.codec.payload_type) == ("1", "VP8", 96)
    assert there.receive_rtx == here.receive_rtx == ((97, 96), (99, 98))
    assert there.rtx == here.rtx == 97
    assert (there.ssrc, there.rtx_ssrc) == (17, 18)
    assert (here.ssrc, here.rtx_ssrc) == (7, 8)
    assert there.transport_cc == here.transport_cc == 1
    for feedback in ("nack", "nack pli", "ccm fir", "transport-cc"):
        assert there.understands(feedback)
        assert here.understands(feedback)
    assert there.direction is here.direction is Direction.SENDRECV
    assert [codec.name for codec in there.receive] == ["VP8", "H264"]


def test_packets_name_their_line_where_pictures_share_the_path_of_sound():
    def numbers(ours, theirs, hint):
        offer = build_offer(local(1, *ours))
        foreign = tuple(replace(m, identity_hint=hint) for m in offer.media)
        answer, callee = build_answer(replace(offer, media=foreign), local(2, *theirs))
        said = tuple(replace(m, identity_hint=hint) for m in answer.media)
        caller = read_answer(offer, over_the_wire(replace(answer, media=said)))
        ends = (caller, callee)
        return [e.mid_extension for e in ends] + [v.mid_extension for e in ends for v in e.video]

    assert numbers([CAMERA], [CAMERA], "") == [2, 2, 2, 2]
    assert numbers([CAMERA], [CAMERA], "1") == [0, 0, 0, 0]  # one of ours
    for ours, theirs in (([CAMERA], []), ([], [CAMERA]), ([], [])):
        assert numbers(ours, theirs, "") == [0, 0]


@pytest.mark.parametrize(
    ("mid", "number", "taken"), [("a", 4, 4), ("a", 0, 0), ("a", 15, 0), ("a" * 17, 4, 0)]
)
def test_lines_are_named_by_the_number_of_the_peer_where_it_has_one(mid, number, taken):
    offer = build_offer(local(1, CAMERA))
    known = ((number, MID),) if number else ()
    media = tuple(replace(m, mid=mid, extensions=known, identity_hint="") for m in offer.media[:1])
    video = replace(offer.media[1], mid="v" + mid[1:], extensions=known)
    offer = replace(offer, media=(*media, video), bundle=(media[0].mid, video.mid))
    answer, agreement = build_answer(offer, local(2, CAMERA))
    assert (agreement.mid_extension, agreement.video[0].mid_extension) == (taken, taken)
    assert [m.extensions for m in answer.media] == [((taken, MID),) if taken else ()] * 2


@pytest.mark.parametrize(("ssrc", "taken"), [(None, False), (7, True)])
def test_formats_numbered_as_those_of_sound_are_told_apart_by_a_source_or_not_taken(ssrc, taken):
    offer = build_offer(local(1, CAMERA))
    sound, video = offer.media
    numbers = tuple(c.payload_type for c in sound.codecs)
    codecs = (replace(video.codecs[0], payload_type=numbers[0]),)
    alike = replace(video, ssrc=ssrc, codecs=codecs, formats=(str(numbers[0]),))
    answer, agreement = build_answer(replace(offer, media=(sound, alike)), local(2, CAMERA))
    assert bool(agreement.video) is taken
    assert answer.media[1].refused is not taken
    assert bool(agreement.warnings) is not taken


def test_both_documents_are_hashed_as_they_stand():
    caller, callee = agree([CAMERA, SCREEN], [CAMERA])
    assert caller.sent == callee.received
    assert caller.received == callee.sent
    assert len(caller.sent) == 3
    assert len(callee.sent) == 2


def test_a_screen_and_a_camera_find_each_other_by_what_they_show():
    caller, callee = agree([CAMERA, SCREEN], [SCREEN, CAMERA])
    for agreement in (caller, callee):
        assert [(v.mid, v.local) for v in agreement.video] == [("1", CAMERA), ("2", SCREEN)]


@pytest.mark.parametrize(("ours", "theirs"), [([CAMERA], []), ([], [CAMERA]), ([SCREEN], [CAMERA])])
def test_who_brings_no_picture_has_a_call_with_sound_alone(ours, theirs):
    caller, callee = agree(ours, theirs)
    assert caller.video == callee.video == ()
    assert caller.codec.name == "opus"


def test_the_line_has_no_port_of_its_own_so_that_who_bundles_nothing_refuses_it():
    offer = over_the_wire(build_offer(local(1, CAMERA)))
    _, video = offer.media
    assert video.bundle_only
    assert not video.refused
    assert video.port == 0
    alone = replace(offer, bundle=())
    answer, agreement = build_answer(alone, local(2, CAMERA))
    assert answer.media[1].refused
    assert agreement.video == ()
    assert "no picture" in agreement.warnings[0]
    assert build_answer(alone, local(2))[1].warnings == ()  # nobody waits for one
    assert build_answer(offer, local(2, CAMERA))[1].warnings == ()


@pytest.mark.parametrize(
    "change",
    [
        {"fingerprints": (Fingerprint("sha-256", b"\x09" * 32),)},
        {"has_crypto": True},
        {"keying": Keying.NONE},
        {"keying": Keying.SDES},
    ],
    ids=["another certificate", "crypto beside", "no keys", "keys in signalling"],
)
def test_a_picture_under_other_keys_than_the_sound_is_never_taken(change):
    offer = over_the_wire(build_offer(local(1, CAMERA)))
    sound, video = offer.media
    changed = replace(offer, media=(sound, replace(video, **change)))
    answer, agreement = build_answer(changed, local(2, CAMERA))
    assert answer.media[1].refused
    assert agreement.video == ()
    ours = build_offer(local(1, CAMERA))
    answer, _ = build_answer(offer, local(2, CAMERA))
    answer = over_the_wire(answer)
    sound, video = answer.media
    with pytest.raises(SecurityError) as caught:
        _ = read_answer(ours, replace(answer, media=(sound, replace(video, **change))))
    assert caught.value.reason is Reason.FINGERPRINT_MISMATCH


def test_an_answer_that_does_not_bundle_the_picture_leaves_the_sound_and_says_so():
    ours = build_offer(local(1, CAMERA))
    answer, _ = build_answer(over_the_wire(ours), local(2, CAMERA))
    agreement = read_answer(ours, replace(over_the_wire(answer), bundle=("0",)))
    assert agreement.video == ()
    assert "no picture" in agreement.warnings[0]


def test_an_answer_that_makes_sound_of_a_picture_is_no_answer():
    ours = build_offer(local(1, CAMERA))
    answer, _ = build_answer(over_the_wire(ours), local(2, CAMERA))
    sound, _ = over_the_wire(answer).media
    with pytest.raises(Incompatible):
        _ = read_answer(ours, replace(answer, media=(sound, replace(sound, mid="1"))))


@pytest.mark.parametrize(
    ("parameters", "taken"),
    [
        ((("packetization-mode", "1"), ("profile-level-id", "42001f")), True),
        ((("packetization-mode", "1"), ("profile-level-id", "640c1f")), False),
        ((("profile-level-id", "42001f"),), False),
    ],
    ids=["baseline", "high profile", "one unit a packet"],
)
def test_h264_has_to_be_packed_and_profiled_alike(parameters, taken):
    offer = over_the_wire(build_offer(local(1, replace(CAMERA, codecs=("H264",)))))
    sound, video = offer.media
    codecs = (replace(video.codecs[0], payload_type=120, parameters=parameters),)
    offer = replace(offer, media=(sound, replace(video, codecs=codecs)))
    _, agreement = build_answer(offer, local(2, CAMERA))
    assert bool(agreement.video) is taken
    if taken:
        assert agreement.video[0].codec.payload_type == 120
        assert agreement.video[0].rtx is None


SETS = (bytes.fromhex("6742000a9653058988"), bytes.fromhex("68c96388"))
SAID = ("sprop-parameter-sets", "Z0IACpZTBYmI,aMljiA==")
H264 = replace(CAMERA, codecs=("H264",))


def saying(description, *more):
    """The same description with these parameters beside those of its H.264."""
    sound, video = description.media
    codecs = tuple(
        replace(codec, parameters=codec.parameters + more) if codec.name == "H264" else codec
        for codec in video.codecs
    )
    return over_the_wire(replace(description, media=(sound, replace(video, codecs=codecs))))


@pytest.mark.parametrize("ours", [CAMERA, H264], ids=["VP8 first", "H264 alone"])
def test_parameter_sets_are_taken_from_offer_and_answer(ours):
    offer = build_offer(local(1, ours))
    answer, there = build_answer(saying(offer, SAID), local(2, ours))
    assert there.video[0].parameter_sets == SETS
    assert read_answer(offer, saying(answer, SAID)).video[0].parameter_sets == SETS
    assert read_answer(offer, answer).video[0].parameter_sets == ()
    for mine in (offer, answer):  # keyframes of ours bring their own
        assert b"sprop" not in build_description(mine, session_id=1, version=1)


@pytest.mark.parametrize(
    "more",
    [
        [("sprop-parameter-sets", "")],
        [("sprop-parameter-sets", "AAAA")],
        [SAID, SAID],
        [SAID, ("sprop-parameter-sets", "aMljiA==")],
        [("profile-level-id", "42e01f")],
    ],
)
def test_parameter_sets_that_cannot_be_read_are_none_and_the_picture_is_agreed_on(more):
    offer = build_offer(local(1, H264))
    answer, there = build_answer(saying(offer, *more), local(2, H264))
    assert there.video[0].parameter_sets == ()
    assert read_answer(offer, saying(answer, *more)).video[0].parameter_sets == ()


def test_parameter_sets_of_what_was_not_agreed_on_are_not_taken():
    offer = build_offer(local(1, CAMERA))
    only = replace(CAMERA, codecs=("VP8",))
    assert build_answer(saying(offer, SAID), local(2, only))[1].video[0].parameter_sets == ()


def test_parameter_sets_change_in_mid_call_and_stay_where_nothing_is_said():
    offer = build_offer(local(1, H264))
    answer, agreed = build_answer(saying(offer, SAID), local(2, H264))
    answer, agreed = answer_change(answer, offer, agreed)
    assert agreed.video[0].parameter_sets == SETS
    other = ("sprop-parameter-sets", "aMljiA==")
    _, agreed = answer_change(answer, saying(offer, other), agreed)
    assert agreed.video[0].parameter_sets == SETS[1:]


def test_a_hold_holds_the_picture_and_one_that_is_dropped_is_gone():
    offer = over_the_wire(build_offer(local(1, CAMERA)))
    answer, agreement = build_answer(offer, local(2, CAMERA))
    sound, video = offer.media
    hold = replace(video, direction=Direction.SENDONLY, bundle_only=False, port=sound.port)
    held, after = answer_change(answer, replace(offer, media=(sound, hold)), agreement)
    assert held.media[1].direction is Direction.RECVONLY
    assert after.video[0].direction is Direction.RECVONLY
    gone = replace(video, bundle_only=False, port=0)
    dropped, after = answer_change(held, replace(offer, media=(sound, gone)), after)
    assert dropped.media[1].refused
    assert after.video == ()
    again, after = answer_change(dropped, offer, after)
    assert again.media[1].refused  # nobody here was asked
    assert after.video == ()


def connected(ours, theirs):
    offer = build_offer(local(1, *ours))
    answer, there = build_answer(over_the_wire(offer), local(2, *theirs))
    return offer, answer, read_answer(offer, over_the_wire(answer)), there


def test_a_picture_comes_in_mid_call_and_goes_and_another_takes_its_place():
    offer, answer, here, there = connected([], [])
    proposed = propose(offer, here, add=CAMERA)
    assert [(m.mid, m.port, m.bundle_only) for m in proposed.media] == [
        ("0", 4001, False),
        ("1", 0, True),
    ]
    answer, there = answer_change(answer, over_the_wire(proposed), there, pictures=[CAMERA])
    here = read_change(proposed, over_the_wire(answer), here)
    assert here.video[0].local == there.video[0].local == CAMERA
    assert here.video[0].direction is there.video[0].direction is Direction.SENDRECV
    dropped = propose(proposed, here, drop="1")
    answer, there = answer_change(answer, over_the_wire(dropped), there, pictures=[CAMERA])
    here = read_change(dropped, over_the_wire(answer), here)
    assert here.video == there.video == ()
    again = propose(dropped, here, add=SCREEN)
    assert [m.mid for m in again.media] == ["0", "2"]  # in the old place, under a new name
    answer, there = answer_change(answer, over_the_wire(again), there, pictures=[SCREEN])
    here = read_change(again, over_the_wire(answer), here)
    assert here.video[0].local == there.video[0].local == SCREEN


def test_a_hold_of_ours_and_its_end_are_read_from_both_ends():
    offer, answer, here, there = connected([CAMERA], [CAMERA])
    both, none = Direction.SENDRECV, Direction.INACTIVE
    for hold, ours, theirs, picture in (
        (True, Direction.SENDONLY, Direction.RECVONLY, none),
        (False, both, both, both),
    ):
        offer = propose(offer, here, hold=hold)
        answer, there = answer_change(answer, over_the_wire(offer), there)
        here = read_change(offer, over_the_wire(answer), here)
        assert (here.direction, here.video[0].direction) == (ours, picture)
        assert (there.direction, there.video[0].direction) == (theirs, picture)
        assert len(here.video) == len(there.video) == 1


def test_an_answer_to_a_change_that_brings_other_keys_ends_in_a_security_error():
    offer, answer, here, there = connected([CAMERA], [CAMERA])
    proposed = propose(offer, here, hold=True)
    answer, _ = answer_change(answer, over_the_wire(proposed), there)
    other = (Fingerprint("sha-256", b"\x09" * 32),)
    everywhere = tuple(replace(m, fingerprints=other) for m in answer.media)
    for media in (everywhere, (answer.media[0], everywhere[1]), (everywhere[0], answer.media[1])):
        with pytest.raises(SecurityError) as caught:
            _ = read_change(proposed, replace(answer, media=media), here)
        assert caught.value.reason is Reason.FINGERPRINT_MISMATCH
