from __future__ import annotations

from securecall.xmpp.reconnecting import DEAD_AFTER, PING_AFTER, Backoff, Silence


def test_a_connection_that_broke_is_made_again_at_once():
    backoff = Backoff()
    backoff.lost(now=100.0, since=0.0)
    assert backoff.wait(now=100.0, chance=0.9) == 0.0


def test_connections_that_never_hold_are_made_ever_later():
    backoff, waits = Backoff(), []
    for number in range(12):
        backoff.lost(now=1000.0 * number, since=1000.0 * number)
        waits.append(backoff.wait(now=1000.0 * number, chance=0.999999))
    assert waits[0] == 0.0
    assert waits == sorted(waits)
    assert 119 < waits[-1] <= 120


def test_what_fails_is_tried_again_ever_later_and_never_at_the_same_moment():
    backoff, waits = Backoff(), []
    for _ in range(10):
        backoff.failed()
        waits.append((backoff.wait(now=0.0, chance=0.0), backoff.wait(now=0.0, chance=0.999)))
    assert waits[0] == (1.0, 1.999)
    assert all(low * 1.9 < high for low, high in waits)


def test_never_more_than_ten_tries_in_a_minute():
    backoff, now, tries = Backoff(), 0.0, []
    for _ in range(100):
        now += backoff.wait(now=now, chance=0.0)
        backoff.trying(now=now)
        tries.append(now)
        backoff.lost(now=now, since=now - 1000)  # it always seems to have held
        now += 0.01
    assert all(later - early > 59.999 for early, later in zip(tries, tries[10:], strict=False))


def test_silence_is_asked_about_and_then_means_that_nobody_is_there():
    silence = Silence(now=0.0)
    assert silence.due == PING_AFTER
    silence.asked(now=60.0)
    assert silence.due == 60.0 + DEAD_AFTER
    assert not silence.dead(now=79.0)
    assert silence.dead(now=80.0)


def test_any_word_is_a_sign_of_life():
    silence = Silence(now=0.0)
    silence.asked(now=60.0)
    silence.heard(70.0)
    assert not silence.dead(now=1000.0)
    assert silence.due == 70.0 + PING_AFTER
    silence.heard(5.0)  # older than what is known
    assert silence.due == 70.0 + PING_AFTER


def test_a_resumed_session_is_dead_until_the_server_shows_that_it_reads_us():
    silence = Silence(now=0.0, unproved=True)
    silence.heard(DEAD_AFTER - 1)  # what it says proves nothing
    assert silence.due == DEAD_AFTER
    assert not silence.dead(now=DEAD_AFTER - 0.1)
    assert silence.dead(now=DEAD_AFTER)
    assert silence.unproved
    silence.proved()
    assert not silence.unproved
    assert not silence.dead(now=DEAD_AFTER)
    assert silence.due == DEAD_AFTER - 1 + PING_AFTER
