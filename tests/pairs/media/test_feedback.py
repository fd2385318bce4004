"""RTCP between two sessions: loss travels back and buys redundancy; time and endings are told."""

from __future__ import annotations

import random

import pytest

from securecall.media.codecs import OPUS, PCMU
from securecall.media.description import Direction
from securecall.media.endpoints import ToneSource
from securecall.media.engine import Gate
from securecall.media.quality import Quality
from securecall.rtp.feedback import PictureLoss
from securecall.rtp.rtcp import build_rtcp
from tests.pairs.media.two_sessions import Pair, srtp


def is_rtcp(datagram):
    return 192 <= datagram[1] <= 223


def lossy(share, seed=1):
    chance = random.Random(seed)

    def wire(sender, datagram):
        lost = sender == "alice" and not is_rtcp(datagram) and chance.random() < share
        return [] if lost else [datagram]

    return wire


@pytest.mark.parametrize("codec", [PCMU, OPUS], ids=lambda c: c.name)
def test_loss_is_reported_back_and_most_of_it_recovered(codec):
    pair = Pair(codec, wire=lossy(0.08))
    pair.alice.source = ToneSource(300.0)
    pair.clock.step(1500)
    alice, bob = pair.alice.statistics(), pair.bob.statistics()
    assert alice.loss_reported == pytest.approx(0.08, abs=0.06)
    assert bob.lost == pytest.approx(120, abs=50)
    if codec is OPUS:
        assert bob.recovered > bob.lost * 0.7
    assert len({len(d) for d in pair.sent["alice"][300:] if not is_rtcp(d)}) == 1


def test_fresh_loss_is_reported_within_about_a_second():
    pair = Pair(OPUS)
    pair.clock.step(300)
    pair.wire = lossy(0.2)
    pair.clock.step(75)
    assert pair.alice.statistics().loss_reported > 0.02


def test_a_clean_path_reports_nothing_lost_and_a_round_trip():
    pair = Pair()
    pair.clock.step(1000)
    for session in (pair.alice, pair.bob):
        statistics = session.statistics()
        assert statistics.loss_reported == 0.0
        assert statistics.rtt_ms == pytest.approx(0.0, abs=25.0)
        assert statistics.jitter_ms < 1.0


def test_feedback_that_comes_without_a_report_is_heard():
    heard = []
    pair = Pair(on_rtcp=heard.append)
    picture_lost = PictureLoss(sender_ssrc=1, media_ssrc=2)
    bob = srtp("srtp bob", "srtp alice")
    pair.alice.receive(bob.protect_rtcp(build_rtcp((picture_lost,))))
    assert (heard, pair.alice.statistics().malformed) == ([(picture_lost,)], 0)


def test_rtcp_is_a_small_share_of_the_traffic():
    pair = Pair()
    pair.clock.step(3000)
    reports = [d for d in pair.sent["alice"] if is_rtcp(d)]
    assert 8 <= len(reports) <= 30


def test_leaving_is_told():
    pair = Pair()
    pair.clock.step(50)
    pair.alice.close()
    assert pair.bob.peer_left
    assert is_rtcp(pair.sent["alice"][-1])


def test_without_rtcp_none_is_sent_not_even_goodbye_and_sound_passes_all_the_same():
    pair = Pair(OPUS, wire=lossy(0.08), rtcp={"alice": False, "bob": False})
    pair.alice.source = ToneSource(300.0)
    pair.clock.step(1500)
    pair.alice.close()
    assert not [d for sent in pair.sent.values() for d in sent if is_rtcp(d)]
    alice, bob = pair.alice.statistics(), pair.bob.statistics()
    assert (alice.loss_reported, alice.rtt_ms) == (0.0, None)  # nobody can tell
    assert bob.lost == pytest.approx(120, abs=50)
    assert bob.concealed + bob.recovered > 0.7 * bob.lost
    assert bob.received_seconds > 29.0
    assert bob.jitter_ms >= 0.0
    assert not pair.bob.peer_left


def test_rtcp_that_was_not_agreed_is_dropped_unheard():
    pair = Pair(wire=lossy(0.2), rtcp={"alice": False})
    pair.clock.step(1500)
    pair.bob.close()
    unheard = sum(map(is_rtcp, pair.sent["bob"]))
    assert unheard >= 2
    alice = pair.alice.statistics()
    assert (alice.gated, alice.forged, alice.malformed) == (unheard, 0, 0)
    assert (alice.loss_reported, alice.rtt_ms) == (0.0, None)
    assert not pair.alice.peer_left


def test_a_closed_gate_says_nothing_not_even_goodbye():
    pair = Pair(gate=Gate.CLOSED)
    pair.clock.step(500)
    pair.alice.close()
    assert pair.sent["alice"] == []


def test_reordered_and_duplicated_packets_lose_nothing():
    held = []

    def wire(sender, datagram):
        if sender != "alice":
            return [datagram]
        held.append(datagram)
        if len(held) < 3:
            return []
        out = [held[1], held[0], held[2], held[2]]
        held.clear()
        return out

    pair = Pair(wire=wire)
    pair.alice.source = ToneSource(300.0)
    pair.clock.step(600)
    statistics = pair.bob.statistics()
    assert statistics.lost <= 5
    assert statistics.duplicates == 0  # SRTP saw them first
    assert statistics.replayed >= 200


def test_quality_and_bit_rates_are_told_while_they_change():
    lose = [0]
    chance = random.Random(2)
    pair = Pair(wire=lambda me, d: [] if me == "alice" and chance.random() < lose[0] else [d])
    told = pair.qualities["bob"]
    pair.clock.step(300)
    statistics = pair.bob.statistics()
    size = len(next(d for d in pair.sent["alice"] if not 192 <= d[1] <= 223))
    assert statistics.bitrate_received == pytest.approx(size * 8 * 50, rel=0.02)
    assert statistics.bitrate_sent == pytest.approx(size * 8 * 50, rel=0.02)
    lose[0] = 0.3
    pair.clock.step(300)
    assert told[-1] is Quality.POOR is pair.bob.statistics().quality
    lose[0] = 1.0
    pair.clock.step(250)
    assert told[-1] is Quality.SILENT
    lose[0] = 0.0
    pair.clock.step(1000)
    assert told[-1] is Quality.GOOD


ALL = ("rcvr-rtt=all", "voip-metrics")


def test_each_tells_the_other_how_it_sounds_where_that_is_asked_for():
    pair = Pair(wire=lossy(0.2), extended_reports=ALL)
    pair.clock.step(900)
    assert pair.bob.statistics().peer_mos == pytest.approx(4.4, abs=0.1)  # he is heard well
    assert 1.0 <= pair.alice.statistics().peer_mos < 3.3
    plain = Pair(wire=lossy(0.2))
    plain.clock.step(900)
    assert plain.alice.statistics().peer_mos is None


def test_one_who_sends_nothing_learns_the_round_trip_all_the_same():
    for asked, known in ((ALL, True), ((), False)):
        pair = Pair(extended_reports=asked)
        pair.bob.set_direction(Direction.RECVONLY)
        pair.clock.step(1200)
        assert (pair.bob.statistics().rtt_ms is not None) is known
