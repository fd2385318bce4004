"""The sound of a call that another engine carries, over an engine of the test's."""

from __future__ import annotations

import pytest

from securecall.errors import DeviceLost, Unsupported, UsageError
from securecall.media.carried import CarriedSession
from securecall.media.description import Direction, Gate
from securecall.media.levels import LevelMeter
from securecall.media.statistics import AudioStatistics


class Carrier:
    rate = 8000
    digits = True
    starved = 3
    dropped = 4

    def __init__(self):
        self.sent, self.coming, self.pressed, self.passing = [], [], [], None

    def send(self, pcm):
        self.sent.append(pcm)

    def take(self):
        return self.coming.pop(0) if self.coming else None

    def let_through(self, *, passing):
        self.passing = passing

    def press(self, digit):
        self.pressed.append(digit)

    def statistics(self):
        return AudioStatistics(packets_sent=7, packets_received=9, codec="speex")


class Clock:
    def __init__(self):
        self.streams = []

    def add(self, stream, failed):
        self.streams.append(stream)

    def remove(self, stream):
        self.streams = [s for s in self.streams if s is not stream]


class Source:
    def __init__(self, value=b"\1"):
        self.value, self.discarded = value, 0

    def read(self, samples, rate):
        return self.value * (2 * samples)

    def discard(self):
        self.discarded += 1

    def close(self):
        pass


class Sink(list):
    def write(self, frame):
        self.append(frame)


FRAME = bytes(320)


@pytest.fixture
def made():
    carrier, failures = Carrier(), []
    return CarriedSession(Clock(), carrier, failures.append), carrier, failures


def test_nothing_passes_a_closed_gate_and_what_came_meanwhile_is_lost(made):
    session, carrier, _ = made
    session.source, sink = Source(), Sink()
    session.add_sink(sink)
    carrier.coming = [FRAME]
    session.tick(0.0)
    assert (carrier.sent, sink, carrier.passing) == ([], [], None)
    session.gate = Gate.OPEN
    session.tick(0.0)
    assert (carrier.sent, sink, carrier.passing) == ([b"\1" * 320], [], True)
    carrier.coming = [FRAME, FRAME]
    session.tick(0.0)
    assert [frame.timestamp for frame in sink] == [0, 160]
    session.gate = Gate.CLOSED
    session.tick(0.0)
    assert (len(carrier.sent), carrier.passing) == (2, False)


def test_muted_on_hold_and_with_nothing_to_say_we_send_silence_or_nothing(made):
    session, carrier, _ = made
    session.gate = Gate.OPEN
    session.tick(0.0)
    session.source, session.muted = Source(), True
    session.tick(0.0)
    assert carrier.sent == [FRAME, FRAME]
    sink = Sink()
    session.add_sink(sink)
    session.set_direction(Direction.INACTIVE)
    carrier.coming = [FRAME]
    session.tick(0.0)
    assert (len(carrier.sent), sink) == (2, [])


def test_a_source_or_sink_that_breaks_is_taken_out_and_told(made):
    session, carrier, failures = made
    session.gate = Gate.OPEN
    session.source = Source(value=None)
    session.add_sink(object())
    carrier.coming = [FRAME]
    session.tick(0.0)
    assert [type(e) for e in failures] == [TypeError, AttributeError]
    session.tick(0.0)
    assert carrier.sent == [FRAME, FRAME]


class Lost:
    """A device that is gone, and has found another by itself."""

    def __init__(self):
        self.tries = 0

    def read(self, samples, rate):
        self.tries += 1
        if self.tries == 1:
            raise DeviceLost("unplugged", device="headset")
        return bytes(2 * samples)

    def write(self, frame):
        self.read(1, 1)

    def discard(self):
        pass


def test_a_device_that_was_lost_and_found_another_stays(made):
    session, carrier, failures = made
    session.gate = Gate.OPEN
    session.source, sink = Lost(), Lost()
    session.add_sink(sink)
    for _ in range(2):
        carrier.coming = [FRAME]
        session.tick(0.0)
    assert [type(e) for e in failures] == [DeviceLost, DeviceLost]
    assert (session.source.tries, sink.tries) == (2, 2)


def test_digits_go_one_by_one(made):
    session, carrier, _ = made
    session.gate = Gate.OPEN
    session.press("1#")
    for _ in range(13):
        session.tick(0.0)
    assert carrier.pressed == ["1"] and session.pressing
    for _ in range(30):
        session.tick(0.0)
    assert carrier.pressed == ["1", "#"] and not session.pressing
    with pytest.raises(UsageError):
        session.press("x")
    with pytest.raises(UsageError):
        session.press("1" * 65)
    carrier.digits = False
    with pytest.raises(Unsupported):
        session.press("1")


def test_meters_see_both_ways(made):
    session, carrier, _ = made
    session.gate, meter = Gate.OPEN, LevelMeter()
    session.meters, session.source, carrier.coming = (meter,), Source(b"\1"), [FRAME]
    session.tick(0.0)
    taken = meter.take()
    assert (round(taken.sent), taken.received) == (-42, -96.0)


def test_statistics_are_the_engines_and_our_own(made):
    session, carrier, _ = made
    session.gate = Gate.OPEN
    carrier.coming = [FRAME]
    session.tick(0.0)
    counted = session.statistics()
    assert (counted.packets_sent, counted.packets_received, counted.codec) == (7, 9, "speex")
    assert (counted.sent_seconds, counted.received_seconds) == (0.02, 0.02)
    assert (counted.concealed, counted.hurried) == (3, 4)


def test_closing_parts_the_stream_and_lets_go(made):
    session, carrier, _ = made
    session.start()
    session.gate, source = Gate.OPEN, Source()
    session.source = source
    session.close()
    session.close()
    assert (session._clock.streams, carrier.passing, session.source) == ([], False, None)
    assert source.discarded


def test_digits_on_their_way_can_be_forgotten(made):
    session, carrier, _ = made
    session.gate = Gate.OPEN
    session.press("123")
    session.tick(0.0)
    session.forget_digits()
    for _ in range(40):
        session.tick(0.0)
    assert carrier.pressed == ["1"]
    assert not session.pressing
