"""A change in mid-call: what is asked, what is taken for an answer, and what neither may touch."""

from __future__ import annotations

from dataclasses import replace

import pytest

from securecall.calls.changes import answer_change, propose, read_change
from securecall.calls.negotiation import build_answer, build_offer, read_answer
from securecall.errors import Incompatible, SecurityError, UsageError
from securecall.media.description import Direction, Setup
from tests.unit.calls.test_video_lines import CAMERA, SCREEN, local, over_the_wire


def agreed(*ours):
    """Both descriptions of a call, and what each end made of them."""
    offer = build_offer(local(1, *ours))
    answer, answerer = build_answer(over_the_wire(offer), local(2, *ours))
    return offer, answer, read_answer(offer, over_the_wire(answer)), answerer


def with_audio(description, **changes):
    media = tuple(replace(m, **changes) if m is description.audio else m for m in description.media)
    return replace(description, media=media)


def test_a_hold_silences_both_ways_and_is_taken_back():
    offer, answer, caller, callee = agreed(CAMERA)
    for hold, asked, answered in (
        (True, Direction.SENDONLY, Direction.RECVONLY),
        (False, Direction.SENDRECV, Direction.SENDRECV),
        (None, Direction.SENDRECV, Direction.SENDRECV),
    ):
        proposed = propose(offer, caller, hold=hold)
        assert proposed.audio.direction is asked
        assert proposed.audio.setup is Setup.ACTPASS, "the roles are not asked for (RFC 8842 5.5)"
        answer, callee = answer_change(answer, over_the_wire(proposed), callee)
        assert answer.audio.direction is answered
        caller = read_change(proposed, over_the_wire(answer), caller)
        assert caller.direction is asked
        assert callee.direction is answered
        assert caller.dtls_client is not callee.dtls_client
        offer = proposed


def carrying(description, *names):
    """The same without what is called otherwise."""
    codecs = tuple(c for c in description.audio.codecs if c.name.lower() in names)
    formats = tuple(str(c.payload_type) for c in codecs)
    return with_audio(description, codecs=codecs, formats=formats)


def test_copies_and_digits_end_with_an_offer_that_has_none_and_come_back_with_the_next():
    offer, answer, caller, callee = agreed()
    assert None not in (caller.events, caller.red, callee.events, callee.red)
    full = propose(offer, caller)
    answer, less = answer_change(answer, over_the_wire(carrying(full, "opus")), callee)
    assert {c.name for c in answer.audio.codecs} == {"opus"}
    assert (less.events, less.red) == (None, None)
    answer, more = answer_change(answer, over_the_wire(full), less)
    assert {c.name for c in answer.audio.codecs} == {"opus", "telephone-event", "red"}
    assert more == callee
    less = read_change(full, over_the_wire(carrying(answer, "opus")), caller)
    assert (less.events, less.red) == (None, None)
    more = read_change(full, over_the_wire(answer), less)
    assert (more.events, more.red) == (caller.events, caller.red)
    assert propose(carrying(full, "opus"), less).audio.codecs == offer.audio.codecs


def test_what_was_never_agreed_is_not_sent_because_a_change_names_it():
    offer, answer, _, _ = agreed()
    bare = carrying(offer, "opus")
    answer, callee = build_answer(over_the_wire(bare), local(2))
    answer, after = answer_change(answer, over_the_wire(offer), callee)
    assert {c.name for c in answer.audio.codecs} == {"opus"}
    assert (after.events, after.red) == (None, None)


def test_a_source_the_peer_names_anew_is_that_of_the_picture_and_silence_changes_none():
    offer, answer, caller, callee = agreed(CAMERA)
    proposed = propose(offer, caller)
    other = replace(proposed.media[1], ssrc=71, rtx_ssrc=81)
    renamed = replace(proposed, media=(proposed.media[0], other))
    _, after = answer_change(answer, over_the_wire(renamed), callee)
    assert [(v.ssrc, v.rtx_ssrc) for v in after.video] == [(71, 81)]
    kept, _ = answer_change(answer, over_the_wire(proposed), callee)
    theirs = replace(kept, media=(kept.media[0], replace(kept.media[1], ssrc=72, rtx_ssrc=None)))
    after = read_change(proposed, over_the_wire(theirs), caller)
    assert [(v.ssrc, v.rtx_ssrc) for v in after.video] == [(72, None)]
    nameless = replace(kept, media=(kept.media[0], replace(kept.media[1], ssrc=None)))
    after = read_change(proposed, over_the_wire(nameless), caller)
    assert after.video == caller.video


def test_a_picture_is_added_under_a_name_nothing_had_and_dropped_by_it():
    offer, answer, caller, callee = agreed(CAMERA)
    proposed = propose(offer, caller, add=SCREEN)
    answer, callee = answer_change(answer, over_the_wire(proposed), callee, pictures=(SCREEN,))
    caller = read_change(proposed, over_the_wire(answer), caller)
    assert [(v.mid, v.local) for v in caller.video] == [("1", CAMERA), ("2", SCREEN)]
    assert [v.mid for v in callee.video] == ["1", "2"]
    without = propose(proposed, caller, drop="1")
    answer, callee = answer_change(answer, over_the_wire(without), callee)
    caller = read_change(without, over_the_wire(answer), caller)
    assert [v.mid for v in caller.video] == [v.mid for v in callee.video] == ["2"]
    # the place of a line that is refused is used again, never its name
    again = propose(without, caller, add=CAMERA)
    assert len(again.media) == len(without.media)
    assert {m.mid for m in again.media if not m.refused} == {"0", "2", "3"}


def test_a_call_without_sound_is_not_changed():
    offer, answer, caller, callee = agreed(CAMERA)
    silent = replace(offer, media=tuple(m for m in offer.media if m is not offer.audio))
    with pytest.raises(UsageError, match="sound"):
        propose(silent, caller)
    with pytest.raises(Incompatible, match="audio"):
        answer_change(answer, silent, callee)
    with pytest.raises(Incompatible, match="audio"):
        read_change(silent, silent, caller)


def test_an_answer_that_does_not_fit_is_not_taken():
    offer, answer, caller, callee = agreed(CAMERA)
    proposed = propose(offer, caller, hold=True)
    answer, _ = answer_change(answer, over_the_wire(proposed), callee)
    assert read_change(proposed, answer, caller).direction is Direction.SENDONLY
    for broken, why in (
        (replace(answer, media=answer.media[:1]), "number of media lines"),
        (replace(answer, media=answer.media[::-1]), "refused the sound"),
        (with_audio(answer, port=0), "refused the sound"),
        (with_audio(answer, setup=Setup.ACTPASS), "who began"),
        (with_audio(answer, setup=None), "who began"),
    ):
        with pytest.raises(Incompatible, match=why):
            read_change(proposed, broken, caller)


def test_an_answer_of_other_keys_ends_more_than_the_change():
    offer, answer, caller, callee = agreed()
    proposed = propose(offer, caller, hold=True)
    answer, _ = answer_change(answer, over_the_wire(proposed), callee)
    others = build_offer(local(3)).audio
    with pytest.raises(SecurityError, match="other media keys"):
        read_change(proposed, with_audio(answer, fingerprints=others.fingerprints), caller)


@pytest.mark.parametrize(
    ("offered", "answered"),
    [(Setup.ACTIVE, Setup.PASSIVE), (Setup.PASSIVE, Setup.ACTIVE)],
)
def test_a_role_that_is_asked_for_gets_its_counterpart(offered, answered):
    offer, answer, _, callee = agreed()
    found, _ = answer_change(answer, with_audio(offer, setup=offered), callee)
    assert found.audio.setup is answered
