"""Q1 in a call: the outer keys are stolen or broken later, and the recorded sound stays sealed."""

from __future__ import annotations

import asyncio

import pytest

from securecall.media import g711
from securecall.media.endpoints import ToneSource
from securecall.policy import Policy
from securecall.rtp.sframe import DESCRIPTOR
from securecall.rtp.srtp import SrtpSession
from securecall.secret import Secret
from securecall.testing.evil_link import Keys
from securecall.testing.mallory import Mode
from tests.attacks.calls.cast import ALICE_HERTZ, stage

WINDOW = 16


def windows(data):
    return {data[i : i + WINDOW] for i in range(len(data) - WINDOW + 1)}


@pytest.fixture
def stolen(monkeypatch):
    """The SRTP keys of every session made while the test runs."""
    keys, init = [], SrtpSession.__init__

    def steal(session, profile, send_key, receive_key):
        init(session, profile, send_key, receive_key)
        copies = Secret(send_key.reveal()), Secret(receive_key.reveal())  # ours get wiped
        keys.append(Keys(profile=profile.name, send=copies[0], receive=copies[1]))

    monkeypatch.setattr(SrtpSession, "__init__", steal)
    return keys


def opened_with_stolen_keys(tmp_path, stolen, **settings):
    """What a relay that recorded a whole call makes of it once it has the keys of SRTP."""

    async def run():
        async with stage(tmp_path, mode=Mode.TAP, **settings) as s:
            await s.dial()
            assert s.error is None
            media = s.mallory.last_media
            assert media.openable() == []  # before the theft
            for keys in tuple(stolen):
                media.hold(keys)
            return media.openable()

    return asyncio.run(run())


def tone():
    return windows(g711.compressor("PCMU")(ToneSource(ALICE_HERTZ).read(8000, 8000)))


def test_the_frames_inside_stay_sealed(tmp_path, stolen):
    opened = opened_with_stolen_keys(tmp_path, stolen, policy=Policy(prefer_codecs=("PCMU",)))
    assert len(opened) > 20  # the theft was a real one: SRTP is open
    for payload in opened:
        assert payload[0] >= DESCRIPTOR
        assert not windows(payload) & tone()


def test_control_a_call_that_is_only_encrypted_lies_open(tmp_path, stolen):
    policy = Policy(prefer_codecs=("PCMU",), danger_plain_dtls=True)
    opened = opened_with_stolen_keys(tmp_path, stolen, policy=policy, acquainted=False)
    assert sum(bool(windows(payload) & tone()) for payload in opened) > 10
