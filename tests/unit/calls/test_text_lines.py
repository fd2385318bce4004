"""Text in offer and answer: on the association of the sound, or not at all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from securecall.calls.changes import answer_change, propose, read_change
from securecall.calls.negotiation import LocalMedia, build_answer, build_offer, read_answer
from securecall.calls.text_lines import LocalText
from securecall.calls.video_lines import LocalVideo
from securecall.errors import Incompatible, Reason, SecurityError
from securecall.media.description import Direction, Fingerprint, Kind
from securecall.sip.sdp import build_description, parse_description

CAMERA = LocalVideo(codecs=("VP8",), ssrc=7, rtx_ssrc=8)


def local(number, *video, text=True):
    return LocalMedia(
        fingerprint=Fingerprint("sha-256", bytes([number]) * 32),
        host="192.0.2.1",
        port=4000 + number,
        codecs=("opus",),
        cname="x",
        ssrc=number,
        video=video,
        text=LocalText(100 + number) if text else None,
    )


def over_the_wire(description):
    return parse_description(build_description(description, session_id=1, version=1))


OFFER = build_offer(local(1))


def altered(description, **changes):
    sound, text = description.media
    return replace(description, media=(sound, replace(text, **changes)))


def agree(offer=OFFER, theirs=None):
    answer, answerer = build_answer(over_the_wire(offer), theirs or local(2))
    return read_answer(offer, over_the_wire(answer)), answerer


def test_the_offer_is_that_of_rfc_4103_and_bundled():
    text = build_description(OFFER, session_id=1, version=1).decode()
    line = text[text.index("m=text") :]
    assert line.startswith("m=text 0 UDP/TLS/RTP/SAVPF 105 106\r\n")
    for said in ("a=bundle-only", "a=rtpmap:106 t140/1000", "a=rtpmap:105 red/1000",
                 "a=fmtp:105 106/106/106", "a=fmtp:106 cps=30", "a=mid:1"):  # fmt: skip
        assert said in line.split("\r\n")
    assert "a=group:BUNDLE 0 1\r\n" in text


def test_both_ends_agree_on_text_with_copies():
    caller, callee = agree()
    for ours, theirs in ((caller, 102), (callee, 101)):
        text = ours.text
        assert (text.mid, text.codec.payload_type, text.t140) == ("1", 105, 106)
        assert (text.receive, text.receive_red, text.cps, text.ssrc) == (106, 105, 30, theirs)
        assert text.direction is Direction.SENDRECV
        assert ours.warnings == ()


def test_text_and_pictures_stand_beside_each_other():
    caller, callee = agree(build_offer(local(1, CAMERA)), local(2, CAMERA))
    for end in (caller, callee):
        assert [v.mid for v in end.video] == ["1"]
        assert end.text.mid == "2"
        assert end.sent == end.sent[:1] * 3


@pytest.mark.parametrize(("ours", "theirs"), [(True, False), (False, True), (False, False)])
def test_who_does_not_ask_for_text_has_none_and_refuses_the_line(ours, theirs):
    offer = build_offer(local(1, text=ours))
    answer, callee = build_answer(over_the_wire(offer), local(2, text=theirs))
    caller = read_answer(offer, over_the_wire(answer))
    assert caller.text is callee.text is None
    assert [line.port for line in answer.media[1:]] == [0] * ours
    assert caller.mid_extension == callee.mid_extension == 0


@pytest.mark.parametrize(
    ("changes", "red"),
    [
        ({"codecs": OFFER.media[1].codecs[1:]}, None),
        ({"codecs": tuple(replace(c, payload_type=c.payload_type + 5, parameters=p)
          for c, p in zip(OFFER.media[1].codecs, ((("111/111/111", ""),), (("cps", "7"),)),
                          strict=True))}, 110),
    ],
)  # fmt: skip
def test_what_the_peer_can_do_is_what_it_gets(changes, red):
    formats = tuple(str(c.payload_type) for c in changes["codecs"])
    offer = altered(OFFER, formats=formats, **changes)
    _, callee = agree(offer)
    number = changes["codecs"][-1].payload_type
    assert (callee.text.t140, callee.text.receive) == (number, number)
    assert callee.text.receive_red == red
    assert callee.text.codec.payload_type == (red or number)
    assert callee.text.cps == (7 if red else 30)


@pytest.mark.parametrize("cps", ["", "-1", "many", "9" * 30, "\u0663"])
def test_a_rate_that_is_none_is_that_of_the_standard(cps):
    red, text = OFFER.media[1].codecs
    _, callee = agree(altered(OFFER, codecs=(red, replace(text, parameters=(("cps", cps),)))))
    assert callee.text.cps == 30


@pytest.mark.parametrize(
    "changes",
    [
        {"fingerprints": (Fingerprint("sha-256", b"\x66" * 32),)},
        {"has_crypto": True},
        {"mid": "0"},
        {"mid": "7"},
        {"codecs": ()},
        {"codecs": tuple(replace(c, clock_rate=8000) for c in OFFER.media[1].codecs)},
    ],
)
def test_text_of_an_offer_that_is_not_the_sounds_own_is_refused(changes):
    offer = altered(OFFER, **changes)
    answer, callee = build_answer(offer, local(2))
    assert callee.text is None
    assert answer.media[1].port == 0
    assert build_answer(OFFER, local(2))[1].text is not None  # the control


def test_the_report_says_why_there_is_no_text():
    apart = replace(altered(OFFER, bundle_only=False, port=9), bundle=())
    _, callee = build_answer(over_the_wire(apart), local(2))
    assert callee.text is None
    assert any("no text" in warning for warning in callee.warnings)
    _, without = build_answer(over_the_wire(apart), local(2, text=False))
    assert without.warnings == ()


def test_an_answer_that_does_not_bundle_it_leaves_the_sound():
    answer, _ = build_answer(OFFER, local(2))
    caller = read_answer(OFFER, replace(answer, bundle=("0",)))
    assert caller.text is None
    assert caller.warnings == ("The peer does not put text and sound on one connection: no text.",)


@pytest.mark.parametrize(
    "changes",
    [{"fingerprints": (Fingerprint("sha-256", b"\x66" * 32),)}, {"has_crypto": True}],
)
def test_an_answer_that_puts_it_under_other_keys_ends_the_call(changes):
    answer, _ = build_answer(OFFER, local(2))
    with pytest.raises(SecurityError) as failed:
        read_answer(OFFER, altered(answer, **changes))
    assert failed.value.reason is Reason.FINGERPRINT_MISMATCH


@pytest.mark.parametrize("changes", [{"kind": Kind.VIDEO, "media": "video"}, {"codecs": ()}])
def test_an_answer_about_something_else_does_not_fit(changes):
    answer, _ = build_answer(OFFER, local(2))
    with pytest.raises(Incompatible):
        read_answer(OFFER, altered(answer, **changes))


# -- in mid-call ----------------------------------------------------------------------------------


def two_ends():
    answer, callee = build_answer(OFFER, local(2))
    return read_answer(OFFER, answer), answer, callee


def test_a_hold_stops_text_too_and_its_end_brings_it_back():
    caller, answer, callee = two_ends()
    ours = OFFER
    for hold, direction in ((True, Direction.INACTIVE), (False, Direction.SENDRECV)):
        offer = propose(ours, caller, hold=hold)
        answer, callee = answer_change(answer, over_the_wire(offer), callee)
        caller = read_change(offer, over_the_wire(answer), caller)
        ours = offer
        assert caller.text.direction is callee.text.direction is direction
        assert caller.text.receive_red == 105


def test_the_peer_can_end_text_and_not_begin_it():
    caller, answer, callee = two_ends()
    offer = propose(OFFER, caller)
    ended = altered(offer, port=0, bundle_only=False)
    answered, after = answer_change(answer, ended, callee)
    assert after.text is None
    assert answered.media[1].port == 0
    again, still = answer_change(answered, offer, after)
    assert still.text is None
    assert again.media[1].port == 0
    kept, _ = answer_change(answer, offer, callee)  # the control
    assert kept.media[1].port


def test_another_line_under_the_name_of_text_is_refused():
    caller, answer, callee = two_ends()
    offer = propose(OFFER, caller)
    for changes in ({"kind": Kind.VIDEO, "media": "video"}, {"codecs": ()}):
        answered, after = answer_change(answer, altered(offer, **changes), callee)
        assert after.text is None
        assert answered.media[1].port == 0


def test_no_picture_comes_under_the_name_of_text():
    caller, answer, callee = two_ends()
    (_, camera) = build_offer(local(1, CAMERA, text=False)).media
    offer = propose(OFFER, caller)
    for name, taken in ((callee.text.mid, 0), ("9", 1)):
        media = (*offer.media, replace(camera, mid=name))
        more = replace(offer, media=media, bundle=(*offer.bundle, name))
        _, after = answer_change(answer, more, callee, pictures=[CAMERA])
        assert len(after.video) == taken
        assert after.text is not None


def test_an_answer_cannot_bring_text_that_ended():
    caller, answer, callee = two_ends()
    offer = altered(propose(OFFER, caller), port=0, bundle_only=False)
    answered, _ = answer_change(answer, offer, callee)
    assert read_change(offer, answered, caller).text is None
    offer = propose(OFFER, replace(caller, text=None))
    assert offer.media[1].refused
    assert read_change(offer, answer, replace(caller, text=None)).text is None
