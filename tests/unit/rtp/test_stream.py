from __future__ import annotations

import pytest

from securecall.rtp.rtcp import Bye, ReceiverReport, SenderReport, SourceDescription, parse_rtcp
from securecall.rtp.stream import FIRST_REPORT, MAX_SOURCES, ReceivedSource, RtcpSession

UNIX = 1_800_000_000.0


def session(ssrc=1, chance=0.5):
    return RtcpSession(ssrc=ssrc, cname="c", clock_rate=8000, now=0.0, chance=chance)


def hear(source: ReceivedSource, sequences, *, now=0.0):
    for number, sequence in enumerate(sequences):
        source.receive(sequence & 0xFFFF, number * 160, now=now + number * 0.02)
    return source


def test_sequence_numbers_are_extended_over_the_roll():
    source = hear(ReceivedSource(7, 8000, 65_500), range(65_500, 65_600))
    assert source.highest == 65_599
    assert (source.expected, source.received, source.lost) == (100, 100, 0)


def test_loss_is_counted_and_reported_per_interval():
    source = hear(ReceivedSource(7, 8000, 0), (n for n in range(100) if n % 4))
    source.receive(0, 0, now=0.0)  # late by much, but it came
    assert source.lost == 24
    first = source.report(now=2.0)
    assert (first.fraction_lost, first.cumulative_lost) == (24 * 256 // 100, 24)
    hear(source, range(100, 200), now=2.0)
    second = source.report(now=4.0)
    assert (second.fraction_lost, second.cumulative_lost) == (0, 24)


def test_repeated_packets_make_the_loss_negative_and_the_fraction_zero():
    source = hear(ReceivedSource(7, 8000, 0), [0, 1, 2, 2, 2])
    block = source.report(now=1.0)
    assert (block.fraction_lost, block.cumulative_lost) == (0, -2)


def test_everything_lost_does_not_overflow_the_fraction():
    source = hear(ReceivedSource(7, 8000, 0), [0, 2900])
    assert 0 < source.report(now=1.0).fraction_lost <= 255


def test_one_packet_far_away_changes_nothing_and_two_restart_the_source():
    source = hear(ReceivedSource(7, 8000, 0), range(50))
    source.receive(30_000, 0, now=1.0)
    assert (source.highest, source.received) == (49, 50)
    source.receive(30_001, 0, now=1.0)
    assert (source.highest, source.lost) == (30_001, 0)


def test_jitter_is_zero_on_a_clean_path_and_grows_on_a_shaky_one():
    clean = hear(ReceivedSource(7, 8000, 0), range(100))
    assert clean.jitter < 0.001
    shaky = ReceivedSource(7, 8000, 0)
    for n in range(400):
        shaky.receive(n, (n * 160 - 2**31) & 0xFFFFFFFF, now=n * 0.02 + (n % 2) * 0.01)
    assert shaky.jitter == pytest.approx(0.01, rel=0.05)


def test_nothing_is_sent_before_the_deadline():
    rtcp = session()
    assert rtcp.poll(now=rtcp.deadline - 0.001, unix=UNIX, chance=0.5) is None
    assert rtcp.poll(now=rtcp.deadline, unix=UNIX, chance=0.5) is not None


@pytest.mark.parametrize(("chance", "interval"), [(0.0, 2.5), (0.5, 5.0), (1.0, 7.5)])
def test_the_next_report_is_spread_by_chance(chance, interval):
    rtcp = session()
    rtcp.poll(now=10.0, unix=UNIX, chance=chance)
    assert rtcp.deadline == pytest.approx(10.0 + interval)


def test_who_sends_reports_as_sender_and_who_does_not_as_receiver():
    rtcp = session()
    rtcp.sent(1000, 160, now=9.5)
    data = rtcp.poll(now=10.0, unix=UNIX, chance=0.5)
    report, names = parse_rtcp(data)
    assert isinstance(report, SenderReport)
    assert (report.packets, report.octets, report.timestamp) == (1, 160, 5000)
    assert report.ntp >> 32 == int(UNIX) + 2_208_988_800
    assert names == SourceDescription(cnames=((1, "c"),))
    data = rtcp.poll(now=20.0, unix=UNIX, chance=0.5)
    assert isinstance(parse_rtcp(data)[0], ReceiverReport)


def test_fresh_loss_is_reported_within_a_second_of_the_last_report():
    rtcp = session()
    rtcp.received(7, 0, 0, now=9.9)
    rtcp.poll(now=10.0, unix=UNIX, chance=0.5)
    rtcp.received(7, 1, 160, now=10.1)
    assert rtcp.deadline == pytest.approx(15.0)
    rtcp.received(7, 3, 480, now=10.2)
    assert rtcp.deadline == pytest.approx(11.0)
    (report, _) = parse_rtcp(rtcp.poll(now=11.0, unix=UNIX, chance=0.5))
    assert report.reports[0].cumulative_lost == 1
    assert rtcp.deadline == pytest.approx(16.0)
    rtcp.received(7, 5, 800, now=14.0)
    assert rtcp.deadline == pytest.approx(14.0)


def test_round_trip_and_loss_come_back_and_wall_time_does_not_matter():
    alice, bob = session(1), session(2)
    for n in range(100):
        alice.sent(n * 160, 160, now=n * 0.02)
        if n % 5:
            bob.received(1, n, n * 160, now=n * 0.02 + 0.05)
    report = alice.poll(now=5.0, unix=UNIX, chance=0.5)
    bob.receive_rtcp(parse_rtcp(report), now=5.05)
    answer = bob.poll(now=6.05, unix=UNIX - 9999, chance=0.5)
    assert alice.round_trip is None
    alice.receive_rtcp(parse_rtcp(answer), now=6.1)
    assert alice.round_trip == pytest.approx(0.1, abs=0.001)
    assert alice.expected_loss() == pytest.approx(0.5 * 19 / 99, abs=0.01)
    assert alice.expected_loss() > 0


def test_expected_loss_rises_faster_than_it_falls():
    alice, bob = session(1), session(2)
    seen = []
    for second, keep in enumerate([1, 1, 2, 2, 2, 1, 1, 1]):
        for n in range(second * 50, second * 50 + 50):
            if n % keep == 0:
                bob.received(1, n, n * 160, now=n * 0.02)
        answer = bob.poll(now=100.0 * (second + 1), unix=UNIX, chance=0.5)
        alice.receive_rtcp(parse_rtcp(answer), now=0.0)
        seen.append(alice.expected_loss())
    assert seen[1] == 0.0
    assert seen[4] > 0.4
    assert 0.2 < seen[7] < seen[4]


def test_a_goodbye_names_the_source_that_left():
    alice, bob = session(1), session(2)
    bob.received(1, 0, 0, now=0.0)
    data = alice.goodbye(now=1.0, unix=UNIX, reason="done")
    assert isinstance(parse_rtcp(data)[-1], Bye)
    (left,) = bob.receive_rtcp(parse_rtcp(data), now=1.0)
    assert (left.ssrc, left.reason) == (1, "done")
    assert bob.receive_rtcp(parse_rtcp(data), now=1.0) == ()


def test_a_goodbye_of_a_stranger_is_nothing():
    assert session().receive_rtcp((Bye(sources=(99,)),), now=1.0) == ()


def test_sources_are_bounded_and_our_own_number_is_nobody_else_s():
    rtcp = session(ssrc=0)
    for ssrc in range(3 * MAX_SOURCES):
        rtcp.received(ssrc, 0, 0, now=0.0)
    assert [s.ssrc for s in rtcp.sources] == list(range(1, MAX_SOURCES + 1))


def test_a_source_tells_when_what_it_sends_was_captured_by_its_own_clock():
    ours, theirs = session(ssrc=1), session(ssrc=2)
    theirs.sent(2**32 - 800, 100, now=0.3)  # captured then; it left later
    ours.received(2, 1, 2**32 - 800, now=0.4)
    (source,) = ours.sources
    assert source.wall(0) is None
    report = theirs.poll(now=0.9, unix=UNIX, chance=0.0)
    ours.receive_rtcp(parse_rtcp(report), now=1.0)
    captured = UNIX + 2_208_988_800 - 0.6
    assert source.cname == "c"
    assert source.wall(2**32 - 800) == pytest.approx(captured, abs=0.001)
    assert source.wall(0) == pytest.approx(captured + 0.1, abs=0.001)
    assert source.wall(2**32 - 1600) == pytest.approx(captured - 0.1, abs=0.001)


def test_the_time_of_a_stream_is_told_soon_after_it_began():
    for chance in (0.0, 1.0):
        ours = RtcpSession(ssrc=1, cname="c", clock_rate=8000, now=0.0, chance=chance)
        ours.sent(0, 1, now=1.0)
        assert ours.deadline <= 1.0 + FIRST_REPORT
        assert ours.poll(now=1.0 + FIRST_REPORT, unix=UNIX, chance=0.5)
        ours.sent(160, 1, now=2.0)
        assert ours.deadline > 4.0
