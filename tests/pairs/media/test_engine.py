"""Two audio sessions agree about sound, silence, gates and endings."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from securecall.errors import UsageError
from securecall.media import g722
from securecall.media.codecs import G722, OPUS, PCMA, PCMU
from securecall.media.description import Direction
from securecall.media.endpoints import ToneSource
from securecall.media.engine import Gate
from securecall.media.frames import rms_dbfs
from securecall.rtp.extensions import parse_extensions
from tests.pairs.media.two_sessions import Pair

WIDE = pytest.param(
    G722, marks=pytest.mark.skipif(not g722.is_available(), reason="G722 has no wheel here")
)


@pytest.mark.parametrize("codec", [PCMU, PCMA, OPUS, WIDE], ids=lambda c: c.name)
@pytest.mark.parametrize("sframe", [True, False])
def test_a_tone_arrives_as_loud_as_it_was_sent(codec, sframe):
    pair = Pair(codec, sframe=sframe)
    pair.alice.source = ToneSource(440.0, dbfs=-20.0)
    pair.clock.step(50)
    assert len(pair.bob_ears.frames) >= 49
    assert rms_dbfs(pair.bob_ears.pcm[-16000:]) == pytest.approx(-20.0, abs=1.0)
    assert rms_dbfs(pair.alice_ears.pcm[-16000:]) < -60


def test_the_first_packet_is_played_on_the_next_tick_and_none_is_lost():
    pair = Pair()
    pair.clock.step(100)
    statistics = pair.bob.statistics()
    assert (statistics.lost, statistics.concealed, statistics.late) == (0, 0, 0)
    assert statistics.received_seconds == pytest.approx(2.0, abs=0.02)


@pytest.mark.skipif(not g722.is_available(), reason="G722 has no wheel here")
def test_g722_counts_its_packets_in_8_khz_and_its_sound_in_16():
    pair = Pair(G722, sframe=False)
    pair.clock.step(6)
    stamps = [int.from_bytes(d[4:8], "big") for d in pair.sent["alice"] if d[1] & 0x7F == 9]
    assert {(b - a) % 2**32 for a, b in pairwise(stamps)} == {160}
    assert [f.timestamp for f in pair.bob_ears.frames[:3]] == [0, 320, 640]
    assert {(f.sample_rate, len(f.samples)) for f in pair.bob_ears.frames} == {(16000, 640)}


def test_frames_count_their_position_in_samples():
    pair = Pair()
    pair.clock.step(5)
    assert [f.timestamp for f in pair.bob_ears.frames[:4]] == [0, 160, 320, 480]


@pytest.mark.parametrize("codec", [PCMU, OPUS, WIDE], ids=lambda c: c.name)
def test_every_packet_has_one_size_whether_speaking_muted_or_without_a_source(codec):
    pair = Pair(codec)
    pair.clock.step(300)  # so that the SFrame counter has its usual length
    before = len(pair.sent["alice"])
    pair.alice.source = ToneSource(440.0)
    pair.clock.step(20)
    pair.alice.muted = True
    pair.clock.step(20)
    pair.alice.muted = False
    pair.alice.source = None
    pair.clock.step(20)
    media = [d for d in pair.sent["alice"][before:] if not 192 <= d[1] <= 223]
    assert len(media) == 60
    assert len(Counter(map(len, media))) == 1


def test_every_packet_names_its_line_where_that_was_agreed_and_is_heard_all_the_same():
    pair = Pair(OPUS, mid_extension=4)
    pair.alice.source = ToneSource(440.0)
    pair.clock.step(50)
    sent = [datagram for datagram in pair.sent["alice"] if datagram[1] < 192]
    assert len(sent) >= 49
    assert {tuple(parse_extensions(datagram).items()) for datagram in sent} == {((4, b"0"),)}
    assert len(pair.bob_ears.frames) >= 49
    assert rms_dbfs(pair.bob_ears.pcm) > -30.0
    pair = Pair(OPUS)
    pair.clock.step(5)
    assert not any(parse_extensions(datagram) for datagram in pair.sent["alice"])


def test_muted_means_silence_at_the_other_end():
    pair = Pair()
    pair.alice.source = ToneSource(440.0)
    pair.alice.muted = True
    pair.clock.step(50)
    assert rms_dbfs(pair.bob_ears.pcm) < -90


def test_a_closed_gate_sends_nothing_and_plays_nothing():
    pair = Pair(gate=Gate.CLOSED)
    pair.alice.source = ToneSource(440.0)
    pair.clock.step(100)
    assert pair.sent == {"alice": [], "bob": []}
    assert pair.bob_ears.frames == []


def test_a_receiver_whose_gate_is_closed_keeps_nothing_for_later():
    pair = Pair()
    pair.bob.gate = Gate.CLOSED
    pair.alice.source = ToneSource(440.0)
    pair.clock.step(20)
    assert pair.bob.statistics().gated == 20
    pair.alice.source = None
    pair.bob.gate = Gate.VERIFYING
    pair.clock.step(20)
    assert len(pair.bob_ears.frames) > 15
    assert rms_dbfs(pair.bob_ears.pcm) < -60


def test_closing_the_gate_forgets_what_was_not_played_yet():
    pair = Pair()
    pair.alice.source = ToneSource(440.0)
    pair.clock.step(10)
    pair.bob.gate = Gate.CLOSED
    heard = len(pair.bob_ears.frames)
    pair.clock.step(10)
    assert len(pair.bob_ears.frames) == heard


def test_a_gate_that_stayed_closed_over_a_rollover_still_opens():
    pair = Pair()
    pair.bob.gate = Gate.CLOSED
    pair.clock.step(100)  # the sequence number wraps after six packets
    pair.bob.gate = Gate.OPEN
    pair.clock.step(10)
    assert len(pair.bob_ears.frames) >= 9


def test_the_gate_takes_no_word_it_does_not_know():
    pair = Pair(gate=Gate.CLOSED)
    with pytest.raises(ValueError, match="ajar"):
        pair.bob.gate = "ajar"
    assert pair.bob.gate is Gate.CLOSED


def test_a_gate_of_another_enumeration_with_the_same_words_is_understood():
    pair = Pair()
    pair.alice.gate = "closed"
    pair.clock.step(5)
    assert pair.alice.gate is Gate.CLOSED
    assert pair.sent["alice"] == []


def test_on_hold_nothing_is_sent():
    pair = Pair()
    pair.alice.set_direction(Direction.RECVONLY)
    pair.clock.step(10)
    assert pair.sent["alice"] == []
    assert len(pair.alice_ears.frames) >= 9


def test_inactive_plays_nothing_either():
    pair = Pair()
    pair.alice.set_direction(Direction.INACTIVE)
    pair.clock.step(10)
    assert pair.alice_ears.frames == []


def test_a_source_that_raises_is_taken_out_and_the_call_goes_on():
    class Broken:
        def read(self, samples, rate):
            raise OSError("unplugged")

        def discard(self):
            pass

    pair = Pair()
    pair.alice.source = Broken()
    pair.clock.step(10)
    assert [type(e) for e in pair.failures] == [OSError]
    assert pair.alice.source is None
    assert len(pair.bob_ears.frames) >= 9


def test_a_sink_that_raises_is_taken_out_and_the_others_hear_on():
    class Broken:
        def write(self, frame):
            raise OSError("disk full")

    pair = Pair()
    pair.bob.add_sink(Broken())
    pair.clock.step(10)
    assert [type(e) for e in pair.failures] == [OSError]
    assert len(pair.bob_ears.frames) >= 9


def test_a_source_is_told_to_forget_before_anything_of_it_may_leave():
    class Microphone:
        forgot = 0

        def read(self, samples, rate):
            return bytes(2 * samples)

        def discard(self):
            self.forgot += 1

    microphone = Microphone()
    pair = Pair(gate=Gate.CLOSED)
    pair.alice.source = microphone
    assert microphone.forgot == 1
    pair.alice.gate = Gate.OPEN
    assert microphone.forgot == 2


def test_nothing_happens_after_close():
    pair = Pair()
    pair.clock.step(5)
    pair.alice.close()
    pair.alice.close()
    sent = len(pair.sent["alice"])
    pair.clock.step(5)
    pair.alice.receive(pair.sent["bob"][0])
    assert len(pair.sent["alice"]) == sent
    with pytest.raises(UsageError):
        pair.alice.start()
    assert pair.alice.statistics().packets_sent >= 5


def test_half_an_end_to_end_layer_is_refused():
    from securecall.media.engine import AudioSession
    from securecall.rtp.sframe import SframeReceiver
    from tests.pairs.media.two_sessions import StepClock, srtp

    with pytest.raises(UsageError):
        AudioSession(
            StepClock(),
            print,
            srtp("a", "b"),
            codec=PCMU,
            receive_codecs=(PCMU,),
            ssrc=1,
            sequence=1,
            timestamp=1,
            cname="x",
            sframe_receive=SframeReceiver(),
        )


def test_after_an_outage_sound_catches_up_with_the_present():
    queue = []
    stuck = [False]

    def wire(sender, datagram):
        if sender == "alice" and stuck[0]:
            queue.append(datagram)
            return []
        out, queue[:] = (
            [*queue, datagram] if sender == "alice" else [datagram],
            ([] if sender == "alice" else queue),
        )
        return out

    pair = Pair(wire=wire)
    pair.alice.source = ToneSource(440.0)
    pair.clock.step(50)
    stuck[0] = True
    pair.clock.step(6)  # 120 ms, little enough to be bridged
    stuck[0] = False
    pair.clock.step(1500)
    statistics = pair.bob.statistics()
    assert statistics.hurried >= 4
    assert statistics.delay_ms <= 20
    assert rms_dbfs(pair.bob_ears.pcm[-16000:]) == pytest.approx(-20.0, abs=1.5)


def test_a_process_that_slept_goes_on_with_a_marked_packet():
    pair = Pair()
    pair.clock.step(5)
    pair.alice.skip(1000)
    pair.clock.step(5)
    assert len(pair.bob_ears.frames) >= 8
    assert pair.sent["alice"][5][1] & 0x80
