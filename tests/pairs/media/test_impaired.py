"""Sound and pictures over bad networks, all layers, in virtual time: what is still heard and seen.

The quality of sound by PESQ, and longer runs, are in `tests.bench.impaired`.
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from securecall.media import opus
from securecall.media.codecs import OPUS, red_beside
from securecall.media.endpoints import ToneSource
from securecall.testing.impairment import Impairment, outage
from tests.impaired_call import ImpairedCall
from tests.virtual import run_virtual, without_threads

pytestmark = pytest.mark.skipif(not opus.is_available(), reason="no libopus here")

RED = red_beside((OPUS,))[0]


def call_over(stages, seconds, *, size=None, seed=1):
    """Alice speaks, and shows a picture if it has a size; returns what came of it."""

    async def main():
        sent, queues, losses = {}, [], []
        call = ImpairedCall(
            stages,
            seed=seed,
            pictures=size is not None,
            red=RED.payload_type,
            receive_codecs=(OPUS, RED),
        )
        call.alice.audio.source = ToneSource(440.0)
        if size is not None:
            from tests.video_quality import KeptPattern

            source = KeptPattern(*size, 30)
            call.alice.video.show(source)
            sent = source.frames
        for _ in range(round(seconds * 10)):
            await asyncio.sleep(0.1)
            queues.append(call.there.impairer.queued)
            losses.append(call.bob.audio.statistics().lost)
        result = SimpleNamespace(
            sent=sent,
            seen=[(at - call.begun, frame) for at, frame in call.bob.eyes.frames],
            sound=call.bob.audio.statistics(),
            video=call.bob.video.statistics()[0] if size else None,
            failures=call.alice.failures + call.bob.failures,
            counters=call.there.impairer.counters,
            queues=queues,
            losses=losses,
        )
        call.close()
        return result

    with without_threads():
        return run_virtual(main())


def likeness(result):
    """Mean SSIM of every fifth picture shown."""
    from tests.video_quality import similarities

    found = similarities(result.sent, [frame for _, frame in result.seen[::5]])
    assert all(number is not None for number, _ in found)
    return sum(value for _, value in found) / len(found)


@pytest.fixture
def video():
    pytest.importorskip("av", reason="the extra video")
    return 320, 180


def test_at_two_per_cent_loss_pictures_are_like_what_was_shown_and_stand_still_for_nothing(video):
    result = call_over(Impairment(delay=0.04, loss=0.02), 4, size=video)
    assert result.counters.lost > 3
    assert result.video.frozen_seconds <= 0.05 * 4
    assert likeness(result) >= 0.90
    numbers = [at for at, _ in result.seen]
    assert len(numbers) > 0.9 * 4 * 15


def test_after_two_seconds_without_anything_the_first_picture_comes_within_one(video):
    path = outage(Impairment(delay=0.05), begin=2.0, seconds=2.0)
    result = call_over(path, 5.5, size=video)
    after = [at for at, _ in result.seen if at > 4.0]
    assert not [at for at, _ in result.seen if 2.2 < at < 4.0]  # the outage was one
    assert after[0] - 4.0 <= 1.0
    assert len(after) > 10
    assert result.failures == []


def test_on_a_narrow_link_pictures_give_way_and_no_sound_is_lost(video):
    result = call_over(Impairment(delay=0.05, rate=200_000), 8, size=video)
    later = result.queues[30:]  # it begins with more than the link has
    assert result.losses[-1] <= result.losses[30] + 2
    assert sum(later) / len(later) < 0.05
    assert result.video.freezes == 0
    assert len(result.seen) > 6 * 15


@pytest.mark.soak
def test_a_link_that_narrows_in_mid_call_is_given_back_to_sound(video):
    wide, narrow = Impairment(delay=0.05, rate=800_000), Impairment(delay=0.05, rate=200_000)
    result = call_over(((0.0, wide), (4.0, narrow)), 12, size=video)
    assert max(result.queues[40:]) > 0.3  # there was a queue to get rid of
    assert sum(result.queues[90:]) < 0.08 * 30
    assert result.sound.lost < 0.08 * 600
    assert result.video.frozen_seconds < 3.0


def test_disorder_repeats_and_flipped_bits_cost_no_more_than_their_losses():
    bad = Impairment(delay=0.05, reorder=0.05, duplicate=0.02, corrupt=0.01)
    result = call_over(bad, 10)
    altered = result.counters.corrupted
    assert result.counters.reordered > 10 < 5 * altered
    assert result.failures == []
    assert result.sound.lost - result.sound.late <= altered + 3
    assert result.sound.forged <= altered
    assert result.sound.malformed == 0


def test_two_directions_of_one_call_are_impaired_each_by_itself():
    async def main():
        call = ImpairedCall(Impairment(loss=0.2), Impairment(delay=0.01))
        await asyncio.sleep(5)
        counts = call.bob.audio.statistics().lost, call.alice.audio.statistics().lost
        call.close()
        return counts

    heard_by_bob, heard_by_alice = run_virtual(main())
    assert heard_by_bob > 20
    assert heard_by_alice == 0
