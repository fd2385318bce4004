"""What is sent and who hears, before there are keys and after; a session stands in for media."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from securecall.calls.sound import Sound
from securecall.errors import UsageError
from securecall.media.description import Direction, Gate


class Source:
    def __init__(self, *, live: bool = False) -> None:
        self.live, self.listening, self.closed = live, True, False

    def read(self, count, rate):
        return None

    def discard(self):
        pass

    def listen(self, *, on):
        self.listening = on

    def close(self):
        self.closed = True


class Session:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.gate, self.source, self.muted, self.meters = Gate.CLOSED, None, False, ()
        self.sinks, self.direction, self.pressed, self.closed = [], None, "", False
        self.takes_digits, self.pressing = True, False

    def add_sink(self, sink):
        self.sinks.append(sink)

    def remove_sink(self, sink):
        self.sinks.remove(sink)

    def set_direction(self, direction):
        self.direction = direction

    def press(self, digits):
        self.pressed += digits

    def statistics(self):
        return SimpleNamespace(packets_received=7)

    def close(self):
        self.closed = True


class Scene:
    def __init__(self) -> None:
        self.failed, self.digits = [], []
        self.sound = Sound(failed=self.failed.append, digit=self.digits.append)
        self.session = Session()


def test_what_was_given_before_there_were_keys_is_used_then():
    scene, source, sink, meter = Scene(), Source(), Source(), object()
    scene.sound.source = source
    scene.sound.add_sink(sink)
    scene.sound.watch(meter)
    scene.sound.hold(on=True)
    assert (scene.sound.secured, scene.sound.packets_received) == (False, 0)
    assert scene.sound.statistics() is None
    scene.sound.secure(scene.session, Direction.SENDRECV)
    session = scene.session
    assert (session.source, session.sinks, session.meters) == (source, [sink], (meter,))
    assert (session.muted, session.direction) == (True, Direction.SENDONLY)
    scene.sound.hold(on=False)
    assert (session.muted, session.direction) == (False, Direction.SENDRECV)


@pytest.mark.parametrize("live", [True, False])
def test_while_words_are_compared_only_what_is_live_is_sent(live):
    scene, source = Scene(), Source(live=live)
    scene.sound.secure(scene.session, Direction.SENDRECV)
    scene.sound.gate = Gate.VERIFYING
    scene.sound.source = source
    assert (scene.session.source is source) is live
    scene.sound.gate = Gate.OPEN
    assert scene.session.source is source


def test_a_microphone_is_let_go_of_while_it_is_muted_or_replaced():
    scene, first, second = Scene(), Source(), Source()
    scene.sound.source = first
    scene.sound.mute(muted=True)
    assert not first.listening
    scene.sound.source = second
    assert (first.listening, second.listening) == (True, False)
    scene.sound.mute(muted=False)
    assert second.listening


def test_digits_are_heard_and_pressed_behind_an_open_gate_alone():
    scene = Scene()
    with pytest.raises(UsageError):
        scene.sound.press("1")
    scene.sound.secure(scene.session, Direction.SENDRECV)
    for gate in (Gate.CLOSED, Gate.VERIFYING):
        scene.sound.gate = gate
        scene.sound.digit("1")
        with pytest.raises(UsageError):
            scene.sound.press("1")
    scene.sound.gate = Gate.OPEN
    scene.sound.digit("2")
    scene.sound.press("2")
    assert (scene.digits, scene.session.pressed) == (["2"], "2")


def test_what_an_application_gave_is_closed_last_and_whatever_it_raises():
    scene, source, sink = Scene(), Source(), Source()
    source.close = lambda: 1 / 0
    scene.sound.secure(scene.session, Direction.SENDRECV)
    scene.sound.source = source
    scene.sound.add_sink(sink)
    scene.sound.close()
    assert scene.session.closed
    assert not sink.closed
    assert scene.sound.statistics().packets_received == 7
    assert scene.sound.packets_received == 0
    scene.sound.release()
    assert sink.closed
    assert isinstance(scene.failed[0], ZeroDivisionError)


def test_who_is_no_sink_any_more_hears_nothing():
    scene, sink = Scene(), Source()
    scene.sound.add_sink(sink)
    scene.sound.secure(scene.session, Direction.SENDRECV)
    assert scene.sound.remove_sink(sink)
    assert scene.session.sinks == []
    scene.session.sinks.append(sink)
    assert not scene.sound.remove_sink(sink), "it was none of ours"
